"""Local correlation of two feature maps as a torch op: public function, shapes, gradient."""

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
from vfi_kernels.ops._shared.convolution import cast_for_autocast
from vfi_kernels.ops.correlation import reference

_correlation: Op = torch.ops.vfi_kernels.correlation.default
_correlation_grad: Ops = torch.ops.vfi_kernels.correlation_grad.default


@overridable
def correlation(first: Tensor, second: Tensor, radius: int = 4, *, out: Tensor | None = None) -> Tensor:
    r"""Compares every pixel of `first` with the pixels of `second` around it: the local cost volume of optical flow.

    .. math::
        out[b, (dy + r)(2r + 1) + dx + r, y, x] = \frac{1}{C} \sum_c first[b, c, y, x]\; second[b, c, y + dy, x + dx]

    for every displacement of :math:`-r \le dy, dx \le r` pixels. Where (y + dy, x + dx) lies outside `second` the
    result is exactly 0: nothing is read there, whatever `first` holds.

    Args:
        first, second: (B, C, H, W) of one shape and dtype: float64, float32, float16 or bfloat16; any strides.
        radius: r, the largest displacement in pixels, 1 to 9.
        out: written and returned in place of fresh memory: the shape and dtype of the result, and no autograd.

    Returns:
        (B, (2 r + 1)^2, H, W) with the dtype and memory format of `first`; 0 where there are no channels. Sums are
        float32, or float64 for float64, and are rounded once. Differentiable twice in both tensors. Bitwise
        reproducible on every device, as no sum depends on the order of threads. Inside torch.autocast both maps are
        cast as conv2d casts its input.

    Raises:
        ArgumentError: if a shape, dtype, device or `radius` is not one of the above.

    Source:
        The correlation layer of FlowNet (Dosovitskiy et al., ICCV 2015, eq. 1, patches of one pixel), normalised by
        the channels as in the cost volume of PWC-Net (Sun et al., CVPR 2018, eq. 2).
    """
    expect_tensors("correlation", first=first, second=second)
    expect_integer("correlation", "radius", radius)
    refuse_forward_mode("correlation", first, second)
    return _correlation(cast_for_autocast(first), cast_for_autocast(second), radius)


@register_fake("correlation")
def _(first: Tensor, second: Tensor, radius: int = 4) -> Tensor:
    reference.check(first, second, radius)
    return empty_result(first, (first.shape[0], (2 * radius + 1) ** 2, *first.shape[2:]))


@register_fake("correlation_grad")
def _(
    grad_out: Tensor, first: Tensor, second: Tensor, radius: int, need_first: bool, need_second: bool
) -> tuple[Tensor, ...]:
    return (
        empty_result(first) if need_first else not_needed(first),
        empty_result(second) if need_second else not_needed(second),
    )


def _setup_context(ctx: Context, inputs: Arguments, output: Tensor) -> None:
    first, second, ctx.radius = inputs
    ctx.save_for_backward(first, second)


def _backward(ctx: Context, grad_out: Tensor) -> Gradients:
    first, second = ctx.saved_tensors
    refuse_forward_mode("correlation", grad_out, first, second)
    need_first, need_second = ctx.needs_input_grad[:2]
    grad_first, grad_second = _correlation_grad(grad_out, first, second, ctx.radius, need_first, need_second)
    return grad_first if need_first else None, grad_second if need_second else None, None


register_differentiable("correlation", _setup_context, _backward)
register_second_derivative("correlation_grad", reference.correlation_grad)
backends.implement("correlation", reference.correlation)
backends.implement("correlation_grad", reference.correlation_grad)
