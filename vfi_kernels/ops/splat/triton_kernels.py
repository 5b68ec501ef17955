"""Splatting (forward warping) in Triton: the forward op. The gradient is in triton_grad.py."""

from collections.abc import Sequence
from dataclasses import replace

import torch
import triton
import triton.language as tl
from torch import Tensor

from vfi_kernels.layout import accumulator
from vfi_kernels.ops.splat import reference
from vfi_kernels.ops.splat.triton_grad import FACTORS, splat_grad
from vfi_kernels.triton_math.bilinear import block_pixels, corner
from vfi_kernels.triton_math.launch import THREADS, launch
from vfi_kernels.triton_math.scatter import Landing, collect, order_by_cell, scatter, source

__all__ = ["splat", "splat_grad"]

SPAN_BLOCK = 16 * THREADS  # sources per atomic: few enough atomics on one address


# span[b] = (max m, max -m) over the source pixels that are not skipped
#
# One program per BLOCK sources and one atomic per program and bound: a maximum does not depend on the order.
@triton.jit
def _span_kernel(
    blocks,
    flow,  # [B, 2, height, width]
    flow_strides,
    metric,  # [B, 1, height, width]
    metric_strides,
    shift,
    channel,
    height,
    width,
    target_height,
    target_width,
    span,  # [B, 2], -inf before
    FACTOR: tl.constexpr,
    BORDER: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
):
    b, y, x = block_pixels(blocks, width, BLOCK)
    spot, m, live = source(
        flow, flow_strides, metric, metric_strides, channel, b, y, x, height, width, y < height, FACTOR, BORDER, ACC
    )
    live = live & spot[4] & spot[5]  # a finite target, also outside
    tl.atomic_max(span + b * 2, tl.max(tl.where(live, m, -float("inf"))), sem="relaxed")
    tl.atomic_max(span + b * 2 + 1, tl.max(tl.where(live, -m, -float("inf"))), sem="relaxed")


# shift[t] = max m over the sources that contribute to t, in the samples whose metrics span more than WIDE; the decision
# is taken on the device
#
# One program per BLOCK sources, atomic maxima: the order does not matter.
@triton.jit
def _target_shift_kernel(
    blocks,
    flow,  # [B, 2, height, width]
    flow_strides,
    metric,  # [B, 1, height, width]
    metric_strides,
    shift,  # [B, 1, height, width], -inf before
    channel,
    height,
    width,
    target_height,
    target_width,
    span,  # [B, 2]
    WIDE: tl.constexpr,
    FACTOR: tl.constexpr,
    BORDER: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
):
    b, y, x = block_pixels(blocks, width, BLOCK)
    rows = tl.where(tl.load(span + b * 2) + tl.load(span + b * 2 + 1) > WIDE, height, 0)
    spot, m, live = source(
        flow, flow_strides, metric, metric_strides, channel, b, y, x, height, width, y < rows, FACTOR, BORDER, ACC
    )
    for k in tl.static_range(4):
        cx, cy, weight, inside = corner(spot[0], spot[1], spot[2], spot[3], k % 2, k // 2, height, width)
        target = (b * height + cy) * width + cx
        tl.atomic_max(shift + target, m, mask=live & inside & (weight != 0), sem="relaxed")


def _shifted(landing: Landing) -> Landing:
    """`landing` with the shift of every target, -inf where nothing lands."""
    b, _, h, w = landing.flow.shape
    span = landing.flow.new_full((b, 2), -torch.inf, dtype=landing.acc)
    launch(_span_kernel, landing.flow, (h, w), *landing.arguments(), span, BLOCK=SPAN_BLOCK, **landing.constants())
    wide = span.sum(1) > reference.WIDE_SPAN
    start = torch.where(wide, -torch.inf, span[:, 0])
    landing = replace(landing, shift=start.view(b, 1, 1, 1).repeat(1, 1, h, w))
    constants = {"WIDE": reference.WIDE_SPAN, "BLOCK": THREADS, **landing.constants()}
    launch(_target_shift_kernel, landing.flow, (h, w), *landing.arguments(), span, **constants)
    return landing


def splat(
    inputs: Sequence[Tensor],
    flow: Tensor,
    metric: Tensor | None,
    mode: str,
    eps: str,
    keep_weight: bool,
    deterministic: bool,
) -> tuple[list[Tensor], Tensor, Tensor]:
    """N[t] = sum over sources of w e x, D[t] = sum of w e; out = N, or N / D by the eps rule. Returns outs, D, shift."""
    reference.check(inputs, flow, metric, mode, eps)
    landing = Landing(flow, flow.shape[2:], accumulator(*inputs, flow, metric), FACTORS[mode], metric)
    if mode == "softmax" and flow.numel() > 0:
        landing = _shifted(landing)
    order = order_by_cell(landing) if deterministic and flow.numel() > 0 else None
    outs, divisor = [], None
    for x in inputs:
        total = scatter(x, landing, mode != "sum" and divisor is None, order)
        if mode != "sum" and divisor is None:
            divisor = total[..., x.shape[1]]
        outs.append(collect(total, x, divisor, "none" if mode == "sum" else eps))
    weight = shift = flow.new_empty((0,), dtype=landing.acc)
    if keep_weight and divisor is not None:
        weight = divisor.unsqueeze(1).contiguous()
        if mode == "softmax":
            shift = weight if landing.shift is None else landing.shift
            shift = torch.where(shift.isfinite(), shift, 0)
    return outs, weight, shift if shift is not weight else shift.clone()
