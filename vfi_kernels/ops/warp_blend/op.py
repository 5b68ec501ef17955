"""Two backward warps and their blend as one torch op: public function, shapes, gradient."""

import torch
from torch import Tensor

from vfi_kernels import backends
from vfi_kernels._arguments import expect_tensors
from vfi_kernels._autograd import (
    refuse_forward_mode,
    register_differentiable,
    register_fake,
    register_second_derivative,
)
from vfi_kernels._overrides import overridable
from vfi_kernels._results import empty_result, not_needed
from vfi_kernels._types import Arguments, Context, Gradients, Op, Ops
from vfi_kernels.ops.warp_blend import reference

_blend: Op = torch.ops.vfi_kernels.warp_blend.default
_blend_grad: Ops = torch.ops.vfi_kernels.warp_blend_grad.default


@overridable
def warp_blend(
    frame0: Tensor, frame1: Tensor, flow: Tensor, mask_logits: Tensor, *, out: Tensor | None = None
) -> Tensor:
    r"""Warps two frames to the same instant and blends them, in one pass.

    .. math::
        out = m \cdot warp(frame0, flow_{0:2}) + (1 - m) \cdot warp(frame1, flow_{2:4}), \quad m = sigmoid(mask\_logits)

    `warp` is `backward_warp` with padding_mode "border"; see there for positions, ties and non-finite flow. The two
    warped frames are never written to memory.

    Args:
        frame0, frame1: (B, C, Hi, Wi) of one shape and dtype: float64, float32, float16 or bfloat16.
        flow: (B, 4, H, W) in pixels: channels 0 and 1 (x, y) into frame0, 2 and 3 into frame1; any floating dtype.
        mask_logits: (B, 1, H, W), any floating dtype; large values take frame0.
        out: written and returned in place of fresh memory: the shape and dtype of the result, and no autograd.

    Returns:
        (B, C, H, W) with the dtype and memory format of `frame0`; sums are float32 or wider. Differentiable twice in
        all arguments. Bitwise reproducible on the CPU, and on a GPU under `torch.use_deterministic_algorithms(True)`.

    Raises:
        ArgumentError: if a shape, dtype or device is not one of the above.

    Source:
        The last step of RIFE's IFNet (Huang et al., Real-Time Intermediate Flow Estimation, ECCV 2022, eq. 3).
    """
    tensors = isinstance(frame0, Tensor) and isinstance(frame1, Tensor) and isinstance(flow, Tensor)
    if not (tensors and isinstance(mask_logits, Tensor)):  # cheaper than the call
        expect_tensors("warp_blend", frame0=frame0, frame1=frame1, flow=flow, mask_logits=mask_logits)
    refuse_forward_mode("warp_blend", frame0, frame1, flow, mask_logits)
    return _blend(frame0, frame1, flow, mask_logits)


@register_fake("warp_blend")
def _(frame0: Tensor, frame1: Tensor, flow: Tensor, mask_logits: Tensor) -> Tensor:
    reference.check(frame0, frame1, flow, mask_logits)
    return empty_result(frame0, (*frame0.shape[:2], *flow.shape[2:]))


@register_fake("warp_blend_grad")
def _(
    grad_out: Tensor, frame0: Tensor, frame1: Tensor, flow: Tensor, mask_logits: Tensor, deterministic: bool,
    *needs: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    tensors = (frame0, frame1, flow, mask_logits)
    return tuple(empty_result(t) if need else not_needed(t) for t, need in zip(tensors, needs))


def _setup_context(ctx: Context, inputs: Arguments, output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Context, grad_out: Tensor) -> Gradients:
    saved = ctx.saved_tensors
    refuse_forward_mode("warp_blend", grad_out, *saved)
    needs = ctx.needs_input_grad
    deterministic = torch.are_deterministic_algorithms_enabled()
    grads = _blend_grad(grad_out, *saved, deterministic, *needs)
    return tuple(g if need else None for g, need in zip(grads, needs))


register_differentiable("warp_blend", _setup_context, _backward)
register_second_derivative("warp_blend_grad", reference.warp_blend_grad)
backends.implement("warp_blend", reference.warp_blend)
backends.implement("warp_blend_grad", reference.warp_blend_grad)
