"""Splatting (forward warping) as a torch op: public function, shapes, gradient."""

from collections.abc import Sequence
from typing import Literal, overload

import torch
from torch import Tensor

from vfi_kernels import backends
from vfi_kernels._arguments import expect, expect_tensors, expect_tensors_or_none
from vfi_kernels._autograd import (
    CAPTURED,
    grad_needed,
    refuse_forward_mode,
    register_differentiable,
    register_fake,
    register_second_derivative,
)
from vfi_kernels._options import HOLES, MODES, Holes, Mode
from vfi_kernels._overrides import overridable
from vfi_kernels._results import accumulator, empty_result, not_needed
from vfi_kernels._types import Arguments, Context, Gradients, ListOp
from vfi_kernels.ops.splat import reference

_splat: ListOp = torch.ops.vfi_kernels.splat.default
_splat_grad: ListOp = torch.ops.vfi_kernels.splat_grad.default


@overload
def splat(
    image: Tensor,
    flow: Tensor,
    metric: Tensor | None = None,
    *,
    mode: Mode | None = None,
    holes: Holes = "zero",
    return_weight: Literal[False] = False,
    out: Tensor | Sequence[Tensor] | None = None,
) -> Tensor: ...
@overload
def splat(
    image: Sequence[Tensor],
    flow: Tensor,
    metric: Tensor | None = None,
    *,
    mode: Mode | None = None,
    holes: Holes = "zero",
    return_weight: Literal[False] = False,
    out: Tensor | Sequence[Tensor] | None = None,
) -> list[Tensor]: ...
@overload
def splat(
    image: Tensor,
    flow: Tensor,
    metric: Tensor | None = None,
    *,
    mode: Mode | None = None,
    holes: Holes = "zero",
    return_weight: Literal[True],
    out: Tensor | Sequence[Tensor] | None = None,
) -> tuple[Tensor, Tensor]: ...
@overload
def splat(
    image: Sequence[Tensor],
    flow: Tensor,
    metric: Tensor | None = None,
    *,
    mode: Mode | None = None,
    holes: Holes = "zero",
    return_weight: Literal[True],
    out: Tensor | Sequence[Tensor] | None = None,
) -> tuple[list[Tensor], Tensor]: ...
@overridable
def splat(
    image: Tensor | Sequence[Tensor],
    flow: Tensor,
    metric: Tensor | None = None,
    *,
    mode: Mode | None = None,
    holes: Holes = "zero",
    return_weight: bool = False,
    out: Tensor | Sequence[Tensor] | None = None,
) -> Tensor | list[Tensor] | tuple[Tensor | list[Tensor], Tensor]:
    r"""Moves every pixel of `image` along `flow` and adds it to the four pixels around its target.

    With bilinear weight :math:`w`, source pixel x landing on target t, and factor e:

    .. math::
        N[t] = \sum_x w\, e_x\, image[x], \quad D[t] = \sum_x w\, e_x, \quad out = N \text{ (sum) or } N / D

    where e is 1 (sum, average), metric (linear) or exp(metric) (softmax). Corners outside the image, or whose weight
    is exactly 0, receive nothing, each by itself. A pixel whose target, or whose metric, is not finite is skipped,
    forward and backward. softmax is stable for every finite metric: the largest metric is subtracted first, of the
    whole sample while its metrics span at most 60, else of the pixels that land on each target.

    Args:
        image: (B, C, H, W), float64, float32, float16 or bfloat16, any strides; or a sequence of such tensors (any C
            and dtype each) that share the flow: targets and weights are then computed once.
        flow: (B, 2, H, W) in pixels, channel 0 along x (right), channel 1 along y (down); any floating dtype.
        metric: (B, 1, H, W), any floating dtype; for "linear" and "softmax" only.
        mode: "sum", "average", "linear" or "softmax"; None: softmax where there is a metric, else average.
        holes: what divides N where D may be 0: "zero" gives 0 in holes, where D is 0 or subnormal (1.2e-38 in float32),
            and else divides exactly; "add" divides by D + 1e-7; "clip" by max(D, 1e-7). In softmax D is the shifted
            weight. Where a metric of both signs makes D cancel (linear), the quotient is that of its rounding.
        return_weight: also return D (average, linear; 0 in holes) or log D (softmax; -inf in holes).
        out: written and returned in place of fresh memory: the shape and dtype of the result, and no autograd. Of
            several images a sequence.

    Returns:
        (B, C, H, W) with the dtype and memory format of `image` (a list for a sequence); with `return_weight` also a
        (B, 1, H, W) float32 (float64 if an argument is) tensor. Sums are float32 or wider. Differentiable twice in
        every argument (right-hand derivative at integer targets; the softmax shift counts as a constant). Where image -
        out is only rounding, as where one pixel has a target for itself, what the target adds to the gradients of flow
        and metric is 0. Where nearly all of a target comes from one pixel by a weight below 2^-12, a little beyond a
        whole pixel, the flow's gradient is that of the definition in float64 within 1e-3, or 0 (one float32 or float64
        image, `holes` "zero" or "clip"; of several, 0 where most of it is rounding), and beside D < 1e-31 both are 0.
        Bitwise reproducible on the CPU, on a GPU under `torch.use_deterministic_algorithms(True)`.

    Raises:
        ArgumentError: if a shape, dtype, device, `mode` or `holes` is not one of the above.

    Source:
        Niklaus and Liu, Softmax Splatting for Video Frame Interpolation, CVPR 2020, eqs. 3 to 7.
    """
    images = reference.images_of("splat", image)
    expect_tensors("splat", flow=flow)
    expect_tensors_or_none("splat", metric=metric)
    mode = reference.mode_of("splat", mode, metric, holes, return_weight)
    refuse_forward_mode("splat", *images, flow, metric)
    keep = return_weight or grad_needed(*images, flow, metric)
    deterministic = torch.are_deterministic_algorithms_enabled()
    outs, weight, shift = _splat(images, flow, metric, MODES[mode], HOLES[holes], keep, deterministic)
    result = outs[0] if isinstance(image, Tensor) else outs
    if not return_weight:
        return result
    return result, reference.weight_result(mode, weight, shift)


