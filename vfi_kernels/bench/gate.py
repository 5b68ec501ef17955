"""No figure for an op that is wrong: its tests, where the source tree is there, and a check against the reference."""

import contextlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from vfi_kernels import backends
from vfi_kernels._types import Arguments
from vfi_kernels.bench.jobs import DTYPES, Job
from vfi_kernels.bench.machine import SOURCE_TREE, running_backend
from vfi_kernels.testing import OpCase, load_cases, map_tensors, tensors

# Coarser than the tests' tolerances: a wrong kernel misses by far more.
TOLERANCE = {"float64": 1e-10, "float32": 1e-4, "float16": 1e-2, "bfloat16": 6e-2}


def run_tests(op: str, backend: str) -> str | None:
    """Runs the generic tests of `op` on `backend` in a process of their own; the reason why they failed, or None."""
    others = [name for name in backends.BACKENDS if name != backend]
    chosen = f"{op} and not ({' or '.join([*others, 'inductor'])})"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "--no-header",
        "-m",
        "not slow and not gpu",
        "-k",
        chosen,
        *map(str, _generic_tests()),
    ]
    path = os.pathsep.join(filter(None, [str(SOURCE_TREE), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, cwd=SOURCE_TREE, env=environment)
    if done.returncode == 0:
        return None
    failures = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return (failures or done.stdout.splitlines() or done.stderr.splitlines() or ["pytest failed"])[-1]


def _generic_tests() -> list[Path]:
    """The files of tests of every op."""
    return sorted((SOURCE_TREE / "tests").glob("test_every_op*.py"))


def has_tests() -> bool:
    return bool(_generic_tests()) and importlib.util.find_spec("pytest") is not None


def check(case: OpCase, dtype: str, layout: str, device: str, backend: backends.Backend | None) -> str | None:
    """Forward and gradients on small shapes against the reference in float64; where they differ, or None."""
    for shape in case.small:
        generator = torch.Generator().manual_seed(1)
        arguments = case.make_inputs(*shape, dtype=DTYPES[dtype], device=device, generator=generator)
        if layout == "channels_last":
            arguments = map_tensors(lambda t: t.contiguous(memory_format=torch.channels_last), arguments)
        with backends.use_backend("reference"):
            expected = _results(case, map_tensors(lambda t: t.double(), arguments))
        try:
            with contextlib.nullcontext() if backend is None else backends.use_backend(backend):
                got = _results(case, arguments)
        except Exception as error:  # whatever a kernel raises, its op is not right
            return f"{case.name} {dtype} {shape} raises {type(error).__name__}: {str(error).partition(chr(10))[0]}"
        wrong = [n for n, (a, b) in enumerate(zip(got, expected, strict=True)) if not _near(a, b, TOLERANCE[dtype])]
        if wrong:
            name = f"gradient of argument {wrong[0]}" if wrong[0] else "result"
            return f"the {name} of {case.name} {dtype} {layout} {shape} differs from the float64 reference"
    return None


def _results(case: OpCase, arguments: Arguments) -> list[Tensor]:
    """The first output, then the gradient of every tensor argument for a fixed random gradient of it."""
    arguments = map_tensors(lambda t: t.detach().requires_grad_(), arguments)
    out = tensors(case.call(*arguments))[0]
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(2)).to(out)
    return [out.detach(), *torch.autograd.grad(out, tensors(arguments), grad)]


def _near(got: Tensor, expected: Tensor, tolerance: float) -> bool:
    got, expected = got.double(), expected.double()
    scale = 1 + expected.abs().max().item() if expected.numel() else 1
    return got.shape == expected.shape and torch.allclose(got, expected, rtol=tolerance, atol=tolerance * scale)


def refusals(jobs: Sequence[Job], tests: bool, say: Callable[[str], None]) -> dict[str, str]:
    """Op -> why its figures must not be reported; `tests`: run tests/ as well, where they are."""
    reasons: dict[str, str] = {}
    cases = load_cases()
    checks = dict.fromkeys((j.case, j.dtype, j.layout, j.device, j.backend) for j in jobs)
    for name, dtype, layout, device, backend in checks:
        case = cases[name]
        say(f"checking {name} {dtype} {layout} against the reference")
        reason = None if case.op in reasons else check(case, dtype, layout, device, backend)
        if reason is not None:
            reasons[case.op] = reason
    for op, device, backend in dict.fromkeys((cases[j.case].op, j.device, j.backend) for j in jobs):
        if tests and has_tests() and op not in reasons and device == "cpu":
            say(f"running the tests of {op}")
            reason = run_tests(op, backend or running_backend(op, device))
            if reason is not None:
                reasons[op] = f"its tests fail: {reason}"
    return reasons
