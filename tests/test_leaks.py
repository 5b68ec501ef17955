"""No call of an op leaves memory behind: malloc's bytes in use before and after many calls."""

import ctypes
import gc

import pytest
import torch
from op_calls import CASES, RecordOps, make

from vfi_kernels.testing import map_tensors, tensors

MOST = 16  # bytes per call, for what caches grow by meanwhile; one string was 48
ONE_OF_EACH = list({c.op: c for c in CASES.values()}.values())


class Mallinfo(ctypes.Structure):
    _fields_ = [(f"other{n}", ctypes.c_size_t) for n in range(7)]
    _fields_ += [("in_use", ctypes.c_size_t), ("free", ctypes.c_size_t), ("keepcost", ctypes.c_size_t)]


mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
if mallinfo is not None:
    mallinfo.restype = Mallinfo
pytestmark = pytest.mark.skipif(mallinfo is None, reason="this C library has no mallinfo2")


def left_behind(call, count: int) -> float:
    """Bytes per call. Caches are filled first."""
    for _ in range(min(200, count)):
        call()
    gc.collect()
    before = mallinfo().in_use
    for _ in range(count):
        call()
    gc.collect()
    return (mallinfo().in_use - before) / count


def raises(call):
    def refused():
        try:
            call()
        except RuntimeError:
            return
        raise AssertionError("the call was not refused")

    return refused


def calls_of(case):
    """Forward, gradients, and each op that these run with a first tensor that it must refuse."""
    arguments = make(case, (1, 2, 4, 4))
    leaves = map_tensors(lambda t: t.detach().clone().requires_grad_(t.is_floating_point()), arguments)
    moving = [t for t in tensors(leaves) if t.requires_grad]

    def gradients():
        outs = [o for o in tensors(case.call(*leaves)) if o.requires_grad]
        return torch.autograd.grad([o.sum() for o in outs], moving, allow_unused=True)

    recorded = []
    with RecordOps(recorded):
        gradients()
    yield "forward", lambda: case.call(*arguments)
    yield "gradients", gradients
    for name, args, kwargs in recorded:
        op = getattr(torch.ops.vfi_kernels, name.split(".")[1]).default
        wrong = map_tensors(lambda t: t.detach().to(torch.int8), args)
        yield f"refused {name}", raises(lambda op=op, wrong=wrong, kwargs=kwargs: op(*wrong, **kwargs))


def check(case, threads, count):
    threads(1)
    live = {}
    for what, call in calls_of(case):  # an error takes torch milliseconds
        live[what] = left_behind(call, count // 10 if what.startswith("refused") else count)
    leaks = {what: round(value) for what, value in live.items() if value > MOST}
    assert not leaks, f"bytes left behind by each call: {leaks}"


BY_DAY = ("splat",)  # with scratch memory


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=() if c.op in BY_DAY else pytest.mark.nightly) for c in ONE_OF_EACH],
    ids=[c.op for c in ONE_OF_EACH],
)
def test_calls_leave_nothing_behind(case, threads):
    check(case, threads, 500)


@pytest.mark.nightly
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_hundred_thousand_calls_leave_nothing_behind(case, threads):
    check(case, threads, 100_000)
