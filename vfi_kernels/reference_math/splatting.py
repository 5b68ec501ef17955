"""Splatting along a flow in plain PyTorch, for the references of the ops that splat; formulas in csrc/splat/splat.h."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vfi_kernels.layout import accumulator, as_result, not_needed
from vfi_kernels.reference_math.bilinear import Corner, corners, gather, scatter_add

EPS = 1e-7
WIDE_SPAN = 60.0  # metrics that span more get a shift per target pixel: exp(-60) is still a normal float32


def splat_along(
    inputs: Sequence[Tensor],
    flow: Tensor,
    metric: Tensor | None,
    mode: str,
    eps: str,
    keep_weight: bool,
) -> tuple[list[Tensor], Tensor, Tensor]:
    """N[t] = sum over sources of w e x, D[t] = sum of w e; out = N, or N / D by the eps rule: outs, D, shift."""
    acc = accumulator(*inputs, flow, metric)
    m = None if metric is None else metric.to(acc)
    found = _corners(flow.to(acc), m)
    shift = _shift(found, m) if mode == "softmax" and m is not None else None
    factors = [_factor(corner, m, shift) for corner in found]
    weight = flow.new_zeros((flow.shape[0], 1, *flow.shape[2:]), dtype=acc)
    for corner, e in zip(found, factors):
        weight = scatter_add(weight, corner, corner.term(corner.weight, e))
    outs = []
    for x in inputs:
        total = x.new_zeros(x.shape, dtype=acc)
        for corner, e in zip(found, factors):
            total = scatter_add(total, corner, corner.term(corner.weight, e * x.to(acc)))
        outs.append(as_result(total if mode == "sum" else total * _reciprocal(weight, eps), x))
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
    eps: str,
    need_inputs: bool,
    need_flow: bool,
    need_metric: bool,
) -> tuple[list[Tensor], Tensor, Tensor]:
    """gN = g / q, gD = -sum g out / q at every target; a source gathers grad_x = e sum_k w_k gN[k] and, with
    s_k = sum_c gN[k] x + gD[k], grad_flow = e sum_k dw_k s_k, grad_metric = (de/dm) sum_k w_k s_k (shift: constant).
    """
    acc = accumulator(*inputs, flow, metric)
    m = None if metric is None else metric.to(acc)
    found = _corners(flow.to(acc), m)
    grad_totals, grad_divisor = _grad_totals(grad_outs, grad_weight, outs, weight, mode, eps, acc)
    grad_inputs = [x.new_zeros(x.shape, dtype=acc) for x in inputs]
    grad_flow = flow.new_zeros(flow.shape, dtype=acc)
    grad_metric = flow.new_zeros((flow.shape[0], 1, *flow.shape[2:]), dtype=acc)
    for corner in found:
        e = _factor(corner, m, shift if mode == "softmax" else None)
        s = gather(grad_divisor, corner) if mode != "sum" else torch.zeros_like(e)
        for n, x in enumerate(inputs):
            at_target = gather(grad_totals[n], corner)
            s = s + (at_target * x.to(acc)).sum(1, keepdim=True)
            grad_inputs[n] = grad_inputs[n] + corner.term(corner.weight, e * at_target)
        moved = [corner.term(d, e * s) for d in (corner.weight_dx, corner.weight_dy)]
        grad_flow = grad_flow + torch.cat(moved, 1)
        grad_metric = grad_metric + corner.term(corner.weight, e * s if mode == "softmax" else s)
    return (
        [as_result(g, x) if need_inputs else not_needed(x) for g, x in zip(grad_inputs, inputs)],
        as_result(grad_flow, flow) if need_flow else not_needed(flow),
        as_result(grad_metric, metric) if need_metric and metric is not None else not_needed(flow),
    )


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


def _shift(found: list[Corner], metric: Tensor) -> Tensor:
    """Largest metric: of the sample while its metrics span at most WIDE_SPAN, else of each target's contributors."""
    if metric.numel() == 0:
        return torch.zeros_like(metric)
    m = metric.detach()
    landed = found[0].landed
    high = torch.where(landed, m, -torch.inf).amax((1, 2, 3), keepdim=True)
    low = torch.where(landed, m, torch.inf).amin((1, 2, 3), keepdim=True)
    target = torch.full_like(m, -torch.inf).flatten(2)
    for corner in found:
        used = torch.where(corner.inside & (corner.weight != 0), m, -torch.inf)
        target = target.scatter_reduce(2, corner.index, used.flatten(2), "amax")
    shift = torch.where(high - low <= WIDE_SPAN, high, target.view(m.shape))
    return torch.where(shift.isfinite(), shift, 0)


def _reciprocal(weight: Tensor, eps: str) -> Tensor:
    """1 / q of the normalisation out = N / q."""
    if eps == "zero":
        return torch.where(weight == 0, 0, 1 / torch.where(weight == 0, 1, weight))
    return 1 / (weight + EPS if eps == "add" else weight.clamp_min(EPS))


def _grad_totals(
    grad_outs: Sequence[Tensor],
    grad_weight: Tensor | None,
    outs: Sequence[Tensor],
    weight: Tensor,
    mode: str,
    eps: str,
    acc: torch.dtype,
) -> tuple[list[Tensor], Tensor]:
    """out = N / q: gN = g / q, gD = -sum g out / q dq/dD (+ what reached D itself)."""
    if mode == "sum":
        return [g.to(acc) for g in grad_outs], weight
    inverse = _reciprocal(weight, eps)
    totals = [g.to(acc) * inverse for g in grad_outs]
    divisor = torch.zeros_like(weight)
    for g, out in zip(totals, outs):
        divisor = divisor - (g * out.to(acc)).sum(1, keepdim=True)
    if eps == "clip":
        divisor = torch.where(weight > EPS, divisor, 0)
    return totals, divisor if grad_weight is None else divisor + grad_weight
