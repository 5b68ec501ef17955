"""What tests of Triton kernels in Triton's interpreter share: they import its fixtures and its marks."""

import os

import pytest
import torch
from compare import assert_near, coarsest, cotangents_for, forward, gradients, oracle_results
from torch.utils._python_dispatch import TorchDispatchMode
from triton.runtime import interpreter

import vfi_kernels as vk
from vfi_kernels.testing import generic_cases, tensors

pytestmark = [
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="the interpreter is switched off"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # numpy's, of lanes that are masked afterwards
]
CASES = generic_cases()
SHAPE = (1, 3, 4, 5)


@pytest.fixture(autouse=True)
def usual_path(monkeypatch):
    """The flag is on for fresh_memory; the ops shall take their usual path. Tests of the other path ask for it."""
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: False)


@pytest.fixture(autouse=True)
def quick_interpreter(monkeypatch):
    """Triton patches triton.language before every call of a helper, also where it is patched already: 3 ms each."""
    patched = interpreter.InterpretedFunction.__call__

    def call(self, *args, **kwargs):
        ours = self.fn.__module__.startswith("vfi_kernels")
        return self.rewrite()(*args, **kwargs) if ours else patched(self, *args, **kwargs)

    monkeypatch.setattr(interpreter.InterpretedFunction, "__call__", call)


@pytest.fixture(name="launched")
def launched_kernels(monkeypatch):
    """Names of the kernels that were launched, in order."""
    names, run = [], interpreter.InterpretedFunction.run

    def record(self, *args, **kwargs):
        names.append(self.fn.__name__)
        return run(self, *args, **kwargs)

    monkeypatch.setattr(interpreter.InterpretedFunction, "run", record)
    return names


def make(case, shape=SHAPE, dtype=torch.float32, **options):
    return case.make_inputs(*shape, dtype=dtype, generator=torch.Generator().manual_seed(3), **options)


def check_all(case, arguments):
    """Forward and every gradient of the Triton backend against the oracle, within a few roundings of the dtype."""
    expected_outs, expected_gradients = oracle_results(case.call, arguments, cotangents_for)
    cotangents = cotangents_for(expected_outs)
    with vk.use_backend("triton"):
        outs, grads = forward(case.call, arguments), gradients(case.call, arguments, cotangents)
    for got, expected in zip(outs, expected_outs, strict=True):
        assert_near(got, expected, slack=case.slack)
    # The gradient of a quotient needs the quotient itself, which is rounded in every channel of every input.
    slack = 4 + (sum(t.shape[1] for t in tensors(arguments[0])) if "splat" in case.op else 0)
    for got, expected in zip(grads, expected_gradients, strict=True):
        assert_near(got, expected, slack=slack * case.slack, dtype=coarsest(arguments))


def channels_last(t):
    return t.contiguous(memory_format=torch.channels_last)


def every_second(t):
    wide = torch.full((*t.shape[:3], 2 * t.shape[3]), torch.nan, dtype=t.dtype)
    wide[..., ::2] = t
    return wide[..., ::2]


class Watch(TorchDispatchMode):
    """Names of the torch ops that run, and the float32 tensors of image size that they make."""

    def __init__(self, size=0):
        super().__init__()
        self.size, self.names, self.copies = size, [], []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.names.append(func.name())
        if isinstance(out, torch.Tensor) and out.dtype == torch.float32 and out.numel() >= self.size:
            self.copies.append(func.name())
        return out