@register_fake("splat")
def _(
    inputs: Sequence[Tensor], flow: Tensor, metric: Tensor | None, mode: str, holes: str, keep_weight: bool,
    deterministic: bool,
) -> tuple[list[Tensor], Tensor, Tensor]:  # fmt: skip
    reference.check(inputs, flow, metric, mode, holes)
    plane = (flow.shape[0], 1, *flow.shape[2:])
    acc = accumulator(*inputs, flow, metric)
    weight = flow.new_empty(plane if keep_weight and mode != "sum" else (0,), dtype=acc)
    shift = flow.new_empty(plane if keep_weight and mode == "softmax" else (0,), dtype=acc)
    return [empty_result(x) for x in inputs], weight, shift


@register_fake("splat_grad")
def _(
    grad_outs: Sequence[Tensor], grad_weight: Tensor | None, inputs: Sequence[Tensor], flow: Tensor,
    metric: Tensor | None, outs: Sequence[Tensor], weight: Tensor, shift: Tensor, mode: str, holes: str, summed: bool,
    *needs: bool,
) -> tuple[list[Tensor], Tensor, Tensor]:  # fmt: skip
    need_inputs, need_flow, need_metric = needs
    return (
        [empty_result(x) if need_inputs else not_needed(x) for x in inputs],
        empty_result(flow) if need_flow else not_needed(flow),
        empty_result(metric) if need_metric and metric is not None else not_needed(flow),
    )


def _setup_context(ctx: Context, inputs: Arguments, output: Arguments) -> None:
    tensors, flow, metric, ctx.mode, ctx.holes, kept, _ = inputs
    outs, weight, shift = output
    expect(kept or ctx.mode == MODES["sum"], "splat", CAPTURED, "one captured without")
    ctx.count = len(tensors)
    # Mode "sum" needs neither outs nor weight for its gradient.
    ctx.save_for_backward(*tensors, flow, metric, weight, shift, *([] if ctx.mode == MODES["sum"] else outs))
    ctx.mark_non_differentiable(shift, *([weight] if ctx.mode == MODES["sum"] else []))
    ctx.set_materialize_grads(False)


def _backward(
    ctx: Context, grad_outs: Sequence[Tensor | None], grad_weight: Tensor | None, grad_shift: None
) -> Gradients:
    saved = list(ctx.saved_tensors)
    tensors, (flow, metric, weight, shift), outs = saved[: ctx.count], saved[ctx.count :][:4], saved[ctx.count + 4 :]
    refuse_forward_mode("splat", *grad_outs, grad_weight, *saved)
    grad_outs = [torch.zeros_like(x) if g is None else g for g, x in zip(grad_outs, tensors)]
    needs_each, need_flow, need_metric = ctx.needs_input_grad[:3]
    grads, grad_flow, grad_metric = _splat_grad(
        grad_outs, grad_weight, tensors, flow, metric, outs, weight, shift, ctx.mode, ctx.holes, False,
        any(needs_each), need_flow, need_metric,
    )  # fmt: skip
    return (
        [g if need else None for g, need in zip(grads, needs_each)],
        grad_flow if need_flow else None,
        grad_metric if need_metric else None,
        None, None, None, None,
    )  # fmt: skip


register_differentiable("splat", _setup_context, _backward)
register_second_derivative("splat_grad", reference.splat_grad)
backends.implement("splat", reference.splat)
backends.implement("splat_grad", reference.splat_grad)
