"""Backward warping as a torch op: public function, shapes, gradient."""

from typing import Literal, overload

import torch
from torch import Tensor
from torch.compiler import is_compiling

from vfi_kernels import backends
from vfi_kernels._arguments import expect_bool, expect_choice, expect_tensors
from vfi_kernels._autograd import (
    refuse_forward_mode,
    register_differentiable,
    register_fake,
    register_second_derivative,
)
from vfi_kernels._options import PADDING_MODES, PaddingMode
from vfi_kernels._overrides import overridable
from vfi_kernels._results import empty_result, not_needed
from vfi_kernels._types import Arguments, Context, Gradients, Op, Ops
from vfi_kernels.ops.backward_warp import reference

_warp: Op = torch.ops.vfi_kernels.backward_warp.default
# What the overload calls, which torch.compile does not know: a tenth of a small call.
_warp_now: Op = torch.ops.vfi_kernels.backward_warp.default._op
_warp_grad: Ops = torch.ops.vfi_kernels.backward_warp_grad.default


@overload
def backward_warp(
    image: Tensor,
    flow: Tensor,
    *,
    padding_mode: PaddingMode = "border",
    return_validity: Literal[False] = False,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def backward_warp(
    image: Tensor,
    flow: Tensor,
    *,
    padding_mode: PaddingMode = "border",
    return_validity: Literal[True],
    out: Tensor | None = None,
) -> tuple[Tensor, Tensor]: ...
@overridable
def backward_warp(
    image: Tensor,
    flow: Tensor,
    *,
    padding_mode: PaddingMode = "border",
    return_validity: bool = False,
    out: Tensor | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Samples `image` where `flow` points.

    .. math::
        out[b, c, y, x] = image[b, c](x + flow[b, 0, y, x],\; y + flow[b, 1, y, x])

    Bilinear between pixel centres, which have integer coordinates. The output has the flow's height and width; the
    image may have others (the position is then simply a pixel position in the image). Zero flow returns the image bit
    for bit, integer flow an exact shift. A corner whose bilinear weight is exactly 0 is never read.

    Args:
        image: (B, C, Hi, Wi), float64, float32, float16 or bfloat16; any strides.
        flow: (B, 2, H, W) in pixels, channel 0 along x (right), channel 1 along y (down); any floating dtype.
        padding_mode: "border" clips the position to the image (a NaN component counts as 0, +-inf as the far or near
            edge); "zeros" lets corners outside the image count 0 (a non-finite component gives 0); "reflection" goes
            on mirrored at the centres of the outer pixels (a component that is not finite, or beyond 2^30, counts as
            coordinate 0).
        return_validity: also return where the position lies inside the image.
        out: written and returned in place of fresh memory: the shape and dtype of the result, and no autograd.

    Returns:
        (B, C, H, W) with the dtype and memory format of `image`; positions and sums are float32 or wider. With
        `return_validity` also a bool (B, 1, H, W). Differentiable twice in `image` and `flow`. The flow gradient is the
        right-hand one at integers and 0 where the position is clipped, on the border (also a mirrored one) or not
        finite. Bitwise reproducible on the CPU, and on a GPU under `torch.use_deterministic_algorithms(True)`.

    Raises:
        ArgumentError: if a shape, dtype, device or `padding_mode` is not one of the above.

    Source:
        Jaderberg et al., Spatial Transformer Networks, 2015, eq. 5; padding_mode "border" is RIFE's warp without the
        rounding of its normalised grid (Huang et al., ECCV 2022), "zeros" is the backwarp of softmax splatting,
        "reflection" is that of torch's grid_sample with align_corners.
    """
    # These cost less than the calls, which only say what is wrong.
    if not (isinstance(image, Tensor) and isinstance(flow, Tensor)):
        expect_tensors("backward_warp", image=image, flow=flow)
    if not (isinstance(padding_mode, str) and padding_mode in PADDING_MODES):
        expect_choice("backward_warp", "padding_mode", padding_mode, PADDING_MODES)
    if type(return_validity) is not bool:
        expect_bool("backward_warp", "return_validity", return_validity)
    refuse_forward_mode("backward_warp", image, flow)
    out = (_warp if is_compiling() else _warp_now)(image, flow, PADDING_MODES[padding_mode])
    return (out, _inside(flow, image.shape[2], image.shape[3])) if return_validity else out


def _inside(flow: Tensor, height: int, width: int) -> Tensor:
    """Where 0 <= x + flow_x <= width - 1 and the same for y: every corner that is used lies inside. [B, 1, H, W]"""
    flow = flow.detach().to(torch.promote_types(flow.dtype, torch.float32))
    xs = torch.arange(flow.shape[3], device=flow.device, dtype=flow.dtype)
    ys = torch.arange(flow.shape[2], device=flow.device, dtype=flow.dtype)[:, None]
    x, y = xs + flow[:, 0:1], ys + flow[:, 1:2]
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


@register_fake("backward_warp")
def _(image: Tensor, flow: Tensor, padding_mode: str = "border") -> Tensor:
    reference.check(image, flow, padding_mode)
    return empty_result(image, (*image.shape[:2], *flow.shape[2:]))


@register_fake("backward_warp_grad")
def _(
    grad_out: Tensor, image: Tensor, flow: Tensor, padding_mode: str, deterministic: bool, need_image: bool,
    need_flow: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    return (
        empty_result(image) if need_image else not_needed(image),
        empty_result(flow) if need_flow else not_needed(flow),
    )


def _setup_context(ctx: Context, inputs: Arguments, output: Tensor) -> None:
    image, flow, ctx.padding_mode = inputs
    ctx.save_for_backward(image, flow)


def _backward(ctx: Context, grad_out: Tensor) -> Gradients:
    image, flow = ctx.saved_tensors
    refuse_forward_mode("backward_warp", grad_out, image, flow)
    need_image, need_flow = ctx.needs_input_grad[:2]
    deterministic = torch.are_deterministic_algorithms_enabled()
    grad_image, grad_flow = _warp_grad(grad_out, image, flow, ctx.padding_mode, deterministic, need_image, need_flow)
    return grad_image if need_image else None, grad_flow if need_flow else None, None


register_differentiable("backward_warp", _setup_context, _backward)
register_second_derivative("backward_warp_grad", reference.backward_warp_grad)
backends.implement("backward_warp", reference.backward_warp)
backends.implement("backward_warp_grad", reference.backward_warp_grad)
