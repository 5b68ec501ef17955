"""A training whose disk is full, that another one meets, or that was killed: the state of before stays and goes on."""

import errno
import os
import resource
import signal
import subprocess
import sys
from contextlib import suppress

import pytest
import torch
from safetensors.torch import load_file
from tiny import log_of, quick, tiny_rife

from vfi.errors import UserError
from vfi.files import atomic
from vfi.training import state, train

HOLD = """
import os, sys, time
from pathlib import Path
from vfi.training import state
if "without" in sys.argv:
    sys.modules["fcntl"] = None
with state.prepared(Path(sys.argv[1]), False, False):
    if "fork" in sys.argv and os.fork() == 0:
        time.sleep(100)
    print("ready", flush=True)
    time.sleep(100)
"""


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def held(tmp_path):
    """Starts a process that holds the folder, and ends it."""
    running = []

    def start(*words):
        options = {"stdout": subprocess.PIPE, "text": True, "start_new_session": True}
        running.append(subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run"), *words], **options))
        assert running[-1].stdout.readline() == "ready\n"
        return running[-1]

    yield start
    for process in running:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def test_a_second_training_is_refused_until_the_first_is_dead(tmp_path, held):
    """A worker that outlives a killed training holds nothing."""
    folder = tmp_path / "run"
    process = held("fork")
    (folder / ".last.unfinished-7.pt").write_bytes(b"half")
    (folder / "notes.txt").write_text("the user's")
    before = files(folder)
    for options in ({}, {"overwrite": True}):
        with pytest.raises(
            UserError, match=r"another training is at work in .*run: wait for it, or take another folder$"
        ):
            train(tiny_rife(), quick(folder, **options))
    assert files(folder) == before
    process.kill()
    process.wait()
    train(tiny_rife(), quick(folder, stop_after=1))
    assert set(files(folder)) == {"last.pt", "weights.safetensors", "log.jsonl", "notes.txt"}


def test_a_training_that_is_refused_leaves_the_signals_alone(tmp_path, held, monkeypatch):
    held()
    monkeypatch.setattr(signal, "signal", lambda *arguments: pytest.fail("a handler was installed"))
    with pytest.raises(UserError, match="another training is at work"):
        train(tiny_rife(), quick(tmp_path / "run"))


def test_a_lock_without_locks(tmp_path, held):
    """Where folders cannot be locked, a file stands for it; who was killed left it there, and the sentence says so."""
    process = held("without")
    again = atomic._lock_file(tmp_path / "run", "training")
    with pytest.raises(UserError, match=r"another training is at work in .*; if none is, remove .*\.lock$"), again:
        pytest.fail("two at once")
    process.kill()
    process.wait()
    (tmp_path / "run" / ".lock").unlink()
    with atomic._lock_file(tmp_path / "run", "training"):
        assert (tmp_path / "run" / ".lock").exists()
    assert not (tmp_path / "run" / ".lock").exists()


@pytest.mark.parametrize("limit", [1 << 12, 1 << 21], ids=["nothing fits", "the state does not"])
def test_a_disk_that_is_full(tmp_path, limit):
    """Played by a limit on the size of files, which is met where a full disk is."""
    options = {"data": "synthetic:8", "epochs": 2}
    train(tiny_rife(), quick(tmp_path / "whole", **options))
    train(tiny_rife(), quick(tmp_path / "run", stop_after=2, **options))
    folder, before = tmp_path / "run", files(tmp_path / "run")
    sizes = sorted(len(before[name]) for name in ("weights.safetensors", "last.pt"))
    assert (1 << 12) < sizes[0] < (1 << 21) < sizes[1], "the limits lie between what is written"
    usual, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, usual[1]))
    try:
        with pytest.raises(UserError, match=r"^cannot write .*(last\.pt|weights\.safetensors): File too large$"):
            train(tiny_rife(), quick(folder, resume=True, **options))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
        signal.signal(signal.SIGXFSZ, ignored)
    assert set(files(folder)) == set(before) and files(folder)["last.pt"] == before["last.pt"]
    train(tiny_rife(), quick(folder, resume=True, **options))
    whole, parts = (load_file(place / "weights.safetensors") for place in (tmp_path / "whole", folder))
    assert all(torch.equal(value, parts[key]) for key, value in whole.items())
    assert log_of(folder) == log_of(tmp_path / "whole")


def test_a_log_that_cannot_be_written(tmp_path):
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*log\.jsonl: Is a directory$"):
        state.log(tmp_path, {"step": 1})


def test_a_state_of_another_network_changes_nothing(tmp_path):
    train(tiny_rife(), quick(tmp_path, stop_after=1))
    good = torch.load(tmp_path / "last.pt", weights_only=True)
    for part, value in (
        ("network", {}), ("network", {"x": torch.zeros(1)}), ("network", [1]), ("optimizer", {}), ("step", "one"),
        ("optimizer", {**good["optimizer"], "state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(1)}}}),
        ("meter", {"sums": 1, "other": 2}), ("settings", 1),
    ):  # fmt: skip
        torch.save({**good, part: value}, tmp_path / "last.pt")
        objective = tiny_rife(seed=5)
        before, kept = {k: v.clone() for k, v in objective.network.state_dict().items()}, files(tmp_path)
        with pytest.raises(UserError, match=r"last\.pt (is damaged, or not the state of a training|was trained with)"):
            train(objective, quick(tmp_path, resume=True))
        assert all(torch.equal(value, before[key]) for key, value in objective.network.state_dict().items())
        assert files(tmp_path) == kept


def test_what_must_last_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """The file, its name, the folder that holds the name."""
    done = []
    sync, replace = os.fsync, os.replace

    def fsync(descriptor):
        done.append(("sync", os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))))
        sync(descriptor)

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    monkeypatch.setattr(atomic.os, "replace", lambda a, b: (done.append(("name", b.name)), replace(a, b)))
    train(tiny_rife(), quick(tmp_path / "run", stop_after=1))
    pid = os.getpid()
    assert done == [
        *(("sync", f".weights.unfinished-{pid}.safetensors"), ("name", "weights.safetensors"), ("sync", "run")),
        *(("sync", f".last.unfinished-{pid}.pt"), ("name", "last.pt"), ("sync", "run")),
    ]
    done.clear()
    with atomic.written_whole(tmp_path / "picture.png") as temporary:
        temporary.write_bytes(b"x")
    assert done == [("name", "picture.png")], "a picture is made again"


def test_a_disk_that_fails_late(tmp_path, monkeypatch):
    """Some report it when a file is written out."""

    def fail(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    train(tiny_rife(), quick(tmp_path, stop_after=1))
    before = files(tmp_path)
    monkeypatch.setattr(atomic.os, "fsync", fail)
    with pytest.raises(UserError, match=r"cannot write .*log\.jsonl: No space left on device$"):
        train(tiny_rife(), quick(tmp_path, resume=True))
    assert files(tmp_path) == before
