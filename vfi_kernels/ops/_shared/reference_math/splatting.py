"""Splatting along a flow in plain PyTorch, for the ops that splat; formulas in csrc/ops/splat/splat.h."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from vfi_kernels._arguments import (
    expect,
    expect_bool,
    expect_choice,
    expect_device,
    expect_image,
    expect_planes,
    expect_size,
    shape,
)
from vfi_kernels._options import HOLES, MODES, Mode
from vfi_kernels._results import accumulator, as_result, not_needed
from vfi_kernels.ops._shared.reference_math.bilinear import Corner, corners, gather, scatter_add

EPS = 1e-7
# Of x - out, what is rounding: csrc/splatting/splat_rules.h.
NOISE = {torch.float64: 2.0**-53, torch.float32: 2.0**-24, torch.float16: 2.0**-11 / 3, torch.bfloat16: 2.0**-8 / 3}
MOST = {torch.float64: 64, torch.float32: 64, torch.float16: 6, torch.bfloat16: 6}
# Of a gradient, what may be: of targets nearly alone by a thin weight (flow), or whose D is dim.
DOUBT = {torch.float64: 5000, torch.float32: 5000, torch.float16: 0, torch.bfloat16: 0}
SUMMED = 16 / 5000  # of it where gradients go into a sum
NEARLY_ALONE, THIN = 2.0**-5, 2.0**-12
WIDE_SPAN = 60.0  # metrics that span more get a shift per target pixel: exp(-60) is still a normal float32


def mode_of(op: str, mode: Mode | None, metric: Tensor | None, holes: str, return_weight: bool) -> Mode:
    """The mode that a public function was given, or takes for None; raises where the options are none."""
    chosen: Mode = ("average" if metric is None else "softmax") if mode is None else mode
    expect_choice(op, "mode", chosen, MODES)
    expect_choice(op, "holes", holes, HOLES)
    expect_bool(op, "return_weight", return_weight)
    if return_weight:
        expect(chosen != "sum", op, "mode average, linear or softmax with return_weight", f"'{chosen}'")
    return chosen


def check_images(op: str, images: Sequence[Tensor]) -> Tensor:
    """The first of the images that share a flow: all have its batch size, height, width and device."""
    expect(len(images) > 0, op, "at least one image", 0)
    first = images[0]
    for x in images:
        expect_image(op, "image", x)
        same = (x.shape[0], *x.shape[2:]) == (first.shape[0], *first.shape[2:])
        expect(same, op, f"images of one batch size, height and width {shape(first)}", shape(x))
        expect_device(op, "image", x, first, "the first image")
    return first


def check_metric(op: str, mode: str, metric: Tensor | None, first: Tensor) -> None:
    """The metric of a mode that takes one, beside the first image."""
    if mode in ("linear", "softmax"):
        expect(metric is not None, op, f"a metric of shape (B, 1, H, W) in mode '{mode}'", None)
    else:
        expect(metric is None, op, f"no metric in mode '{mode}'", "one")
    if metric is not None:
        expect_planes(op, "metric", metric, 1, first, "image")
        expect_size(op, "metric", metric, tuple(first.shape[2:]), "image")


def images_of(op: str, image: Tensor | Iterable[Tensor]) -> list[Tensor]:
    """What a public function gets: a tensor, or a sequence of tensors."""
    if not isinstance(image, (Tensor, Iterable)):
        expect(False, op, "image to be a tensor or a sequence of tensors", type(image).__name__)
    images: list[Tensor] = [image] if isinstance(image, Tensor) else list(image)
    for x in images:
        if not isinstance(x, Tensor):
            expect(False, op, "every image to be a tensor", type(x).__name__)
    return images


def weight_result(mode: str, weight: Tensor, shift: Tensor) -> Tensor:
    """D, or of softmax log D + shift, and -inf in holes, where no gradient passes."""
    if mode != "softmax":
        return weight
    hole = weight == 0
    return torch.where(hole, -torch.inf, torch.where(hole, 1, weight).log() + shift)


def splat_along(
    inputs: Sequence[Tensor],
    flow: Tensor,
    metric: Tensor | None,
    mode: str,
    holes: str,
    keep_weight: bool,
) -> tuple[list[Tensor], Tensor, Tensor]:
    """N[t] = sum over sources of w e x, D[t] = sum of w e; out = N, or N / D by the rule of holes: outs, D, shift."""
    acc = accumulator(*inputs, flow, metric)
    m = None if metric is None else metric.to(acc)
    corner_list = _corners(flow.to(acc), m)
    shift = _shift(corner_list, m) if mode == "softmax" and m is not None else None
    factors = [_factor(corner, m, shift) for corner in corner_list]
    weight = flow.new_zeros((flow.shape[0], 1, *flow.shape[2:]), dtype=acc)
    for corner, e in zip(corner_list, factors):
        weight = scatter_add(weight, corner, corner.term(corner.weight, e))
    outs = []
    for x in inputs:
        total = x.new_zeros(x.shape, dtype=acc)
        for corner, e in zip(corner_list, factors):
            total = scatter_add(total, corner, corner.term(corner.weight, e * x.to(acc)))
        outs.append(as_result(total if mode == "sum" else total * _reciprocal(weight, holes), x))
    kept = keep_weight and mode != "sum"
    absent = weight.new_empty((0,))
    return outs, weight if kept else absent, shift if kept and shift is not None else absent.clone()


def splat_along_grad(
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
    """A source gathers from its targets k, with u = de/dm and h = grad_weight:

        grad_x = sum_k w_k e / q_k g[k]           dot_k = sum_c g[k] (x - dq/dD out[k]), 0 where it is only rounding
        grad_flow = sum_k dw_k (e / q_k dot_k + e h[k])       grad_metric = sum_k w_k (u / q_k dot_k + u h[k])

    0 where either may be rounding for the most part (csrc/splatting/splat_rules.h). The softmax shift is a constant.
    """
    acc = accumulator(*inputs, flow, metric)
    m = None if metric is None else metric.to(acc)
    corner_list = _corners(flow.to(acc), m)
    g = [t.to(acc) for t in grad_outs]
    products = _products(g, outs, weight, holes) if mode != "sum" else None
    grad_inputs = [x.new_zeros(x.shape, dtype=acc) for x in inputs]
    grad_flow = flow.new_zeros(flow.shape, dtype=acc)
    grad_metric = flow.new_zeros((flow.shape[0], 1, *flow.shape[2:]), dtype=acc)
    doubt_flow, doubt_metric = torch.zeros_like(grad_flow), torch.zeros_like(grad_metric)
    for corner in corner_list:
        e = _factor(corner, m, shift if mode == "softmax" else None)
        along = torch.zeros_like(e)  # dot_k
        u = e if mode == "softmax" else torch.ones_like(e)
        share, slope = (_over_q(factor, weight, corner, mode, holes) for factor in (e, u))
        doubt, dim_doubt = torch.zeros_like(e), torch.zeros_like(e)
        for n, x in enumerate(inputs):
            at_target = gather(g[n], corner)
            along = along + (at_target * x.to(acc)).sum(1, keepdim=True)
            grad_inputs[n] = grad_inputs[n] + corner.term(corner.weight, share * at_target)
        if products is not None:
            part, alone = (share * corner.weight).detach().abs(), _alone(e, weight, corner, mode, holes)
            product, noise = (gather(t, corner) for t in products)
            rounding = torch.where(alone, torch.inf, noise * (5 + 1 / part).clamp_max(most_rounding(outs)))
            along = _without_rounding(along - product, rounding)
            thin = ((1 - part).abs() < NEARLY_ALONE) & (corner.weight < THIN)
            some = torch.where(alone, 0, most_doubt(outs, holes, summed) * noise)
            doubt = torch.where(thin | noise.isinf(), some, 0)
            dim_doubt = torch.where(noise.isinf(), some, 0)
        h = 0 if mode == "sum" or grad_weight is None else gather(grad_weight, corner)
        moved = share * along + e * h
        slopes = (corner.weight_dx, corner.weight_dy)
        grad_flow = grad_flow + torch.cat([corner.term(d, moved) for d in slopes], 1)
        grad_metric = grad_metric + corner.term(corner.weight, slope * along + u * h)
        doubt_flow = doubt_flow + torch.cat([corner.term(d, share * doubt).detach().abs() for d in slopes], 1)
        doubt_metric = doubt_metric + corner.term(corner.weight, slope * dim_doubt).detach().abs()
    grad_flow, grad_metric = _without_rounding(grad_flow, doubt_flow), _without_rounding(grad_metric, doubt_metric)
    return (
        [as_result(g, x) if need_inputs else not_needed(x) for g, x in zip(grad_inputs, inputs)],
        as_result(grad_flow, flow) if need_flow else not_needed(flow),
        as_result(grad_metric, metric) if need_metric and metric is not None else not_needed(flow),
    )


def most_rounding(outs: Sequence[Tensor]) -> float:
    """How many times the rounding of the results counts as rounding of what a target adds up, at most."""
    return min((MOST[out.dtype] for out in outs), default=0)


def most_doubt(outs: Sequence[Tensor], holes: str, summed: bool) -> float:
    """How many times the rounding of the results a nearly lone pixel's gradient is doubted; less where it goes into a
    sum."""
    if holes == "add":
        return 0
    return min((DOUBT[out.dtype] for out in outs), default=0) * (SUMMED if summed or len(outs) > 1 else 1)


def _corners(flow: Tensor, metric: Tensor | None) -> list[Corner]:
    """Where each source pixel lands; a pixel with a non-finite metric lands nowhere."""
    if flow.numel() == 0:
        return []
    if metric is not None:
        flow = torch.where(metric.isfinite(), flow, torch.nan)
    return corners(flow, flow.shape[2:], "zeros")


def _factor(corner: Corner, metric: Tensor | None, shift: Tensor | None) -> Tensor:
    """e of every source pixel: 1, m or exp(m - shift), and 0 for skipped ones; the shift is read at the corner."""
    if metric is None:
        return torch.ones_like(corner.weight)
    m = torch.where(corner.inside, metric, 0)
    if shift is None:
        return m
    return torch.where(corner.inside, (m - gather(shift, corner)).clamp_max(0), -torch.inf).exp()


def _shift(corner_list: list[Corner], metric: Tensor) -> Tensor:
    """Largest metric: of the sample while its metrics span at most WIDE_SPAN, else of each target's contributors."""
    if metric.numel() == 0:
        return torch.zeros_like(metric)
    m = metric.detach()
    landed = corner_list[0].landed
    high = torch.where(landed, m, -torch.inf).amax((1, 2, 3), keepdim=True)
    low = torch.where(landed, m, torch.inf).amin((1, 2, 3), keepdim=True)
    target = torch.full_like(m, -torch.inf).flatten(2)
    for corner in corner_list:
        used = torch.where(corner.inside & (corner.weight != 0), m, -torch.inf)
        target = target.scatter_reduce(2, corner.index, used.flatten(2), "amax")
    shift = torch.where(high - low <= WIDE_SPAN, high, target.view(m.shape))
    return torch.where(shift.isfinite(), shift, 0)


