"""Local correlation of two feature maps in plain PyTorch: the specification that the kernels are tested against."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vfi_kernels._arguments import expect, expect_image, expect_like, shape
from vfi_kernels._options import Cost
from vfi_kernels._results import accumulator, as_result, not_needed

OP = "correlation"
LARGEST = 2**15 - 1  # of every option

Pair = Sequence[int]  # vertical, horizontal
# The pairs of a call and the least of each; normalize and cost follow them. They cross the boundary to C++ as one list:
# torch's time for a call that records a gradient grows with the square of the number of arguments.
PAIRS = {"radius": 0, "kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1, "patch_dilation": 1}
DEFAULTS = ((4, 4, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1), True, "dot")


class Geometry(NamedTuple):
    """What check found: the options, the outputs' height and width, and what sums are divided by."""

    radius: Pair
    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    patch_dilation: Pair
    cost: Cost
    size: Pair
    divisor: float

    @property
    def patch(self) -> tuple[int, int]:
        """Displacements along y and along x."""
        return 2 * self.radius[0] + 1, 2 * self.radius[1] + 1

    @property
    def displacements(self) -> int:
        return self.patch[0] * self.patch[1]


def check(first: Tensor, second: Tensor, *options: Any) -> Geometry:
    """Raises ArgumentError unless both are (B, C, H, W) of one shape, dtype and device, and the options in range."""
    expect_image(OP, "first", first)
    expect(shape(second) == shape(first), OP, f"second of shape {shape(first)} as first has", shape(second))
    expect_like(OP, "second", second, first, "first")
    sides, normalize, cost = options + DEFAULTS[len(options) :]
    expect(len(sides) == 2 * len(PAIRS), OP, f"{2 * len(PAIRS)} integers", len(sides))
    pairs = list(zip(sides[::2], sides[1::2]))
    for (name, least), pair in zip(PAIRS.items(), pairs):
        right = all(least <= i <= LARGEST for i in pair)
        expect(right, OP, f"{name} from {least} to {LARGEST}", pair)
    radius, kernel_size, stride, padding, dilation, patch_dilation = pairs
    size = []
    for axis in (0, 1):
        reach = (kernel_size[axis] - 1) * dilation[axis] + 1
        room = first.shape[2 + axis] + 2 * padding[axis]
        fits, expected = room >= reach or first.shape[2 + axis] == 0, "a kernel no larger than the padded maps"
        expect(fits, OP, expected, f"one of {reach} pixels for {room}")
        size.append((room - reach) // stride[axis] + 1 if room >= reach else 0)
    divisor = max(first.shape[1], 1) * kernel_size[0] * kernel_size[1] if normalize else 1
    height, width = size
    return Geometry(radius, kernel_size, stride, padding, dilation, patch_dilation, cost, (height, width), divisor)


def correlation(first: Tensor, second: Tensor, *options: Any) -> Tensor:
    """out[d, y, x] = the sum over the channels and the pixels p of the window of cost(first[p], second[p + d]).

    The product is 0 where p or p + d is outside; the absolute difference is that of maps with zeros around them."""
    g = check(first, second, *options)
    acc = accumulator(first)
    a, b = first.to(acc), second.to(acc)
    if g.cost == "l1":
        a, b = _padded(a, g), _padded(b, g)
        points = (a[:, :, None] - displaced(b, g)).abs().sum(1)
    else:
        points = _padded(_inside(a[:, :, None] * displaced(b, g), g).sum(1), g)
    return as_result(_windows(points, g) / g.divisor, first)


def correlation_grad(grad_out: Tensor, first: Tensor, second: Tensor, *options_and_needs: Any) -> tuple[Tensor, Tensor]:
    """With g_d[p] the sum of grad_out[d] / divisor over the windows that hold p, first[p] receives g_d[p] second[p + d]
    and second[p + d] receives g_d[p] first[p]; with cost l1 g_d[p], or -g_d[p], times the sign of first - second."""
    *options, need_first, need_second = options_and_needs
    geometry = check(first, second, *options)
    acc = accumulator(first)
    g = _spread(grad_out.to(acc) / geometry.divisor, first, geometry)[:, None]
    a, b = first.to(acc), second.to(acc)
    if geometry.cost == "l1":
        a, b = _padded(a.detach(), geometry), _padded(b.detach(), geometry)
        to_first = g * _sign(a[:, :, None] - displaced(b, geometry))
        grad_first, grad_second = _cropped(to_first.sum(2), geometry), _cropped(-gathered(to_first, geometry), geometry)
    else:
        g = _cropped(g, geometry)
        grad_first = _inside(g * displaced(b, geometry), geometry).sum(2)
        grad_second = gathered(_inside(g * a[:, :, None], geometry), geometry)
    return (
        as_result(grad_first, first) if need_first else not_needed(first),
        as_result(grad_second, second) if need_second else not_needed(second),
    )


def _steps(g: Geometry) -> dict[str, tuple[int, int]]:
    """The displacements as torch describes the pixels of a window."""
    down, across = (r * step for r, step in zip(g.radius, g.patch_dilation))
    return {"kernel_size": g.patch, "dilation": (g.patch_dilation[0], g.patch_dilation[1]), "padding": (down, across)}


def displaced(map: Tensor, g: Geometry) -> Tensor:
    """map[b, c, p + d] for every displacement d, row by row, 0 outside: (B, C, displacements, H, W)."""
    b, c, h, w = map.shape
    if map.numel() == 0:
        return map.new_zeros(b, c, g.displacements, h, w)
    return F.unfold(map, **_steps(g)).view(b, c, g.displacements, h, w)


def gathered(values: Tensor, g: Geometry) -> Tensor:
    """The transpose of `displaced`: what p has for p + d, added there."""
    b, c, displacements, h, w = values.shape
    if values.numel() == 0:
        return values.new_zeros(b, c, h, w)
    return F.fold(values.reshape(b, c * displacements, h * w), (h, w), **_steps(g))


def _inside(values: Tensor, g: Geometry) -> Tensor:
    """`values` (B, C, displacements, H, W), 0 where p + d is outside, whatever they are."""
    return torch.where(displaced(values.new_ones(1, 1, *values.shape[3:]), g) != 0, values, 0)


def _padded(map: Tensor, g: Geometry) -> Tensor:
    (v, h) = g.padding
    return F.pad(map, (h, h, v, v)) if v or h else map


def _cropped(map: Tensor, g: Geometry) -> Tensor:
    (v, h), (rows, columns) = g.padding, map.shape[-2:]
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
