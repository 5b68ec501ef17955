"""Splatting along trajectories as a torch op: public function, shapes, gradient."""

from collections.abc import Callable, Sequence
from typing import Literal, overload

import torch
from torch import Tensor

from vfi_kernels import backends
from vfi_kernels._arguments import expect, expect_tensors_or_none
from vfi_kernels._autograd import (
    CAPTURED,
    grad_needed,
    refuse_forward_mode,
    register_differentiable,
    register_fake,
    register_second_derivative,
)
from vfi_kernels._options import BOUNDARIES, HOLES, MODES, Boundary, Holes, Mode
from vfi_kernels._overrides import overridable
from vfi_kernels._results import accumulator, empty_result, not_needed
from vfi_kernels._types import Arguments, Context, Gradients, ListOp
from vfi_kernels.ops._shared.trajectories import check_curve, flat_keyframes, on_knots
from vfi_kernels.ops._shared.trajectory_gradients import splat_gradient
from vfi_kernels.ops.trajectory_splat import reference

_splat: ListOp = torch.ops.vfi_kernels.trajectory_splat.default
Grad = Callable[..., tuple[list[Tensor], Tensor, Tensor, Tensor]]
_splat_grad: Grad = torch.ops.vfi_kernels.trajectory_splat_grad.default


@overload
def trajectory_splat(
    image: Tensor,
    keyframe_flows: Tensor,
    taus: Tensor | float | Sequence[float],
    metric: Tensor | None = None,
    *,
    knots: Tensor | Sequence[float] | None = None,
    a: float = -0.5,
    boundary: Boundary = "keys",
    extrapolate: bool = False,
    mode: Mode | None = None,
    holes: Holes = "zero",
    return_weight: Literal[False] = False,
    out: Tensor | Sequence[Tensor] | None = None,
) -> Tensor: ...
@overload
def trajectory_splat(
    image: Tensor,
    keyframe_flows: Tensor,
    taus: Tensor | float | Sequence[float],
    metric: Tensor | None = None,
    *,
    knots: Tensor | Sequence[float] | None = None,
    a: float = -0.5,
    boundary: Boundary = "keys",
    extrapolate: bool = False,
    mode: Mode | None = None,
    holes: Holes = "zero",
    return_weight: Literal[True],
    out: Tensor | Sequence[Tensor] | None = None,
) -> tuple[Tensor, Tensor]: ...
@overload
def trajectory_splat(
    image: Sequence[Tensor],
    keyframe_flows: Tensor,
    taus: Tensor | float | Sequence[float],
    metric: Tensor | None = None,
    *,
    knots: Tensor | Sequence[float] | None = None,
    a: float = -0.5,
    boundary: Boundary = "keys",
    extrapolate: bool = False,
    mode: Mode | None = None,
    holes: Holes = "zero",
    return_weight: Literal[False] = False,
    out: Tensor | Sequence[Tensor] | None = None,
) -> list[Tensor]: ...
@overload
def trajectory_splat(
    image: Sequence[Tensor],
    keyframe_flows: Tensor,
    taus: Tensor | float | Sequence[float],
    metric: Tensor | None = None,
    *,
    knots: Tensor | Sequence[float] | None = None,
    a: float = -0.5,
    boundary: Boundary = "keys",
    extrapolate: bool = False,
    mode: Mode | None = None,
    holes: Holes = "zero",
    return_weight: Literal[True],
    out: Tensor | Sequence[Tensor] | None = None,
) -> tuple[list[Tensor], Tensor]: ...
@overridable
def trajectory_splat(
    image: Tensor | Sequence[Tensor],
    keyframe_flows: Tensor,
    taus: Tensor | float | Sequence[float],
    metric: Tensor | None = None,
    *,
    knots: Tensor | Sequence[float] | None = None,
    a: float = -0.5,
    boundary: Boundary = "keys",
    extrapolate: bool = False,
    mode: Mode | None = None,
    holes: Holes = "zero",
    return_weight: bool = False,
    out: Tensor | Sequence[Tensor] | None = None,
) -> Tensor | list[Tensor] | tuple[Tensor | list[Tensor], Tensor]:
    r"""Moves every pixel of `image` along its trajectory and splats it where it is at each tau, in one pass.

    .. math::
        out[b, t] = splat(image[b],\; flow[b, t],\; metric[b])

    with flow as `sample_trajectory` gives it, resized to the image's grid as `trajectory_warp` does, and `splat` in
    any of its modes. No flow is written to memory.

    Args:
        image: (B, C, H, W), float64, float32, float16 or bfloat16; any strides; or a sequence of such tensors (any C
            and dtype each) that move alike: targets and weights are then computed once, and the result is a list.
        keyframe_flows: (B, K, 2, h, w) in pixels of its own grid, channel 0 along x, channel 1 along y; any floating
            dtype.
        taus: numbers, (T,), (B, T) or (B, T, H, W); see `sample_trajectory`, also for knots, a, boundary, extrapolate.
        metric: (B, 1, H, W), any floating dtype; for "linear" and "softmax" only.
        mode: "sum", "average", "linear" or "softmax"; None: softmax where there is a metric, else average. See `splat`,
            also for holes, for pixels that are skipped and for gradients that are only rounding.
        holes: "zero", "add" or "clip".
        return_weight: also return D, or log D, as `splat` does.
        out: written and returned in place of fresh memory: the shape and dtype of the result, and no autograd.

    Returns:
        (B, T, C, H, W) with the dtype of `image`, every (B T, C, H, W) channels_last if the image is; with
        `return_weight` also (B, T, 1, H, W), float32 or wider, as sums are. Differentiable twice in every argument (the
        softmax shift counts as a constant); the gradient works on one tau at a time. Bitwise reproducible on the CPU,
        and on a GPU under `torch.use_deterministic_algorithms(True)`.

    Raises:
        ArgumentError: if a shape, dtype, device or option is not one of the above, or the knots are not uniform.

    Source:
        Keys, Cubic Convolution Interpolation for Digital Image Processing, IEEE Trans. ASSP 29(6), 1981; Niklaus and
        Liu, Softmax Splatting for Video Frame Interpolation, CVPR 2020.
    """
    op = "trajectory_splat"
    images = reference.images_of(op, image)
    first_image = reference.check_images(op, images)
    expect_tensors_or_none(op, metric=metric)
    keyframes = flat_keyframes(op, keyframe_flows, first_image, "image")
    check_curve(op, a, boundary, extrapolate)
    mode = reference.mode_of(op, mode, metric, holes, return_weight)
    batched, first, step = on_knots(op, taus, knots, keyframes, first_image.shape[2:])
    refuse_forward_mode(op, *images, keyframes, batched, metric)
    curve = (first, step, float(a), BOUNDARIES[boundary], extrapolate)
    keep = return_weight or grad_needed(*images, keyframes, batched, metric)
    deterministic = torch.are_deterministic_algorithms_enabled()
    outs, weight, shift = _splat(
        images, keyframes, batched, metric, *curve, MODES[mode], HOLES[holes], keep, deterministic
    )
    frames = (first_image.shape[0], batched.shape[1])
    results = [x.unflatten(0, frames) for x in outs]
    result = results[0] if isinstance(image, Tensor) else results
    if not return_weight:
        return result
    return result, reference.weight_result(mode, weight, shift).unflatten(0, frames)


