"""correlation: shifted products. correlation_lookup: MatMul of all pairs, of which each window is gathered."""

from collections.abc import Sequence

from vfi_kernels._options import COSTS
from vfi_kernels.onnx._values import (
    INT64,
    TO_THE_END,
    Value,
    as_dtype_of,
    both,
    constant,
    counted,
    filled,
    finite,
    number,
    op,
    part,
    reshaped,
    size,
    sizes,
    split,
    steps,
    total,
    translates,
    wide,
    within,
)
from vfi_kernels.ops.correlation.reference import DEFAULTS

SIDES = DEFAULTS[0]
Pair = Sequence[int]  # vertical, horizontal


@translates("correlation")
def correlation(
    first: Value, second: Value, sides: Sequence[int] = SIDES, normalize: bool = True, cost: int = 0
) -> Value:
    """out[d, y, x] = the sum over the channels and the pixels p of the window of cost(first[p], second[p + d])."""
    radius, kernel_size, stride, padding, dilation, patch_dilation = zip(sides[::2], sides[1::2])
    shifts = [[n * step for n in range(-most, most + 1)] for most, step in zip(radius, patch_dilation)]
    reach = [each[-1] for each in shifts]
    a, b, pads = wide(first), wide(second), list(padding)
    if cost == COSTS["l1"]:  # of maps with zeros around them
        a, b, pads = padded(a, pads), padded(b, pads), [0, 0]
    wide_b, planes = padded(b, reach), []
    # For every row of displacements each pixel beside all that it meets there: [B, C, H, displacements, W]
    columns = op.Add(counted(sizes(a, 3)), reshaped(constant(*(reach[1] + dx for dx in shifts[1])), -1, 1))
    each = op.Unsqueeze(a, constant(3))
    for dy in shifts[0]:
        rows = part(wide_b, 2, reach[0] + dy, dy - reach[0] or TO_THE_END)
        met = op.Gather(rows, columns, axis=3)
        costs = op.Abs(each - met) if cost == COSTS["l1"] else each * met
        planes.append(op.Transpose(op.ReduceSum(costs, constant(1), keepdims=0), perm=[0, 2, 1, 3]))
    points = op.Concat(*planes, axis=1)
    if cost != COSTS["l1"]:  # 0 outside, whatever the other map holds
        points = op.Where(meeting(first, *shifts), points, 0.0)
    sums = windows(points, kernel_size, stride, pads, dilation)
    if normalize:
        sums = sums / (op.Max(number(size(first, 1)), 1.0) * float(kernel_size[0] * kernel_size[1]))
    return as_dtype_of(first, sums)


def padded(image: Value, around: Pair) -> Value:
    y, x = around
    return op.Pad(image, constant(0, 0, y, x, 0, 0, y, x), 0.0) if y or x else image


def meeting(image: Value, down: list[int], right: list[int]) -> Value:
    """Where a pixel and the one at a displacement are both inside, (1, displacements, H, W)."""
    y = op.Add(steps(size(image, 2), 1, 1, 1, -1, 1), floats(down, -1, 1, 1, 1))
    x = op.Add(steps(size(image, 3), 1, 1, 1, 1, -1), floats(right, 1, -1, 1, 1))
    inside = op.And(within(y, number(size(image, 2))), within(x, number(size(image, 3))))  # [1, down, right, H, W]
    return reshaped(inside, 1, -1, size(image, 2), size(image, 3))


def floats(numbers: Sequence[int], *shape: int) -> Value:
    return op.Reshape(op.Constant(value_floats=[float(n) for n in numbers]), constant(*shape))


