"""Local correlation of two feature maps as a torch op: public function, shapes, gradient."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vfi_kernels import backends
from vfi_kernels._arguments import INTEGERS, ArgumentError, expect_bool, expect_choice, expect_tensors
from vfi_kernels._autograd import (
    refuse_forward_mode,
    register_differentiable,
    register_fake,
    register_second_derivative,
)
from vfi_kernels._options import COSTS, Cost
from vfi_kernels._overrides import overridable
from vfi_kernels._results import empty_result, not_needed
from vfi_kernels._types import Arguments, Context, Gradients, Op, Ops
from vfi_kernels.ops._shared.convolution import cast_for_autocast
from vfi_kernels.ops.correlation import reference
from vfi_kernels.ops.correlation.reference import LARGEST, PAIRS

_correlation: Op = torch.ops.vfi_kernels.correlation.default
_correlation_grad: Ops = torch.ops.vfi_kernels.correlation_grad.default

OnePair = int | Sequence[int]  # both sides, or (vertical, horizontal)


@overridable
def correlation(
    first: Tensor,
    second: Tensor,
    radius: OnePair = 4,
    *,
    kernel_size: OnePair = 1,
    stride: OnePair = 1,
    padding: OnePair = 0,
    dilation: OnePair = 1,
    patch_dilation: OnePair = 1,
    normalize: bool = True,
    cost: Cost = "dot",
    out: Tensor | None = None,
) -> Tensor:
    r"""Compares every pixel of `first` with the pixels of `second` around it: the local cost volume of optical flow.

    .. math::
        out[b, (k_y + r_y)(2r_x + 1) + k_x + r_x, y, x] = \frac{1}{N} \sum_{c, i, j}
        cost\big(first[b, c, p_y, p_x],\; second[b, c, p_y + k_y D_y, p_x + k_x D_x]\big)

    for all :math:`-r \le k \le r`, with :math:`p_y = y S_y - P_y + i d_y` and likewise :math:`p_x`: S is the stride,
    P the padding, D the dilation of the patch of displacements, d that of the kernel, whose pixels are (i, j). Without
    options that is, for every displacement of up to r pixels, the mean over the channels of the products.

    Args:
        first, second: (B, C, H, W) of one shape and dtype: float64, float32, float16 or bfloat16; any strides.
        radius: r, the largest number of steps along y and x; (vertical, horizontal) or one for both, as are all of the
            next five. Each of the six is at most 32767.
        kernel_size: pixels of the window by which maps are compared, 1 or more, odd or even; `padding` says where it
            begins.
        stride: from one output to the next, in pixels of `first`.
        padding: pixels outside `first` at which the windows begin (and end).
        dilation: from one pixel of the window to the next.
        patch_dilation: from one displacement to the next, in pixels.
        normalize: N is C times the pixels of the kernel (FlowNet, PWC-Net); else 1 (mmcv, spatial_correlation_sampler).
        cost: "dot", the product, 0 where either pixel is outside its map: nothing is read there, whatever the other map
            holds. "l1", the absolute difference, for which both maps have zeros around them.
        out: written and returned in place of fresh memory: the shape and dtype of the result, and no autograd.

    Returns:
        (B, (2 r_y + 1)(2 r_x + 1), Ho, Wo) with the dtype and memory format of `first`; 0 where there are no channels.
        Ho is floor((H + 2 P_y - d_y (kernel_size_y - 1) - 1) / S_y) + 1, and Wo likewise, H and W without options. Sums
        are float32, or float64 for float64, and are rounded once. Differentiable twice in both tensors; that of
        "l1" is 0 where the maps are equal. Bitwise reproducible on every device, as no sum depends on the order of
        threads. Inside torch.autocast both maps are cast as conv2d casts its input.

    Raises:
        ArgumentError: if a shape, dtype, device or option is not one of the above, or the kernel does not fit.

    Source:
        The correlation layer of FlowNet (Dosovitskiy et al., ICCV 2015, eq. 1); FlowNetC's, 20 pixels in steps of 2, is
        radius=10, patch_dilation=2. The cost volume of PWC-Net (Sun et al., CVPR 2018, eq. 2), and with "l1" M2M's (Hu
        et al., CVPR 2022).
    """
    expect_tensors("correlation", first=first, second=second)
    expect_bool("correlation", "normalize", normalize)
    expect_choice("correlation", "cost", cost, COSTS)
    refuse_forward_mode("correlation", first, second)
    return _correlation(
        cast_for_autocast(first),
        cast_for_autocast(second),
        [
            *_pair("radius", radius),
            *_pair("kernel_size", kernel_size),
            *_pair("stride", stride),
            *_pair("padding", padding),
            *_pair("dilation", dilation),
            *_pair("patch_dilation", patch_dilation),
        ],
        normalize,
        COSTS[cost],
    )


def _pair(name: str, value: OnePair) -> tuple[int | torch.SymInt, int | torch.SymInt]:
    """An integer in range, or two in a sequence, as two."""
    least = PAIRS[name]
    if type(value) is int and least <= value <= LARGEST:
        return value, value
    pair = (value, value) if isinstance(value, INTEGERS) else value
    if isinstance(pair, Sequence) and len(pair) == 2 and all(_in_range(v, least) for v in pair):
        down, across = (v if isinstance(v, torch.SymInt) else int(v) for v in pair)
        return down, across
    raise ArgumentError(f"correlation: expected {name} from {least} to {LARGEST}, one integer or two, got {value!r}")


def _in_range(value: object, least: int) -> bool:
    return isinstance(value, INTEGERS) and not isinstance(value, bool) and bool(least <= value <= LARGEST)


@register_fake("correlation")
def _(first: Tensor, second: Tensor, *options: Any) -> Tensor:
    geometry = reference.check(first, second, *options)
    return empty_result(first, (first.shape[0], geometry.displacements, *geometry.size))


@register_fake("correlation_grad")
def _(grad_out: Tensor, first: Tensor, second: Tensor, *options: object) -> tuple[Tensor, ...]:
    need_first, need_second = options[-2:]
    return (
        empty_result(first) if need_first else not_needed(first),
        empty_result(second) if need_second else not_needed(second),
    )


def _setup_context(ctx: Context, inputs: Arguments, output: Tensor) -> None:
    first, second, *ctx.options = inputs
    ctx.save_for_backward(first, second)


def _backward(ctx: Context, grad_out: Tensor) -> Gradients:
    first, second = ctx.saved_tensors
    refuse_forward_mode("correlation", grad_out, first, second)
    need_first, need_second = ctx.needs_input_grad[:2]
    grads = _correlation_grad(grad_out, first, second, *ctx.options, need_first, need_second)
    found = tuple(grad if need else None for grad, need in zip(grads, (need_first, need_second)))
    return *found, *(None for _ in ctx.options)


register_differentiable("correlation", _setup_context, _backward)
register_second_derivative("correlation_grad", reference.correlation_grad)
backends.implement("correlation", reference.correlation)
backends.implement("correlation_grad", reference.correlation_grad)
