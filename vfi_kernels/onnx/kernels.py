"""Kernels of each pixel's own, adacof and sepconv: what they multiply is gathered."""

import math

from vfi_kernels.onnx._values import (
    INT64,
    TO_THE_END,
    Value,
    as_dtype_of,
    constant,
    counted,
    finite,
    known,
    number,
    op,
    part,
    reshaped,
    shaped,
    size,
    sizes,
    steps,
    total,
    translates,
    wide,
)


@translates("adacof")
def adacof(
    image: Value, weights: Value, offsets_vertical: Value, offsets_horizontal: Value, dilation: int = 1
) -> Value:
    """out[y, x] = sum over k, l of weights[k F + l] image(y + dilation k + vertical, x + dilation l + horizontal): its
    offsets are cut towards 0, and each of the two pixels along an axis is clipped by itself."""
    side = math.isqrt(known(weights, 1, "adacof", "the number of taps"))
    vertical, horizontal = wide(offsets_vertical), wide(offsets_horizontal)
    there = op.And(finite(vertical), finite(horizontal))
    h, w = (size(weights, axis) for axis in (2, 3))
    tap = range(side * side)
    down, across = (taps([dilation * place(k, side) for k in tap]) for place in (int.__floordiv__, int.__mod__))
    y = axis(steps(h, 1, 1, -1, 1) + down, vertical, number(size(image, 2)))
    x = axis(steps(w, 1, 1, 1, -1) + across, horizontal, number(size(image, 3)))
    planes = reshaped(wide(image), sizes(image, 0, 2), -1)
    terms = []
    for j, i in ((0, 0), (0, 1), (1, 0), (1, 1)):
        (row, wy), (column, wx) = y[j], x[i]
        index = reshaped(row * size(image, 3) + column, size(image, 0), 1, -1)
        pixels = op.GatherElements(planes, op.Expand(index, shaped(1, size(image, 1), 1)), axis=2)
        pixels = reshaped(pixels, sizes(image, 0, 2), side * side, h, w)
        wx, wy = (op.Unsqueeze(weight, constant(1)) for weight in (wx, wy))
        unused = op.Or(op.Equal(wx, 0.0), op.Equal(wy, 0.0))
        terms.append(op.Where(unused, 0.0, wy * wx * pixels))
    values = op.Unsqueeze(wide(weights), constant(1)) * total(terms)
    values = op.Where(op.Unsqueeze(there, constant(1)), values, 0.0)
    return as_dtype_of(image, op.ReduceSum(values, constant(2), keepdims=0))


def taps(places: list[int]) -> Value:
    """(1, F F, 1, 1) float32"""
    return op.Reshape(op.Constant(value_floats=[float(n) for n in places]), constant(1, -1, 1, 1))


def axis(start: Value, offset: Value, count: Value) -> list[tuple[Value, Value]]:
    """The two pixels of every position along an axis, int64, and their weights; where the position is clipped the first
    has all."""
    known_offset = op.Where(finite(offset), offset, 0.0)
    whole = op.Floor(op.Abs(known_offset)) * op.Sign(known_offset)
    first, fraction, last = start + whole, known_offset - whole, count - 1.0
    moves = op.And(op.GreaterOrEqual(first, 0.0), op.Less(first, last))
    near, far = (op.Cast(op.Clip(at, 0.0, last), to=INT64) for at in (first, first + 1.0))
    return [(near, op.Where(moves, 1.0 - fraction, 1.0)), (far, op.Where(moves, fraction, 0.0))]


@translates("sepconv")
def sepconv(image: Value, vertical: Value, horizontal: Value) -> Value:
    """out[y, x] = sum over i of vertical[i, y, x] sum over j of horizontal[j, y, x] image[y + i, x + j]"""
    picture, v = wide(image), wide(vertical)
    h = op.Unsqueeze(op.Transpose(wide(horizontal), perm=[0, 2, 3, 1]), constant(1))  # [B, 1, H, W, Fh]
    rows = known(vertical, 1, "sepconv", "the number of vertical taps")
    columns = op.Add(
        op.Unsqueeze(counted(size(horizontal, 3)), constant(1)), op.Unsqueeze(counted(size(horizontal, 1)), constant(0))
    )
    terms = []
    for i in range(rows):
        read = op.Gather(part(picture, 2, i, i + 1 - rows or TO_THE_END), columns, axis=3)  # [B, C, H, W, Fh]
        terms.append(part(v, 1, i, i + 1) * op.ReduceSum(read * h, constant(4), keepdims=0))
    return as_dtype_of(image, total(terms))