@register_fake("trajectory_splat")
def _(
    inputs: Sequence[Tensor], keyframes: Tensor, taus: Tensor, metric: Tensor | None, first: float, step: float,
    a: float, boundary: str, extrapolate: bool, mode: str, holes: str, keep_weight: bool, deterministic: bool,
) -> tuple[list[Tensor], Tensor, Tensor]:  # fmt: skip
    reference.check(inputs, keyframes, taus, metric, step, boundary, mode, holes)
    like = inputs[0]
    batch = like.shape[0] * taus.shape[1]
    plane, acc = (batch, 1, *like.shape[2:]), accumulator(*inputs, keyframes, taus, metric)
    weight = like.new_empty(plane if keep_weight and mode != "sum" else (0,), dtype=acc)
    shift = like.new_empty(plane if keep_weight and mode == "softmax" else (0,), dtype=acc)
    return [empty_result(x, (batch, *x.shape[1:])) for x in inputs], weight, shift


@register_fake("trajectory_splat_grad")
def _(
    grad_outs: Sequence[Tensor], grad_weight: Tensor | None, inputs: Sequence[Tensor], keyframes: Tensor,
    taus: Tensor, metric: Tensor | None, *rest: object,
) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:  # fmt: skip
    need_inputs, *needs, need_metric = rest[-4:]
    grads = [empty_result(x) if need_inputs else not_needed(x) for x in inputs]
    at, tau = (empty_result(t) if need else not_needed(t) for t, need in zip((keyframes, taus), needs))
    return grads, at, tau, empty_result(metric) if need_metric and metric is not None else not_needed(keyframes)


def _setup_context(ctx: Context, inputs: Arguments, output: Arguments) -> None:
    images, *tensors, first, step, a, boundary, extrapolate, mode, holes, kept, _ = inputs
    outs, weight, shift = output
    expect(kept or mode == MODES["sum"], "trajectory_splat", CAPTURED, "one captured without")
    ctx.options = (first, step, a, boundary, extrapolate, mode, holes)
    ctx.count = len(images)
    ctx.save_for_backward(*images, *outs, *tensors, weight, shift)
    # D is no result of the public function, but second derivatives pass through it.
    ctx.mark_non_differentiable(shift, *([weight] if mode == MODES["sum"] else []))
    ctx.set_materialize_grads(False)


def _backward(
    ctx: Context, grad_outs: Sequence[Tensor | None], grad_weight: Tensor | None, grad_shift: None
) -> Gradients:
    saved = list(ctx.saved_tensors)
    images, outs, tensors = saved[: ctx.count], saved[ctx.count : 2 * ctx.count], saved[2 * ctx.count :]
    keyframes, taus, metric, weight, shift = tensors
    refuse_forward_mode("trajectory_splat", *grad_outs, grad_weight, *saved)
    needs_each, *needs = ctx.needs_input_grad[:4]
    nothing = (None,) * (len(ctx.options) + 2)
    grad_outs = [torch.zeros_like(x) if g is None else g for g, x in zip(grad_outs, outs)]
    grads, *others = _splat_grad(
        grad_outs,
        grad_weight,
        images,
        keyframes,
        taus,
        metric,
        outs,
        weight,
        shift,
        *ctx.options,
        any(needs_each),
        *needs,
    )
    each = [g if need else None for g, need in zip(grads, needs_each)]
    return each, *(g if need else None for g, need in zip(others, needs)), *nothing


register_differentiable("trajectory_splat", _setup_context, _backward)
register_second_derivative("trajectory_splat_grad", reference.trajectory_splat_grad)
backends.implement("trajectory_splat", reference.trajectory_splat)
backends.implement("trajectory_splat_grad", reference.trajectory_splat_grad, composed=splat_gradient)
