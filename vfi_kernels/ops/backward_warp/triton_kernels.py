"""Backward warping in Triton."""

import triton
import triton.language as tl
from torch import Tensor

from vfi_kernels._results import accumulator, empty_result, memory_format, not_needed
from vfi_kernels.ops._shared.triton_math.bilinear import (
    block_pixels,
    load_tile,
    position,
    sample,
    sample_slopes,
    slopes_read,
    store_plane,
    store_tile,
)
from vfi_kernels.ops._shared.triton_math.collect import image_grad
from vfi_kernels.ops._shared.triton_math.launch import launch, tile, triton_dtype
from vfi_kernels.ops._shared.triton_math.scatter import Landing
from vfi_kernels.ops.backward_warp import reference


# out[b, c, y, x] = sum over the corners of weight * image[b, c, corner]    (Jaderberg et al. 2015, eq. 5)
#
# One program per BLOCK output pixels: it finds their corners once and walks over the channels, TILES times BLOCK_C at a
# time, reading them all before it writes. Each output is written by one program: nothing is summed across programs.
@triton.jit
def _backward_warp_kernel(
    blocks,
    image,  # [B, C, height, width]
    flow,  # [B, 2, out_height, out_width]
    out,  # [B, C, out_height, out_width]
    channels,
    height,
    width,
    out_height,
    out_width,
    TILES: tl.constexpr,
    PADDING: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    b, y, x = block_pixels(blocks, out_width, BLOCK)
    live = y < out_height
    spot = position(flow, 0, b, y, x, height, width, live, PADDING, ACC)
    for start in range(0, channels, TILES * BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        values = ()
        for n in tl.static_range(TILES):
            value = sample(image, b, c + n * BLOCK_C, channels, spot, height, width, live, ACC)
            values += (value,)  # type: ignore[assignment]
        for n in tl.static_range(TILES):
            store_tile(out, b, c + n * BLOCK_C, channels, y, x, live, values[n])


# out = sum_k w_k image[k]: grad_flow = sum_c grad_out (d out / dx, d out / dy), 0 where the position is clipped
#
# One program per BLOCK output pixels, which it alone sums over the channels in a fixed order. grad_image is a scatter.
@triton.jit
def _flow_grad_kernel(
    blocks,
    grad_out,  # [B, C, out_height, out_width]
    image,  # [B, C, height, width]
    flow,  # [B, 2, out_height, out_width]
    grad_flow,
    channels,
    height,
    width,
    out_height,
    out_width,
    PADDING: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    b, y, x = block_pixels(blocks, out_width, BLOCK)
    live = y < out_height
    spot = position(flow, 0, b, y, x, height, width, live, PADDING, ACC)
    sum_x = tl.zeros([BLOCK_C, BLOCK], ACC)
    sum_y = tl.zeros([BLOCK_C, BLOCK], ACC)
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        g = load_tile(grad_out, b, c, channels, y, x, live, ACC)
        _, dx, dy = sample_slopes(image, b, c, channels, spot, height, width, live, ACC)
        sum_x += g * dx
        sum_y += g * dy
    reads_x, reads_y = slopes_read(spot, height, width)
    moves_x, moves_y = reads_x & (spot[6] != 0), reads_y & (spot[7] != 0)
    store_plane(grad_flow, b, 0, y, x, live, tl.where(moves_x, spot[6] * tl.sum(sum_x, 0), 0.0))
    store_plane(grad_flow, b, 1, y, x, live, tl.where(moves_y, spot[7] * tl.sum(sum_y, 0), 0.0))


def backward_warp(image: Tensor, flow: Tensor, padding_mode: str = "border") -> Tensor:
    """out[b, c, y, x] = image[b, c] at (x + flow[b, 0, y, x], y + flow[b, 1, y, x])."""
    reference.check(image, flow, padding_mode)
    out = empty_result(image, (*image.shape[:2], *flow.shape[2:]))
    if out.numel() > 0:
        tiles = tile(out)
        constants = {"PADDING": padding_mode, "ACC": triton_dtype(accumulator(image, flow)), **tiles}
        sizes = (image.shape[1], *image.shape[2:], *flow.shape[2:])
        in_flight = 4 if tiles["BLOCK_C"] == 1 else 1
        launch(_backward_warp_kernel, out, flow.shape[2:], image, flow, out, *sizes, TILES=in_flight, **constants)
    return out


def backward_warp_grad(
    grad_out: Tensor,
    image: Tensor,
    flow: Tensor,
    padding_mode: str,
    deterministic: bool,
    need_image: bool,
    need_flow: bool,
) -> tuple[Tensor, Tensor]:
    """grad_image[k] += w_k g is a scatter of g to where it was read; grad_flow = sum_c g (d out / dx, d out / dy)."""
    acc = accumulator(image, flow)
    grad_out = grad_out.contiguous(memory_format=memory_format(image))
    grad_image, grad_flow = not_needed(image), not_needed(flow)
    if need_image:
        landing = Landing(flow, image.shape[2:], acc, padding=padding_mode)
        grad_image = image_grad(grad_out, image, landing, deterministic)
    if need_flow:
        grad_flow = empty_result(flow)
    if need_flow and flow.numel() > 0:
        constants = {"PADDING": padding_mode, "ACC": triton_dtype(acc), **tile(grad_out)}
        sizes = (image.shape[1], *image.shape[2:], *flow.shape[2:])
        launch(_flow_grad_kernel, flow, flow.shape[2:], grad_out, image, flow, grad_flow, *sizes, **constants)
    return grad_image, grad_flow
