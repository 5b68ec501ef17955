"""A trial and a check can write nothing, in whatever language, and say who tried."""

import os
import re
import sys
import textwrap

import pytest

from vfi_kernels import compat
from vfi_kernels.compat import _checking, _children, _confinement

HEAD = """import logging, mmap, os, pathlib, shutil, sqlite3, tempfile, threading, zipfile
import cv2, numpy, torch
HERE, OLD = {here!r}, {old!r}
def in_a_thread(function, *arguments):
    thread = threading.Thread(target=function, args=arguments)
    thread.start(); thread.join()
def written_by_hand(path, flags):
    file = os.open(path, flags); os.write(file, b"more"); os.close(file)
"""
WARP = """
def warp(image, flow):
    {way}
    height, width = flow.shape[2:]
    ys, xs = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    half = torch.tensor([(width - 1) / 2, (height - 1) / 2]).view(1, 2, 1, 1)
    grid = (torch.stack((xs, ys))[None] + flow / half).permute(0, 2, 3, 1)
    return torch.nn.functional.grid_sample(image, grid, padding_mode="border", align_corners=True)
"""
WAYS = {
    "open": "open(HERE, 'w')",
    "append": "open(OLD, 'a')",
    "both": "open(OLD, 'r+b')",
    "pathlib": "pathlib.Path(HERE).write_text('x')",
    "os.open, new": "written_by_hand(HERE, os.O_CREAT | os.O_WRONLY)",
    "os.open, old": "written_by_hand(OLD, os.O_RDWR)",
    "os.open, emptied": "os.open(OLD, os.O_RDONLY | os.O_TRUNC)",
    "os.mkdir": "os.makedirs(HERE + '/a/b')",
    "os.symlink": "os.symlink(OLD, HERE)",
    "os.link": "os.link(OLD, HERE)",
    "os.truncate": "os.truncate(OLD, 0)",
    "os.replace": "os.replace(OLD, HERE)",
    "os.chmod": "os.chmod(OLD, 0o777)",
    "os.utime": "os.utime(OLD, (0, 0))",
    "pathlib.touch": "pathlib.Path(OLD).touch()",
    "os.unlink": "os.unlink(OLD)",
    "shutil": "shutil.copy(OLD, HERE)",
    "tempfile": "tempfile.NamedTemporaryFile(dir=os.path.dirname(HERE))",
    "logging": "logging.FileHandler(HERE)",
    "sqlite3": "sqlite3.connect(HERE).execute('create table a (b)')",
    "zipfile": "zipfile.ZipFile(HERE, 'w').close()",
    "thread": "in_a_thread(open, HERE, 'w')",
    "torch.save": "torch.save(torch.zeros(2), HERE)",
    "torch.save in a thread": "in_a_thread(torch.save, torch.zeros(2), HERE)",
    "torch.from_file": "torch.from_file(OLD, shared=True, size=1, dtype=torch.uint8).fill_(7)",
    "torch.jit.save": "torch.jit.save(torch.jit.trace(lambda x: x + 1, torch.zeros(1)), HERE)",
    "numpy.save": "numpy.save(HERE, numpy.zeros(2))",
    "numpy.memmap": "numpy.memmap(OLD, mode='r+', shape=1)",
    "numpy.tofile": "numpy.zeros(2).tofile(HERE)",
    "cv2.imwrite": "cv2.imwrite(HERE, numpy.zeros((4, 4, 3), numpy.uint8))",
    "cv2.FileStorage": "cv2.FileStorage(HERE + '.xml', cv2.FILE_STORAGE_WRITE)",
    "swallowed": "try: open(HERE, 'w')\n    except OSError: pass",
    "swallowed, torch": "try: torch.save(1, HERE)\n    except Exception: pass",
}
named = pytest.mark.skipif(sys.platform != "linux", reason="who writes in C++ is told by seccomp")


def contents(folder):
    found = {path: path.stat() for path in folder.rglob("*")}
    return {path: (path.is_file() and path.read_bytes(), s.st_mode, s.st_mtime_ns) for path, s in found.items()}