def windows(points: Value, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Value:
    """The sum of `points`, of the padded map, over the window of each output."""
    if list(kernel_size) == list(stride) == [1, 1] and list(padding) == [0, 0]:
        return points
    planes = reshaped(points, -1, 1, sizes(points, 2))
    ones = filled(1.0, 1, 1, *kernel_size)
    sums = op.Conv(
        planes, ones, strides=list(stride), pads=[*padding, *padding], dilations=list(dilation),
        kernel_shape=list(kernel_size),
    )  # fmt: skip
    return reshaped(sums, sizes(points, 0, 2), sizes(sums, 2))


@translates("correlation_lookup")
def correlation_lookup(first: Value, second: Value, positions: Value, radius: int = 4, levels: int = 4) -> Value:
    """out[l n^2 + i n + j, y, x] = sum over c of first[c, y, x] S_l[c] at (p / 2^l + (i - r, j - r)) / sqrt(C)."""
    b, c, h, w = (size(first, axis) for axis in range(4))
    n = 2 * radius + 1
    pixels = op.Transpose(reshaped(wide(first), b, c, -1), perm=[0, 2, 1])  # [B, H W, C]
    pixels = pixels / op.Sqrt(op.Max(number(c), 1.0))
    moves = op.Transpose(reshaped(wide(positions), b, 2, -1), perm=[0, 2, 1])
    x, y = part(moves, 2, 0, 1), part(moves, 2, 1, 2)
    level, planes = wide(second), []
    for number_of_level in range(levels):
        level = level if number_of_level == 0 else pooled(level)
        windows_of_level = looked_up(pixels, level, x / 2.0**number_of_level, y / 2.0**number_of_level, radius)
        planes.append(op.Transpose(windows_of_level, perm=[0, 3, 2, 1]))  # the first index moves x
    stacked = op.Concat(*planes, axis=1)  # [B, levels n, n, H W]
    return as_dtype_of(first, reshaped(stacked, b, levels * n * n, h, w))


def pooled(image: Value) -> Value:
    """Means of 2 x 2 pixels; an odd last row or column is left out."""
    for axis in (2, 3):
        end = op.Mul(op.Div(sizes(image, axis, axis + 1), 2), 2)
        near, far = (op.Slice(image, constant(n), end, constant(axis), constant(2)) for n in (0, 1))
        image = near + far
    return image / 4.0


def looked_up(pixels: Value, level: Value, x: Value, y: Value, radius: int) -> Value:
    """The window of every pixel (B, H W, C) around x and y (B, H W, 1) in a level (B, C, h, w): (B, H W, n, n), rows
    first."""
    b, h, w, n = sizes(level, 0, 1), sizes(level, 2, 3), sizes(level, 3, 4), 2 * radius + 1
    lands = op.And(finite(x), finite(y))
    left, lx, rx = split(op.Where(lands, x, 0.0))
    top, ly, ry = split(op.Where(lands, y, 0.0))
    columns = left - float(radius) + steps(constant(n + 1), 1, 1, -1)
    rows = top - float(radius) + steps(constant(n + 1), 1, 1, -1)
    rows, columns = op.Unsqueeze(rows, constant(3)), op.Unsqueeze(columns, constant(2))
    inside = both(op.Unsqueeze(lands, constant(3)), within(rows, number(h)), within(columns, number(w)))
    row, column = (op.Cast(op.Where(inside, at, 0.0), to=INT64) for at in (rows, columns))
    index = reshaped(row * w + column, sizes(pixels, 0, 2), (n + 1) ** 2)
    # One more pixel, so that there is one to gather where a level has none.
    flat = op.Pad(reshaped(level, b, sizes(level, 1, 2), op.Mul(h, w)), constant(0, 0, 0, 0, 0, 1), 0.0)
    values = op.GatherElements(op.MatMul(pixels, flat), index, axis=2)
    values = op.Where(inside, reshaped(values, sizes(inside, 0)), 0.0)
    rx, lx, ry, ly = (op.Unsqueeze(weight, constant(3)) for weight in (rx, lx, ry, ly))
    terms = []
    for j, wy in enumerate((ry, ly)):
        for i, wx in enumerate((rx, lx)):
            corner = part(part(values, 2, j, j + n), 3, i, i + n)
            unused = op.Or(op.Equal(wx, 0.0), op.Equal(wy, 0.0))
            terms.append(op.Where(unused, 0.0, wx * wy * corner))
    return total(terms)
