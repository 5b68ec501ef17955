"""Adaptive collaboration of flows, in Triton."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vfi_kernels._results import accumulator, as_result, empty_result, not_needed
from vfi_kernels.ops._shared.triton_math.bilinear import (
    FAR,
    block_pixels,
    corner,
    load_plane,
    load_tile,
    sample,
    sample_slopes,
    store_plane,
    store_tile,
)
from vfi_kernels.ops._shared.triton_math.launch import THREADS, launch, tile, triton_dtype
from vfi_kernels.ops.adacof import reference


@triton.jit
def truncated_axis(start, offset, size):
    """Base, weights of the pixel after it and of itself, whether they move: csrc/ops/adacof/adacof.h in Triton."""
    clamped = tl.where(offset == offset, offset, -FAR)
    clamped = tl.minimum(tl.maximum(clamped, -FAR), FAR)
    whole = clamped.to(tl.int32)
    fraction = clamped - whole.to(clamped.dtype)
    first = start + whole
    moves = (first >= 0) & (first < size - 1)
    base = tl.where(moves, first, tl.where(first < 0, 0, size - 1))
    return base, tl.where(moves, fraction, 0.0), tl.where(moves, 1 - fraction, 1.0), moves


@triton.jit
def adacof_position(vertical, horizontal, sizes, b, n, y, x, live, ACC: tl.constexpr):
    """Where tap n of the pixels (y, x) reads, as `position` of bilinear.py gives it, and whether it does."""
    in_height, in_width, side, dilation = sizes
    down = load_plane(vertical, b, n, y, x, live, ACC)
    right = load_plane(horizontal, b, n, y, x, live, ACC)
    x0, lx, rx, free_x = truncated_axis(x + n % side * dilation, right, in_width)
    y0, ly, ry, free_y = truncated_axis(y + n // side * dilation, down, in_height)
    reads = live & (down - down == 0) & (right - right == 0)
    return (x0, y0, lx, ly, rx, ry, free_x, free_y), reads


# out[c, y, x] = sum_n weights[n, y, x] sum over the corners of weight image[c, corner]
#
# One program per BLOCK output pixels, BLOCK_C channels at a time. Every sum is one program's, in the order of the taps.
@triton.jit
def _adacof_kernel(
    blocks,
    image,  # [B, C, in_height, in_width]
    weights,  # [B, side side, height, width]
    vertical,
    horizontal,
    out,  # [B, C, height, width]
    channels,
    height,
    width,
    sizes,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    b, y, x = block_pixels(blocks, width, BLOCK)
    live = y < height
    in_height, in_width, side, _ = sizes
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        total = tl.zeros([BLOCK_C, BLOCK], ACC)
        for n in range(0, side * side):
            spot, reads = adacof_position(vertical, horizontal, sizes, b, n, y, x, live, ACC)
            value = sample(image, b, c, channels, spot, in_height, in_width, reads, ACC)
            term = load_plane(weights, b, n, y, x, live, ACC)[None, :] * value
            total += tl.where(reads[None, :], term, 0.0)
        store_tile(out, b, c, channels, y, x, live, total)


# grad_weights = sum_c g value,  grad of the offsets = w sum_c g (d value / dy, d value / dx); one program per tap and
# BLOCK pixels
@triton.jit
def _adacof_taps_grad_kernel(
    blocks,
    grad_out,  # [B, C, height, width]
    image,
    weights,
    vertical,
    horizontal,
    grad_weights,  # [B, side side, height, width]
    grad_vertical,
    grad_horizontal,
    channels,
    height,
    width,
    sizes,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    number, y, x = block_pixels(blocks, width, BLOCK)
    in_height, in_width, side, _ = sizes
    b, n = number // (side * side), (number % (side * side)).to(tl.int32)
    live = y < height
    spot, reads = adacof_position(vertical, horizontal, sizes, b, n, y, x, live, ACC)
    values = tl.zeros([BLOCK_C, BLOCK], ACC)
    along_x = tl.zeros([BLOCK_C, BLOCK], ACC)
    along_y = tl.zeros([BLOCK_C, BLOCK], ACC)
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        g = load_tile(grad_out, b, c, channels, y, x, live, ACC)
        value, dx, dy = sample_slopes(image, b, c, channels, spot, in_height, in_width, reads, ACC)
        values += g * value
        along_x += g * dx
        along_y += g * dy
    weight = load_plane(weights, b, n, y, x, live, ACC)
    store_plane(grad_weights, b, n, y, x, live, tl.where(reads, tl.sum(values, 0), 0.0))
    store_plane(grad_vertical, b, n, y, x, live, tl.where(reads & spot[7], weight * tl.sum(along_y, 0), 0.0))
    store_plane(grad_horizontal, b, n, y, x, live, tl.where(reads & spot[6], weight * tl.sum(along_x, 0), 0.0))


# total[c, corner] += w weight g: one program per tap and BLOCK pixels adds atomically: the order of a sum is not fixed.
@triton.jit
def _adacof_scatter_kernel(
    blocks,
    grad_out,
    weights,
    vertical,
    horizontal,
    total,  # [B, C, in_height, in_width]
    channels,
    height,
    width,
    sizes,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
):
    number, y, x = block_pixels(blocks, width, BLOCK)
    in_height, in_width, side, _ = sizes
    b, n = number // (side * side), (number % (side * side)).to(tl.int32)
    live = y < height
    spot, reads = adacof_position(vertical, horizontal, sizes, b, n, y, x, live, ACC)
    weight = load_plane(weights, b, n, y, x, live, ACC)
    for c in range(0, channels):
        g = weight * load_plane(grad_out, b, c, y, x, live, ACC)
        for k in tl.static_range(4):
            cx, cy, part, inside = corner(spot, k % 2, k // 2, in_height, in_width)
            used = reads & inside & (part != 0)
            to = total + ((b * channels + c) * in_height + cy) * in_width + cx
            tl.atomic_add(to, part * g, mask=used, sem="relaxed")


# cell[source] = the pixel (b, y0, x0) of its first corner, `cells` for a tap that adds nothing; a source is a tap of a
# pixel, in that order; one program per BLOCK of them
@triton.jit
def _adacof_cell_kernel(
    blocks,
    vertical,
    horizontal,
    cell,  # [B, side side, height, width]
    cells,
    height,
    width,
    sizes,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
):
    number, y, x = block_pixels(blocks, width, BLOCK)
    in_height, in_width, side, _ = sizes
    b, n = number // (side * side), (number % (side * side)).to(tl.int32)
    live = y < height
    spot, reads = adacof_position(vertical, horizontal, sizes, b, n, y, x, live, ACC)
    first_corner = (b * in_height + spot[1]) * in_width + spot[0]
    first_corner = tl.where(reads, first_corner, cells).to(cell.dtype.element_ty)
    tl.store(cell + (number * height + y) * width + x, first_corner, live)


# Deterministic: one program per BLOCK pixels of the image adds the sources of their four cells, cell after cell, each
# in order, at the price of waiting for the fullest cell.
@triton.jit
def _adacof_ordered_kernel(
    blocks,
    grad_out,
    weights,
    vertical,
    horizontal,
    total,
    order,  # [B side side height width]
    first,  # [cells + 1]
    channels,
    height,
    width,
    sizes,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
):
    in_height, in_width, side, _ = sizes
    b, y, x = block_pixels(blocks, in_width, BLOCK)
    plane = height.to(tl.int64) * width
    for c in range(0, channels):
        sums = tl.zeros([BLOCK], ACC)
        for k in tl.static_range(4):
            # This pixel is corner (k % 2, k // 2) of the sources in that cell.
            from_y, from_x = y - k // 2, x - k % 2
            there = (y < in_height) & (from_y >= 0) & (from_x >= 0)
            cell = (b * in_height + from_y) * in_width + from_x
            begin = tl.load(first + cell, there, other=0)
            count = tl.load(first + cell + 1, there, other=0) - begin
            for m in range(0, tl.max(count)):
                here = m < count
                source = tl.load(order + begin + m, here, other=0) - b * side * side * plane
                source = tl.where(here, source, 0)
                n, at = (source // plane).to(tl.int32), source % plane
                sy, sx = (at // width).to(tl.int32), (at % width).to(tl.int32)
                spot, reads = adacof_position(vertical, horizontal, sizes, b, n, sy, sx, here, ACC)
                part = corner(spot, k % 2, k // 2, in_height, in_width)[2]
                used = reads & (part != 0)
                g = load_plane(weights, b, n, sy, sx, used, ACC) * load_plane(grad_out, b, c, sy, sx, used, ACC)
                sums += tl.where(used, part * g, 0.0)
        tl.store(total + ((b * channels + c) * in_height + y) * in_width + x, sums, y < in_height)


def adacof(
    image: Tensor, weights: Tensor, offsets_vertical: Tensor, offsets_horizontal: Tensor, dilation: int = 1
) -> Tensor:
    """out[y, x] = sum_{k, l} weights[k F + l] image(y + dilation k + vertical, x + dilation l + horizontal)"""
    side, size = reference.check(image, weights, offsets_vertical, offsets_horizontal, dilation)
    out = empty_result(image, (*image.shape[:2], *size))
    if out.numel() > 0:
        acc = accumulator(image, weights, offsets_vertical, offsets_horizontal)
        tensors = (image, weights, offsets_vertical, offsets_horizontal, out)
        sizes = (*image.shape[2:], side, dilation)
        launch(_adacof_kernel, out, size, *tensors, image.shape[1], *size, sizes, ACC=triton_dtype(acc), **tile(out))
    return out


def adacof_grad(
    grad_out: Tensor,
    image: Tensor,
    weights: Tensor,
    offsets_vertical: Tensor,
    offsets_horizontal: Tensor,
    dilation: int,
    deterministic: bool,
    need_image: bool,
    need_weights: bool,
    need_offsets_vertical: bool,
    need_offsets_horizontal: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The image's gradient is a scatter; those of weights and offsets are made together, if any is needed."""
    side, size = reference.check(image, weights, offsets_vertical, offsets_horizontal, dilation)
    acc = accumulator(image, weights, offsets_vertical, offsets_horizontal)
    placed = (weights, offsets_vertical, offsets_horizontal)
    sizes = (image.shape[1], *size, (*image.shape[2:], side, dilation))
    parts, dtype = side * side, triton_dtype(acc)
    grad_image = not_needed(image)
    if need_image:
        total = torch.zeros(image.shape, dtype=acc, device=image.device)
        if grad_out.numel() > 0 and deterministic:
            _add_in_order(grad_out, placed, total, sizes, dtype)
        elif grad_out.numel() > 0:
            arguments = (grad_out, *placed, total.flatten(), *sizes)
            launch(_adacof_scatter_kernel, grad_out, size, *arguments, parts=parts, ACC=dtype, BLOCK=THREADS)
        grad_image = as_result(total, image)
    needed = (need_weights, need_offsets_vertical, need_offsets_horizontal)
    grads = [empty_result(t) for t in placed] if any(needed) else list(placed)
    if any(needed) and weights.numel() > 0:
        tensors = (grad_out, image, *placed, *grads)
        launch(_adacof_taps_grad_kernel, weights, size, *tensors, *sizes, parts=parts, ACC=dtype, **tile(grad_out))
    of_taps = [grad if wanted else not_needed(t) for grad, wanted, t in zip(grads, needed, placed)]
    return grad_image, of_taps[0], of_taps[1], of_taps[2]


def _add_in_order(
    grad_out: Tensor, placed: tuple[Tensor, ...], total: Tensor, sizes: tuple[object, ...], acc: tl.dtype
) -> None:
    """Sorts the taps of all pixels by where they land (stable), then adds what is in a cell."""
    weights, *offsets = placed
    cells = total.numel() // total.shape[1]
    dtype = torch.int32 if cells < 2**31 else torch.int64
    cell = torch.empty(weights.numel(), dtype=dtype, device=total.device)
    arguments = (*offsets, cell, cells, *sizes[1:])
    launch(
        _adacof_cell_kernel, weights, weights.shape[2:], *arguments, parts=weights.shape[1], ACC=acc, BLOCK=THREADS
    )  # fmt: skip
    cell, order = torch.sort(cell, stable=True)
    first = torch.searchsorted(cell, torch.arange(cells + 1, dtype=dtype, device=cell.device))
    arguments = (grad_out, *placed, total.flatten(), order, first, *sizes)
    launch(_adacof_ordered_kernel, total, total.shape[2:], *arguments, ACC=acc, BLOCK=32)
