"""Separable adaptive convolution, in Triton."""

import triton
import triton.language as tl
from torch import Tensor

from vfi_kernels._results import accumulator, empty_result, not_needed
from vfi_kernels.ops._shared.triton_math.bilinear import block_pixels, load_plane, load_tile, store_plane, store_tile
from vfi_kernels.ops._shared.triton_math.launch import launch, tile, triton_dtype
from vfi_kernels.ops.sepconv import reference


# out[c, y, x] = sum_i vertical[i, y, x] sum_j horizontal[j, y, x] image[c, y + i, x + j]
#
# One program per BLOCK output pixels, BLOCK_C channels at a time. Every sum is one program's, in the order of the taps.
@triton.jit
def _sepconv_kernel(
    blocks,
    image,  # [B, C, height + taps_v - 1, width + taps_h - 1]
    vertical,  # [B, taps_v, height, width]
    horizontal,  # [B, taps_h, height, width]
    out,  # [B, C, height, width]
    channels,
    height,
    width,
    taps_v,
    taps_h,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    b, y, x = block_pixels(blocks, width, BLOCK)
    live = y < height
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        total = tl.zeros([BLOCK_C, BLOCK], ACC)
        for i in range(0, taps_v):
            row = tl.zeros([BLOCK_C, BLOCK], ACC)
            for j in range(0, taps_h):
                weight = load_plane(horizontal, b, j, y, x, live, ACC)
                row += weight[None, :] * load_tile(image, b, c, channels, y + i, x + j, live, ACC)
            total += load_plane(vertical, b, i, y, x, live, ACC)[None, :] * row
        store_tile(out, b, c, channels, y, x, live, total)


# With `other` the rows of weights, grad[i] = sum_c g sum_j other[j] image[y + i, x + j] is the gradient of the columns;
# with ROWS it is that of the rows, and `other` the columns, i and j exchanged. One program per tap and BLOCK pixels.
@triton.jit
def _sepconv_taps_grad_kernel(
    blocks,
    grad_out,  # [B, C, height, width]
    image,
    other,  # [B, others, height, width]
    grad,  # [B, taps, height, width]
    channels,
    height,
    width,
    taps,
    others,
    ROWS: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    number, y, x = block_pixels(blocks, width, BLOCK)
    b, tap = number // taps, (number % taps).to(tl.int32)
    live = y < height
    total = tl.zeros([BLOCK], ACC)
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        sums = tl.zeros([BLOCK_C, BLOCK], ACC)
        for k in range(0, others):
            i, j = (k, tap) if ROWS else (tap, k)
            weight = load_plane(other, b, k, y, x, live, ACC)
            sums += weight[None, :] * load_tile(image, b, c, channels, y + i, x + j, live, ACC)
        total += tl.sum(load_tile(grad_out, b, c, channels, y, x, live, ACC) * sums, 0)
    store_plane(grad, b, tap, y, x, live, total)


# grad[c, y, x] = sum over i, j of (vertical_i horizontal_j g)[y - i, x - j]; one program per BLOCK pixels of the image
@triton.jit
def _sepconv_image_grad_kernel(
    blocks,
    grad_out,
    vertical,
    horizontal,
    grad,  # [B, C, height + taps_v - 1, width + taps_h - 1]
    channels,
    height,
    width,
    taps_v,
    taps_h,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    b, y, x = block_pixels(blocks, width + taps_h - 1, BLOCK)
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        total = tl.zeros([BLOCK_C, BLOCK], ACC)
        for i in range(0, taps_v):
            for j in range(0, taps_h):
                at_y, at_x = y - i, x - j
                here = (at_y >= 0) & (at_y < height) & (at_x >= 0) & (at_x < width)
                row = load_plane(horizontal, b, j, at_y, at_x, here, ACC)
                column = load_plane(vertical, b, i, at_y, at_x, here, ACC)
                g = load_tile(grad_out, b, c, channels, at_y, at_x, here, ACC)
                total += g * row[None, :] * column[None, :]
        store_tile(grad, b, c, channels, y, x, y < height + taps_v - 1, total)


def sepconv(image: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """out[y, x] = sum_i vertical[i, y, x] sum_j horizontal[j, y, x] image[y + i, x + j]"""
    size = reference.check(image, vertical, horizontal)
    out = empty_result(image, (*image.shape[:2], *size))
    if out.numel() > 0:
        taps = (vertical.shape[1], horizontal.shape[1])
        constants = {"ACC": triton_dtype(accumulator(image, vertical, horizontal)), **tile(out)}
        arguments = (image, vertical, horizontal, out, image.shape[1], *size, *taps)
        launch(_sepconv_kernel, out, size, *arguments, **constants)
    return out


def sepconv_grad(
    grad_out: Tensor,
    image: Tensor,
    vertical: Tensor,
    horizontal: Tensor,
    need_image: bool,
    need_vertical: bool,
    need_horizontal: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Each gradient is a gather."""
    size = reference.check(image, vertical, horizontal)
    sizes = (image.shape[1], *size)
    constants = {"ACC": triton_dtype(accumulator(image, vertical, horizontal)), **tile(grad_out)}

    def of_taps(owner: Tensor, other: Tensor, rows: bool) -> Tensor:
        grad = empty_result(owner)
        if grad.numel() > 0:
            taps = (owner.shape[1], other.shape[1])
            arguments = (grad_out, image, other, grad, *sizes, *taps)
            launch(_sepconv_taps_grad_kernel, grad, size, *arguments, parts=taps[0], ROWS=rows, **constants)
        return grad

    grad_image = empty_result(image) if need_image else not_needed(image)
    if grad_image.numel() > 0:
        arguments = (grad_out, vertical, horizontal, grad_image, *sizes, vertical.shape[1], horizontal.shape[1])
        launch(_sepconv_image_grad_kernel, grad_image, image.shape[2:], *arguments, **constants)
    grad_vertical = of_taps(vertical, horizontal, False) if need_vertical else not_needed(vertical)
    return grad_image, grad_vertical, of_taps(horizontal, vertical, True) if need_horizontal else not_needed(horizontal)
