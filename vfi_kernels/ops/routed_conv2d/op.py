"""Convolution of listed patches as a torch op: public function, shapes, gradient."""

import torch
from torch import Tensor

from vfi_kernels import backends
from vfi_kernels._arguments import (
    expect_apart,
    expect_bool,
    expect_choice,
    expect_floating,
    expect_integer,
    expect_like,
    expect_number,
    expect_tensors,
    expect_tensors_or_none,
)
from vfi_kernels._autograd import (
    grad_needed,
    refuse_forward_mode,
    refuse_gradient,
    register_differentiable,
    register_fake,
    register_in_place,
    register_looped_vmap,
    register_second_derivative,
)
from vfi_kernels._options import ACTIVATIONS, PATCH_PADDING_MODES, Activation, PatchPaddingMode
from vfi_kernels._overrides import overridable, written_as_memory
from vfi_kernels._results import empty_result, not_needed
from vfi_kernels._tracing import makes_onnx
from vfi_kernels._types import Arguments, Context, Gradients, Op, Ops
from vfi_kernels.ops._shared.convolution import activate, allow_tf32, cast_for_autocast, check_activation
from vfi_kernels.ops._shared.rest import rest_of
from vfi_kernels.ops.routed_conv2d import reference
from vfi_kernels.ops.routed_conv2d.reference import OP

_routed_conv2d: Op = torch.ops.vfi_kernels.routed_conv2d.default
_routed_conv2d_: Op = torch.ops.vfi_kernels.routed_conv2d_.default
_routed_conv2d_grad: Ops = torch.ops.vfi_kernels.routed_conv2d_grad.default
_patch_scatter: Op = torch.ops.vfi_kernels.patch_scatter.default
FUSED = ("relu", "leaky_relu", "prelu", "gelu")


