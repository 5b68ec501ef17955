"""Lists of patches: NonZero, GatherND and ScatterND. A row (b, row, column) that names no patch is ignored."""

from vfi_kernels._options import PATCH_PADDING_MODES
from vfi_kernels.onnx._values import (
    INT32,
    INT64,
    Value,
    as_dtype_of,
    both,
    constant,
    counted,
    known,
    op,
    part,
    reshaped,
    shaped,
    size,
    sizes,
    translates,
    wide,
)


@translates("patch_indices")
def patch_indices(route: Value, capacity: int | Value | None) -> tuple[Value, Value]:
    count = op.ReduceSum(op.Cast(route, to=INT64), keepdims=0)
    active = op.Cast(op.Transpose(op.NonZero(route), perm=[1, 0]), to=INT32)
    if capacity is not None:
        length = reshaped(op.Identity(capacity), 1)
        rest = op.Expand(op.Cast(constant(-1), to=INT32), shaped(length, 3))
        active = part(op.Concat(active, rest, axis=0), 0, 0, length)
    return active, count


@translates("patch_gather")
def patch_gather(
    input: Value, indices: Value, patch: int | Value, halo: int | Value, channels_last: bool | None
) -> Value:
    return gathered(input, indices, patch, halo)


@translates("patch_scatter")
def patch_scatter(patches: Value, indices: Value, base: Value) -> Value:
    """On rows that are patches, of which one more takes what is not used."""
    b, c, h, w = (size(base, axis) for axis in range(4))
    patch = size(patches, 2)
    rows, columns = op.Div(h, patch), op.Div(w, patch)
    grid = reshaped(base, b, c, rows, patch, columns, patch)
    cells = reshaped(op.Transpose(grid, perm=[0, 2, 4, 1, 3, 5]), -1, c, patch, patch)
    count = sizes(cells, 0, 1)
    room = op.Pad(cells, constant(0, 0, 0, 0, 1, 0, 0, 0), op.CastLike(0.0, base))
    n, row, column = (part(op.Cast(indices, to=INT64), 1, i, i + 1) for i in range(3))
    place = op.Where(listed(indices, b, rows, columns), (n * rows + row) * columns + column, count)
    written = part(op.ScatterND(room, place, patches), 0, 0, count)
    grid = op.Transpose(reshaped(written, b, rows, columns, c, patch, patch), perm=[0, 3, 1, 4, 2, 5])
    return reshaped(grid, b, c, h, w)


@translates("routed_conv2d")
def routed_conv2d(
    input: Value, weight: Value, bias: Value | None, indices: Value, patch: int | Value, stride: int, transposed: bool,
    padding_mode: int, allow_tf32: bool,
) -> Value:  # fmt: skip
    kernel = known(weight, 2, "routed_conv2d", "the size of the kernel")
    halo = 1 if padding_mode == PATCH_PADDING_MODES["image"] and kernel > 1 else 0
    tiles, w, b = gathered(wide(input), indices, patch, halo), wide(weight), None if bias is None else wide(bias)
    if transposed:
        out = op.ConvTranspose(tiles, w, b, kernel_shape=[4, 4], strides=[2, 2], pads=[1 + 2 * halo] * 4)
    else:
        out = op.Conv(tiles, w, b, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[kernel // 2 - halo] * 4)
    length = as_length(patch)
    used = listed(indices, size(input, 0), *(op.Div(size(input, axis), length) for axis in (2, 3)))
    return as_dtype_of(input, op.Where(op.Unsqueeze(used, constant(2, 3)), out, 0.0))


def as_length(side: int | Value) -> Value:
    """(1,) int64"""
    return constant(side) if isinstance(side, int) else reshaped(side, 1)


def listed(indices: Value, batch: Value, rows: Value, columns: Value) -> Value:
    """(P, 1) bool: which rows of `indices` name a patch."""
    wide_indices = op.Cast(indices, to=INT64)
    inside = op.And(op.GreaterOrEqual(wide_indices, 0), op.Less(wide_indices, op.Concat(batch, rows, columns, axis=0)))
    return op.Equal(op.ReduceSum(op.Cast(inside, to=INT64), constant(1), keepdims=1), 3)


def gathered(image: Value, indices: Value, patch: int | Value, halo: int | Value) -> Value:
    """(P, C, s, s) with s = patch + 2 halo; 0 outside the image and for rows that are not used."""
    patch, halo = as_length(patch), as_length(halo)
    b, h, w = (size(image, axis) for axis in (0, 2, 3))
    used = listed(indices, b, op.Div(h, patch), op.Div(w, patch))  # [P, 1]
    n, row, column = (part(op.Cast(indices, to=INT64), 1, i, i + 1) for i in range(3))
    side = op.Add(patch, op.Mul(halo, 2))
    around = op.Sub(counted(side), halo)
    ys, xs = op.Add(row * patch, around), op.Add(column * patch, around)  # [P, s]
    in_y, in_x = (both(used, op.GreaterOrEqual(at, 0), op.Less(at, count)) for at, count in ((ys, h), (xs, w)))
    inside = op.And(op.Unsqueeze(in_y, constant(2)), op.Unsqueeze(in_x, constant(1)))
    places = (
        op.Unsqueeze(op.Where(used, n, 0), constant(2)),
        op.Unsqueeze(op.Where(in_y, ys, 0), constant(2)),
        op.Unsqueeze(op.Where(in_x, xs, 0), constant(1)),
    )
    shape = op.Concat(sizes(indices, 0, 1), side, side, axis=0)
    index = op.Concat(*(op.Unsqueeze(op.Expand(place, shape), constant(3)) for place in places), axis=3)
    pixels = op.GatherND(op.Transpose(image, perm=[0, 2, 3, 1]), index)  # [P, s, s, C]
    pixels = op.Where(op.Unsqueeze(inside, constant(3)), pixels, op.CastLike(0.0, image))
    return op.Transpose(pixels, perm=[0, 3, 1, 2])
