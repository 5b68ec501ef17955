"""Local correlation of two feature maps, in Triton."""

import triton
import triton.language as tl
from torch import Tensor

from vfi_kernels._results import accumulator, empty_result, not_needed
from vfi_kernels.ops._shared.triton_math.bilinear import block_pixels, load_tile
from vfi_kernels.ops._shared.triton_math.functions import divide
from vfi_kernels.ops._shared.triton_math.launch import THREADS, launch, triton_dtype
from vfi_kernels.ops.correlation import reference


# out[(dy + r) n + dx + r] = mean over c of first[c, y, x] second[c, y + dy, x + dx], 0 outside;  n = 2 r + 1
#
# The planes of all dy, one below another, are one plane of n times the height. One program per BLOCK pixels of it has
# the sums of all dx, COLUMNS of them for a power of two, and walks over the channels.
@triton.jit
def _correlation_kernel(
    blocks,
    first,  # [B, C, height, width]
    second,
    out,  # [B, n n, height, width]
    channels,
    count,  # channels, at least 1, as a float
    height,
    width,
    RADIUS: tl.constexpr,
    COLUMNS: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
):
    n: tl.constexpr = 2 * RADIUS + 1
    b, y, x = block_pixels(blocks, width, BLOCK)
    row = y // height
    y = y % height
    live = row < n
    column = tl.arange(0, COLUMNS)[:, None]
    to_y = (y + row - RADIUS)[None, :]
    to_x = x[None, :] + column - RADIUS
    wanted = live[None, :] & (column < n)
    inside = wanted & (to_y >= 0) & (to_y < height) & (to_x >= 0) & (to_x < width)
    strides = second[1]
    to = second[0] + b * strides[0] + to_y.to(tl.int64) * strides[2] + to_x.to(tl.int64) * strides[3]
    total = tl.zeros([COLUMNS, BLOCK], ACC)
    for start in range(0, channels):
        c = start + tl.arange(0, 1)
        v = load_tile(first, b, c, channels, y, x, live, ACC)
        w = tl.load(to + c.to(tl.int64)[:, None] * strides[1], inside, other=0).to(ACC)
        total += tl.where(inside, v * w, 0.0)
    mean = divide(total, tl.zeros([COLUMNS, BLOCK], ACC) + count)
    strides = out[1]
    plane = (row[None, :] * n + column).to(tl.int64)
    at = b * strides[0] + plane * strides[1] + (y.to(tl.int64) * strides[2] + x.to(tl.int64) * strides[3])[None, :]
    tl.store(out[0] + at, mean.to(out[0].dtype.element_ty), wanted)


# grad[c, y, x] = 1/C sum over d of g[d, y, x] other[c, y + dy, x + dx] where that is inside; MIRRORED, for the gradient
# of the second map, has g[-d, y + dy, x + dx] in place of g[d, y, x]
#
# One program per BLOCK pixels, which it alone sums over the displacements in a fixed order, BLOCK_C channels at a time.
@triton.jit
def _correlation_grad_kernel(
    blocks,
    grad_out,  # [B, n n, height, width]
    other,  # [B, C, height, width]
    grad,
    channels,
    count,
    height,
    width,
    RADIUS: tl.constexpr,
    MIRRORED: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    n: tl.constexpr = 2 * RADIUS + 1
    b, y, x = block_pixels(blocks, width, BLOCK)
    live = y < height
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        total = tl.zeros([BLOCK_C, BLOCK], ACC)
        for d in range(0, n * n):
            to_y = y + d // n - RADIUS
            to_x = x + d % n - RADIUS
            inside = live & (to_y >= 0) & (to_y < height) & (to_x >= 0) & (to_x < width)
            if MIRRORED:
                plane = n * n - 1 - d + tl.arange(0, 1)
                g = load_tile(grad_out, b, plane, n * n, to_y, to_x, inside, ACC)
            else:
                plane = d + tl.arange(0, 1)
                g = load_tile(grad_out, b, plane, n * n, y, x, inside, ACC)
            total += g * load_tile(other, b, c, channels, to_y, to_x, inside, ACC)
        mean = divide(total, tl.zeros([BLOCK_C, BLOCK], ACC) + count)
        strides = grad[1]
        pixel = b * strides[0] + y.to(tl.int64) * strides[2] + x.to(tl.int64) * strides[3]
        at = grad[0] + pixel[None, :] + c.to(tl.int64)[:, None] * strides[1]
        tl.store(at, mean.to(grad[0].dtype.element_ty), live[None, :] & (c < channels)[:, None])


def correlation(first: Tensor, second: Tensor, radius: int = 4) -> Tensor:
    """The mean over the channels of first[y, x] second[y + dy, x + dx], for every displacement within `radius`."""
    reference.check(first, second, radius)
    b, channels, h, w = first.shape
    n = 2 * radius + 1
    out = empty_result(first, (b, n * n, h, w))
    if out.numel() > 0:
        arguments = (first.contiguous(), second.contiguous(), out, channels, float(max(channels, 1)), h, w)
        constants = {"RADIUS": radius, "COLUMNS": triton.next_power_of_2(n), "ACC": triton_dtype(accumulator(first))}
        launch(_correlation_kernel, out, (n * h, w), *arguments, BLOCK=THREADS, **constants)
    return out


def correlation_grad(
    grad_out: Tensor, first: Tensor, second: Tensor, radius: int, need_first: bool, need_second: bool
) -> tuple[Tensor, Tensor]:
    """Each map's gradient is a gather from the other one and `grad_out`."""
    grad_out = grad_out.contiguous()
    grad_first = _gradient(grad_out, first, second, radius, False) if need_first else not_needed(first)
    return grad_first, _gradient(grad_out, second, first, radius, True) if need_second else not_needed(second)


def _gradient(grad_out: Tensor, owner: Tensor, other: Tensor, radius: int, mirrored: bool) -> Tensor:
    grad = empty_result(owner)
    if grad.numel() > 0:
        channels, h, w = owner.shape[1:]
        arguments = (grad_out, other.contiguous(), grad, channels, float(channels), h, w)
        constants = {"RADIUS": radius, "MIRRORED": mirrored, "ACC": triton_dtype(accumulator(owner))}
        block_c = min(8, triton.next_power_of_2(channels))
        launch(_correlation_grad_kernel, grad, (h, w), *arguments, BLOCK=THREADS, BLOCK_C=block_c, **constants)
    return grad
