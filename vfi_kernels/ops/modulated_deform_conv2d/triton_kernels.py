"""Modulated deformable convolution in Triton. The gradient op is in triton_grad.py."""

import triton
import triton.language as tl
from torch import Tensor

from vfi_kernels._results import empty_result
from vfi_kernels.ops._shared.triton_math.bilinear import block_pixels, store_tile
from vfi_kernels.ops._shared.triton_math.functions import activate
from vfi_kernels.ops._shared.triton_math.launch import launch
from vfi_kernels.ops._shared.triton_math.products import add_product
from vfi_kernels.ops.modulated_deform_conv2d import reference
from vfi_kernels.ops.modulated_deform_conv2d.triton_columns import (
    WARPS,
    columns,
    load_weight,
    tap_position,
    work,
)
from vfi_kernels.ops.modulated_deform_conv2d.triton_grad import modulated_deform_conv2d_grad

__all__ = ["modulated_deform_conv2d", "modulated_deform_conv2d_grad"]


# out[o, p] = act(bias[o] + sum over c in o's group, t of weight[o, c, t] column[c, t, p])
#
# A product of matrices without the second one: a program has BLOCK_O output channels of one group and BLOCK pixels of
# the output, makes the columns of BLOCK_C channels of one tap at a time, and adds their product with the weights.
@triton.jit
def _deform_conv_kernel(
    blocks,
    sampled,
    sizes,
    steps,
    channels,
    weight,  # [taps, C_out, C / groups]
    bias,  # [C_out] or None
    slopes,  # [C_out] or [1], or None
    slope_step,
    out,  # [B, C_out, out_height, out_width]
    groups,
    tiles,  # of BLOCK_O output channels in a group
    ACTIVATION: tl.constexpr,
    ACC: tl.constexpr,
    KIND: tl.constexpr,
    DOT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    _, _, out_height, out_width, taps = sizes
    group_in, group_out, each, piece = channels
    number, i, j = block_pixels(blocks, out_width, BLOCK)
    b = number // (groups * tiles)
    part = (number % (groups * tiles)).to(tl.int32)
    group = part // tiles
    o = group * group_out + part % tiles * BLOCK_O + tl.arange(0, BLOCK_O)
    last_o = (group + 1) * group_out
    live = i < out_height
    total = tl.zeros([BLOCK_O, BLOCK], ACC)
    for first in range(group * group_in, (group + 1) * group_in, piece):
        for t in range(taps):
            spot, m, inside = tap_position(sampled, sizes, steps, b, first // each, t, i, j, live, ACC)
            for start in range(first, first + piece, BLOCK_C):
                c = start + tl.arange(0, BLOCK_C)
                column = columns(sampled, sizes, b, c, first + piece, spot, m, inside, ACC, KIND)
                rows = o[:, None]
                w = load_weight(weight, t, group, groups, rows, last_o, c[None, :], first + piece, channels, KIND)
                total = add_product(total, w, column, DOT, PRECISION)
    if bias is not None:
        total += tl.load(bias + o, o < last_o, other=0).to(ACC)[:, None]
    slope = tl.zeros([BLOCK_O], ACC)
    if ACTIVATION == "prelu":
        slope = tl.load(slopes + o * slope_step, o < last_o, other=0).to(ACC)
    total = activate(total, slope[:, None], ACTIVATION)
    store_tile(out, b, o, last_o, i, j, live, total)


def modulated_deform_conv2d(
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    offset_groups: int,
    activation: str,
    activation_weight: Tensor | None,
    edge: str,
    allow_tf32: bool,
) -> Tensor:
    """out[o, i, j] = bias[o] + sum over c, kh, kw of weight[o, c, kh, kw] mask[..] input[c, position(kh, kw, i, j)]."""
    g, size = reference.check(
        input, offset, mask, weight, bias, stride, padding, dilation, groups, offset_groups, activation,
        activation_weight, edge,
    )  # fmt: skip
    out = empty_result(input, (input.shape[0], weight.shape[0], *size))
    if out.numel() > 0:
        w = work(input, offset, mask, weight, g, allow_tf32)
        _, group_out, _, piece = w.channels
        block_o = w.block(group_out, 128 if w.dot else 16)
        tiles = triton.cdiv(group_out, block_o)
        bias, slopes = (None if v is None else v.contiguous() for v in (bias, activation_weight))
        step = 0 if slopes is None or slopes.shape[0] == 1 else 1
        launch(
            _deform_conv_kernel, out, size, *w.arguments(), w.weight, bias, slopes, step, out, groups, tiles,
            parts=groups * tiles, ACTIVATION=activation, BLOCK=64, BLOCK_O=block_o,
            BLOCK_C=w.block(piece, 32) if w.dot else 1, num_warps=WARPS, **w.constants,
        )  # fmt: skip
    return out
