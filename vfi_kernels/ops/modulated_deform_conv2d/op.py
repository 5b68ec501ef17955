"""Modulated deformable convolution as a torch op: public function, shapes, gradient."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from vfi_kernels import backends
from vfi_kernels._arguments import (
    ArgumentError,
    expect,
    expect_choice,
    expect_floating,
    expect_integer,
    expect_tensors,
    expect_tensors_or_none,
    shape,
)
from vfi_kernels._autograd import (
    grad_needed,
    refuse_forward_mode,
    register_differentiable,
    register_fake,
    register_looped_vmap,
    register_second_derivative,
)
from vfi_kernels._options import ACTIVATIONS, EDGES, Edge, word
from vfi_kernels._overrides import overridable
from vfi_kernels._results import empty_result, not_needed
from vfi_kernels._types import Arguments, Context, Gradients, Op, Ops
from vfi_kernels.ops._shared.convolution import (
    activate,
    allow_tf32,
    cast_for_autocast,
    check_activation,
    pair,
)
from vfi_kernels.ops.modulated_deform_conv2d import reference
from vfi_kernels.ops.modulated_deform_conv2d.reference import OP

_modulated_deform_conv2d: Op = torch.ops.vfi_kernels.modulated_deform_conv2d.default
_modulated_deform_conv2d_grad: Ops = torch.ops.vfi_kernels.modulated_deform_conv2d_grad.default


@overridable
def modulated_deform_conv2d(
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int | None = None,
    offset_groups: int | None = None,
    activation: Literal["relu", "prelu"] | None = None,
    activation_weight: Tensor | None = None,
    edge: Edge = "torchvision",
    out: Tensor | None = None,
) -> Tensor:
    r"""Convolution whose every tap reads where an offset says, times a mask (DCNv2; without a mask DCNv1).

    .. math::
        out[b, o, i, j] = act\Big(bias[o] + \sum_{c, u, v} weight[o, c, u, v]\; m\; input[b, c](y, x)\Big), \quad
        y = i s_h - p_h + u d_h + \Delta y, \quad x = j s_w - p_w + v d_w + \Delta x

    with stride s, padding p and dilation d. :math:`(\Delta y, \Delta x)` is `offset` and m is `mask` of tap (u, v), of
    output pixel (i, j) and of the offset group that channel c belongs to. Values between pixels are bilinear, and 0
    outside `input`, each of the four pixels by itself. An offset that is not finite reads 0.

    Args:
        input: (B, C, H, W), float64, float32, float16 or bfloat16; any strides.
        offset: (B, 2 G KH KW, H_out, W_out) in pixels of `input`; channel 2 (g KH KW + u KW + v) is the vertical offset
            of tap (u, v) in offset group g, the next channel the horizontal one. Any floating dtype: positions are
            computed in float32 or wider.
        mask: (B, G KH KW, H_out, W_out) of any floating dtype, applied as it is (no sigmoid). None: ones.
        weight: (C_out, C / groups, KH, KW).
        bias: (C_out,) or None. Weight, bias and activation_weight of any floating dtype are rounded to that of `input`.
        stride, padding, dilation: in pixels; one integer, or (vertical, horizontal).
        groups: as in conv2d. None: C divided by the second size of `weight`.
        offset_groups: G, in how many equal parts the channels of `input` share offsets and mask. None: from `offset`.
        activation, activation_weight: None, "relu", or "prelu" with slopes (C_out,) or (1,); fused without gradients.
        edge: the gradient of an offset whose rounded coordinate is exactly -1, where the value is 0: "torchvision" has
            that of the side inside the image, "mmcv" has 0.
        out: written and returned in place of fresh memory: the shape and dtype of the result, and no autograd.

    Returns:
        (B, C_out, H_out, W_out) with the dtype and memory format of `input`;
        H_out = (H + 2 p_h - d_h (KH - 1) - 1) // s_h + 1. Sums are float32, or float64 where input, offset or mask is.
        Differentiable twice in all five tensors. Derivatives of positions are right-sided. On the CPU results do not
        depend on the number of threads; on a GPU the input's gradient is summed in a fixed order under
        torch.use_deterministic_algorithms(True). float32 products on a GPU follow torch.set_float32_matmul_precision.
        Inside torch.autocast input and weights are cast as conv2d casts its own, offset and mask are not.

    Raises:
        ArgumentError: if a shape, dtype, device or option is not one of the above.

    Source:
        Zhu et al., Deformable ConvNets v2, CVPR 2019; Dai et al., Deformable Convolutional Networks, ICCV 2017. Layout
        and edges as in torchvision.ops.deform_conv2d and mmcv.ops.modulated_deform_conv2d.
    """
    expect_tensors(OP, input=input, offset=offset, weight=weight)
    others = {"mask": mask, "bias": bias, "activation_weight": activation_weight}
    expect_tensors_or_none(OP, **others)
    refuse_forward_mode(OP, input, offset, weight, *others.values())
    check_activation(OP, activation, activation_weight)
    expect_choice(OP, "edge", edge, EDGES)
    x, weight, bias, activation_weight = _in_one_dtype(input, weight, bias, activation_weight)
    groups, offset_groups = _parts(x, offset, weight, groups, offset_groups)
    fused = activation if activation and not grad_needed(x, offset, mask, weight, bias, activation_weight) else "none"
    place = pair(OP, "stride", stride, 1), pair(OP, "padding", padding, 0), pair(OP, "dilation", dilation, 1)
    slopes = activation_weight if fused != "none" else None
    rules = (*place, groups, offset_groups, ACTIVATIONS[fused], slopes, EDGES[edge], allow_tf32())
    out = _modulated_deform_conv2d(x, offset, mask, weight, bias, *rules)
    return activate(out, activation, activation_weight) if fused == "none" else out


def _parts(x: Tensor, offset: Tensor, weight: Tensor, groups: int | None, offset_groups: int | None) -> tuple[int, int]:
    """groups and offset_groups, found from the shapes where they are None; wrong shapes are refused later."""
    for name, parts in (("groups", groups), ("offset_groups", offset_groups)):
        if parts is not None:
            expect_integer(OP, name, parts)
    if not x.dim() == weight.dim() == offset.dim() == 4:
        return groups or 1, offset_groups or 1
    c, each, taps = x.shape[1], weight.shape[1], weight.shape[2] * weight.shape[3]
    if groups is None:
        whole = c == each or (each > 0 and c % each == 0)
        expect(whole, OP, f"weight of shape (C_out, C / groups, KH, KW) for C = {c}", shape(weight))
        groups = c // each if each > 0 else 1
    if offset_groups is None:
        whole = taps > 0 and offset.shape[1] % (2 * taps) == 0
        expect(whole, OP, f"offset of shape (B, 2 G KH KW, H, W) with KH KW = {taps}", shape(offset))
        offset_groups = offset.shape[1] // (2 * taps)
    return groups, offset_groups


def _in_one_dtype(
    input: Tensor, weight: Tensor, bias: Tensor | None, slopes: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Input and weights as autocast casts them; the weights rounded to the dtype of the input."""
    for name, t in (("weight", weight), ("bias", bias), ("activation_weight", slopes)):
        if t is not None:
            expect_floating(OP, name, t)
    x = cast_for_autocast(input)
    return (
        x,
        weight.to(x.dtype),
        None if bias is None else bias.to(x.dtype),
        None if slopes is None else slopes.to(x.dtype),
    )


