"""What is said of nodes that differ, of resources, and of what Ray raises; without a cluster."""

import argparse
import os
import socket
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from vfi.commands.cluster import head, nodes, parts
from vfi.commands.cluster.parts import Parts, Record
from vfi.commands.main import main
from vfi.errors import ArgumentError, UserError
from vfi.files import temporary
from vfi.files.places import StorageTrouble

HERE = {"vfi-kernels": "1", "torch": "2", "files": {"w.pkl": "mark"}, "folders": {"/out/.vfi-x": True}, "source": None}
DIFFER = {
    "has no vfi-kernels that works: gone": {"error": "gone"},
    "has vfi-kernels 0, here it is 1": {"vfi-kernels": "0"},
    "has torch 3, here it is 2": {"torch": "3"},
    "has no w.pkl: put it there": {"files": {"w.pkl": None}},
    "w.pkl is another file on node": {"files": {"w.pkl": "other"}},
    "has no b.mkv: put it there": {"source": ("b.mkv", None)},
    "b.mkv is another file on node": {"source": ("b.mkv", 7)},
    "has not this folder /out: share it": {"folders": {"/out/.vfi-x": False}},
}


@pytest.mark.parametrize("said", DIFFER)
def test_nodes_that_differ(said):
    nodes._compare("node", HERE, HERE)
    with pytest.raises(UserError, match=said):
        nodes._compare("node", HERE, HERE | DIFFER[said])


def test_resources():
    assert [nodes.resource(text) for text in ("cpu=2", "GPU=0.5", "big=1")] == [
        ("CPU", "2"),
        ("GPU", "0.5"),
        ("big", "1"),
    ]
    for text in ("", "CPU", "CPU=", "CPU=0", "CPU=-1", "CPU=x", "=1", "CPU=nan"):
        with pytest.raises(argparse.ArgumentTypeError):
            nodes.resource(text)


def test_without_ray(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    (tmp_path / "in.mkv").write_bytes(b"video")
    assert main(["interpolate", str(tmp_path / "in.mkv"), "-o", str(tmp_path / "out.mkv"), "--ray"]) == 2
    assert 'pip install "vfi-kernels[ray]"' in capsys.readouterr().err


@pytest.mark.parametrize(
    "address, said", [("ray://a:1", "not one of a Ray client"), ("127.0.0.1:9", "no cluster of Ray at")]
)
def test_addresses_of_no_cluster(address, said):
    with pytest.raises(UserError, match=said):
        head.check_address(address)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 505 no\r\n\r\n", b""])
def test_what_answers_is_no_cluster(answer):
    """Ray would wait for minutes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            with server.accept()[0] as connection:
                connection.recv(100)
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(UserError, match="what answers there is something else"):
            head.check_address(f"127.0.0.1:{server.getsockname()[1]}")


def test_a_cluster_that_asks_for_a_token(monkeypatch, capfd):
    class Denied(RuntimeError):
        pass

    def asked(address):
        os.write(2, b"a line of Ray\n")
        raise error(f"no token for {address}")

    monkeypatch.setitem(sys.modules, "ray._raylet", SimpleNamespace(GcsClient=asked))
    ray, error = SimpleNamespace(exceptions=SimpleNamespace(AuthenticationError=Denied)), Denied
    with pytest.raises(UserError, match=r"of Ray at host:1 asks for a token: set RAY_AUTH_MODE=token"):
        head.check_token(ray, "host:1")
    head.check_token(ray, "auto")
    head.check_token(SimpleNamespace(exceptions=SimpleNamespace()), "host:1")
    error = ConnectionError
    head.check_token(ray, "host:1")
    assert capfd.readouterr().err == ""


def test_what_ray_raises_is_a_sentence():
    exceptions = pytest.importorskip("ray").exceptions
    assert "died, 3 times" in nodes.said_of(exceptions.WorkerCrashedError())
    assert "not enough memory" in nodes.said_of(exceptions.OutOfMemoryError("x"))
    for cause, said in (
        (StorageTrouble("no answer"), "no answer"),
        (ValueError("odd\nlines"), "ValueError: odd lines"),
    ):
        raised = exceptions.RayTaskError("f", "Traceback\n lines", cause)
        assert nodes.said_of(raised) == nodes.said_of(raised.as_instanceof_cause()) == said


def test_a_folder_of_a_process_that_was_killed(tmp_path, monkeypatch):
    """Is removed by the next one; those that are in use, and those of others, stay."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left, other = tmp_path / "vfi-unfinished-left", tmp_path / "other"
    for folder in (left, other):
        folder.mkdir()
        (folder / "x").write_bytes(b"x")
        os.utime(folder, (0, 0))
    with temporary.own_folder() as first:
        os.utime(first, (0, 0))
        assert not left.exists() and other.exists()
        with temporary.own_folder() as second:
            assert first.is_dir() and second.is_dir() and time.time() - second.stat().st_mtime < 60
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_work_of_two_runs_does_not_mix(tmp_path):
    """One that was begun anew knows nothing of the other's parts, which can add none."""
    out, what = tmp_path / "out.mkv", {"crf": "1"}
    first, again, second = Parts(out, "a"), Parts(out, "a"), Parts(out, "b")
    first.begin(what, resume=False, anew=False)
    assert again.begin(what, resume=False, anew=False)["work"] == "a", "a task that is run again"
    first.add(Record(0, 1), tmp_path)
    with pytest.raises(ArgumentError, match="an earlier run left finished parts"):
        Parts(out, "b").begin(what, resume=False, anew=False)
    with pytest.raises(ArgumentError, match="differs in crf"):
        Parts(out, "b").begin({"crf": "2"}, resume=True, anew=False)
    goes_on = Parts(out, "b")
    goes_on.begin(what, resume=True, anew=False)
    assert goes_on.work == "a" and list(goes_on.records()) == [0]
    second.begin({"crf": "2"}, resume=False, anew=True)
    assert not second.records()
    with pytest.raises(UserError, match="by another run meanwhile"):
        first.add(Record(1, 2), tmp_path)
    first.tidy()
    first.end()
    assert second.folder.exists(), "it is the other's now"
    second.tidy()
    assert not second.folder.exists()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"first": 0}', '{"first": 0, "end": 1, "files": [["../x", 1]]}'])
def test_a_damaged_record_is_a_sentence(tmp_path, text):
    work = Parts(tmp_path / "out.mkv", "a")
    work.begin({}, resume=False, anew=False)
    (work.folder / "a-000000.json").write_text(text)
    with pytest.raises(UserError, match="is damaged"):
        work.records()
    (work.folder / parts._BEGUN).write_text(text)
    if text != '{"first": 0}' and "files" not in text:
        with pytest.raises(UserError, match="is damaged"):
            work.begin({}, resume=True, anew=False)
