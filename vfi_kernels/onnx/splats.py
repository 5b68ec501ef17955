"""splat: ScatterElements that adds, corner by corner, and for softmax one that takes the largest metric; the formulas
of ops/_shared/reference_math/splatting.py."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from vfi_kernels._options import HOLES, MODES
from vfi_kernels.onnx._values import (
    INT64,
    Several,
    Value,
    as_dtype_of,
    both,
    constant,
    filled,
    finite,
    number,
    op,
    part,
    reshaped,
    shaped,
    size,
    sizes,
    split,
    steps,
    translates,
    typed,
    wide,
    within,
)
from vfi_kernels.ops._shared.reference_math.splatting import EPS, WIDE_SPAN

INFINITY = float("inf")
TINY = torch.finfo(torch.float32).tiny


class Corner(NamedTuple):
    """One of the four pixels around every target, (B, 1, H W) each."""

    index: Value  # offset in a plane; 0 where not used
    inside: Value
    used: Value  # inside, and its weight is not 0
    weight: Value


@translates("splat")
def splat(
    inputs: Sequence[Value], flow: Value, metric: Value | None, mode: int, holes: int, keep_weight: bool,
    deterministic: bool,
) -> tuple[Several, Value, Value]:  # fmt: skip
    weights = None if metric is None else wide(metric)
    outs, weight, shift = splatted([wide(x) for x in inputs], wide(flow), weights, mode, holes)
    results = Several(typed(as_dtype_of(x, out), x) for x, out in zip(inputs, outs, strict=True))
    return results, *kept(weight, shift, mode, keep_weight)


def kept(weight: Value, shift: Value | None, mode: int, keep_weight: bool) -> tuple[Value, Value]:
    """D and shift, or empty tensors where nobody asked."""
    absent = filled(0.0, 0)
    whole = keep_weight and mode != MODES["sum"]
    return weight if whole else absent, shift if whole and shift is not None else op.Identity(absent)


def splatted(
    images: Sequence[Value], flow: Value, metric: Value | None, mode: int, holes: int
) -> tuple[list[Value], Value, Value | None]:
    """The sums of w e x and of w e, and N / D by the rule of holes: float32 results, D, and the shift."""
    b, h, w = size(flow, 0), sizes(flow, 2, 3), sizes(flow, 3, 4)
    plane = op.Mul(h, w)
    m = None if metric is None else reshaped(metric, b, 1, plane)
    lands, corners = corners_of(flow, m)
    shift = shift_of(lands, corners, m) if mode == MODES["softmax"] and m is not None else None
    flat = op.Concat(*(reshaped(x, b, size(x, 1), plane) for x in images), filled(1.0, b, 1, plane), axis=1)
    target = filled(0.0, sizes(flat, 0))  # the images' sums, and D
    for corner in corners:
        e = factor(corner, m, shift)
        terms = op.Where(corner.used, corner.weight * (flat if e is None else e * flat), 0.0)
        index = op.Expand(corner.index, shaped(1, sizes(flat, 1, 2), 1))
        target = op.ScatterElements(target, index, terms, axis=2, reduction="add")
    weight, sums = part(target, 1, -1), part(target, 1, 0, -1)
    if mode != MODES["sum"]:
        sums = sums * reciprocal(weight, holes)
    sums, outs, begin = reshaped(sums, b, -1, h, w), [], constant(0)
    for x in images:
        end = op.Add(begin, size(x, 1))
        outs.append(part(sums, 1, begin, end))
        begin = end
    return outs, reshaped(weight, b, 1, h, w), None if shift is None else reshaped(shift, b, 1, h, w)


def corners_of(flow: Value, metric: Value | None) -> tuple[Value, list[Corner]]:
    """Which pixels land anywhere, (B, 1, H W), and where; those whose flow or metric is not finite do not."""
    b, h, w = size(flow, 0), sizes(flow, 2, 3), sizes(flow, 3, 4)
    dx, dy = (part(flow, 1, n, n + 1) for n in (0, 1))
    lands = op.And(finite(dx), finite(dy))
    if metric is not None:
        lands = op.And(lands, reshaped(finite(metric), b, 1, h, w))
    x, lx, rx = split(op.Where(lands, dx, 0.0))
    y, ly, ry = split(op.Where(lands, dy, 0.0))
    x, y = x + steps(w, 1, 1, 1, -1), y + steps(h, 1, 1, -1, 1)
    corners = []
    for j, wy in enumerate((ry, ly)):
        for i, wx in enumerate((rx, lx)):
            cx, cy = x + float(i), y + float(j)
            inside = both(lands, within(cx, number(w)), within(cy, number(h)))
            row, column = (op.Cast(op.Where(inside, c, 0.0), to=INT64) for c in (cy, cx))
            weight = wx * wy
            used = op.And(inside, op.Not(op.Equal(weight, 0.0)))
            planes = (row * w + column, inside, used, weight)
            corners.append(Corner(*(reshaped(t, b, 1, -1) for t in planes)))
    return reshaped(lands, b, 1, -1), corners


def factor(corner: Corner, metric: Value | None, shift: Value | None) -> Value | None:
    """e of every pixel: None for 1, m, or exp(m - shift at the corner); 0 for what is skipped."""
    if metric is None:
        return None
    m = op.Where(corner.inside, metric, 0.0)
    if shift is None:
        return m
    below = op.Min(m - op.GatherElements(shift, corner.index, axis=2), 0.0)
    return op.Where(corner.inside, op.Exp(below), 0.0)


def shift_of(lands: Value, corners: Sequence[Corner], metric: Value) -> Value:
    """Largest metric: of the sample while its metrics span at most WIDE_SPAN, else of each target's contributors."""
    high = op.ReduceMax(op.Where(lands, metric, -INFINITY), constant(1, 2), keepdims=1)
    low = op.ReduceMin(op.Where(lands, metric, INFINITY), constant(1, 2), keepdims=1)
    target = filled(-INFINITY, sizes(metric, 0))
    for corner in corners:
        terms = op.Where(corner.used, metric, -INFINITY)
        target = op.ScatterElements(target, corner.index, terms, axis=2, reduction="max")
    shift = op.Where(op.LessOrEqual(high - low, WIDE_SPAN), high, target)
    return op.Where(finite(shift), shift, 0.0)


def reciprocal(weight: Value, holes: int) -> Value:
    """1 / q of the normalisation out = N / q."""
    if holes == HOLES["zero"]:
        hole = op.Less(op.Abs(weight), TINY)
        return op.Where(hole, 0.0, op.Reciprocal(op.Where(hole, 1.0, weight)))
    return op.Reciprocal(weight + EPS if holes == HOLES["add"] else op.Max(weight, EPS))
