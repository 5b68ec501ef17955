"""Two backward warps and their blend, in Triton."""

import triton
import triton.language as tl
from torch import Tensor

from vfi_kernels.layout import accumulator, empty_result, memory_format, not_needed
from vfi_kernels.ops.backward_warp.triton_kernels import image_grad
from vfi_kernels.ops.warp_blend import reference
from vfi_kernels.triton_math.bilinear import (
    block_pixels,
    load_tile,
    plane_offset,
    position,
    sample,
    sample_slopes,
    store_plane,
    store_tile,
)
from vfi_kernels.triton_math.functions import sigmoid
from vfi_kernels.triton_math.launch import launch, tile, triton_dtype
from vfi_kernels.triton_math.scatter import Landing


# out = m warp(frame0, flow[0:2]) + (1 - m) warp(frame1, flow[2:4]),  m = sigmoid(mask_logits)    (RIFE's fusion)
#
# One program per BLOCK output pixels: it finds both positions once and walks over the channels, BLOCK_C at a time. Each
# output is written by one program, so nothing is summed across programs.
@triton.jit
def _warp_blend_kernel(
    blocks,
    frame0,  # [B, C, height, width]
    frame0_strides,
    frame1,
    frame1_strides,
    flow,  # [B, 4, out_height, out_width]
    flow_strides,
    mask_logits,  # [B, 1, out_height, out_width]
    mask_strides,
    out,  # [B, C, out_height, out_width]
    out_strides,
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
    spot0 = position(flow, flow_strides, 0, b, y, x, height, width, live, True, ACC)
    spot1 = position(flow, flow_strides, 2, b, y, x, height, width, live, True, ACC)
    m = sigmoid(tl.load(mask_logits + plane_offset(mask_strides, b, 0, y, x), live, other=0).to(ACC))[None, :]
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        warped0 = sample(frame0, frame0_strides, b, c, channels, spot0, height, width, live, ACC)
        warped1 = sample(frame1, frame1_strides, b, c, channels, spot1, height, width, live, ACC)
        store_tile(out, out_strides, b, c, y, x, live, channels, m * warped0 + (1 - m) * warped1)


# out = m w0 + (1 - m) w1: grad_flow[0:2] = m sum_c g (d w0 / dx, d w0 / dy), grad_flow[2:4] the same with 1 - m and w1,
# grad_mask = sum_c g (w0 - w1) m (1 - m)
#
# One program per BLOCK output pixels, which it alone sums over the channels in a fixed order. The frames' gradients are
# scatters of m g and (1 - m) g.
@triton.jit
def _blend_grad_kernel(
    blocks,
    grad_out,  # [B, C, out_height, out_width]
    grad_out_strides,
    frame0,  # [B, C, height, width]
    frame0_strides,
    frame1,
    frame1_strides,
    flow,  # [B, 4, out_height, out_width]
    flow_strides,
    mask_logits,  # [B, 1, out_height, out_width]
    mask_strides,
    grad_flow,
    grad_flow_strides,
    grad_mask,
    grad_mask_strides,
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
    spot0 = position(flow, flow_strides, 0, b, y, x, height, width, live, True, ACC)
    spot1 = position(flow, flow_strides, 2, b, y, x, height, width, live, True, ACC)
    sum_x0 = tl.zeros([BLOCK_C, BLOCK], ACC)
    sum_y0 = tl.zeros([BLOCK_C, BLOCK], ACC)
    sum_x1 = tl.zeros([BLOCK_C, BLOCK], ACC)
    sum_y1 = tl.zeros([BLOCK_C, BLOCK], ACC)
    sum_mask = tl.zeros([BLOCK_C, BLOCK], ACC)
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        g = load_tile(grad_out, grad_out_strides, b, c, y, x, live, channels, ACC)
        value0, dx0, dy0 = sample_slopes(frame0, frame0_strides, b, c, channels, spot0, height, width, live, ACC)
        value1, dx1, dy1 = sample_slopes(frame1, frame1_strides, b, c, channels, spot1, height, width, live, ACC)
        sum_x0 += g * dx0
        sum_y0 += g * dy0
        sum_x1 += g * dx1
        sum_y1 += g * dy1
        sum_mask += g * (value0 - value1)
    m = sigmoid(tl.load(mask_logits + plane_offset(mask_strides, b, 0, y, x), live, other=0).to(ACC))
    store_slope(grad_flow, grad_flow_strides, b, 0, y, x, live, spot0[4], m, sum_x0)
    store_slope(grad_flow, grad_flow_strides, b, 1, y, x, live, spot0[5], m, sum_y0)
    store_slope(grad_flow, grad_flow_strides, b, 2, y, x, live, spot1[4], 1 - m, sum_x1)
    store_slope(grad_flow, grad_flow_strides, b, 3, y, x, live, spot1[5], 1 - m, sum_y1)
    store_plane(grad_mask, grad_mask_strides, b, 0, y, x, live, tl.sum(sum_mask, 0) * m * (1 - m))


@triton.jit
def store_slope(grad_flow, strides, b, channel, y, x, live, free, share, sums):
    """grad_flow[b, channel] = share sum_c sums, 0 where the position is clipped."""
    store_plane(grad_flow, strides, b, channel, y, x, live, tl.where(free, share * tl.sum(sums, 0), 0.0))


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
    grads = [not_needed(frame0), not_needed(frame1)]
    for n, (frame, factor, need) in enumerate(((frame0, "share", need_frame0), (frame1, "rest", need_frame1))):
        if need:
            landing = Landing(flow, frame.shape[2:], acc, factor, mask_logits, border=True, channel=2 * n)
            grads[n] = image_grad(grad_out, frame, landing, deterministic)
    if not (need_flow or need_mask):
        return *grads, not_needed(flow), not_needed(mask_logits)
    grad_flow, grad_mask = empty_result(flow), empty_result(mask_logits)
    if flow.numel() > 0:
        sizes = (frame0.shape[1], *frame0.shape[2:], *flow.shape[2:])
        tensors = (grad_out, frame0, frame1, flow, mask_logits, grad_flow, grad_mask)
        constants = {"ACC": triton_dtype(acc), **tile(grad_out)}
        launch(_blend_grad_kernel, flow, flow.shape[2:], *tensors, *sizes, **constants)
    return *grads, grad_flow if need_flow else not_needed(flow), grad_mask if need_mask else not_needed(mask_logits)
