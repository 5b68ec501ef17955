"""Dtype and memory layout of results: the rules that every backend follows."""

from collections.abc import Sequence

import torch
from torch import Tensor


def accumulator(*tensors: Tensor | None) -> torch.dtype:
    """The dtype of positions and sums: float64 if any tensor has it, else float32."""
    double = any(t is not None and t.dtype == torch.float64 for t in tensors)
    return torch.float64 if double else torch.float32


def memory_format(x: Tensor) -> torch.memory_format:
    """channels_last if `x` is dense in that order and not contiguous, else contiguous."""
    if not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def empty_result(x: Tensor, size: Sequence[int] | None = None) -> Tensor:
    """Uninitialised (size or x's size), with the dtype, device and memory format that a result belonging to `x` has."""
    size = x.shape if size is None else size
    return torch.empty(size, dtype=x.dtype, device=x.device, memory_format=memory_format(x))


def as_result(value: Tensor, x: Tensor) -> Tensor:
    """`value` with the dtype and memory format that a result belonging to `x` has."""
    return value.to(x.dtype).contiguous(memory_format=memory_format(x))


def not_needed(x: Tensor) -> Tensor:
    """Stands for a result that was not asked for: shape (0,)."""
    return x.new_empty((0,))