def _reciprocal(weight: Tensor, holes: str) -> Tensor:
    """1 / q of the normalisation out = N / q."""
    if holes == "zero":
        hole = _is_hole(weight)
        return torch.where(hole, 0, 1 / torch.where(hole, 1, weight))
    return 1 / (weight + EPS if holes == "add" else weight.clamp_min(EPS))


def _is_hole(weight: Tensor) -> Tensor:
    """Where D counts as 0: a subnormal sum has lost the digits of its terms."""
    return weight.abs() < torch.finfo(weight.dtype).tiny


def dim(dtype: torch.dtype) -> float:
    """Where D is less, its terms may have been subnormal."""
    return torch.finfo(dtype).tiny / torch.finfo(dtype).eps


def _alone(e: Tensor, weight: Tensor, corner: Corner, mode: str, holes: str) -> Tensor:
    """Where w e is all of q, so that out is x."""
    if mode == "sum":
        return torch.zeros_like(corner.inside)
    d = gather(weight, corner)
    whole = corner.weight * e == d
    return whole & (d > EPS) if holes == "clip" else whole & (holes == "zero")


def _over_q(factor: Tensor, weight: Tensor, corner: Corner, mode: str, holes: str) -> Tensor:
    """factor / q at the corner, 0 in holes; finite also where 1 / q is not."""
    if mode == "sum":
        return factor
    d = gather(weight, corner)
    if holes == "zero":
        hole = _is_hole(d)
        quotient = torch.where(hole, 0, factor / torch.where(hole, 1, d))
    else:
        quotient = factor / (d + EPS if holes == "add" else d.clamp_min(EPS))
    most = torch.finfo(quotient.dtype).max
    return quotient.clamp(-most, most)


def _products(g: Sequence[Tensor], outs: Sequence[Tensor], weight: Tensor, holes: str) -> tuple[Tensor, Tensor]:
    """dq/dD times the sum over all images and channels of g out at every target, and what of it is rounding."""
    total, noise = torch.zeros_like(weight), torch.zeros_like(weight)
    for upstream, out in zip(g, outs):
        terms = upstream * out.to(upstream.dtype)
        total, size = total + terms.sum(1, keepdim=True), NOISE[out.dtype] * terms.detach().abs()
        rounded = out.dtype.itemsize == 2
        noise = torch.cat([noise, size], 1).amax(1, keepdim=True) if rounded else noise + size.sum(1, keepdim=True)
    if holes == "zero":  # its terms may have lost digits
        noise = torch.where((weight.abs() < dim(weight.dtype)) & ~_is_hole(weight), torch.inf, noise)
    if holes == "clip":
        total, noise = torch.where(weight > EPS, total, 0), torch.where(weight > EPS, noise, 0)
    return total, noise


def _without_rounding(dot: Tensor, noise: Tensor) -> Tensor:
    """0 where it is less than noise. Derivatives are no rounding and stay as they are."""
    return dot - torch.where(dot.abs() < noise, dot, 0).detach()
