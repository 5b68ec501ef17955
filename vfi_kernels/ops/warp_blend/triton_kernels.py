"""Two backward warps and their blend, in Triton."""

import triton
import triton.language as tl
from torch import Tensor

from vfi_kernels._results import accumulator, empty_result, memory_format, not_needed
from vfi_kernels.ops._shared.triton_math.bilinear import (
    block_pixels,
    load_plane,
    load_tile,
    position,
    sample,
    sample_slopes,
    store_plane,
    store_tile,
)
from vfi_kernels.ops._shared.triton_math.collect import image_grad
from vfi_kernels.ops._shared.triton_math.functions import sigmoid
from vfi_kernels.ops._shared.triton_math.launch import launch, tile, triton_dtype
from vfi_kernels.ops._shared.triton_math.scatter import Landing
from vfi_kernels.ops.warp_blend import reference


# out = m warp(frame0, flow[0:2]) + (1 - m) warp(frame1, flow[2:4]),  m = sigmoid(mask_logits)    (RIFE's fusion)
#
# One program per BLOCK output pixels: it finds both positions once and walks over the channels, BLOCK_C at a time. Each
# output is written by one program: nothing is summed across programs.
@triton.jit
def _warp_blend_kernel(
    blocks,
    frame0,  # [B, C, height, width]
    frame1,
    flow,  # [B, 4, out_height, out_width]
    mask_logits,  # [B, 1, out_height, out_width]
    out,  # [B, C, out_height, out_width]
    channels,
    height,
    width,
    out_height,
    out_width,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    b, y, x = block_pixels(blocks, out_width, BLOCK)
    live = y < out_height
    spot0 = position(flow, 0, b, y, x, height, width, live, "border", ACC)
    spot1 = position(flow, 2, b, y, x, height, width, live, "border", ACC)
    m = sigmoid(load_plane(mask_logits, b, 0, y, x, live, ACC))[None, :]
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        warped0 = sample(frame0, b, c, channels, spot0, height, width, live, ACC)
        warped1 = sample(frame1, b, c, channels, spot1, height, width, live, ACC)
        store_tile(out, b, c, channels, y, x, live, m * warped0 + (1 - m) * warped1)


# out = m w0 + (1 - m) w1: grad_flow[0:2] = m sum_c g (d w0 / dx, d w0 / dy), grad_flow[2:4] the same with 1 - m and w1,
# grad_mask = sum_c g (w0 - w1) m (1 - m)
#
# One program per BLOCK output pixels, which it alone sums over the channels in a fixed order. The frames' gradients are
# scatters of m g and (1 - m) g.
@triton.jit
def _blend_grad_kernel(
    blocks,
    grad_out,  # [B, C, out_height, out_width]
    frame0,  # [B, C, height, width]
    frame1,
    flow,  # [B, 4, out_height, out_width]
    mask_logits,  # [B, 1, out_height, out_width]
    grad_flow,
    grad_mask,
    channels,
    height,
    width,
    out_height,
    out_width,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    b, y, x = block_pixels(blocks, out_width, BLOCK)
    live = y < out_height
    spot0 = position(flow, 0, b, y, x, height, width, live, "border", ACC)
    spot1 = position(flow, 2, b, y, x, height, width, live, "border", ACC)
    nothing = tl.zeros([BLOCK_C, BLOCK], ACC)
    sum_x0, sum_y0, sum_x1, sum_y1, sum_mask = nothing, nothing, nothing, nothing, nothing
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        g = load_tile(grad_out, b, c, channels, y, x, live, ACC)
        value0, dx0, dy0 = sample_slopes(frame0, b, c, channels, spot0, height, width, live, ACC)
        value1, dx1, dy1 = sample_slopes(frame1, b, c, channels, spot1, height, width, live, ACC)
        sum_x0 += g * dx0
        sum_y0 += g * dy0
        sum_x1 += g * dx1
        sum_y1 += g * dy1
        sum_mask += g * (value0 - value1)
    m = sigmoid(load_plane(mask_logits, b, 0, y, x, live, ACC))
    store_plane(grad_flow, b, 0, y, x, live, tl.where(spot0[6] != 0, m * tl.sum(sum_x0, 0), 0.0))
    store_plane(grad_flow, b, 1, y, x, live, tl.where(spot0[7] != 0, m * tl.sum(sum_y0, 0), 0.0))
    store_plane(grad_flow, b, 2, y, x, live, tl.where(spot1[6] != 0, (1 - m) * tl.sum(sum_x1, 0), 0.0))
    store_plane(grad_flow, b, 3, y, x, live, tl.where(spot1[7] != 0, (1 - m) * tl.sum(sum_y1, 0), 0.0))
    store_plane(grad_mask, b, 0, y, x, live, tl.sum(sum_mask, 0) * m * (1 - m))


def warp_blend(frame0: Tensor, frame1: Tensor, flow: Tensor, mask_logits: Tensor) -> Tensor:
    """out = m warp(frame0, flow[:, 0:2]) + (1 - m) warp(frame1, flow[:, 2:4]), m = sigmoid(mask_logits)."""
    reference.check(frame0, frame1, flow, mask_logits)
    out = empty_result(frame0, (*frame0.shape[:2], *flow.shape[2:]))
    if out.numel() > 0:
        sizes = (frame0.shape[1], *frame0.shape[2:], *flow.shape[2:])
        acc = triton_dtype(accumulator(frame0, flow, mask_logits))
        tensors = (frame0, frame1, flow, mask_logits, out)
        launch(_warp_blend_kernel, out, flow.shape[2:], *tensors, *sizes, ACC=acc, **tile(out))
    return out


def warp_blend_grad(
    grad_out: Tensor,
    frame0: Tensor,
    frame1: Tensor,
    flow: Tensor,
    mask_logits: Tensor,
    deterministic: bool,
    need_frame0: bool,
    need_frame1: bool,
    need_flow: bool,
    need_mask: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Each frame receives m g or (1 - m) g where it was read; see `_blend_grad_kernel` for flow and mask."""
    acc = accumulator(frame0, flow, mask_logits)
    grad_out = grad_out.contiguous(memory_format=memory_format(frame0))
    grad0, grad1 = not_needed(frame0), not_needed(frame1)
    if need_frame0:
        landing = Landing(flow, frame0.shape[2:], acc, "share", mask_logits, padding="border")
        grad0 = image_grad(grad_out, frame0, landing, deterministic)
    if need_frame1:
        landing = Landing(flow, frame1.shape[2:], acc, "rest", mask_logits, padding="border", channel=2)
        grad1 = image_grad(grad_out, frame1, landing, deterministic)
    grad_flow, grad_mask = empty_result(flow), empty_result(mask_logits)
    if (need_flow or need_mask) and flow.numel() > 0:
        sizes = (frame0.shape[1], *frame0.shape[2:], *flow.shape[2:])
        tensors = (grad_out, frame0, frame1, flow, mask_logits, grad_flow, grad_mask)
        constants = {"ACC": triton_dtype(acc), **tile(grad_out)}
        launch(_blend_grad_kernel, flow, flow.shape[2:], *tensors, *sizes, **constants)
    grad_flow = grad_flow if need_flow else not_needed(flow)
    return grad0, grad1, grad_flow, grad_mask if need_mask else not_needed(mask_logits)
