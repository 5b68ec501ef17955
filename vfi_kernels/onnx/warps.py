"""backward_warp and warp_blend: GridSample, at positions on which the rules of the borders have been applied."""

from vfi_kernels._options import PADDING_MODES
from vfi_kernels.onnx._values import Value, as_dtype_of, finite, note, number, op, part, size, steps, translates, wide
from vfi_kernels.ops._shared.reference_math.bilinear import FAR

INFINITE = (
    "GridSample rounds a position to about a 1e-7th of the image's width, and multiplies pixels that are not finite "
    "by weights of 0, which gives NaN"
)


@translates("backward_warp")
def backward_warp(image: Value, flow: Value, padding_mode: int = 0) -> Value:
    note("backward_warp", INFINITE)
    return as_dtype_of(image, warped(wide(image), wide(flow), padding_mode))


@translates("warp_blend")
def warp_blend(frame0: Value, frame1: Value, flow: Value, mask_logits: Value) -> Value:
    note("warp_blend", INFINITE)
    m, moves, border = op.Sigmoid(wide(mask_logits)), wide(flow), PADDING_MODES["border"]
    first = warped(wide(frame0), part(moves, 1, 0, 2), border)
    second = warped(wide(frame1), part(moves, 1, 2, 4), border)
    return as_dtype_of(frame0, m * first + (1.0 - m) * second)


def warped(image: Value, flow: Value, padding_mode: int) -> Value:
    """image[b, c] at (x, y) + flow, float32 both."""
    x, y = part(flow, 1, 0, 1), part(flow, 1, 1, 2)
    if padding_mode == PADDING_MODES["zeros"]:  # a pixel is lost where either component is not finite
        there = op.And(finite(x), finite(y))
        x, y = op.Where(there, x, float(-FAR)), op.Where(there, y, float(-FAR))
    place = {0: clipped, 1: beside, 2: mirrored}[padding_mode]
    width, height = number(size(image, 3)), number(size(image, 2))
    x = place(x, steps(op.Shape(flow, start=3, end=4), 1, 1, 1, -1), width)
    y = place(y, steps(op.Shape(flow, start=2, end=3), 1, 1, -1, 1), height)
    # Pixel centres at (2 x + 1) / width - 1: with align_corners an image of one pixel would be divided by 0.
    grid = op.Concat((x * 2.0 + 1.0) / width - 1.0, (y * 2.0 + 1.0) / height - 1.0, axis=1)
    outside = "zeros" if padding_mode == PADDING_MODES["zeros"] else "border"
    grid = op.Transpose(grid, perm=[0, 2, 3, 1])
    return op.GridSample(image, grid, align_corners=0, mode="bilinear", padding_mode=outside)


def clipped(flow: Value, start: Value, count: Value) -> Value:
    """A NaN counts as coordinate 0."""
    position = op.Where(op.IsNaN(flow), 0.0, flow + start)
    return op.Clip(position, 0.0, count - 1.0)


def beside(flow: Value, start: Value, count: Value) -> Value:
    """Not further outside than two pixels, where nothing is read either."""
    return op.Clip(flow + start, -2.0, count + 1.0)


def mirrored(flow: Value, start: Value, count: Value) -> Value:
    """Mirrored at the centres of the outer pixels; what is not finite, or beyond FAR, counts as coordinate 0."""
    period = op.Max((count - 1.0) * 2.0, 1.0)
    far = op.Or(op.IsNaN(flow), op.GreaterOrEqual(op.Abs(flow), float(FAR)))
    around = op.Mod(op.Where(far, 0.0, flow), period, fmod=1) + start
    around = op.Mod(op.Abs(around), period, fmod=1)
    position = op.Where(far, 0.0, op.Min(around, period - around))
    return op.Min(position, count - 1.0)
