"""Splatting in Triton: the gradient op."""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from vfi_kernels.layout import accumulator, empty_result, memory_format, not_needed
from vfi_kernels.triton_math.bilinear import (
    block_pixels,
    corner,
    load_plane,
    load_tile,
    store_plane,
    store_tile,
    weighted,
)
from vfi_kernels.triton_math.collect import safe_divisor
from vfi_kernels.triton_math.functions import divide
from vfi_kernels.triton_math.launch import launch, tile, triton_dtype
from vfi_kernels.triton_math.scatter import Landing, corner_factor, pixel_factor, source
from vfi_kernels.triton_math.splatting import FACTORS


# out = N / q(D): inverse = 1 / q, grad_divisor = -(sum_c grad_out out) / q dq/dD + grad_weight
#
# One program per BLOCK targets, which it alone sums over the channels; a second input adds to what the first left.
@triton.jit
def _divisor_grad_kernel(
    blocks,
    grad_out,  # [B, C, height, width]
    out,
    weight,  # [B, 1, height, width], D
    grad_weight,  # [B, 1, height, width]
    inverse,  # [B, 1, height, width]
    grad_divisor,  # [B, 1, height, width]
    channels,
    height,
    width,
    FIRST: tl.constexpr,
    WITH_GRAD_WEIGHT: tl.constexpr,
    EPS: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    b, y, x = block_pixels(blocks, width, BLOCK)
    live = y < height
    dot = tl.zeros([BLOCK_C, BLOCK], ACC)
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        g = load_tile(grad_out, b, c, channels, y, x, live, ACC)
        dot += g * load_tile(out, b, c, channels, y, x, live, ACC)
    d = load_plane(weight, b, 0, y, x, live, ACC)
    r = divide(tl.zeros_like(d) + 1, safe_divisor(d, EPS))
    if EPS == "zero":
        r = tl.where(d != 0, r, 0.0)
    grad = tl.where(r != 0, -tl.sum(dot, 0) * r, 0.0)
    if EPS == "clip":
        grad = tl.where(d > 1e-7, grad, 0.0)
    if FIRST:
        store_plane(inverse, b, 0, y, x, live, r)
        if WITH_GRAD_WEIGHT:
            grad += load_plane(grad_weight, b, 0, y, x, live, ACC)
    else:
        grad += load_plane(grad_divisor, b, 0, y, x, live, ACC)
    store_plane(grad_divisor, b, 0, y, x, live, grad)


# N[k] = sum w_k e_k x, D[k] = sum w_k e_k, e_k = e f_k (e of the pixel, f_k of the target k's shift): with gN = g / q,
#   grad_x = e sum_k w_k f_k gN[k]
#   grad_flow = e sum_k dw_k f_k s_k, s_k = sum_c gN[k] x + gD[k]
#   grad_metric = sum_k w_k f_k s_k  (linear: de/dm = 1, f_k = 1; softmax: e = 1, df_k/dm = f_k, the shift is constant)
#
# One program per BLOCK sources: a gather, in a fixed order of corners and channels. A second input adds to what the
# first left in grad_flow and grad_metric, without gD.
@triton.jit
def _splat_grad_kernel(
    blocks,
    landing,
    grad_out,  # [B, C, height, width]
    value,  # [B, C, height, width], x
    divisor,  # inverse and grad_divisor, [B, 1, height, width], contiguous
    grad_value,
    grad_flow,
    grad_metric,
    channels,
    FIRST: tl.constexpr,
    NORMALISED: tl.constexpr,
    NEED_VALUE: tl.constexpr,
    NEED_MOVE: tl.constexpr,
    FACTOR: tl.constexpr,
    BORDER: tl.constexpr,
    PATH: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    _, _, _, _, height, width, _, _ = landing
    b, y, x = block_pixels(blocks, width, BLOCK)
    inside = y < height
    spot, m, live = source(landing, b, y, x, inside, FACTOR, BORDER, PATH, ACC)
    k00 = corner_terms(landing, spot, 0, 0, b, m, live, divisor, FIRST, NORMALISED, FACTOR)
    k10 = corner_terms(landing, spot, 1, 0, b, m, live, divisor, FIRST, NORMALISED, FACTOR)
    k01 = corner_terms(landing, spot, 0, 1, b, m, live, divisor, FIRST, NORMALISED, FACTOR)
    k11 = corner_terms(landing, spot, 1, 1, b, m, live, divisor, FIRST, NORMALISED, FACTOR)
    landed = k00[2] | k10[2] | k01[2] | k11[2]
    e = tl.where(landed, pixel_factor(m, FACTOR), 0.0)
    nothing = tl.zeros([BLOCK_C, BLOCK], ACC)
    sum_x, sum_y, sum_m = nothing, nothing, nothing
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        g00 = load_tile(grad_out, b, c, channels, k00[1], k00[0], k00[2], ACC)
        g10 = load_tile(grad_out, b, c, channels, k10[1], k10[0], k10[2], ACC)
        g01 = load_tile(grad_out, b, c, channels, k01[1], k01[0], k01[2], ACC)
        g11 = load_tile(grad_out, b, c, channels, k11[1], k11[0], k11[2], ACC)
        blend = combine(k00, k10, k01, k11, g00, g10, g01, g11, 3)
        if NEED_MOVE:
            v = load_tile(value, b, c, channels, y, x, landed, ACC)
            sum_x += v * combine(k00, k10, k01, k11, g00, g10, g01, g11, 4)
            sum_y += v * combine(k00, k10, k01, k11, g00, g10, g01, g11, 5)
            sum_m += v * blend
        if NEED_VALUE:
            store_tile(grad_value, b, c, channels, y, x, inside, e[None, :] * blend)
    if NEED_MOVE:
        add_plane(grad_flow, 0, b, y, x, inside, e * (tl.sum(sum_x, 0) + through(k00, k10, k01, k11, 4)), FIRST, ACC)
        add_plane(grad_flow, 1, b, y, x, inside, e * (tl.sum(sum_y, 0) + through(k00, k10, k01, k11, 5)), FIRST, ACC)
        if FACTOR != "one":
            add_plane(grad_metric, 0, b, y, x, inside, tl.sum(sum_m, 0) + through(k00, k10, k01, k11, 3), FIRST, ACC)


@triton.jit
def corner_terms(
    landing,
    spot,
    i: tl.constexpr,
    j: tl.constexpr,
    b,
    m,
    live,
    divisor,
    FIRST: tl.constexpr,
    NORMALISED: tl.constexpr,
    FACTOR: tl.constexpr,
):
    """cx, cy, used, w, dw/dx, dw/dy, f / q and f gD of corner (i, j)."""
    _, _, shift, _, height, width, _, _ = landing
    inverse, grad_divisor = divisor
    wx = spot[2] if i else 1 - spot[2]
    wy = spot[3] if j else 1 - spot[3]
    cx, cy, weight, inside = corner(spot, i, j, height, width)
    used = live & inside
    target = (b * height + cy) * width + cx
    f = corner_factor(m, shift, target, used, FACTOR)
    over_q = f
    through_d = tl.zeros_like(f)
    if NORMALISED:
        over_q = f * tl.load(inverse + target, used, other=0)
        if FIRST:
            through_d = f * tl.load(grad_divisor + target, used, other=0)
    return cx, cy, used, weight, wy if i else -wy, wx if j else -wx, over_q, through_d


@triton.jit
def combine(k00, k10, k01, k11, g00, g10, g01, g11, n: tl.constexpr):
    """sum over the corners of term n (a weight) f / q g; a corner whose weight is 0 is not used."""
    first = weighted(k00[n] * k00[6], g00) + weighted(k10[n] * k10[6], g10)
    return first + weighted(k01[n] * k01[6], g01) + weighted(k11[n] * k11[6], g11)


@triton.jit
def through(k00, k10, k01, k11, n: tl.constexpr):
    """sum over the corners of term n (a weight) f gD."""
    first = tl.where(k00[n] != 0, k00[n] * k00[7], 0.0) + tl.where(k10[n] != 0, k10[n] * k10[7], 0.0)
    return first + tl.where(k01[n] != 0, k01[n] * k01[7], 0.0) + tl.where(k11[n] != 0, k11[n] * k11[7], 0.0)


@triton.jit
def add_plane(out, channel: tl.constexpr, b, y, x, mask, value, FIRST: tl.constexpr, ACC: tl.constexpr):
    """out[b, channel] = value, or += value unless FIRST."""
    if not FIRST:
        value += load_plane(out, b, channel, y, x, mask, ACC)
    store_plane(out, b, channel, y, x, mask, value)


def splat_grad(
    grad_outs: Sequence[Tensor],
    grad_weight: Tensor | None,
    inputs: Sequence[Tensor],
    flow: Tensor,
    metric: Tensor | None,
    outs: Sequence[Tensor],
    weight: Tensor,
    shift: Tensor,
    mode: str,
    eps: str,
    need_inputs: bool,
    need_flow: bool,
    need_metric: bool,
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Gathers at the targets what the sources gave, see `_splat_grad_kernel`; deterministic."""
    need_metric = need_metric and metric is not None
    grad_inputs = [empty_result(x) if need_inputs else not_needed(x) for x in inputs]
    grad_flow = empty_result(flow) if need_flow else not_needed(flow)
    grad_metric = not_needed(flow) if metric is None or not need_metric else empty_result(metric)
    if flow.numel() == 0:
        return grad_inputs, grad_flow, grad_metric
    acc = accumulator(*inputs, flow, metric)
    landing = Landing(flow, flow.shape[2:], acc, FACTORS[mode], metric, shift if mode == "softmax" else None)
    grad_outs = [g.contiguous(memory_format=memory_format(x)) for g, x in zip(grad_outs, inputs, strict=True)]
    divisor = (flow[0, 0, 0],) * 2  # never read
    if mode != "sum":
        divisor = _divisor_grads(grad_outs, grad_weight, outs, weight, eps)
    # Sums over several inputs are rounded once, at the end.
    several = len(inputs) > 1
    sums = [
        torch.empty_like(x, dtype=acc) if several or not needed else grad
        for x, grad, needed in ((flow, grad_flow, need_flow), (metric, grad_metric, need_metric))
        if x is not None
    ]
    flags = {"NORMALISED": mode != "sum", "NEED_VALUE": need_inputs, "NEED_MOVE": need_flow or need_metric}
    for n, (g, x, grad_x) in enumerate(zip(grad_outs, inputs, grad_inputs, strict=True)):
        tensors = (g, x, divisor, grad_x if need_inputs else x, sums[0], sums[-1])
        constants = {"FIRST": n == 0, **flags, **landing.constants(), **tile(g)}
        launch(_splat_grad_kernel, flow, flow.shape[2:], landing.packed(), *tensors, x.shape[1], **constants)
    if several and need_flow:
        grad_flow.copy_(sums[0])
    if several and need_metric:
        grad_metric.copy_(sums[1])
    return grad_inputs, grad_flow, grad_metric


def _divisor_grads(
    grad_outs: Sequence[Tensor], grad_weight: Tensor | None, outs: Sequence[Tensor], weight: Tensor, eps: str
) -> tuple[Tensor, Tensor]:
    """1 / q and gD of every target, flattened (B, 1, H, W)."""
    inverse, grad_divisor = weight.new_empty(weight.shape), weight.new_empty(weight.shape)
    given = grad_weight is not None
    for n, (g, out) in enumerate(zip(grad_outs, outs, strict=True)):
        tensors = (g, out, weight, grad_weight if given else weight, inverse, grad_divisor)
        constants = {"FIRST": n == 0, "WITH_GRAD_WEIGHT": given, "EPS": eps, "ACC": triton_dtype(weight.dtype)}
        sizes = (out.shape[1], *out.shape[2:])
        launch(_divisor_grad_kernel, weight, out.shape[2:], *tensors, *sizes, **constants, **tile(out))
    return inverse.flatten(), grad_divisor.flatten()
