"""Flows along trajectories as a torch op: public function, shapes, gradient."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vfi_kernels import backends
from vfi_kernels._arguments import expect_bool
from vfi_kernels._autograd import (
    refuse_forward_mode,
    register_differentiable,
    register_fake,
    register_second_derivative,
)
from vfi_kernels._options import BOUNDARIES, Boundary
from vfi_kernels._overrides import overridable
from vfi_kernels._results import empty_result, not_needed
from vfi_kernels._tracing import of_this_size
from vfi_kernels._types import Arguments, Context, Gradients, Op, Ops
from vfi_kernels.ops._shared.trajectories import check_curve, flat_keyframes, on_knots
from vfi_kernels.ops.sample_trajectory import reference

_sample: Op = torch.ops.vfi_kernels.sample_trajectory.default
_sample_grad: Ops = torch.ops.vfi_kernels.sample_trajectory_grad.default


@overridable
def sample_trajectory(
    keyframe_flows: Tensor,
    taus: Tensor | float | Sequence[float],
    *,
    knots: Tensor | Sequence[float] | None = None,
    a: float = -0.5,
    boundary: Boundary = "keys",
    extrapolate: bool = False,
    derivative: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    r"""Flows at any time from flows at a few, by cubic convolution along time.

    .. math::
        out[b, t, :, y, x] = \sum_k w\big(u - k\big)\, keyframe\_flows[b, k, :, y, x], \quad
        u = (taus[b, t] - knots[0]) / (knots[1] - knots[0])

    with Keys' kernel :math:`w(d) = (a + 2)|d|^3 - (a + 3)|d|^2 + 1` for :math:`|d| \le 1` and
    :math:`a|d|^3 - 5a|d|^2 + 8a|d| - 4a` for :math:`1 < |d| < 2`. The result passes through the keyframes, up to the
    rounding of u, and is continuous with its first derivative. With a = -0.5 constant velocity and constant
    acceleration are reproduced.

    Args:
        keyframe_flows: (B, K, 2, H, W) in pixels, channel 0 along x (right), channel 1 along y (down); float64,
            float32, float16 or bfloat16; any strides. K = 1 is constant; K = 2 with keys and linear ends is the
            straight line, whatever `a`.
        taus: times in the unit of `knots`: numbers or (T,), for all samples; (B, T) for each sample; or (B, T, H, W)
            for each pixel; any floating dtype. Numbers, also in a list or a NumPy array, are counted from the first
            knot on in double precision: give these, or float64, where knots are far from 0.
        knots: times of the keyframes: K numbers that increase in equal steps; None is linspace(0, 1, K).
        a: Keys' parameter.
        boundary: what stands before the first and, mirrored, after the last keyframe: "keys" 3 f0 - 3 f1 + f2 (exact
            for quadratics), "linear" 2 f0 - f1, "replicate" f0.
        extrapolate: continue the first and the last polynomial outside the knots; else taus are clamped to them.
        derivative: return the derivative per unit of tau (the velocity); 0 where tau is clamped.
        out: written and returned in place of fresh memory: the shape and dtype of the result, and no autograd.

    Returns:
        (B, T, 2, H, W) with the dtype of `keyframe_flows`; weights and sums are float32 or wider. A keyframe of weight
        0 is not read. Differentiable twice in keyframe_flows and taus, from the right at knots, where the second
        derivative jumps. Bitwise reproducible.

    Raises:
        ArgumentError: if a shape, dtype, device or `boundary` is not one of the above, or the knots are not uniform.

    Source:
        Keys, Cubic Convolution Interpolation for Digital Image Processing, IEEE Trans. ASSP 29(6), 1981, eqs. 4 and 19.
    """
    op = "sample_trajectory"
    keyframes = of_this_size(flat_keyframes(op, keyframe_flows), 2, 3)
    h, w = keyframes.shape[2:]
    check_curve(op, a, boundary, extrapolate)
    expect_bool(op, "derivative", derivative)
    batched, first, step = on_knots(op, taus, knots, keyframes, (h, w))
    refuse_forward_mode(op, keyframes, batched)
    curve = (first, step, float(a), BOUNDARIES[boundary], extrapolate)
    out = _sample(keyframes, batched, h, w, *curve, derivative)
    result: Tensor = out.unflatten(1, (batched.shape[1], 2))
    return result


@register_fake("sample_trajectory")
def _(
    keyframes: Tensor, taus: Tensor, height: int, width: int, first: float, step: float, a: float, boundary: str,
    extrapolate: bool, derivative: bool,
) -> Tensor:  # fmt: skip
    reference.check(keyframes, taus, height, width, step, boundary)
    return empty_result(keyframes, (keyframes.shape[0], 2 * taus.shape[1], height, width))


@register_fake("sample_trajectory_grad")
def _(grad_out: Tensor, keyframes: Tensor, taus: Tensor, *rest: object) -> tuple[Tensor, ...]:
    need_keyframes, need_taus = rest[-2:]
    return (
        empty_result(keyframes) if need_keyframes else not_needed(keyframes),
        empty_result(taus) if need_taus else not_needed(taus),
    )


def _setup_context(ctx: Context, inputs: Arguments, output: Tensor) -> None:
    keyframes, taus, *ctx.options = inputs
    ctx.save_for_backward(keyframes, taus)


def _backward(ctx: Context, grad_out: Tensor) -> Gradients:
    keyframes, taus = ctx.saved_tensors
    refuse_forward_mode("sample_trajectory", grad_out, keyframes, taus)
    need_keyframes, need_taus = ctx.needs_input_grad[:2]
    grads = _sample_grad(grad_out, keyframes, taus, *ctx.options, need_keyframes, need_taus)
    nothing = (None,) * len(ctx.options)
    return grads[0] if need_keyframes else None, grads[1] if need_taus else None, *nothing


register_differentiable("sample_trajectory", _setup_context, _backward)
register_second_derivative("sample_trajectory_grad", reference.sample_trajectory_grad)
backends.implement("sample_trajectory", reference.sample_trajectory)
backends.implement("sample_trajectory_grad", reference.sample_trajectory_grad)
