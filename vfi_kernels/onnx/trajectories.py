"""Flows along trajectories by the weights of keyframes, and the warp and the splat along them; the formulas of
ops/_shared/reference_math/keys_cubic.py."""

from collections.abc import Sequence

from vfi_kernels._arguments import expect
from vfi_kernels._options import BOUNDARIES
from vfi_kernels.onnx._values import (
    FLOAT,
    Several,
    Value,
    as_dtype_of,
    constant,
    counted,
    filled,
    known,
    note,
    number,
    op,
    part,
    reshaped,
    same_size,
    shaped,
    size,
    sizes,
    steps,
    total,
    translates,
    typed,
    wide,
)
from vfi_kernels.onnx.splats import kept, splatted
from vfi_kernels.onnx.warps import INFINITE, warped
from vfi_kernels.ops._shared.reference_math.keys_cubic import PHANTOM, Curve

WORDS = list(BOUNDARIES)


@translates("sample_trajectory")
def sample_trajectory(
    keyframes: Value, taus: Value, height: int | Value, width: int | Value, first: float, step: float, a: float,
    boundary: int, extrapolate: bool, derivative: bool,
) -> Value:  # fmt: skip
    """(B, 2 T, H, W). The public function asks for the size of the keyframes."""
    for asked, axis in ((height, 2), (width, 3)):
        given = keyframes.shape[axis]
        same = not isinstance(asked, int) or not isinstance(given, int) or asked == given
        expect(same, "sample_trajectory", "the height and width of the keyframes in ONNX", (height, width))
    curve = Curve(first, step, a, WORDS[boundary], extrapolate)
    flows = flows_of("sample_trajectory", curve, keyframes, taus, keyframes, int(derivative))
    return as_dtype_of(keyframes, reshaped(flows, size(keyframes, 0), -1, sizes(flows, 3)))


@translates("trajectory_warp")
def trajectory_warp(
    image: Value, keyframes: Value, taus: Value, first: float, step: float, a: float, boundary: int, extrapolate: bool,
    padding_mode: int,
) -> Value:  # fmt: skip
    note("trajectory_warp", INFINITE)
    curve = Curve(first, step, a, WORDS[boundary], extrapolate)
    flows = flows_of("trajectory_warp", curve, keyframes, taus, image)
    return as_dtype_of(image, warped(repeated(wide(image), taus), in_one_batch(flows), padding_mode))


@translates("trajectory_splat")
def trajectory_splat(
    inputs: Sequence[Value], keyframes: Value, taus: Value, metric: Value | None, first: float, step: float, a: float,
    boundary: int, extrapolate: bool, mode: int, holes: int, keep_weight: bool, deterministic: bool,
) -> tuple[Several, Value, Value]:  # fmt: skip
    curve = Curve(first, step, a, WORDS[boundary], extrapolate)
    flows = in_one_batch(flows_of("trajectory_splat", curve, keyframes, taus, inputs[0]))
    metrics = None if metric is None else repeated(wide(metric), taus)
    outs, weight, shift = splatted([repeated(wide(x), taus) for x in inputs], flows, metrics, mode, holes)
    results = Several(typed(as_dtype_of(x, out), x, batch=None) for x, out in zip(inputs, outs, strict=True))
    return results, *kept(weight, shift, mode, keep_weight)


def repeated(image: Value, taus: Value) -> Value:
    """(B, C, H, W) -> (B T, C, H, W), each image T times."""
    each = op.Expand(op.Unsqueeze(image, constant(1)), shaped(1, size(taus, 1), 1, 1, 1))
    return reshaped(each, -1, *(size(image, axis) for axis in (1, 2, 3)))


def in_one_batch(flows: Value) -> Value:
    """(B, T, 2, H, W) -> (B T, 2, H, W)"""
    return reshaped(flows, -1, sizes(flows, 2))


def flows_of(name: str, curve: Curve, keyframes: Value, taus: Value, image: Value, order: int = 0) -> Value:
    """Keyframes (B, 2 K, h, w) at taus (B, T, 1 or H, 1 or W): (B, T, 2, H, W), as large as `image`."""
    count = known(keyframes, 1, name, "the number of keyframes") // 2
    planes = resized(wide(keyframes), image)
    pairs = reshaped(planes, size(keyframes, 0), 1, count, 2, size(image, 2), size(image, 3))
    weight = op.Unsqueeze(weights(curve, wide(taus), count, order), constant(3))  # [B, T, K, 1, 1 or H, 1 or W]
    terms = op.Where(op.Equal(weight, 0.0), 0.0, weight * pairs)
    return op.ReduceSum(terms, constant(2), keepdims=0)


