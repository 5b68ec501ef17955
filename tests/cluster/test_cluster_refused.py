"""Clusters that cannot be used, and nodes that differ: one sentence, before anything begins; and several films."""

import os
import socket
import subprocess
import sys
import tempfile

import pytest
import ray
from clusters import LOSSLESS, ROOT, ended, until


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "out.mkv"


def refused(result, out):
    """The only line."""
    code, printed, errors = result
    assert code == 2 and printed == "" and not list(out.parent.iterdir())
    assert errors.startswith("vfi: ") and errors.count("\n") == 1, errors
    return errors


def test_no_cluster_is_there(nodes, film, out, s3):
    cluster = nodes(0)
    assert "no cluster of Ray at 127.0.0.1:9" in refused(cluster.run(film, "-o", out, ray="127.0.0.1:9"), out)
    other = f"127.0.0.1:{s3.port}"
    assert other in refused(cluster.run(film, "-o", out, ray=other), out), "what answers there is none"
    assert "no node of the cluster has CPU 1" in refused(cluster.run(film, "-o", out), out)


def test_a_cluster_of_another_version(nodes, film, out, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(ray, "__version__", "2.0.0")
        cluster = nodes(1)
    said = refused(cluster.run(film, "-o", out), out)
    assert "2.0.0" in said and ray.__version__ in said


def test_a_cluster_that_asks_for_a_token(film, out, tmp_path):
    """Of a head that is begun by hand, as docs/scale.md says."""
    own = {"RAY_USAGE_STATS_ENABLED": "0", "HOME": str(tmp_path), "PYTHONPATH": f"{ROOT}:{ROOT / 'python'}"}
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
    with tempfile.TemporaryDirectory(prefix="r") as session, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        begin = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus", "1"]
        begin += ["--port", str(port), "--temp-dir", session, "--include-dashboard", "false"]
        head = subprocess.Popen(begin, env=os.environ | own | token, stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
            words = [sys.executable, "-m", "vfi", "interpolate", film, "-o", out, "--ray", f"127.0.0.1:{port}"]
            for given, said in ({}, "asks for a token: set RAY_AUTH_MODE=token"), (token, "has GPU 1, which each task"):
                driver = subprocess.Popen(
                    [*map(str, words), "--ray-resources", "GPU=1"], env=os.environ | own | given, text=True,
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                )  # fmt: skip
                assert said in refused(ended(driver), out)
        finally:
            head.terminate()
            head.wait()


OTHERS = [
    ({"VFI_TEST_VERSION": "0.0.9"}, "has vfi-kernels 0.0.9"),
    ({"PYTHONPATH": ""}, "has no vfi-kernels that works"),
]


@pytest.mark.parametrize("environment, said", OTHERS)
def test_a_node_that_differs(nodes, film, out, environment, said):
    cluster = nodes(1)
    cluster.add(environment)
    assert said in refused(cluster.run(film, "-o", out), out)


def test_a_node_that_differs_and_comes_later(nodes, film, out):
    cluster = nodes(1, delay=0.05)
    driver = cluster.start(film, "-o", out, *LOSSLESS)
    cluster.wait_for("render")
    cluster.add({"VFI_TEST_VERSION": "0.0.9"})
    code, _, errors = ended(driver)
    assert code == 1 and "has vfi-kernels 0.0.9, the others have" in errors and not out.exists()


def test_names_are_those_of_the_folder_of_the_command(nodes, film, out, is_whole, tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "in.mkv").write_bytes(film.read_bytes())
    cluster = nodes(1)
    code, printed, errors = cluster.run("in.mkv", "-o", "../out/out.mkv", *LOSSLESS, folder=tmp_path / "here")
    assert code == 0 and errors == "" and "wrote ../out/out.mkv: 300 frames" in printed
    is_whole(out)


def test_a_file_that_fails_among_others(nodes, film, out, is_whole, tmp_path):
    sources = tmp_path / "sources"
    sources.mkdir()
    for name in ("a.mkv", "c.mkv"):
        (sources / name).write_bytes(film.read_bytes())
    (sources / "b.mkv").write_bytes(b"nothing")
    code, printed, errors = nodes(2).run(sources, "-o", out.parent, *LOSSLESS)
    assert code == 1 and printed.endswith(f"3 videos: 2 done, 1 failed\n  failed: {sources}/b.mkv\n")
    assert errors.endswith("vfi: 1 of 3 videos could not be done\n") and errors.count("b.mkv") == 1
    assert sorted(each.name for each in out.parent.iterdir()) == ["a.mkv", "c.mkv"]
    (out.parent / "a.mkv").unlink()
    is_whole(out.parent / "c.mkv")


@pytest.mark.parametrize("more", [(), ("--resume",), ("--overwrite",)])
def test_two_drivers_and_one_output(nodes, film, out, is_whole, more):
    """Whichever is done, its film is whole; the other one says why it is not."""
    cluster = nodes(2, delay=0.02)
    first = cluster.start(film, "-o", out, *LOSSLESS, *more)
    until(lambda: cluster.runs()["render 1"])
    until(lambda: list(out.parent.glob(".*/*.json")))
    second = cluster.start(film, "-o", out, *LOSSLESS, *more)
    results = [ended(first), ended(second)]
    assert 0 in [code for code, _, _ in results]
    for code, _, errors in results:
        assert code == 0 or any(
            said in errors for said in ("another run", "earlier run", "exists already", "another process")
        )
    if any("this result is" in errors for _, _, errors in results):  # both were joined, and this one was later
        out.with_name("out-2.mkv").unlink()
    for left in out.parent.glob(".*"):
        assert left.is_dir() and left.name == ".out.mkv.parts"
        for each in left.iterdir():
            each.unlink()
        left.rmdir()
    is_whole(out)


FILL = """
import ray, sys, time, numpy
ray.init(address=sys.argv[1], log_to_driver=False)
make = ray.remote(num_cpus=0)(lambda: numpy.zeros(30 << 20, numpy.uint8))
kept = [make.remote() for _ in range(12)]
ray.wait(kept, num_returns=len(kept), timeout=60)
print("full", flush=True)
time.sleep(600)
"""


def test_a_full_object_store(nodes, film, out, is_whole):
    """Films do not go through it."""
    cluster = nodes(2)
    filling = subprocess.Popen([sys.executable, "-c", FILL, cluster.address], stdout=subprocess.PIPE, text=True)
    cluster.drivers.append(filling)
    assert filling.stdout.readline() == "full\n"
    code, _, errors = cluster.run(film, "-o", out, *LOSSLESS)
    assert code == 0 and errors == ""
    is_whole(out)


def test_a_cluster_that_ends_with_the_work(nodes, film, out, is_whole):
    cluster = nodes(0)
    code, _, errors = cluster.run(film, "-o", out, *LOSSLESS, ray="local")
    assert code == 0 and errors == ""
    is_whole(out)


def test_what_is_in_the_way(film, tmp_path):
    """No Ray at all."""
    (tmp_path / "ray.py").write_text("raise ImportError('no module')")
    path = ":".join(map(str, (tmp_path, ROOT, ROOT / "python")))
    command = [sys.executable, "-m", "vfi", "interpolate", film, "-o", tmp_path / "out.mkv", "--ray"]
    done = subprocess.run(list(map(str, command)), env={"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 2 and 'pip install "vfi-kernels[ray]"' in done.stderr and done.stderr.count("\n") == 1
