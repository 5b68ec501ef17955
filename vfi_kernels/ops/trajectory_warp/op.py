"""Backward warping along trajectories as a torch op: public function, shapes, gradient."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vfi_kernels import backends
from vfi_kernels._arguments import expect_choice, expect_image, expect_tensors
from vfi_kernels._autograd import (
    refuse_forward_mode,
    register_differentiable,
    register_fake,
    register_second_derivative,
)
from vfi_kernels._options import BOUNDARIES, PADDING_MODES, Boundary, PaddingMode
from vfi_kernels._overrides import overridable
from vfi_kernels._results import empty_result, not_needed
from vfi_kernels._types import Arguments, Context, Gradients, Op, Ops
from vfi_kernels.ops._shared.trajectories import check_curve, flat_keyframes, on_knots
from vfi_kernels.ops._shared.trajectory_gradients import warp_gradient
from vfi_kernels.ops.trajectory_warp import reference

_warp: Op = torch.ops.vfi_kernels.trajectory_warp.default
_warp_grad: Ops = torch.ops.vfi_kernels.trajectory_warp_grad.default


@overridable
def trajectory_warp(
    image: Tensor,
    keyframe_flows: Tensor,
    taus: Tensor | float | Sequence[float],
    *,
    knots: Tensor | Sequence[float] | None = None,
    a: float = -0.5,
    boundary: Boundary = "keys",
    extrapolate: bool = False,
    padding_mode: PaddingMode = "border",
    out: Tensor | None = None,
) -> Tensor:
    r"""Samples `image` where the trajectories are at each tau, in one pass.

    .. math::
        out[b, t, c, y, x] = image[b, c](x + flow[b, t, 0, y, x],\; y + flow[b, t, 1, y, x])

    with flow as `sample_trajectory` gives it. Keyframes of another height and width are resized to the image's grid
    as F.interpolate does (bilinear, align_corners=False), their vectors scaled by W / w and H / h. The keyframes of a
    pixel are read once for all taus; no flow is written to memory.

    Args:
        image: (B, C, H, W), float64, float32, float16 or bfloat16; any strides.
        keyframe_flows: (B, K, 2, h, w) in pixels of its own grid, channel 0 along x, channel 1 along y; any floating
            dtype.
        taus: numbers, (T,), (B, T) or (B, T, H, W); see `sample_trajectory`, also for knots, a, boundary, extrapolate.
        padding_mode: "border", "zeros" or "reflection"; see `backward_warp`, also for ties and flow that is not finite.
        out: written and returned in place of fresh memory: the shape and dtype of the result, and no autograd.

    Returns:
        (B, T, C, H, W) with the dtype of `image`, every (B T, C, H, W) channels_last if the image is; positions and
        sums are float32 or wider. Differentiable twice in image, keyframe_flows and taus; the gradient works on one
        tau at a time. Bitwise reproducible on the CPU, and on a GPU under `torch.use_deterministic_algorithms(True)`.

    Raises:
        ArgumentError: if a shape, dtype, device or option is not one of the above, or the knots are not uniform.

    Source:
        Keys, Cubic Convolution Interpolation for Digital Image Processing, IEEE Trans. ASSP 29(6), 1981.
    """
    op = "trajectory_warp"
    expect_tensors(op, image=image)
    expect_image(op, "image", image)
    keyframes = flat_keyframes(op, keyframe_flows, image, "image")
    check_curve(op, a, boundary, extrapolate)
    expect_choice(op, "padding_mode", padding_mode, PADDING_MODES)
    batched, first, step = on_knots(op, taus, knots, keyframes, image.shape[2:])
    refuse_forward_mode(op, image, keyframes, batched)
    curve = (first, step, float(a), BOUNDARIES[boundary], extrapolate)
    out = _warp(image, keyframes, batched, *curve, PADDING_MODES[padding_mode])
    result: Tensor = out.unflatten(0, (image.shape[0], batched.shape[1]))
    return result


@register_fake("trajectory_warp")
def _(
    image: Tensor, keyframes: Tensor, taus: Tensor, first: float, step: float, a: float, boundary: str,
    extrapolate: bool, padding_mode: str,
) -> Tensor:  # fmt: skip
    reference.check(image, keyframes, taus, step, boundary, padding_mode)
    return empty_result(image, (image.shape[0] * taus.shape[1], *image.shape[1:]))


@register_fake("trajectory_warp_grad")
def _(grad_out: Tensor, image: Tensor, keyframes: Tensor, taus: Tensor, *rest: object) -> tuple[Tensor, ...]:
    tensors, needs = (image, keyframes, taus), rest[-3:]
    return tuple(empty_result(t) if need else not_needed(t) for t, need in zip(tensors, needs))


def _setup_context(ctx: Context, inputs: Arguments, output: Tensor) -> None:
    *tensors, ctx.first, ctx.step, ctx.a, ctx.boundary, ctx.extrapolate, ctx.padding_mode = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Context, grad_out: Tensor) -> Gradients:
    saved = ctx.saved_tensors
    refuse_forward_mode("trajectory_warp", grad_out, *saved)
    needs = ctx.needs_input_grad[:3]
    options = (ctx.first, ctx.step, ctx.a, ctx.boundary, ctx.extrapolate, ctx.padding_mode)
    deterministic = torch.are_deterministic_algorithms_enabled()
    grads = _warp_grad(grad_out, *saved, *options, deterministic, *needs)
    return *(g if need else None for g, need in zip(grads, needs)), *(None,) * len(options)


register_differentiable("trajectory_warp", _setup_context, _backward)
register_second_derivative("trajectory_warp_grad", reference.trajectory_warp_grad)
backends.implement("trajectory_warp", reference.trajectory_warp)
backends.implement("trajectory_warp_grad", reference.trajectory_warp_grad, composed=warp_gradient)