def resized(keyframes: Value, image: Value) -> Value:
    """As large as `image`, bilinear, vectors scaled alike. Resize would round the places and read all neighbours."""
    if same_size(keyframes, image, 2, 3):
        return keyframes
    planes = keyframes
    ratios: list[Value] = []
    for axis in (2, 3):
        count, wanted = size(keyframes, axis), size(image, axis)
        first, second, fraction = neighbours(count, wanted)
        fraction = op.Reshape(fraction, constant(*((-1, 1) if axis == 2 else (-1,))))
        near, far = op.Gather(planes, first, axis=axis), op.Gather(planes, second, axis=axis)
        planes = op.Where(op.Equal(fraction, 0.0), near, (1.0 - fraction) * near + fraction * far)
        ratios.insert(0, op.Reshape(number(wanted) / number(count), constant(1, 1, 1)))
    pairs = reshaped(planes, size(keyframes, 0), -1, 2, size(image, 2), size(image, 3)) * op.Concat(*ratios, axis=0)
    return reshaped(pairs, sizes(keyframes, 0, 2), sizes(image, 2, 4))


def neighbours(count: Value, wanted: Value) -> tuple[Value, Value, Value]:
    """Both neighbours, int64, and the fraction of every one of `wanted` pixels: at ((2 x + 1) count - wanted) / (2
    wanted), exactly."""
    twice, last = op.Mul(wanted, 2), op.Sub(count, 1)
    numerator = op.Max(op.Sub(op.Mul(op.Add(op.Mul(counted(wanted), 2), 1), count), wanted), 0)
    first = op.Div(numerator, twice)
    fraction = op.Cast(op.Sub(numerator, op.Mul(first, twice)), to=FLOAT) / op.Cast(twice, to=FLOAT)
    fraction = op.Where(op.GreaterOrEqual(first, last), 0.0, fraction)
    return op.Min(first, last), op.Min(op.Add(first, 1), last), fraction


def weights(curve: Curve, taus: Value, count: int, order: int) -> Value:
    """Weight of every keyframe at taus (B, T, H, W), or its derivative per unit of tau: (B, T, K, H, W)."""
    taus = op.Unsqueeze(taus, constant(2))
    if count == 1:
        return filled(1.0 if order == 0 else 0.0, sizes(taus, 0))
    u = (taus - curve.first) / curve.step
    moves = op.And(op.GreaterOrEqual(u, 0.0), op.LessOrEqual(u, count - 1.0))
    if not curve.extrapolate:
        u = op.Clip(u, 0.0, count - 1.0)
    i = op.Clip(op.Floor(op.Where(op.IsNaN(u), 0.0, u)), 0.0, count - 2.0)
    s = u - i
    if count == 2 and curve.boundary != "replicate":
        dense = op.Concat(*((1.0 - s, s) if order == 0 else (s * 0.0 - 1.0, s * 0.0 + 1.0)), axis=2)
    else:
        dense = folded(i, taps(s, curve.a, order), count, PHANTOM[curve.boundary])
    if order == 0:
        return dense
    dense = dense / curve.step
    return dense if curve.extrapolate else op.Where(moves, dense, 0.0)


def taps(s: Value, a: float, order: int) -> tuple[Value, ...]:
    """The weights of f[i-1] ... f[i+2], or their derivatives along s."""
    r = 1.0 - s
    if order == 0:
        before, after = a * s * r * r, a * s * s * r
        here, there = (1.0 + 2.0 * s) * r * r, s * s * (3.0 - 2.0 * s)
    else:
        before, after = a * r * (1.0 - 3.0 * s), a * s * (2.0 - 3.0 * s)
        here, there = -6.0 * s * r, 6.0 * s * r
    return before, here - after, there - before, after


def folded(i: Value, taps: tuple[Value, ...], count: int, phantom: tuple[int, ...]) -> Value:
    """The weights of f[i-1] ... f[i+2] at their places among K, those of f[-1] and f[K] as ones of keyframes."""
    at = steps(constant(count + 2), 1, 1, -1, 1, 1) - 1.0
    dense = total([op.Where(op.Equal(i + float(m), at), taps[m + 1], 0.0) for m in range(-1, 3)])
    before, after = part(dense, 2, 0, 1), part(dense, 2, -1)
    start = [*phantom, *(0,) * count][:count]
    parts = [part(dense, 2, 1, -1)]
    for outer, shares in ((before, start), (after, start[::-1])):
        share = op.Reshape(op.Constant(value_floats=[float(n) for n in shares]), constant(1, 1, -1, 1, 1))
        parts.append(op.Where(op.Equal(share, 0.0), 0.0, share * outer))
    return total(parts)
