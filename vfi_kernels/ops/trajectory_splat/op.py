"""Splatting along trajectories as a torch op: public function, shapes, gradient."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vfi_kernels import backends
from vfi_kernels.checks import expect, expect_choice, expect_image, expect_tensors, expect_tensors_or_none
from vfi_kernels.layout import accumulator, empty_result, not_needed
from vfi_kernels.ops.trajectory_splat import reference
from vfi_kernels.options import BOUNDARIES, EPS_RULES, MODES
from vfi_kernels.overrides import overridable
from vfi_kernels.registration import (
    CAPTURED,
    grad_needed,
    refuse_forward_mode,
    register_differentiable,
    register_fake,
    register_second_derivative,
)
from vfi_kernels.trajectories import check_curve, flat_keyframes, on_knots
from vfi_kernels.trajectory_gradients import splat_gradient

_splat = torch.ops.vfi_kernels.trajectory_splat.default
_splat_grad = torch.ops.vfi_kernels.trajectory_splat_grad.default


@overridable
def trajectory_splat(
    input: Tensor,
    keyframe_flows: Tensor,
    taus: Tensor | float | Sequence[float],
    metric: Tensor | None = None,
    *,
    knots: Tensor | Sequence[float] | None = None,
    a: float = -0.5,
    boundary: str = "keys",
    extrapolate: bool = False,
    mode: str | None = None,
    eps: str = "zero",
) -> Tensor:
    r"""Moves every pixel of `input` along its trajectory and splats it where it is at each tau, in one pass.

    .. math::
        out[b, t] = splat(input[b],\; flow[b, t],\; metric[b])

    with flow as `sample_trajectory` gives it, resized to the input's grid as `trajectory_warp` does, and `splat` in
    any of its modes. No flow is written to memory.

    Args:
        input: (B, C, H, W), float64, float32, float16 or bfloat16; any strides.
        keyframe_flows: (B, K, 2, h, w) in pixels of its own grid, channel 0 along x, channel 1 along y; any floating
            dtype.
        taus: numbers, (T,), (B, T) or (B, T, H, W); see `sample_trajectory`, also for knots, a, boundary, extrapolate.
        metric: (B, 1, H, W), any floating dtype; for "linear" and "softmax" only.
        mode: "sum", "average", "linear" or "softmax"; None: softmax where there is a metric, else sum. See `splat`,
            also for eps, for pixels that are skipped and for gradients that are only rounding.
        eps: "zero", "add" or "clip".

    Returns:
        (B, T, C, H, W) with the dtype of `input`, every (B T, C, H, W) channels_last if the input is; sums are float32
        or wider. Differentiable twice in every argument (the softmax shift counts as a constant); the gradient works
        on one tau at a time. Bitwise reproducible on the CPU, and on a GPU under
        `torch.use_deterministic_algorithms(True)`.

    Raises:
        RuntimeError: if a shape, dtype, device or option is not one of the above, or the knots are not uniform.

    Source:
        Keys, Cubic Convolution Interpolation for Digital Image Processing, IEEE Trans. ASSP 29(6), 1981; Niklaus and
        Liu, Softmax Splatting for Video Frame Interpolation, CVPR 2020.
    """
    op = "trajectory_splat"
    expect_tensors(op, input=input)
    expect_image(op, "input", input)
    expect_tensors_or_none(op, metric=metric)
    keyframes = flat_keyframes(op, keyframe_flows, input, "input")
    check_curve(op, a, boundary, extrapolate)
    mode = reference.default_mode(mode, metric)
    expect_choice(op, "mode", mode, MODES)
    expect_choice(op, "eps", eps, EPS_RULES)
    batched, first, step = on_knots(op, taus, knots, keyframes, input.shape[2:])
    refuse_forward_mode(op, input, keyframes, batched, metric)
    curve = (first, step, float(a), BOUNDARIES[boundary], extrapolate)
    keep = grad_needed(input, keyframes, batched, metric)
    deterministic = torch.are_deterministic_algorithms_enabled()
    out, _, _ = _splat(input, keyframes, batched, metric, *curve, MODES[mode], EPS_RULES[eps], keep, deterministic)
    return out.unflatten(0, (input.shape[0], batched.shape[1]))


@register_fake("trajectory_splat")
def _(
    input: Tensor, keyframes: Tensor, taus: Tensor, metric: Tensor | None, first: float, step: float, a: float,
    boundary: str, extrapolate: bool, mode: str, eps: str, keep_weight: bool, deterministic: bool,
) -> tuple:  # fmt: skip
    reference.check(input, keyframes, taus, metric, step, boundary, mode, eps)
    batch = input.shape[0] * taus.shape[1]
    plane, acc = (batch, 1, *input.shape[2:]), accumulator(input, keyframes, taus, metric)
    weight = input.new_empty(plane if keep_weight and mode != "sum" else (0,), dtype=acc)
    shift = input.new_empty(plane if keep_weight and mode == "softmax" else (0,), dtype=acc)
    return empty_result(input, (batch, *input.shape[1:])), weight, shift


@register_fake("trajectory_splat_grad")
def _(
    grad_out: Tensor, grad_weight: Tensor | None, input: Tensor, keyframes: Tensor, taus: Tensor,
    metric: Tensor | None, *rest: Any,
) -> tuple:  # fmt: skip
    found = [empty_result(t) if need else not_needed(t) for t, need in zip((input, keyframes, taus), rest[-4:])]
    return *found, empty_result(metric) if rest[-1] and metric is not None else not_needed(keyframes)


def _setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
    *tensors, first, step, a, boundary, extrapolate, mode, eps, kept, _ = inputs
    out, weight, shift = output
    expect(kept or mode == MODES["sum"], "trajectory_splat", CAPTURED, "one captured without")
    ctx.options = (first, step, a, boundary, extrapolate, mode, eps)
    ctx.save_for_backward(*tensors, out, weight, shift)
    # D is no result of the public function, but second derivatives pass through it.
    ctx.mark_non_differentiable(shift, *([weight] if mode == MODES["sum"] else []))
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad_out: Tensor | None, grad_weight: Tensor | None, grad_shift: None) -> tuple:
    saved = ctx.saved_tensors
    input, keyframes, taus, metric, out, weight, shift = saved
    refuse_forward_mode("trajectory_splat", grad_out, grad_weight, *saved)
    needs = ctx.needs_input_grad[:4]
    nothing = (None,) * (len(ctx.options) + 2)
    grad_out = torch.zeros_like(out) if grad_out is None else grad_out
    tensors = (grad_out, grad_weight, input, keyframes, taus, metric, out, weight, shift)
    grads = _splat_grad(*tensors, *ctx.options, *needs)
    return *(g if need else None for g, need in zip(grads, needs)), *nothing


register_differentiable("trajectory_splat", _setup_context, _backward)
register_second_derivative("trajectory_splat_grad", reference.trajectory_splat_grad)
backends.implement("trajectory_splat", reference.trajectory_splat)
backends.implement("trajectory_splat_grad", reference.trajectory_splat_grad, composed=splat_gradient)
