"""Local correlation of two feature maps, in Triton."""

import math
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from vfi_kernels._results import accumulator, empty_result, not_needed
from vfi_kernels.ops._shared.triton_math.bilinear import block_pixels, load_tile, plane_offset
from vfi_kernels.ops._shared.triton_math.functions import divide
from vfi_kernels.ops._shared.triton_math.launch import THREADS, launch, triton_dtype
from vfi_kernels.ops.correlation import reference
from vfi_kernels.ops.correlation.reference import Geometry, Pair

# Names as in csrc/ops/correlation/correlation.h; pairs are (along y, along x).


# out[k, column, y, x] = sum over c of cost(first[c, p], second[c, p + d]);  p = (y, x) stride - padding, d = start +
# (k, column) step
#
# The planes of all k, one below another, and of every COLUMNS columns of displacements, are one plane of many times
# the height. One program per BLOCK points of it has the sums of its columns and walks over the channels.
@triton.jit
def _correlation_kernel(
    blocks,
    first,  # [B, C, H, W]
    second,
    out,  # [B, displacements, points]
    channels,
    divisor,
    size,
    points,
    stride,
    padding,
    count,
    start,
    step,
    chunks,  # of the displacements along x
    L1: tl.constexpr,
    COLUMNS: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
):
    b, y, x = block_pixels(blocks, points[1], BLOCK)
    part = y // points[0]
    y = y % points[0]
    k = part // chunks
    column = (part % chunks)[None, :] * COLUMNS + tl.arange(0, COLUMNS)[:, None]
    wanted = (k < count[0])[None, :] & (column < count[1])
    from_y = y * stride[0] - padding[0]
    from_x = x * stride[1] - padding[1]
    to_y = (from_y + start[0] + k * step[0])[None, :]
    to_x = from_x[None, :] + start[1] + column * step[1]
    meets = (k < count[0]) & (from_y >= 0) & (from_y < size[0]) & (from_x >= 0) & (from_x < size[1])
    inside = wanted & (to_y >= 0) & (to_y < size[0]) & (to_x >= 0) & (to_x < size[1])
    strides = second[1]
    to = second[0] + b * strides[0] + to_y.to(tl.int64) * strides[2] + to_x.to(tl.int64) * strides[3]
    total = tl.zeros([COLUMNS, BLOCK], ACC)
    for channel in range(0, channels):
        c = channel + tl.arange(0, 1)
        v = load_tile(first, b, c, channels, from_y, from_x, meets, ACC)
        w = tl.load(to + c.to(tl.int64)[:, None] * strides[1], inside, other=0).to(ACC)
        if L1:
            total += tl.abs(v - w)
        else:
            total += tl.where(inside & meets[None, :], v * w, 0.0)
    mean = divide(total, tl.zeros([COLUMNS, BLOCK], ACC) + divisor)
    strides = out[1]
    plane = (k[None, :] * count[1] + column).to(tl.int64)
    at = b * strides[0] + plane * strides[1] + (y.to(tl.int64) * strides[2] + x.to(tl.int64) * strides[3])[None, :]
    tl.store(out[0] + at, mean.to(out[0].dtype.element_ty), wanted)


# out[d, y, x] = 1/divisor of the sum of sums[d] over the window of output (y, x)
@triton.jit
def _correlation_windows_kernel(
    blocks,
    sums,  # [B, displacements, points]
    out,  # [B, displacements, outputs]
    displacements,
    divisor,
    outputs,
    window,
    spacing,
    jump,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
):
    plane, y, x = block_pixels(blocks, outputs[1], BLOCK)
    b, d = plane // displacements, plane % displacements
    live = y < outputs[0]
    total = tl.zeros([BLOCK], ACC)
    for r in range(0, window[0]):
        for c in range(0, window[1]):
            at = plane_offset(sums[1], b, d, y * jump[0] + r * spacing[0], x * jump[1] + c * spacing[1])
            total += tl.load(sums[0] + at, live, other=0)
    mean = divide(total, tl.zeros([BLOCK], ACC) + divisor)
    tl.store(out[0] + plane_offset(out[1], b, d, y, x), mean.to(out[0].dtype.element_ty), live)


@triton.jit
def _point_at(pixel, stride, padding, points):
    """The point at a pixel of the first map, and whether there is one."""
    shifted = pixel + padding
    point = shifted // stride
    return point, (shifted >= 0) & (shifted % stride == 0) & (point < points)


