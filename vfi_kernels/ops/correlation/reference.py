"""Local correlation of two feature maps in plain PyTorch: the specification that the kernels are tested against."""

from collections.abc import Iterator, Sequence
from types import EllipsisType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vfi_kernels._arguments import expect, expect_image, expect_like, shape
from vfi_kernels._options import Cost
from vfi_kernels._results import accumulator, as_result, not_needed

OP = "correlation"
LARGEST = 2**15 - 1  # of every option

Box = tuple[EllipsisType, slice, slice]  # an index of rows and columns
Pair = Sequence[int]  # vertical, horizontal


class Geometry(NamedTuple):
    """What check found: the options, the outputs' height and width, and what sums are divided by."""

    radius: Pair
    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    patch_dilation: Pair
    size: tuple[int, int]
    divisor: float
    cost: Cost

    @property
    def displacements(self) -> int:
        return (2 * self.radius[0] + 1) * (2 * self.radius[1] + 1)


def check(
    first: Tensor, second: Tensor, radius: Pair, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair,
    patch_dilation: Pair, normalize: bool, cost: Cost,
) -> Geometry:  # fmt: skip
    """Raises ArgumentError unless both are (B, C, H, W) of one shape, dtype and device, and the options in range."""
    expect_image(OP, "first", first)
    expect(shape(second) == shape(first), OP, f"second of shape {shape(first)} as first has", shape(second))
    expect_like(OP, "second", second, first, "first")
    pairs = {"radius": (radius, 0), "kernel_size": (kernel_size, 1), "stride": (stride, 1), "padding": (padding, 0),
             "dilation": (dilation, 1), "patch_dilation": (patch_dilation, 1)}  # fmt: skip
    for name, (pair, least) in pairs.items():
        right = len(pair) == 2 and all(least <= i <= LARGEST for i in pair)
        expect(right, OP, f"{name} from {least} to {LARGEST}", tuple(pair))
    size = []
    for axis in (0, 1):
        reach = (kernel_size[axis] - 1) * dilation[axis] + 1
        room = first.shape[2 + axis] + 2 * padding[axis]
        fits, expected = room >= reach or first.shape[2 + axis] == 0, "a kernel no larger than the padded maps"
        expect(fits, OP, expected, f"one of {reach} pixels for {room}")
        size.append((room - reach) // stride[axis] + 1 if room >= reach else 0)
    divisor = max(first.shape[1], 1) * kernel_size[0] * kernel_size[1] if normalize else 1
    options = (radius, kernel_size, stride, padding, dilation, patch_dilation)
    return Geometry(*options, (size[0], size[1]), divisor, cost)


def correlation(
    first: Tensor, second: Tensor, radius: Pair = (4, 4), kernel_size: Pair = (1, 1), stride: Pair = (1, 1),
    padding: Pair = (0, 0), dilation: Pair = (1, 1), patch_dilation: Pair = (1, 1), normalize: bool = True,
    cost: Cost = "dot",
) -> Tensor:  # fmt: skip
    """out[d, y, x] = the sum over the channels and the pixels p of the window of cost(first[p], second[p + d]).

    The product is 0 where p or p + d is outside; the absolute difference is that of maps with zeros around them."""
    g = check(first, second, radius, kernel_size, stride, padding, dilation, patch_dilation, normalize, cost)
    acc = accumulator(first)
    a, b = (_padded(t.to(acc), g) if cost == "l1" else t.to(acc) for t in (first, second))
    if cost == "l1":
        costs = [(a - _placed(b[to], at, a)).abs().sum(1) for at, to in _overlaps(a, g)]
        points = torch.stack(costs, 1)
    else:
        costs = [_placed((a[at] * b[to]).sum(1), at, a) for at, to in _overlaps(a, g)]
        points = _padded(torch.stack(costs, 1), g)
    return as_result(_windows(points, g) / g.divisor, first)


def correlation_grad(
    grad_out: Tensor, first: Tensor, second: Tensor, radius: Pair, kernel_size: Pair, stride: Pair, padding: Pair,
    dilation: Pair, patch_dilation: Pair, normalize: bool, cost: Cost, need_first: bool, need_second: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """With g_d[p] the sum of grad_out[d] / divisor over the windows that hold p, first[p] receives g_d[p] second[p + d]
    and second[p + d] receives g_d[p] first[p]; with cost l1 g_d[p], or -g_d[p], times the sign of first - second."""
    geometry = check(first, second, radius, kernel_size, stride, padding, dilation, patch_dilation, normalize, cost)
    acc = accumulator(first)
    g = _spread(grad_out.to(acc) / geometry.divisor, first, geometry)
    a, b = first.to(acc), second.to(acc)
    if cost == "l1":
        a, b = _padded(a, geometry), _padded(b, geometry)
    else:
        g = _cropped(g, geometry)
    grad_first, grad_second = torch.zeros_like(a), torch.zeros_like(b)
    for d, (at, to) in enumerate(_overlaps(a, geometry)):
        upstream = g[:, d : d + 1]
        if cost == "l1":
            signed = upstream * _sign(a.detach() - _placed(b.detach()[to], at, a))
            grad_first, grad_second = grad_first + signed, grad_second - _placed(signed[at], to, a)
            continue
        if need_first:
            grad_first = grad_first + _placed(upstream[at] * b[to], at, a)
        if need_second:
            grad_second = grad_second + _placed(upstream[at] * a[at], to, a)
    if cost == "l1":
        grad_first, grad_second = _cropped(grad_first, geometry), _cropped(grad_second, geometry)
    return (
        as_result(grad_first, first) if need_first else not_needed(first),
        as_result(grad_second, second) if need_second else not_needed(second),
    )


def _overlaps(map: Tensor, g: Geometry) -> Iterator[tuple[Box, Box]]:
    """For each displacement, row by row: the pixels of one map that meet one of another, and those that they meet."""
    h, w = map.shape[2:]
    for y in range(-g.radius[0], g.radius[0] + 1):
        for x in range(-g.radius[1], g.radius[1] + 1):
            dy, dx = y * g.patch_dilation[0], x * g.patch_dilation[1]
            (top, bottom), (left, right) = _meeting(h, dy), _meeting(w, dx)
            yield (
                (..., slice(top, bottom), slice(left, right)),
                (..., slice(top + dy, bottom + dy), slice(left + dx, right + dx)),
            )


def _meeting(size: int, shift: int) -> tuple[int, int]:
    """Where both n and n + shift are in [0, size); an empty range if there is no such n."""
    begin = min(max(0, -shift), size)
    return begin, max(begin, min(size, size - shift))


def _placed(part: Tensor, box: Box, like: Tensor) -> Tensor:
    """`part` at `box` of a plane as large as those of `like`, zeros around it."""
    h, w = like.shape[2:]
    _, rows, columns = box
    if part.numel() == 0:
        return part.new_zeros((*part.shape[:-2], h, w))
    return F.pad(part, (columns.start, w - columns.stop, rows.start, h - rows.stop))


def _padded(map: Tensor, g: Geometry) -> Tensor:
    (v, h) = g.padding
    return F.pad(map, (h, h, v, v)) if v or h else map


def _cropped(map: Tensor, g: Geometry) -> Tensor:
    (v, h), (rows, columns) = g.padding, map.shape[2:]
    return map[..., v : rows - v, h : columns - h]


def _sign(x: Tensor) -> Tensor:
    """NaN of NaN."""
    return torch.where(x > 0, 1, torch.where(x < 0, -1, x)).to(x.dtype)


def _is_plain(g: Geometry) -> bool:
    return tuple(g.kernel_size) == tuple(g.stride) == (1, 1)


def _windows(points: Tensor, g: Geometry) -> Tensor:
    """The sum of `points`, of the padded map, over the window of each output."""
    if _is_plain(g):
        return points
    b, displacements = points.shape[:2]
    if b * g.size[0] * g.size[1] == 0:
        return points.new_zeros(b, displacements, *g.size) + 0 * points.sum()
    ones = points.new_ones(1, 1, *g.kernel_size)
    sums = F.conv2d(points.flatten(0, 1)[:, None], ones, None, list(g.stride), 0, list(g.dilation))
    return sums.view(b, displacements, *g.size)


def _spread(grad_out: Tensor, first: Tensor, g: Geometry) -> Tensor:
    """The transpose of _windows: each output to every pixel of its window."""
    if _is_plain(g):
        return grad_out
    b, displacements = grad_out.shape[:2]
    h, w = (n + 2 * p for n, p in zip(first.shape[2:], g.padding))
    if grad_out.numel() == 0:
        return grad_out.new_zeros(b, displacements, h, w) + 0 * grad_out.sum()
    ones = grad_out.new_ones(1, 1, *g.kernel_size)
    maps = grad_out.flatten(0, 1)[:, None]
    sums = F.conv_transpose2d(maps, ones, None, list(g.stride), 0, 0, 1, list(g.dilation))
    rows, columns = sums.shape[2:]
    return F.pad(sums, (0, w - columns, 0, h - rows)).view(b, displacements, h, w)
