"""Functions that a trial must survive: they stay, are named, and nothing changes."""

import os
import subprocess
import sys
import time
from types import ModuleType

import pytest
import torch
from compat.test_patch_trials import BASE
from processes import warm_python

from vfi_kernels import compat
from vfi_kernels.compat import _children, _trials

QUICK = 0.5  # seconds, for what would not end


def module_of(code):
    module = ModuleType("made_up")
    sys.modules["made_up"] = module
    exec(BASE + code, vars(module))
    return module


BAD = {
    "raises": ("raise KeyError('x')", "it does not run here, so what it computes is not known (KeyError: 'x')"),
    "exits": ("raise SystemExit(3)", "it does not run here, so what it computes is not known (SystemExit: 3)"),
    "prints": ("print('seen'); return warped(img, flow)", "it prints"),
    "prints to stderr": ("import sys; sys.stderr.write('x'); return warped(img, flow)", "it prints"),
    "writes into the flow": ("out = warped(img, flow); flow *= 2; return out", "it writes into its arguments"),
    "writes by numpy": (
        "out = warped(img, flow); flow.detach().numpy()[:] = 0; return out", "it writes into its arguments"
    ),
    "reads a file": ("open('weights.bin'); return warped(img, flow)", "it asks for 'weights.bin'"),
    "writes a file": ("open('made_up.txt', 'w'); return warped(img, flow)", "it asks for 'made_up.txt'"),
    "swallows the refusal": (
        "try:\n    open('made_up.txt', 'w')\n  except OSError:\n    pass\n  return warped(img, flow)",
        "it asks for 'made_up.txt'",
    ),
    "wants the network": (
        "import socket; socket.create_connection(('localhost', 1)); return warped(img, flow)", "it calls socket."
    ),
    "starts a process": ("import os; os.system('true'); return warped(img, flow)", "it calls os.system"),
    "ends the process": ("import os; os._exit(3)", "it ended its process (exit code 3)"),
    "crashes": ("import os, signal; os.abort()", "it ended its process (SIGABRT)"),
}  # fmt: skip


