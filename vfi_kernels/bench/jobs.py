"""What is measured: a job is one row of the table, made of a case, a shape and the conditions it runs under."""

import fnmatch
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch

from vfi_kernels import backends
from vfi_kernels._types import Facts
from vfi_kernels.testing import OpCase, load_cases

DTYPES = {name: getattr(torch, name) for name in ("float32", "float16", "bfloat16", "float64")}
LAYOUTS = ("nchw", "channels_last")
MODES = ("forward", "backward", "both")
RECORDINGS = ("inference_mode", "no_grad", "grad")  # what autograd does during a forward
FLOWS = ("smooth", "noise", "zoom-out", "zero", "point")
DEVICES = ("cpu", "cuda")


class UsageError(ValueError):
    """The command line asks for something that does not exist or cannot run here; one sentence."""


@dataclass(frozen=True)
class Job:
    """One row; every field but `size` is a condition that --compare joins on."""

    case: str
    shape: str  # its name
    size: tuple[int, ...]  # (B, C, H, W)
    dtype: str = "float32"
    layout: str = "nchw"
    mode: str = "forward"
    recording: str = "inference_mode"
    flow: str = "smooth"
    threads: int = 1
    device: str = "cpu"
    backend: backends.Backend | None = None  # None: the one that serves the device

    def __str__(self) -> str:
        parts = [self.case, self.shape, self.dtype, self.layout, self.mode, self.flow]
        return " ".join(
            [*parts, f"{self.threads} thread{'s' if self.threads > 1 else ''}" if self.device == "cpu" else "cuda"]
        )


def one_of(name: str, values: Sequence[str], allowed: Sequence[str]) -> None:
    for value in values:
        if value not in allowed:
            raise UsageError(f"expected {name} to be one of {', '.join(allowed)}, got {value}")


def choose_cases(names: Sequence[str] | None) -> list[OpCase]:
    """The cases that have benchmark shapes; with `names`, those so called, else those of these ops or patterns."""
    cases = [case for case in load_cases().values() if case.large]
    chosen = set()
    for name in names or ():
        named = {case.name for case in cases if case.name == name} or {c.name for c in cases if _matches(c, name)}
        if not named:
            own_names = sorted({c.op for c in cases} | {c.name for c in cases})
            raise UsageError(f"expected --op to be one of {', '.join(own_names)}, got {name}")
        chosen |= named
    return [case for case in cases if case.name in chosen] if names else cases


def _matches(case: OpCase, name: str) -> bool:
    return name == case.op or fnmatch.fnmatch(case.name, name)


def choose_shapes(case: OpCase, names: Sequence[str] | None) -> dict[str, tuple[int, ...]]:
    """Shapes by name or as "1x3x480x640", or the case's "first"; a name that this case lacks is left out."""
    if not names:
        return case.large
    chosen = {}
    for name in names:
        name = next(iter(case.large)) if name == "first" else name
        if re.fullmatch(r"\d+(x\d+){3}", name):
            chosen[name] = tuple(int(n) for n in name.split("x"))
        elif name in case.large:
            chosen[name] = case.large[name]
    return chosen


def plan(
    *,
    op: Sequence[str] | None = None,
    dtype: Sequence[str] = ("float32",),
    layout: Sequence[str] = ("nchw",),
    mode: Sequence[str] = ("forward",),
    recording: Sequence[str] = ("inference_mode",),
    shape: Sequence[str] | None = None,
    flow: Sequence[str] = ("smooth",),
    threads: Sequence[int] | None = None,
    device: str = "cpu",
    backend: backends.Backend | None = None,
) -> list[Job]:
    """Every combination of the choices, one after another; UsageError where one of them is unknown or cannot run."""
    one_of("--dtype", dtype, tuple(DTYPES))
    one_of("--layout", layout, LAYOUTS)
    one_of("--mode", mode, MODES)
    one_of("--flow", flow, FLOWS)
    one_of("--device", [device], DEVICES)
    _can_run(device, backend)
    threads = threads or [torch.get_num_threads()]
    if min(threads) < 1:
        raise UsageError(f"expected --threads of at least 1, got {min(threads)}")
    jobs = []
    for case in choose_cases(op):
        shapes = choose_shapes(case, shape).items()
        conditions = itertools.product(shapes, dtype, layout, flow, mode, recording, threads)
        for (name, size), d, l, f, m, r, t in conditions:  # noqa: E741
            jobs.append(Job(case.name, name, size, d, l, m, "grad" if m != "forward" else r, f, t, device, backend))
    if not jobs:
        shape_names = [*sorted({name for case in choose_cases(op) for name in case.large}), "first"]
        raise UsageError(
            f"expected --shape to be one of {', '.join(shape_names)} or like 1x3x480x640, got {' '.join(shape or [])}"
        )
    return jobs


def _can_run(device: str, backend: str | None) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda needs a GPU, and torch finds none")
    reason = None if backend is None else backends.unavailable(backend)
    if reason is not None:
        raise UsageError(f"--backend {backend} cannot run: {reason}")


def key(row: Facts) -> tuple[object, ...]:
    """What makes two rows of two files the same measurement."""
    names = [f.name for f in fields(Job) if f.name not in ("size", "backend")]
    return tuple(row[name] for name in [*names, "cpu_level"])
