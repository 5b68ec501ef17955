"""Splatting in Triton: the gradient op."""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from vfi_kernels._results import accumulator, empty_result, memory_format, not_needed
from vfi_kernels.ops._shared.reference_math.splatting import NEARLY_ALONE, NOISE, THIN, dim, most_doubt, most_rounding
from vfi_kernels.ops._shared.triton_math.bilinear import (
    block_pixels,
    corner,
    load_plane,
    load_tile,
    store_plane,
    store_tile,
    weighted,
)
from vfi_kernels.ops._shared.triton_math.collect import is_hole, safe_divisor
from vfi_kernels.ops._shared.triton_math.functions import divide
from vfi_kernels.ops._shared.triton_math.launch import launch, tile, triton_dtype
from vfi_kernels.ops._shared.triton_math.scatter import Landing, corner_factor, pixel_factor, source
from vfi_kernels.ops._shared.triton_math.splatting import FACTORS

DIM_NOISE = tl.constexpr(3e38)  # of targets whose D is dim


# out = N / q(D): inverse = 1 / q, product = dq/dD sum_c grad_out out, and its rounding (csrc/splatting/splat_rules.h)
#
# One program per BLOCK targets, which it alone sums over the channels. A second input adds to what the first left.
@triton.jit
def _divisor_grad_kernel(
    blocks,
    grad_out,  # [B, C, height, width]
    out,
    weight,  # [B, 1, height, width], D
    inverse,  # [B, 1, height, width]
    product,  # [B, 1, height, width]
    rounding,  # [B, 1, height, width]
    channels,
    height,
    width,
    NOISE: tl.constexpr,
    SUM: tl.constexpr,
    FIRST: tl.constexpr,
    DIM: tl.constexpr,
    EPS: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    b, y, x = block_pixels(blocks, width, BLOCK)
    live = y < height
    dot, size = tl.zeros([BLOCK_C, BLOCK], ACC), tl.zeros([BLOCK_C, BLOCK], ACC)
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        g = load_tile(grad_out, b, c, channels, y, x, live, ACC)
        term = g * load_tile(out, b, c, channels, y, x, live, ACC)
        dot += term
        size = size + tl.abs(term) if SUM else tl.maximum(size, tl.abs(term))
    d = load_plane(weight, b, 0, y, x, live, ACC)
    r = divide(tl.zeros_like(d) + 1, safe_divisor(d, EPS))
    total, noise = tl.sum(dot, 0), NOISE * (tl.sum(size, 0) if SUM else tl.max(size, 0))
    if not FIRST:
        total += load_plane(product, b, 0, y, x, live, ACC)
        before = load_plane(rounding, b, 0, y, x, live, ACC)
        noise = noise + before if SUM else tl.maximum(noise, before)
    if EPS == "zero":
        r = tl.where(is_hole(d), 0.0, r)
        noise = tl.where(is_hole(d) | (tl.abs(d) >= DIM), noise, DIM_NOISE)
    if EPS == "clip":
        total, noise = tl.where(d > 1e-7, total, 0.0), tl.where(d > 1e-7, noise, 0.0)
    store_plane(inverse, b, 0, y, x, live, r)
    store_plane(product, b, 0, y, x, live, total)
    store_plane(rounding, b, 0, y, x, live, noise)


# N[k] = sum w_k e_k x, D[k] = sum w_k e_k, e_k = e f_k (e of the pixel, f_k of the target k's shift), h = grad_weight:
#   grad_x = e sum_k w_k f_k g[k] / q[k]
#   grad_flow = e sum_k dw_k s_k, s_k = f_k (dot_k / q[k] + h[k]), dot_k = sum_c g[k] x - product[k], or 0
#   grad_metric = sum_k w_k s_k  (linear: de/dm = 1, f_k = 1; softmax: e = 1, df_k/dm = f_k, the shift is constant)
# where a gradient that may be rounding for the most part counts as 0.
#
# One program per BLOCK sources: a gather, in a fixed order of corners and channels. A second input adds to the sums g x
# that the first left in `dots`; the last one writes the gradients of flow and metric.
@triton.jit
def _splat_grad_kernel(
    blocks,
    landing,
    grad_out,  # [B, C, height, width]
    value,  # [B, C, height, width], x
    divisor,  # inverse, product, rounding, h and D, [B, 1, height, width], contiguous
    grad_value,
    grad_flow,
    grad_metric,
    dots,  # [B, 4, height, width]
    channels,
    FIRST: tl.constexpr,
    LAST: tl.constexpr,
    NORMALISED: tl.constexpr,
    WITH_GRAD_WEIGHT: tl.constexpr,
    NOISE: tl.constexpr,  # times noise that is rounding, and doubt; which shares are near to 1, which weights thin
    EPS: tl.constexpr,
    NEED_VALUE: tl.constexpr,
    NEED_MOVE: tl.constexpr,
    FACTOR: tl.constexpr,
    PADDING: tl.constexpr,
    PATH: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    _, _, _, _, height, width, _, _ = landing
    b, y, x = block_pixels(blocks, width, BLOCK)
    inside = y < height
    spot, m, live = source(landing, b, y, x, inside, FACTOR, PADDING, PATH, ACC)
    k00 = corner_terms(landing, spot, 0, 0, b, m, live, divisor[0], NORMALISED, FACTOR)
    k10 = corner_terms(landing, spot, 1, 0, b, m, live, divisor[0], NORMALISED, FACTOR)
    k01 = corner_terms(landing, spot, 0, 1, b, m, live, divisor[0], NORMALISED, FACTOR)
    k11 = corner_terms(landing, spot, 1, 1, b, m, live, divisor[0], NORMALISED, FACTOR)
    landed = k00[2] | k10[2] | k01[2] | k11[2]
    e = tl.where(landed, pixel_factor(m, FACTOR), 0.0)
    nothing = tl.zeros([BLOCK_C, BLOCK], ACC)
    dot00, dot10, dot01, dot11 = nothing, nothing, nothing, nothing
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        g00 = load_tile(grad_out, b, c, channels, k00[1], k00[0], k00[2], ACC)
        g10 = load_tile(grad_out, b, c, channels, k10[1], k10[0], k10[2], ACC)
        g01 = load_tile(grad_out, b, c, channels, k01[1], k01[0], k01[2], ACC)
        g11 = load_tile(grad_out, b, c, channels, k11[1], k11[0], k11[2], ACC)
        if NEED_MOVE:
            v = load_tile(value, b, c, channels, y, x, landed, ACC)
            dot00, dot10, dot01, dot11 = dot00 + v * g00, dot10 + v * g10, dot01 + v * g01, dot11 + v * g11
        if NEED_VALUE:
            first = weighted(k00[3] * k00[6], g00) + weighted(k10[3] * k10[6], g10)
            total = first + weighted(k01[3] * k01[6], g01) + weighted(k11[3] * k11[6], g11)
            store_tile(grad_value, b, c, channels, y, x, inside, e[None, :] * total)
    if NEED_MOVE:
        all00 = join_inputs(dots, 0, b, y, x, inside, tl.sum(dot00, 0), FIRST, LAST, ACC)
        all10 = join_inputs(dots, 1, b, y, x, inside, tl.sum(dot10, 0), FIRST, LAST, ACC)
        all01 = join_inputs(dots, 2, b, y, x, inside, tl.sum(dot01, 0), FIRST, LAST, ACC)
        all11 = join_inputs(dots, 3, b, y, x, inside, tl.sum(dot11, 0), FIRST, LAST, ACC)
        if LAST:
            s00 = corner_slope(k00, e, all00, divisor, WITH_GRAD_WEIGHT, NOISE, EPS, NORMALISED)
            s10 = corner_slope(k10, e, all10, divisor, WITH_GRAD_WEIGHT, NOISE, EPS, NORMALISED)
            s01 = corner_slope(k01, e, all01, divisor, WITH_GRAD_WEIGHT, NOISE, EPS, NORMALISED)
            s11 = corner_slope(k11, e, all11, divisor, WITH_GRAD_WEIGHT, NOISE, EPS, NORMALISED)
            along_x = e * combine(k00, k10, k01, k11, s00, s10, s01, s11, 4)
            along_y = e * combine(k00, k10, k01, k11, s00, s10, s01, s11, 5)
            store_plane(grad_flow, b, 0, y, x, inside, along_x)
            store_plane(grad_flow, b, 1, y, x, inside, along_y)
            if FACTOR != "one":
                store_plane(grad_metric, b, 0, y, x, inside, combine(k00, k10, k01, k11, s00, s10, s01, s11, 3))


@triton.jit
def corner_terms(
    landing,
    spot,
    i: tl.constexpr,
    j: tl.constexpr,
    b,
    m,
    live,
    inverse,
    NORMALISED: tl.constexpr,
    FACTOR: tl.constexpr,
):
    """cx, cy, used, w, dw/dx, dw/dy, f / q, f and the number of the target of corner (i, j)."""
    _, _, shift, _, height, width, _, _ = landing
    wx = spot[2] if i else spot[4]
    wy = spot[3] if j else spot[5]
    cx, cy, weight, inside = corner(spot, i, j, height, width)
    used = live & inside
    target = (b * height + cy) * width + cx
    f = corner_factor(m, shift, target, used, FACTOR)
    over_q = f
    if NORMALISED:
        over_q = f * tl.load(inverse + target, used, other=0)
    return cx, cy, used, weight, wy if i else -wy, wx if j else -wx, over_q, f, target


@triton.jit
def corner_slope(
    k,
    e,
    dot,
    divisor,
    WITH_GRAD_WEIGHT: tl.constexpr,
    NOISE: tl.constexpr,  # times noise that is rounding, and doubt; which shares are near to 1, which weights thin
    EPS: tl.constexpr,
    NORMALISED: tl.constexpr,
):
    """s of a corner, from the sum over channels of g x, without a product of 0 and infinity (1 / q may overflow); and
    how much of it may be rounding, for the flow and for the metric (csrc/splatting/splat_rules.h)."""
    doubt, dim_doubt = tl.zeros_like(dot), tl.zeros_like(dot)
    if NORMALISED:
        dot -= tl.load(divisor[1] + k[8], k[2], other=0)
        noise, d = tl.load(divisor[2] + k[8], k[2], other=0), tl.load(divisor[4] + k[8], k[2], other=0)
        p = tl.abs(e * k[3] * k[6])
        alone = k[2] & (k[3] * (e * k[7]) == d)
        if EPS == "clip":
            alone = alone & (d > 1e-7)
        if EPS == "add":
            alone = alone & (d != d)
        dot = tl.where(alone | (tl.abs(dot) < tl.minimum(5 + 1 / p, NOISE[0]) * noise), 0.0, dot)
        most = tl.where(alone, 0.0, tl.abs(k[6]) * noise * NOISE[1])
        thin, dim = (tl.abs(1 - p) < NOISE[2]) & (k[3] < NOISE[3]), noise == DIM_NOISE
        doubt = tl.where(thin | dim, most, 0.0)
        dim_doubt = tl.where(dim, most, 0.0)
    s = tl.where(dot != 0, k[6] * dot, 0.0)
    if WITH_GRAD_WEIGHT:
        s += k[7] * tl.load(divisor[3] + k[8], k[2], other=0)
    return s, doubt, dim_doubt


@triton.jit
def combine(k00, k10, k01, k11, s00, s10, s01, s11, n: tl.constexpr):
    """sum over the corners of term n (a weight) s, 0 where it may be rounding; a corner of weight 0 is not used."""
    first = tl.where(k00[n] != 0, k00[n] * s00[0], 0.0) + tl.where(k10[n] != 0, k10[n] * s10[0], 0.0)
    total = first + tl.where(k01[n] != 0, k01[n] * s01[0], 0.0) + tl.where(k11[n] != 0, k11[n] * s11[0], 0.0)
    D: tl.constexpr = 2 if n == 3 else 1  # of the metric, of the flow
    first = tl.where(k00[n] != 0, tl.abs(k00[n]) * s00[D], 0.0) + tl.where(k10[n] != 0, tl.abs(k10[n]) * s10[D], 0.0)
    last = tl.where(k01[n] != 0, tl.abs(k01[n]) * s01[D], 0.0) + tl.where(k11[n] != 0, tl.abs(k11[n]) * s11[D], 0.0)
    return tl.where(tl.abs(total) < first + last, 0.0, total)


@triton.jit
def join_inputs(dots, n: tl.constexpr, b, y, x, mask, dot, FIRST: tl.constexpr, LAST: tl.constexpr, ACC: tl.constexpr):
    """A corner's sum with that of the inputs before, which is left for the next one."""
    if not FIRST:
        dot += load_plane(dots, b, n, y, x, mask, ACC)
    if not LAST:
        store_plane(dots, b, n, y, x, mask, dot)
    return dot


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
    holes: str,
    summed: bool,
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
    divides, with_h = mode != "sum", mode != "sum" and grad_weight is not None
    h = grad_weight.contiguous().flatten() if grad_weight is not None and with_h else flow[0, 0, 0]  # or never read
    divisor = _divisor_grads(grad_outs, outs, weight, holes) if divides else (h, h, h)
    d = weight.contiguous().flatten() if divides else h
    flags = {"EPS": holes, "NEED_VALUE": need_inputs, "NEED_MOVE": need_flow or need_metric}
    flags |= {"NORMALISED": divides, "WITH_GRAD_WEIGHT": with_h}
    flags |= {"NOISE": (most_rounding(outs), most_doubt(outs, holes, summed), NEARLY_ALONE, THIN)}
    to_flow = grad_flow if need_flow else torch.empty_like(flow)
    to_metric = grad_metric if need_metric or metric is None else torch.empty_like(metric)
    dots = flow.new_empty((flow.shape[0], 4, *flow.shape[2:]), dtype=acc) if len(inputs) > 1 else to_flow
    for n, (g, x, grad_x) in enumerate(zip(grad_outs, inputs, grad_inputs, strict=True)):
        tensors = (g, x, (*divisor, h, d), grad_x if need_inputs else x, to_flow, to_metric, dots)
        constants = {"FIRST": n == 0, "LAST": n + 1 == len(inputs), **flags, **landing.constants(), **tile(g)}
        launch(_splat_grad_kernel, flow, flow.shape[2:], landing.packed(), *tensors, x.shape[1], **constants)
    return grad_inputs, grad_flow, grad_metric


def _divisor_grads(
    grad_outs: Sequence[Tensor], outs: Sequence[Tensor], weight: Tensor, holes: str
) -> tuple[Tensor, Tensor, Tensor]:
    """1 / q, dq/dD times all inputs' sum of grad_out out, and what of it is rounding: flattened (B, 1, H, W)."""
    planes = tuple(weight.new_empty(weight.shape) for _ in range(3))
    for n, (grad_out, out) in enumerate(zip(grad_outs, outs, strict=True)):
        constants = {
            "NOISE": NOISE[out.dtype],
            "SUM": out.dtype.itemsize > 2,
            "FIRST": n == 0,
            "DIM": dim(weight.dtype),
            "EPS": holes,
            "ACC": triton_dtype(weight.dtype),
        }
        tensors = (grad_out, out, weight, *planes, *out.shape[1:])
        launch(_divisor_grad_kernel, weight, out.shape[2:], *tensors, **constants, **tile(out))
    inverse, product, rounding = (plane.flatten() for plane in planes)
    return inverse, product, rounding
