"""What comparing a function of someone else's with ours needs: what it returns in words, and what kernels it has."""

import math

import torch
from torch import Tensor

from vfi_kernels._types import Foreign, Function
from vfi_kernels.compat import _situations, _state, _trials
from vfi_kernels.compat._kernels import ALIKE, KNOWN, Kernel, Ours
from vfi_kernels.compat._launches import launches
from vfi_kernels.compat._situations import FIRST, prepared
from vfi_kernels.compat._warp_trials import Differs


class Unread(Differs):
    """What its kernel computes is not known, as its text is not understood."""


def described(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"{len(value)} values" if isinstance(value, (tuple, list)) else type(value).__name__


def radius_of(out: object) -> int:
    """Of a cost volume (B, (2 r + 1)^2, H, W)."""
    side = math.isqrt(out.shape[1]) if isinstance(out, Tensor) and out.dim() == 4 else 0
    if side % 2 == 0 or not isinstance(out, Tensor) or side * side != out.shape[1]:
        raise Differs(f"it returns {described(out)}, expected costs of a square of displacements")
    return side // 2


def by_shape(kernel: Foreign, known: Kernel, why: str) -> Ours:
    """For a kernel that is not understood: it gives what has the shape and type of ours; it is launched with what its
    function is given; and if ours is put where it would write, what its function does with that changes nothing."""
    given = prepared(known.arguments(FIRST), FIRST)
    expected: Foreign = _trials.outcome(KNOWN[known.by], given)[0]
    written, others = list[Tensor](), list[Tensor]()
    inputs = [t for t in given if isinstance(t, Tensor)]

    def instead(tensors: list[Tensor]) -> None:
        unknown = [t for t in tensors if not any(map(t.equal, inputs))]
        free = [t for t in unknown if t.shape == expected.shape][-1:]
        others.extend(
            t for t in unknown if all(t is not f for f in free) and t.shape in [known.shape for known in inputs]
        )
        if free and free[0].dtype == expected.dtype:
            written.append(free[0].detach().copy_(expected.detach()))

    launches.begin()
    launches.instead = instead
    try:
        out = _trials.outcome(kernel.apply, given, source=kernel, emulated=True, once=True)[0]
        known_values = written or not launches.unread
    finally:
        launches.begin()
    if not _situations.like(out, expected):
        raise Differs(f"it returns {described(out)}, ours {described(expected)}")
    if others:
        raise Differs(f"it launches its kernel with something else than it is given; {why}")
    if known_values and not _situations.close(out, expected):
        raise Differs("what it does with what its kernel returns is something else")
    return Ours(known.by, f"{ALIKE}; {why}")


def kernels_in(function: Function) -> list[type]:
    """The autograd functions that a function names, itself or in those that it calls."""
    found: dict[int, type] = {}
    for layer in _state.called_by(function):
        cells = [cell.cell_contents for cell in _state.filled(layer)]
        for value in [*(layer.__globals__.get(name) for name in _state.names_in(layer.__code__)), *cells]:
            kernel = getattr(value, "__self__", value)
            if isinstance(kernel, type) and issubclass(kernel, torch.autograd.Function):
                found[id(kernel)] = kernel
    return list(found.values())