# grad[c, q] = 1/divisor of the sum over d of g[d, q] other[c, q + d] where that is inside, g[d, p] being the sum of
# grad_out over the windows that hold p; MIRRORED, for the gradient of the second map, has g[d, q - d] and
# other[c, q - d]. L1 has the sign of owner[c, q] minus that of other, with 0 outside.
#
# One program per BLOCK pixels, which it alone sums over the displacements in a fixed order, BLOCK_C channels at a time.
@triton.jit
def _correlation_grad_kernel(
    blocks,
    grad_out,  # [B, displacements, outputs]
    owner,  # [B, C, H, W]
    other,
    grad,
    channels,
    divisor,
    size,
    points,
    stride,
    padding,
    count,
    start,
    step,
    outputs,
    window,
    spacing,
    jump,
    L1: tl.constexpr,
    MIRRORED: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    b, y, x = block_pixels(blocks, size[1], BLOCK)
    displacements = count[0] * count[1]
    live = y < size[0]
    for channel in range(0, channels, BLOCK_C):
        c = channel + tl.arange(0, BLOCK_C)
        total = tl.zeros([BLOCK_C, BLOCK], ACC)
        if L1:
            own = load_tile(owner, b, c, channels, y, x, live, ACC)
        for n in range(0, displacements):
            if MIRRORED:
                d = displacements - 1 - n
                to_y = y - (start[0] + d // count[1] * step[0])
                to_x = x - (start[1] + d % count[1] * step[1])
                point_y, is_y = _point_at(to_y, stride[0], padding[0], points[0])
                point_x, is_x = _point_at(to_x, stride[1], padding[1], points[1])
            else:
                d = n
                to_y = y + (start[0] + d // count[1] * step[0])
                to_x = x + (start[1] + d % count[1] * step[1])
                point_y, is_y = _point_at(y, stride[0], padding[0], points[0])
                point_x, is_x = _point_at(x, stride[1], padding[1], points[1])
            inside = (to_y >= 0) & (to_y < size[0]) & (to_x >= 0) & (to_x < size[1])
            counts = live & is_y & is_x
            if not L1:
                counts = counts & inside
            plane = d + tl.arange(0, 1)
            g = tl.zeros([1, BLOCK], ACC)
            for r in range(0, window[0]):
                for s in range(0, window[1]):
                    out_y, is_y = _point_at(point_y, jump[0], -r * spacing[0], outputs[0])
                    out_x, is_x = _point_at(point_x, jump[1], -s * spacing[1], outputs[1])
                    g += load_tile(grad_out, b, plane, displacements, out_y, out_x, counts & is_y & is_x, ACC)
            value = load_tile(other, b, c, channels, to_y, to_x, live & inside, ACC)
            if L1:
                value = own - value
                value = tl.where(value > 0, 1.0, tl.where(value < 0, -1.0, value))
            total += g * tl.where(counts[None, :], value, 0.0)
        mean = divide(total, tl.zeros([BLOCK_C, BLOCK], ACC) + divisor)
        strides = grad[1]
        pixel = b * strides[0] + y.to(tl.int64) * strides[2] + x.to(tl.int64) * strides[3]
        at = grad[0] + pixel[None, :] + c.to(tl.int64)[:, None] * strides[1]
        tl.store(at, mean.to(grad[0].dtype.element_ty), live[None, :] & (c < channels)[:, None])


def correlation(first: Tensor, second: Tensor, *options: Any) -> Tensor:
    """The sums of the costs, and of the windows of several pixels where there are any."""
    g = reference.check(first, second, *options)
    b, channels = first.shape[:2]
    out = empty_result(first, (b, g.displacements, *g.size))
    if out.numel() == 0:
        return out
    acc, windows, (points, window) = accumulator(first), max(g.kernel_size) > 1, _grid(first, g)
    sums = first.new_empty((b, g.displacements, *points[1]), dtype=acc) if windows else out
    count = points[4]
    columns = min(32, triton.next_power_of_2(count[1]))
    chunks = triton.cdiv(count[1], columns)
    divisor = 1.0 if windows else float(g.divisor)
    arguments = (first.contiguous(), second.contiguous(), sums, channels, divisor, *points, chunks)
    constants = {"L1": g.cost == "l1", "COLUMNS": columns, "ACC": triton_dtype(acc)}
    rows = count[0] * chunks * points[1][0]
    launch(_correlation_kernel, sums, (rows, points[1][1]), *arguments, BLOCK=THREADS, **constants)
    if windows:
        added = (sums, out, g.displacements, float(g.divisor), *window)
        constants = {"BLOCK": THREADS, "parts": g.displacements, "ACC": triton_dtype(acc)}
        launch(_correlation_windows_kernel, out, g.size, *added, **constants)
    return out


def correlation_grad(grad_out: Tensor, first: Tensor, second: Tensor, *options_and_needs: Any) -> tuple[Tensor, Tensor]:
    """Each map's gradient is a gather from the other one and `grad_out`."""
    *options, need_first, need_second = options_and_needs
    g = reference.check(first, second, *options)
    grad_out = grad_out.contiguous()
    grad_first = _gradient(grad_out, first, second, g, False) if need_first else not_needed(first)
    return grad_first, _gradient(grad_out, second, first, g, True) if need_second else not_needed(second)


def _gradient(grad_out: Tensor, owner: Tensor, other: Tensor, g: Geometry, mirrored: bool) -> Tensor:
    grad = empty_result(owner)
    if grad.numel() > 0 and grad_out.numel() == 0:
        return grad.zero_()
    if grad.numel() > 0:
        channels, h, w = owner.shape[1:]
        points, window = _grid(owner, g)
        arguments = (grad_out, owner, other.contiguous(), grad, channels, float(g.divisor), *points, *window)
        constants = {"L1": g.cost == "l1", "MIRRORED": mirrored, "ACC": triton_dtype(accumulator(owner))}
        block_c = min(8, triton.next_power_of_2(channels))
        launch(_correlation_grad_kernel, grad, (h, w), *arguments, BLOCK=THREADS, BLOCK_C=block_c, **constants)
    return grad


def _grid(map: Tensor, g: Geometry) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """(size, points, stride, padding, count, start, step) of the points and (outputs, window, spacing, jump) of the
    windows: correlation_axis of csrc/ops/correlation/correlation_checks.h for both axes."""
    points, windows = [], []
    for axis in (0, 1):
        radius, window, step = g.radius[axis], g.kernel_size[axis], g.patch_dilation[axis]
        stride = g.stride[axis] if window == 1 else math.gcd(g.stride[axis], g.dilation[axis])
        spacing = 1 if window == 1 else g.dilation[axis] // stride
        jump, outputs = g.stride[axis] // stride, g.size[axis]
        reach = (outputs - 1) * jump + (window - 1) * spacing + 1
        points.append((map.shape[2 + axis], reach, stride, g.padding[axis], 2 * radius + 1, -radius * step, step))
        windows.append((outputs, window, spacing, jump))
    return tuple(zip(*points)), tuple(zip(*windows))
