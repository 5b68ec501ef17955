"""Peers of splat: bilinear forward warping out of scatter_add_ and index_add_.

All share one plan: the values [x e, e] are made once for all channels, every corner's contribution is added by one
torch call, and N is divided by D at the end. They differ in the layout of the sums and in the call that adds.
"""

import functools
from collections.abc import Callable, Iterator
from typing import TypeAlias

import torch
from torch import Tensor

from vfi_kernels.bench.peers import Peer, register
from vfi_kernels.bench.peers.compiled import compiled, start_afresh

Corner: TypeAlias = tuple[Tensor, Tensor]  # of every pixel: its cell and its weight
Sums: TypeAlias = Callable[[Tensor, Iterator[Corner]], Tensor]


def _corners(flow: Tensor) -> Iterator[Corner]:
    """For each of the four corners: its cell y W + x, 0 where outside, and its weight, 0 there. Both [B, H W]"""
    h, w = flow.shape[2:]
    x = flow[:, 0] + torch.arange(w, device=flow.device)
    y = flow[:, 1] + torch.arange(h, device=flow.device)[:, None]
    left, top = x.floor(), y.floor()
    right_part, lower_part = x - left, y - top
    for column, part_x in ((left, 1 - right_part), (left + 1, right_part)):
        for row, part_y in ((top, 1 - lower_part), (top + 1, lower_part)):
            inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
            cell = torch.where(inside, row * w + column, 0).long()
            yield cell.flatten(1), (part_x * part_y * inside).flatten(1)


def _factor(metric: Tensor | None, mode: str, shift: str) -> Tensor | None:
    """e of every source pixel, and None where it is 1. [B, 1, H W]"""
    if mode in ("sum", "average") or metric is None:
        return None
    metric = metric.flatten(2)
    if mode == "linear":
        return metric
    if shift == "sample":
        return (metric - metric.amax(2, keepdim=True)).exp()
    return metric


def planes(values: Tensor, corners: Iterator[Corner]) -> Tensor:
    """Sums of shape (B, C + 1, H W) by scatter_add_ along the last dimension."""
    sums = torch.zeros_like(values)
    for cell, weight in corners:
        sums.scatter_add_(2, cell[:, None].expand_as(values), values * weight[:, None])
    return sums


def _in_rows(add: Callable[[Tensor, Tensor, Tensor], None]) -> Sums:
    """The same with sums of shape (B H W, C + 1), one row per pixel, which `add` adds to."""

    def sums_of(values: Tensor, corners: Iterator[Corner]) -> Tensor:
        b, c, n = values.shape
        rows = values.transpose(1, 2).reshape(b * n, c)
        sums = torch.zeros_like(rows)
        first = torch.arange(b, device=values.device)[:, None] * n
        for cell, weight in corners:
            add(sums, (cell + first).flatten(), rows * weight.reshape(-1, 1))
        return sums.view(b, n, c).transpose(1, 2)

    return sums_of


def index_add(sums: Tensor, cell: Tensor, rows: Tensor) -> None:
    sums.index_add_(0, cell, rows)


def scatter_add(sums: Tensor, cell: Tensor, rows: Tensor) -> None:
    sums.scatter_add_(0, cell[:, None].expand_as(rows), rows)


def splat_with(
    sums_of: Sums,
    input: Tensor,
    flow: Tensor,
    metric: Tensor | None = None,
    mode: str = "sum",
    shift: str = "sample",
) -> Tensor:
    """Splatting by `sums_of`, in float32 or wider. `shift`: softmax's maximum, of the "sample" or "target"."""
    sums_dtype = torch.promote_types(input.dtype, torch.float32)
    values = input.to(sums_dtype).flatten(2)
    flow = flow.to(sums_dtype)
    factor = _factor(None if metric is None else metric.to(sums_dtype), mode, shift)
    if shift == "target" and factor is not None:
        return _splat_per_target(sums_of, values, flow, factor).reshape(input.shape).to(input.dtype)
    if mode != "sum":
        factor = torch.ones_like(values[:, :1]) if factor is None else factor
        values = torch.cat([values * factor, factor], 1)
    sums = sums_of(values, _corners(flow))
    return (sums if mode == "sum" else _quotient(sums)).reshape(input.shape).to(input.dtype)


def _quotient(sums: Tensor) -> Tensor:
    """N / D, and 0 where nothing landed."""
    weight = sums[:, -1:]
    return sums[:, :-1] / torch.where(weight == 0, 1, weight)


def _splat_per_target(sums_of: Sums, values: Tensor, flow: Tensor, metric: Tensor) -> Tensor:
    """Softmax for metrics of any span: the largest metric that lands on a target is subtracted there."""
    corners = list(_corners(flow))
    largest = torch.full_like(metric[:, 0], -torch.inf)
    for cell, weight in corners:
        landing = torch.where(weight > 0, metric[:, 0].detach(), -torch.inf)
        largest.scatter_reduce_(1, cell, landing, "amax")
    ones = torch.ones_like(metric)
    values = torch.cat([values, ones], 1)
    # Each corner has its own factor exp(metric - largest[cell]), which goes into the weight.
    weights = [
        weight * torch.where(weight > 0, metric[:, 0] - largest.gather(1, cell), 0).exp() for cell, weight in corners
    ]
    return _quotient(sums_of(values, iter([(cell, w) for (cell, _), w in zip(corners, weights, strict=True)])))


def _unsuited(shift: str) -> Callable[..., str | None]:
    def reason(input: object, flow: Tensor, metric: Tensor | None = None, **options: object) -> str | None:
        if not isinstance(input, Tensor) or options.get("holes", "zero") != "zero" or options.get("return_weight"):
            return "one input and the plain result only"
        wide = metric is not None and bool(metric.amax() - metric.amin() > 60)
        if shift == "target" and not (wide and options.get("mode") == "softmax"):
            return "for softmax with metrics that span more than 60"
        return None

    return reason


_FORMULATIONS = {
    "scatter_add planes": planes,
    "scatter_add rows": _in_rows(scatter_add),
    "index_add rows": _in_rows(index_add),
}

for _name, _sums_of in _FORMULATIONS.items():
    for _shift in ("sample", "target"):
        _call = functools.partial(splat_with, _sums_of, shift=_shift)
        _label = _name if _shift == "sample" else f"{_name}, maximum per target"
        register(Peer(_label, "splat", _call, unsuited=_unsuited(_shift)))
register(
    Peer(
        "compiled scatter_add planes",
        "splat",
        compiled(functools.partial(splat_with, planes)),
        prepare=start_afresh,
        unsuited=_unsuited("sample"),
        compiles=True,
    )
)