@pytest.mark.in_turn("kind")
@pytest.mark.parametrize("kind", BAD)
def test_what_misbehaves_stays(kind, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    body, reason = BAD[kind]
    module = module_of(f"def warp(img, flow):\n  {body}\ndef bwarp(img, flow): return warped(img, flow)")
    theirs = module.warp
    report = compat.patch(module)
    assert [item.place for item in report.left] == ["made_up.warp"] and report.left[0].reason.startswith(reason)
    assert {r.place for r in report.replaced} == {"made_up.warped", "made_up.bwarp"}, "the others are judged"
    assert module.warp is theirs and os.listdir(tmp_path) == [] and capfd.readouterr() == ("", "")


ENDLESS = {
    "python": "while True: pass",
    "python that will not be stopped": "while True:\n    try:\n      while True: pass\n    except BaseException: pass",
    "native code": "import threading; threading.Event().wait()",
    "sleep": "import time; time.sleep(1000)",
}


@pytest.mark.in_turn
@pytest.mark.parametrize("kind", ENDLESS)
def test_what_does_not_end_is_stopped(kind, monkeypatch):
    monkeypatch.setattr(_children.answers, "__defaults__", (QUICK,))
    module = module_of(f"def warp(img, flow):\n  {ENDLESS[kind]}\ndef bwarp(img, flow): return warped(img, flow)")
    start = time.monotonic()
    report = compat.patch(module)
    assert time.monotonic() - start < 30
    assert [(item.place, item.reason) for item in report.left] == [("made_up.warp", f"it did not end within {QUICK} s")]
    assert {r.place for r in report.replaced} == {"made_up.warped", "made_up.bwarp"}


def test_five_seconds():
    assert _trials.SECONDS == 5 and _children.answers.__defaults__ == (5,)


def without_fork(monkeypatch):
    monkeypatch.delattr(os, "fork")


def test_without_processes_python_is_stopped_too(monkeypatch):
    without_fork(monkeypatch)
    monkeypatch.setattr(_children.answers, "__defaults__", (QUICK,))
    module = module_of(f"def warp(img, flow):\n  {ENDLESS['python']}\ndef bwarp(img, flow): return warped(img, flow)")
    report = compat.patch(module)
    assert [item.reason for item in report.left] == [f"it did not end within {QUICK} s"]
    assert {r.place for r in report.replaced} == {"made_up.warped", "made_up.bwarp"}


STATE = """
import functools
grids, kept, total = {}, [], 0

@functools.lru_cache(None)
def grid(size): return torch.zeros(size)

class Cache:
    last = None
    all = {}

def make():
    inner, n = {}, 0
    def bwarp(img, flow):
        nonlocal n
        n += 1
        inner[n] = flow.shape
        return warped(img, flow)
    return bwarp

bwarp = make()

def warp(img, flow):
    global total
    total += 1
    grids[flow.shape] = grid(flow.shape)
    kept.append(flow)
    Cache.last = Cache.all[flow.shape] = flow
    warp.calls = total
    torch.rand(3)
    return warped(img, flow)
"""


@pytest.mark.parametrize("forked", [True, False])
def test_caches_are_as_they_were(forked, monkeypatch):
    if not forked:
        without_fork(monkeypatch)
    module = module_of(STATE)
    theirs, inner = module.warp, module.bwarp
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    report = compat.patch(module)
    assert {r.place for r in report.replaced} == {"made_up.warped"}
    assert all(item.reason.startswith("each call changes") for item in report.left), str(report)
    assert torch.equal(torch.rand(2), expected)
    assert module.grids == {} and module.kept == [] and module.total == 0 and not hasattr(theirs, "calls")
    assert module.Cache.last is None and module.Cache.all == {}
    assert module.grid.cache_info().currsize == 0
    assert {name: cell.cell_contents for name, cell in zip(inner.__code__.co_freevars, inner.__closure__)} == {
        "inner": {}, "n": 0
    }  # fmt: skip
    compat.unpatch()
    assert module.warp is theirs and module.bwarp is inner


def test_results_are_the_same_without_processes(monkeypatch):
    module = module_of("def warp(img, flow): return warped(img, flow)\ndef bwarp(x, flo): return warped(x, -flo)")
    with_fork = compat.patch(module, dry_run=True)
    without_fork(monkeypatch)
    assert compat.patch(module, dry_run=True) == with_fork


@pytest.mark.nightly
def test_a_hundred_warps_are_all_replaced():
    """Of a network that has a copy of its warp in every part; benchmarks/patching.py prints how long it takes."""
    code = "".join(f"def warp_{n}(img, flow): return warped(img, flow)\n" for n in range(100))
    assert len(compat.patch(module_of(code)).replaced) == 101


AFTERWARDS = """
import sys, time, threading
from vfi_kernels.compat._trials import TooLong, limited

def swallowed():
    try:
        while True:
            pass
    except BaseException:
        pass

def endless():
    while True:
        pass

for body in (swallowed, endless, lambda: time.sleep(0.2), lambda: None):
    try:
        with limited(0.05):
            body()
    except TooLong:
        pass
calls = []
sys.setprofile(lambda frame, event, _: calls.append(event))
endless.__hash__()
(lambda: None)()
sys.setprofile(None)
print(len(calls) > 2)
"""


def test_a_trial_that_was_stopped_leaves_python_as_it_was():
    """An exception that is taken back leaves Python's flag for it set; with a profiler no call ends then."""
    done = subprocess.run([*warm_python(), "-c", AFTERWARDS], capture_output=True, text=True, timeout=100)
    assert done.stdout == "True\n", done.stderr


LIGHT = """
import sys
import torch
import vfi_kernels as vk

def warp(x, flow):
    height, width = flow.shape[2:]
    ys, xs = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    half = torch.tensor([(width - 1) / 2, (height - 1) / 2]).view(1, 2, 1, 1)
    grid = (torch.stack((xs, ys))[None] + flow / half).permute(0, 2, 3, 1)
    return torch.nn.functional.grid_sample(x, grid, padding_mode="border", align_corners=True)

report = vk.compat.patch(sys.modules["__main__"])
assert [row["verdict"] for row in report.rows()] == ["replaced"], str(report)
warp(torch.rand(1, 3, 64, 64), torch.rand(1, 2, 64, 64))
print([name for name in ("torch._dynamo", "torch._inductor", "triton", "torchvision", "cupy") if name in sys.modules])
"""


def test_a_patch_imports_nothing_heavy():
    """The compiler takes seconds to import, and asks for files, which no trial may."""
    done = subprocess.run([*warm_python(), "-c", LIGHT], capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