def error_of(function, *arguments):
    try:
        return function(*arguments)
    except OSError as error:
        return error


def is_named(reason):
    return re.search(r"it asks for '|it calls (os|shutil|sqlite3)\.", reason) is not None


@named
def test_what_writes_when_it_is_imported(tmp_path):
    folder, old = tmp_path / "repository", tmp_path / "old.bin"
    folder.mkdir()
    old.write_bytes(b"as it was")
    for number, way in enumerate(WAYS.values()):
        head = HEAD.format(here=str(tmp_path / "made.png"), old=str(old))
        (folder / f"net_{number:02}.py").write_text(head + textwrap.dedent(f"    {way}") + "\n" + WARP.format(way=""))
    before = contents(tmp_path)
    report = _checking.check(folder)
    assert contents(tmp_path) == before
    said = {way: [r.reason for r in report.left if r.place == f"net_{n:02}.py"] for n, way in enumerate(WAYS)}
    assert {way: reasons for way, reasons in said.items() if len(reasons) != 1 or not is_named(reasons[0])} == {}
    assert report.replaced == []


@named
def test_what_writes_when_it_is_called(tmp_path, monkeypatch):
    old = tmp_path / "old.bin"
    old.write_bytes(b"as it was")
    monkeypatch.syspath_prepend(tmp_path)
    text = HEAD.format(here=str(tmp_path / "made.png"), old=str(old))
    for number, way in enumerate((*WAYS.values(), "pass")):
        text += WARP.replace("def warp", f"def warp_{number:02}").format(way=way)
    (tmp_path / "writes_a_lot.py").write_text(text)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    import writes_a_lot

    monkeypatch.delitem(sys.modules, "writes_a_lot")
    before = contents(tmp_path)
    report = compat.patch(writes_a_lot, dry_run=True)
    assert contents(tmp_path) == before
    assert [r.place for r in report.replaced] == [f"writes_a_lot.warp_{len(WAYS):02}"]  # which does not
    said = {item.place: item.reason for item in report.left}
    wrong = {way: said.get(f"writes_a_lot.warp_{n:02}", "") for n, way in enumerate(WAYS)}
    assert {way: reason for way, reason in wrong.items() if not is_named(reason)} == {}


@pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "darwin", reason="trials are forks")
def test_a_file_that_was_open_before_does_not_grow(tmp_path):
    """Where the kernel has nothing else to offer, too: a fork has its parent's files."""
    with (tmp_path / "log").open("wb", buffering=0) as file, pytest.raises(OSError, match="File too large"):
        raise _children.answers([lambda: error_of(file.write, b"x")], RuntimeError)[0]
    assert (tmp_path / "log").read_bytes() == b""


@named
def test_devices_may_be_opened():
    """As drivers of GPUs do."""

    def nothing():
        with open("/dev/null", "w") as file:
            return file.write("nothing")

    assert _children.answers([nothing, lambda: 3], str) == [7, 3]


@pytest.mark.parametrize("machine", _confinement.MACHINES)
def test_programs_of_machines(machine):
    """Each call is told by its number, those with flags by these."""
    calls = _confinement.MACHINES[machine]
    code = _confinement.program(calls)
    steps = [_confinement.struct.unpack_from("<HBBI", code, n) for n in range(0, len(code), 8)]
    for number in range(500):
        for flags in (0, _confinement.WRITES, 1 << 19):
            words = {0: number, 4: calls.machine, **{16 + 8 * n: flags for n in range(6)}}
            expected = number in calls.paths and (number not in calls.flags or flags & _confinement.WRITES)
            assert run(steps, words) == (_confinement.NOTIFY if expected else _confinement.ALLOW)
            assert run(steps, {**words, 4: 1}) == _confinement.ALLOW


def run(steps, words):
    """What a program of BPF returns."""
    at, value = 0, 0
    while True:
        what, then, otherwise, number = steps[at]
        if what == _confinement.RETURN:
            return number
        if what == _confinement.LOAD:
            value = words[number]
        else:
            holds = value == number if what == _confinement.EQUAL else bool(value & number)
            at += then if holds else otherwise
        at += 1
