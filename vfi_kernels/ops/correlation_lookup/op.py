"""Windows of a cost volume at given positions as a torch op: public function, shapes, gradient."""

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
from vfi_kernels.ops.correlation_lookup import reference

_lookup: Op = torch.ops.vfi_kernels.correlation_lookup.default
_lookup_grad: Ops = torch.ops.vfi_kernels.correlation_lookup_grad.default


@overridable
def correlation_lookup(
    first: Tensor, second: Tensor, positions: Tensor, radius: int = 4, *, levels: int = 4, out: Tensor | None = None
) -> Tensor:
    r"""Compares every pixel of `first` with a window of `second` around a position of its own, on several scales: what
    RAFT looks up in its cost volume of all pairs, without that volume.

    With :math:`S_0` = `second`, :math:`S_{l+1}` the means of 2 x 2 pixels of :math:`S_l` (an odd last row or column is
    left out), n = 2 r + 1 and the position (px, py) of the pixel:

    .. math::
        out[b, l n^2 + i n + j, y, x] = \frac{1}{\sqrt C} \sum_c first[b, c, y, x]\;
        S_l[b, c](px / 2^l + i - r,\; py / 2^l + j - r)

    The first index, i, moves along x. Bilinear between pixel centres, which have integer coordinates; corners outside
    a level count 0, each by itself, and a level that has no pixels left is 0. A corner whose weight is exactly 0 is
    never read.

    Args:
        first: (B, C, H, W), float64, float32, float16 or bfloat16; any strides. channels_last maps are read as they
            are, others are copied to that layout in every call.
        second: (B, C, H', W') of the same dtype.
        positions: (B, 2, H, W) in pixels of `second`, channel 0 along x (right), channel 1 along y (down); any floating
            dtype. Where a component is not finite the result is 0 and nothing receives a gradient.
        radius: r, the reach of the window in pixels of each level, 0 to 12.
        levels: 1 to 16.
        out: written and returned in place of fresh memory: the shape and dtype of the result, and no autograd.

    Returns:
        (B, levels (2 r + 1)^2, H, W) with the dtype and memory format of `first`; 0 where there are no channels.
        Positions, pooled levels and sums are float32 or wider, rounded once. Differentiable twice in all three tensors
        (RAFT detaches its positions); the gradient of a position is the right-hand one at integers of its level.
        Bitwise reproducible on every device, as no sum depends on the order of threads. Inside torch.autocast the maps
        are cast as conv2d casts its input, positions are not.

    Raises:
        ArgumentError: if a shape, dtype, device, `radius` or `levels` is not one of the above.

    Source:
        Teed and Deng, RAFT, ECCV 2020, section 3.2: the correlation pyramid and its lookup, as products with pooled
        features, to which it is equal ("efficient computation for high resolution images").
    """
    expect_tensors("correlation_lookup", first=first, second=second, positions=positions)
    expect_integer("correlation_lookup", "radius", radius)
    expect_integer("correlation_lookup", "levels", levels)
    refuse_forward_mode("correlation_lookup", first, second, positions)
    return _lookup(cast_for_autocast(first), cast_for_autocast(second), positions, radius, levels)


@register_fake("correlation_lookup")
def _(first: Tensor, second: Tensor, positions: Tensor, radius: int = 4, levels: int = 4) -> Tensor:
    reference.check(first, second, positions, radius, levels)
    return empty_result(first, (first.shape[0], levels * (2 * radius + 1) ** 2, *first.shape[2:]))


@register_fake("correlation_lookup_grad")
def _(
    grad_out: Tensor, first: Tensor, second: Tensor, positions: Tensor, radius: int, levels: int, need_first: bool,
    need_second: bool, need_positions: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    pairs = ((first, need_first), (second, need_second), (positions, need_positions))
    return tuple(empty_result(t) if needed else not_needed(t) for t, needed in pairs)


def _setup_context(ctx: Context, inputs: Arguments, output: Tensor) -> None:
    first, second, positions, ctx.radius, ctx.levels = inputs
    ctx.save_for_backward(first, second, positions)


def _backward(ctx: Context, grad_out: Tensor) -> Gradients:
    saved, needs = ctx.saved_tensors, ctx.needs_input_grad[:3]
    refuse_forward_mode("correlation_lookup", grad_out, *saved)
    grads = _lookup_grad(grad_out, *saved, ctx.radius, ctx.levels, *needs)
    return *(grad if needed else None for grad, needed in zip(grads, needs)), None, None


register_differentiable("correlation_lookup", _setup_context, _backward)
register_second_derivative("correlation_lookup_grad", reference.correlation_lookup_grad)
backends.implement("correlation_lookup", reference.correlation_lookup)
backends.implement("correlation_lookup_grad", reference.correlation_lookup_grad)
