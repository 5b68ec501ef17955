"""Separable adaptive convolution as a torch op: public function, shapes, gradient."""

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
from vfi_kernels.ops.sepconv import reference

_sepconv: Op = torch.ops.vfi_kernels.sepconv.default
_sepconv_grad: Ops = torch.ops.vfi_kernels.sepconv_grad.default


@overridable
def sepconv(image: Tensor, vertical: Tensor, horizontal: Tensor, *, out: Tensor | None = None) -> Tensor:
    r"""Convolves every pixel with a kernel of its own, which is the product of a column and a row of weights.

    .. math::
        out[b, c, y, x] = \sum_{i < F_v} vertical[b, i, y, x] \sum_{j < F_h} horizontal[b, j, y, x]\;
        image[b, c, y + i, x + j]

    The image comes padded, as in the networks that predict such kernels: by Fv - 1 rows and Fh - 1 columns.

    Args:
        image: (B, C, H + Fv - 1, W + Fh - 1), float64, float32, float16 or bfloat16; any strides.
        vertical: (B, Fv, H, W), the weights of the rows, from above; any of these dtypes.
        horizontal: (B, Fh, H, W), the weights of the columns, from the left; any of these dtypes. Fv and Fh are any
            numbers from 1 up, odd or even.
        out: written and returned in place of fresh memory: the shape and dtype of the result, and no autograd.

    Returns:
        (B, C, H, W) with the dtype and memory format of `image`. Sums are float32, or float64 as soon as one argument
        is, and are rounded once. Differentiable twice in all three tensors. Bitwise reproducible on every device, as
        no sum depends on the order of threads.

    Raises:
        ArgumentError: if a shape, dtype or device is not one of the above.

    Source:
        Niklaus et al., Video Frame Interpolation via Adaptive Separable Convolution, ICCV 2017, eq. 1 and 2.
    """
    expect_tensors("sepconv", image=image, vertical=vertical, horizontal=horizontal)
    refuse_forward_mode("sepconv", image, vertical, horizontal)
    return _sepconv(image, vertical, horizontal)


@register_fake("sepconv")
def _(image: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    size = reference.check(image, vertical, horizontal)
    return empty_result(image, (*image.shape[:2], *size))


@register_fake("sepconv_grad")
def _(
    grad_out: Tensor,
    image: Tensor,
    vertical: Tensor,
    horizontal: Tensor,
    need_image: bool,
    need_vertical: bool,
    need_horizontal: bool,
) -> tuple[Tensor, ...]:
    return (
        empty_result(image) if need_image else not_needed(image),
        empty_result(vertical) if need_vertical else not_needed(vertical),
        empty_result(horizontal) if need_horizontal else not_needed(horizontal),
    )


def _setup_context(ctx: Context, inputs: Arguments, output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Context, grad_out: Tensor) -> Gradients:
    saved = ctx.saved_tensors
    refuse_forward_mode("sepconv", grad_out, *saved)
    needed = ctx.needs_input_grad[:3]
    grads = _sepconv_grad(grad_out, *saved, *needed)
    return tuple(grad if wanted else None for grad, wanted in zip(grads, needed))


register_differentiable("sepconv", _setup_context, _backward)
register_second_derivative("sepconv_grad", reference.sepconv_grad)
backends.implement("sepconv", reference.sepconv)
backends.implement("sepconv_grad", reference.sepconv_grad)
