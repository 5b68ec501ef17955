"""Local correlation of two feature maps in plain PyTorch: the specification that the kernels are tested against."""

from collections.abc import Iterator
from types import EllipsisType

import torch
import torch.nn.functional as F
from torch import Tensor

from vfi_kernels._arguments import expect, expect_image, expect_like, shape
from vfi_kernels._results import accumulator, as_result, not_needed

OP = "correlation"
LARGEST_RADIUS = 9

Box = tuple[EllipsisType, slice, slice]  # an index of rows and columns


def check(first: Tensor, second: Tensor, radius: int) -> None:
    """Raises ArgumentError unless both are (B, C, H, W) of one shape, dtype and device, and 1 <= radius <= 9."""
    expect_image(OP, "first", first)
    expect(shape(second) == shape(first), OP, f"second of shape {shape(first)} as first has", shape(second))
    expect_like(OP, "second", second, first, "first")
    expect(1 <= radius <= LARGEST_RADIUS, OP, f"radius from 1 to {LARGEST_RADIUS}", radius)


def correlation(first: Tensor, second: Tensor, radius: int = 4) -> Tensor:
    """out[(dy + r) (2 r + 1) + dx + r, y, x] = mean over c of first[c, y, x] second[c, y + dy, x + dx], 0 outside."""
    check(first, second, radius)
    acc = accumulator(first)
    a, b = first.to(acc), second.to(acc)
    planes = [_placed((a[at] * b[to]).sum(1), at, first) for at, to in _overlaps(first, radius)]
    return as_result(torch.stack(planes, 1) / max(first.shape[1], 1), first)


def correlation_grad(
    grad_out: Tensor, first: Tensor, second: Tensor, radius: int, need_first: bool, need_second: bool
) -> tuple[Tensor, Tensor]:
    """With g_d = grad_out[d] / C: first[y, x] receives g_d[y, x] second[y + dy, x + dx], and second the other way."""
    acc = accumulator(first)
    a, b = first.to(acc), second.to(acc)
    g = grad_out.to(acc) / max(first.shape[1], 1)
    grad_first, grad_second = torch.zeros_like(a), torch.zeros_like(b)
    for d, (at, to) in enumerate(_overlaps(first, radius)):
        upstream = g[:, d : d + 1][at]
        if need_first:
            grad_first = grad_first + _placed(upstream * b[to], at, first)
        if need_second:
            grad_second = grad_second + _placed(upstream * a[at], to, first)
    return (
        as_result(grad_first, first) if need_first else not_needed(first),
        as_result(grad_second, second) if need_second else not_needed(second),
    )


def _overlaps(first: Tensor, radius: int) -> Iterator[tuple[Box, Box]]:
    """For each displacement, row by row: the pixels of `first` that meet one of `second`, and those that they meet."""
    h, w = first.shape[2:]
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            (top, bottom), (left, right) = _meeting(h, dy), _meeting(w, dx)
            yield (
                (..., slice(top, bottom), slice(left, right)),
                (..., slice(top + dy, bottom + dy), slice(left + dx, right + dx)),
            )


def _meeting(size: int, shift: int) -> tuple[int, int]:
    """Where both n and n + shift are in [0, size); an empty range if there is no such n."""
    begin = max(0, -shift)
    return begin, max(begin, min(size, size - shift))


def _placed(part: Tensor, box: Box, like: Tensor) -> Tensor:
    """`part` at `box` of a plane as large as those of `like`, zeros around it."""
    h, w = like.shape[2:]
    _, rows, columns = box
    if part.numel() == 0:
        return part.new_zeros((*part.shape[:-2], h, w))
    return F.pad(part, (columns.start, w - columns.stop, rows.start, h - rows.stop))