@register_fake("modulated_deform_conv2d")
def _(
    input: Tensor, offset: Tensor, mask: Tensor | None, weight: Tensor, bias: Tensor | None, stride: list[int],
    padding: list[int], dilation: list[int], groups: int, offset_groups: int, activation: str,
    activation_weight: Tensor | None, edge: str, allow_tf32: bool,
) -> Tensor:  # fmt: skip
    _, size = reference.check(
        input, offset, mask, weight, bias, stride, padding, dilation, groups, offset_groups, activation,
        activation_weight, edge,
    )  # fmt: skip
    return empty_result(input, (input.shape[0], weight.shape[0], *size))


@register_fake("modulated_deform_conv2d_grad")
def _(
    grad_out: Tensor, input: Tensor, offset: Tensor, mask: Tensor | None, weight: Tensor, stride: list[int],
    padding: list[int], dilation: list[int], groups: int, offset_groups: int, edge: str, allow_tf32: bool,
    deterministic: bool, need_input: bool, need_offset: bool, need_mask: bool, need_weight: bool, need_bias: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    return (
        empty_result(input) if need_input else not_needed(input),
        empty_result(offset) if need_offset else not_needed(offset),
        empty_result(mask) if need_mask and mask is not None else not_needed(input),
        empty_result(weight) if need_weight else not_needed(weight),
        weight.new_empty((weight.shape[0],)) if need_bias else not_needed(weight),
    )


def _setup_context(ctx: Context, inputs: Arguments, output: Tensor) -> None:
    input, offset, mask, weight, _, *ctx.geometry, activation, _, ctx.edge, ctx.allow_tf32 = inputs
    if activation != ACTIVATIONS["none"]:
        activation_word = word(OP, "activation", activation)
        raise ArgumentError(
            f"{OP}: expected no gradient of the op with a fused activation, got activation '{activation_word}'"
        )
    ctx.save_for_backward(input, offset, mask, weight)


def _backward(ctx: Context, grad_out: Tensor) -> Gradients:
    input, offset, mask, weight = ctx.saved_tensors
    refuse_forward_mode(OP, grad_out, input, offset, mask, weight)
    needed = ctx.needs_input_grad[:5]
    grads = _modulated_deform_conv2d_grad(
        grad_out, input, offset, mask, weight, *ctx.geometry, ctx.edge, ctx.allow_tf32,
        torch.are_deterministic_algorithms_enabled(), *needed,
    )  # fmt: skip
    return *(g if n else None for g, n in zip(grads, needed)), *[None] * 9


register_differentiable("modulated_deform_conv2d", _setup_context, _backward, register_looped_vmap)
register_second_derivative("modulated_deform_conv2d_grad", reference.modulated_deform_conv2d_grad, register_looped_vmap)
backends.implement("modulated_deform_conv2d", reference.modulated_deform_conv2d)
backends.implement("modulated_deform_conv2d_grad", reference.modulated_deform_conv2d_grad)