@overridable
def routed_conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    indices: Tensor,
    patch: int,
    *,
    stride: int = 1,
    transposed: bool = False,
    padding_mode: PatchPaddingMode = "zeros",
    activation: Activation | None = None,
    activation_weight: Tensor | None = None,
    negative_slope: float = 0.01,
    base: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Convolution of the listed patches only; everything else keeps `base`.

    out = act(conv(input) + bias) inside the patches (b, row, column) of `indices`, base outside them. The convolution
    is 1x1, or 3x3 with padding 1, with stride 1 or 2; or transposed, 4x4 with stride 2 and padding 1. The patches are
    read where they lie in `input`: without a copy.

    Args:
        input: (B, C, H, W), float64, float32, float16 or bfloat16; any strides; H and W are multiples of `patch`.
        weight: (C_out, C, K, K) with K = 1 or 3; transposed (C, C_out, 4, 4).
        bias: (C_out,) or None. Weight, bias and activation_weight of any floating dtype are rounded to that of `input`.
        indices: (P, 3) int32 on the device of `input`, a row (b, row, column) for each patch, as from `patch_indices`;
            no row twice. A row that names no patch of input, as the -1 that fill a list, is ignored.
        patch: pixels of `input` along each side of a patch; a multiple of `stride`. An output patch has patch / stride
            pixels, transposed 2 patch.
        padding_mode: what a patch reads around itself: "zeros" pads each patch with zeros, as an image of its own;
            "image" reads the pixels of `input` that are there, listed or not, and zeros outside `input`: the result is
            the dense convolution's.
        activation: None, "relu", "leaky_relu", "prelu" or "gelu" (with erf), of listed patches.
        activation_weight: slopes (C_out,) or (1,) of "prelu". negative_slope: that of "leaky_relu".
        base: (B, C_out, H', W') with the dtype and device of `input`, what the other patches keep. None: zeros. It is
            not changed; `routed_conv2d_` writes into it.
        out: written and returned in place of fresh memory: the shape and dtype of the result, and no autograd.

    Returns:
        (B, C_out, H', W') with dtype and memory format of `base`, else of `input`; H' = H / stride, transposed 2 H.
        Sums are float32, or float64 for float64, and rounded once; where a gradient is needed the activation is an op
        of its own after that. Differentiable twice in every floating argument. float32 products on a GPU follow
        torch.set_float32_matmul_precision. Inside torch.autocast input, weights and base are cast as by conv2d.

    Raises:
        ArgumentError: if a shape, dtype, device or option is not one of the above.

    Source:
        Ren et al., SBNet: Sparse Blocks Network for Fast Inference, CVPR 2018, whose gather, convolution and scatter
        are one here; patches as in APR-VFI, where they are independent (padding_mode "zeros").
    """
    _check_options(OP, patch, stride, transposed, padding_mode, activation, activation_weight, negative_slope)
    x, weight, bias, activation_weight = _prepare(OP, input, weight, bias, indices, activation_weight)
    if base is not None:
        expect_tensors(OP, base=base)
        base = cast_for_autocast(base)
    tensors = (x, weight, bias, activation_weight, base)
    mapped = any(t is not None and torch._C._functorch.is_batchedtensor(t) for t in (*tensors, indices))
    number = PATCH_PADDING_MODES[padding_mode]
    if mapped or grad_needed(*tensors) or not written_as_memory(*tensors, indices):
        _check_what_the_patches_meet(x, weight, bias, indices, patch, stride, transposed, activation_weight, base)
        patches = _routed_conv2d(x, weight, bias, indices, patch, stride, transposed, number, allow_tf32())
        base = _zeros(x, weight, stride, transposed, mapped) if base is None else base
        return _patch_scatter(activate(patches, activation, activation_weight, negative_slope), indices, base)
    side = patch * 2 if transposed else patch // stride
    wrong = x.dim() != 4 or weight.dim() != 4  # the op refuses it
    out = x if wrong else rest_of(base, x, _size(x, weight, stride, transposed), indices, side)
    fused = (number, ACTIVATIONS[activation or "none"], activation_weight, negative_slope, allow_tf32())
    _routed_conv2d_(x, weight, bias, indices, patch, stride, transposed, *fused, out)
    return out


@overridable
def routed_conv2d_(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    indices: Tensor,
    patch: int,
    *,
    base: Tensor,
    stride: int = 1,
    transposed: bool = False,
    padding_mode: PatchPaddingMode = "zeros",
    activation: Activation | None = None,
    activation_weight: Tensor | None = None,
    negative_slope: float = 0.01,
) -> Tensor:
    """`routed_conv2d` into `base` itself, which is returned: nothing is copied, and there is no gradient. Inside
    torch.autocast it computes in autocast's dtype if `base` has that, else in that of `input`, which `base` must have
    then.

    Raises:
        ArgumentError: as routed_conv2d; if elements of `base` share memory with each other or with another argument;
            and if autograd records and a tensor requires a gradient.
    """
    op = f"{OP}_"
    expect_tensors(op, base=base)
    _check_options(op, patch, stride, transposed, padding_mode, activation, activation_weight, negative_slope)
    expect_tensors(op, input=input, weight=weight, indices=indices)
    expect_tensors_or_none(op, bias=bias)
    read = {"input": input, "weight": weight, "bias": bias, "indices": indices, "activation_weight": activation_weight}
    expect_apart(op, base, **read)
    x, weight, bias, activation_weight = _prepare(op, input, weight, bias, indices, activation_weight, base.dtype)
    refuse_gradient(op, OP, x, weight, bias, activation_weight, base)
    if base.dtype != x.dtype:
        expect_like(op, "base", base, x, "input")
    number = PATCH_PADDING_MODES[padding_mode]
    if makes_onnx():
        patches = _routed_conv2d(x, weight, bias, indices, patch, stride, transposed, number, allow_tf32())
        return base.copy_(
            _patch_scatter(activate(patches, activation, activation_weight, negative_slope), indices, base)
        )
    fused = (number, ACTIVATIONS[activation or "none"], activation_weight, negative_slope, allow_tf32())
    _routed_conv2d_(x, weight, bias, indices, patch, stride, transposed, *fused, base)
    return base


def _check_options(
    op: str, patch: int, stride: int, transposed: bool, padding_mode: str, activation: str | None,
    slopes: Tensor | None, negative_slope: float,
) -> None:  # fmt: skip
    expect_integer(op, "patch", patch, 1)
    expect_integer(op, "stride", stride, 1)
    expect_bool(op, "transposed", transposed)
    expect_choice(op, "padding_mode", padding_mode, PATCH_PADDING_MODES)
    expect_tensors_or_none(op, activation_weight=slopes)
    check_activation(op, activation, slopes, FUSED)
    expect_number(op, "negative_slope", negative_slope)


def _prepare(
    op: str, x: Tensor, weight: Tensor, bias: Tensor | None, indices: Tensor, slopes: Tensor | None,
    result: torch.dtype | None = None,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:  # fmt: skip
    """The input as autocast casts it, and the weights rounded to its dtype."""
    expect_tensors(op, input=x, weight=weight, indices=indices)
    expect_tensors_or_none(op, bias=bias)
    refuse_forward_mode(op, x, weight, bias, slopes)
    for name, t in (("weight", weight), ("bias", bias), ("activation_weight", slopes)):
        if t is not None:
            expect_floating(op, name, t)
    x = cast_for_autocast(x, result)
    rounded = [None if t is None else t.to(x.dtype) for t in (weight, bias, slopes)]
    return x, weight.to(x.dtype), rounded[1], rounded[2]


def _check_what_the_patches_meet(
    x: Tensor, weight: Tensor, bias: Tensor | None, indices: Tensor, patch: int, stride: int, transposed: bool,
    slopes: Tensor | None, base: Tensor | None,
) -> None:  # fmt: skip
    """What the op for patches does not see. Sentences are made where one is needed: a traced graph cannot."""
    if x.dim() != 4 or weight.dim() != 4:
        return
    size = _size(x, weight, stride, transposed)
    fits = slopes is None or (slopes.dim() == 1 and (slopes.shape[0] == 1 or slopes.shape[0] == size[1]))
    if base is not None:
        fits = fits and tuple(base.shape) == size and base.dtype == x.dtype and base.device == x.device
    if not fits:
        c_out, out_patch = reference.check(x, weight, bias, indices, patch, stride, transposed, "zeros")
        reference.check_activation("none" if slopes is None else "prelu", slopes, x, c_out)
        if base is not None:
            reference.check_base(x, base, c_out, patch, out_patch)


def _size(x: Tensor, weight: Tensor, stride: int, transposed: bool) -> tuple[int, ...]:
    """The output's shape, if the arguments are right."""
    height, width = (n * 2 if transposed else n // stride for n in x.shape[2:])
    return x.shape[0], weight.shape[1 if transposed else 0], height, width


def _zeros(x: Tensor, weight: Tensor, stride: int, transposed: bool, mapped: bool) -> Tensor:
    """Of the output's shape; wrong arguments are the op's to refuse. Under vmap a tensor does not tell its format."""
    if x.dim() != 4 or weight.dim() != 4:
        return x
    size = _size(x, weight, stride, transposed)
    return x.new_zeros(size) if mapped else empty_result(x, size).zero_()


@register_fake("routed_conv2d")
def _(
    x: Tensor, weight: Tensor, bias: Tensor | None, indices: Tensor, patch: int, stride: int, transposed: bool,
    padding_mode: str, allow_tf32: bool,
) -> Tensor:  # fmt: skip
    c_out, out_patch = reference.check(x, weight, bias, indices, patch, stride, transposed, padding_mode)
    return empty_result(x, (indices.shape[0], c_out, out_patch, out_patch))


@register_fake("routed_conv2d_")
def _(
    x: Tensor, weight: Tensor, bias: Tensor | None, indices: Tensor, patch: int, stride: int, transposed: bool,
    padding_mode: str, activation: str, activation_weight: Tensor | None, negative_slope: float, allow_tf32: bool,
    base: Tensor,
) -> None:  # fmt: skip
    c_out, out_patch = reference.check(x, weight, bias, indices, patch, stride, transposed, padding_mode)
    reference.check_target(x, base, c_out, patch, out_patch)
    reference.check_activation(activation, activation_weight, x, c_out)


@register_fake("routed_conv2d_grad")
def _(
    grad_out: Tensor, x: Tensor, weight: Tensor, indices: Tensor, patch: int, stride: int, transposed: bool,
    padding_mode: str, allow_tf32: bool, need_x: bool, need_weight: bool, need_bias: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    return (
        empty_result(x) if need_x else not_needed(x),
        empty_result(weight) if need_weight else not_needed(weight),
        weight.new_empty((weight.shape[1 if transposed else 0],)) if need_bias else not_needed(x),
    )


def _setup_context(ctx: Context, inputs: Arguments, output: Tensor) -> None:
    x, weight, _, indices, *ctx.options = inputs
    ctx.save_for_backward(x, weight, indices)


def _backward(ctx: Context, grad_out: Tensor) -> Gradients:
    x, weight, indices = ctx.saved_tensors
    refuse_forward_mode(OP, grad_out, x, weight)
    needed = ctx.needs_input_grad[:3]
    grads = _routed_conv2d_grad(grad_out, x, weight, indices, *ctx.options, *needed)
    return *(g if n else None for g, n in zip(grads, needed)), *[None] * 6


register_differentiable("routed_conv2d", _setup_context, _backward, register_looped_vmap)
register_second_derivative("routed_conv2d_grad", reference.routed_conv2d_grad, register_looped_vmap)
register_in_place("routed_conv2d_", OP)
for name in ("routed_conv2d", "routed_conv2d_", "routed_conv2d_grad"):
    backends.implement(name, getattr(reference, name))
