"""Films in a bucket of Google Cloud Storage, by gcsfs, on a server that stands for it."""

import logging
import os

import pytest
from cluster_runs import packets
from clusters import LOSSLESS, ended, until

IN, OUT = "gs://films/in.mkv", "gs://films/out/out.mkv"


@pytest.fixture
def gs(monkeypatch, film):
    """fsspec's view of the bucket "films", with the film in it."""
    emulator = pytest.importorskip("gcp_storage_emulator.server", reason="no environment with it: make test-cluster")
    logging.getLogger("gcp_storage_emulator").setLevel("ERROR")
    server = emulator.create_server("127.0.0.1", 0, in_memory=True)
    server.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://{}:{}".format(*server._api._httpd.server_address))
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # it would ask Google which kind of bucket it is
    from gcsfs import GCSFileSystem

    files = GCSFileSystem()
    files.mkdir("films")
    files.put_file(str(film), "films/in.mkv")
    yield files
    server.stop()
    GCSFileSystem.clear_instance_cache()


def names(gs):
    gs.invalidate_cache()
    return gs.find("films")


@pytest.fixture
def is_whole(gs, whole, tmp_path):
    def check():
        assert names(gs) == ["films/in.mkv", "films/out/out.mkv"]
        gs.get_file("films/out/out.mkv", os.fspath(tmp_path / "got.mkv"))
        assert (packets(tmp_path / "got.mkv"), packets(tmp_path / "got.mkv", "audio")) == whole

    return check


def test_from_bucket_to_bucket(nodes, gs, is_whole):
    code, printed, errors = nodes(2).run(IN, "-o", OUT, *LOSSLESS)
    assert code == 0 and errors == "" and f"wrote {OUT}: 300 frames" in printed
    is_whole()


def test_a_driver_is_killed(nodes, gs, is_whole):
    cluster = nodes(2, delay=0.03)
    driver = cluster.start(IN, "-o", OUT, *LOSSLESS)
    until(lambda: sum(cluster.runs().values()) >= 5)
    cluster.kill(driver)
    finished = {f"render {int(name[-11:-5])}" for name in names(gs) if name[-11:-5].isdigit()}
    assert finished and "films/out/out.mkv" not in names(gs)
    cluster.forget_runs()
    code, _, errors = cluster.run(IN, "-o", OUT, *LOSSLESS, "--resume")
    assert code == 0 and errors == "" and not finished & set(cluster.runs())
    is_whole()


def test_a_worker_is_killed(nodes, gs, is_whole):
    cluster = nodes(2, delay=0.03)
    driver = cluster.start(IN, "-o", OUT, *LOSSLESS)
    cluster.wait_for("render", 2)[0].kill()
    code, _, errors = ended(driver)
    assert code == 0 and errors == "" and max(cluster.runs().values()) == 2
    is_whole()


@pytest.mark.parametrize(
    "source, target, said",
    [
        ("gs://films/none.mkv", OUT, "gs://films/none.mkv does not exist"),
        ("gs://nothing/in.mkv", OUT, "gs://nothing/in.mkv does not exist"),
        (IN, "gs://nothing/out.mkv", "gs://nothing"),
    ],
)
def test_what_is_not_there(nodes, gs, source, target, said):
    code, _, errors = nodes(1).run(source, "-o", target, *LOSSLESS)
    assert code in (1, 2) and said in errors and len(errors.splitlines()) <= 2
    assert names(gs) == ["films/in.mkv"]
