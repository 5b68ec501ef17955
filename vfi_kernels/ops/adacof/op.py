"""Adaptive collaboration of flows as a torch op: public function, shapes, gradient."""

import torch
from torch import Tensor

from vfi_kernels import backends
from vfi_kernels._arguments import expect_integer, expect_tensors
from vfi_kernels._autograd import (
    refuse_forward_mode,
    register_differentiable,
    register_fake,
    register_second_derivative,
)
from vfi_kernels._overrides import overridable
from vfi_kernels._results import empty_result, not_needed
from vfi_kernels._types import Arguments, Context, Gradients, Op, Ops
from vfi_kernels.ops.adacof import reference

_adacof: Op = torch.ops.vfi_kernels.adacof.default
_adacof_grad: Ops = torch.ops.vfi_kernels.adacof_grad.default


@overridable
def adacof(
    image: Tensor,
    weights: Tensor,
    offsets_vertical: Tensor,
    offsets_horizontal: Tensor,
    *,
    dilation: int = 1,
    out: Tensor | None = None,
) -> Tensor:
    r"""Every pixel is a weighted sum of F x F samples of the image, each at a place of its own.

    .. math::
        out[b, c, y, x] = \sum_{k, l < F} weights[b, n, y, x]\; I_c(y + d k + \alpha, x + d l + \beta),
        \quad n = k F + l

    with d the dilation and alpha, beta = offsets_vertical[b, n, y, x], offsets_horizontal[b, n, y, x]. I is image[b],
    interpolated as published: an offset is cut towards 0 into a whole number and a fraction, so that a negative
    fraction extrapolates; of the two rows, and of the two columns, each is clipped to the image by itself. Offsets from
    0 up are bilinear interpolation. A tap whose offsets are not both finite adds 0.

    Args:
        image: (B, C, H + d (F - 1), W + d (F - 1)), which is to say padded; float64, float32, float16 or bfloat16; any
            strides.
        weights: (B, F F, H, W), of any of these dtypes.
        offsets_vertical: alpha, as `weights`, down, in pixels.
        offsets_horizontal: beta, as `weights`, to the right, in pixels.
        dilation: d, pixels between taps, from 1 up.
        out: written and returned in place of fresh memory: the shape and dtype of the result, and no autograd.

    Returns:
        (B, C, H, W) with the dtype and memory format of `image`. Positions and sums are float32, or float64 as soon as
        one argument is; rounded once. Differentiable twice in all tensors; the derivative by an offset is that of the
        formula between whole numbers, right-sided at them, 0 where the position is clipped. Bitwise reproducible; on a
        GPU the image's gradient is so under torch.use_deterministic_algorithms(True).

    Raises:
        ArgumentError: if a shape, dtype, device or `dilation` is not one of the above.

    Source:
        Lee et al., AdaCoF: Adaptive Collaboration of Flows for Video Frame Interpolation, CVPR 2020, eq. 3 and 4.
    """
    tensors = (image, weights, offsets_vertical, offsets_horizontal)
    expect_tensors(
        "adacof", image=image, weights=weights, offsets_vertical=offsets_vertical, offsets_horizontal=offsets_horizontal
    )
    expect_integer("adacof", "dilation", dilation, 1)
    refuse_forward_mode("adacof", *tensors)
    return _adacof(*tensors, dilation)


@register_fake("adacof")
def _(
    image: Tensor, weights: Tensor, offsets_vertical: Tensor, offsets_horizontal: Tensor, dilation: int = 1
) -> Tensor:
    _, size = reference.check(image, weights, offsets_vertical, offsets_horizontal, dilation)
    return empty_result(image, (*image.shape[:2], *size))


@register_fake("adacof_grad")
def _(
    grad_out: Tensor,
    image: Tensor,
    weights: Tensor,
    offsets_vertical: Tensor,
    offsets_horizontal: Tensor,
    dilation: int,
    deterministic: bool,
    *needed: bool,
) -> tuple[Tensor, ...]:
    tensors = (image, weights, offsets_vertical, offsets_horizontal)
    return tuple(empty_result(t) if wanted else not_needed(t) for t, wanted in zip(tensors, needed))


def _setup_context(ctx: Context, inputs: Arguments, output: Tensor) -> None:
    *tensors, ctx.dilation = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Context, grad_out: Tensor) -> Gradients:
    saved = ctx.saved_tensors
    refuse_forward_mode("adacof", grad_out, *saved)
    needed = ctx.needs_input_grad[:4]
    deterministic = torch.are_deterministic_algorithms_enabled()
    grads = _adacof_grad(grad_out, *saved, ctx.dilation, deterministic, *needed)
    return (*(grad if wanted else None for grad, wanted in zip(grads, needed)), None)


register_differentiable("adacof", _setup_context, _backward)
register_second_derivative("adacof_grad", reference.adacof_grad)
backends.implement("adacof", reference.adacof)
backends.implement("adacof_grad", reference.adacof_grad)
