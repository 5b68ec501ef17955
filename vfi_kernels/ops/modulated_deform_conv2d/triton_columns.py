"""What the Triton kernels of modulated_deform_conv2d share: where a tap reads, a tile of columns.

A tile never crosses a conv group or an offset group: it lies in one piece of the channels, of which there are
C / gcd(C / groups, C / offset_groups) equal ones. Tiles are made in registers and used at once, never written.
"""

import math
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from vfi_kernels._results import accumulator
from vfi_kernels._types import Options
from vfi_kernels.ops._shared.triton_math.bilinear import axis, load_plane, sample
from vfi_kernels.ops._shared.triton_math.products import product_constants, side
from vfi_kernels.ops.modulated_deform_conv2d.reference import Geometry

WARPS = 8


class Work(NamedTuple):
    """The tensors that say what is sampled, sizes and constants, as every kernel takes them."""

    sampled: tuple[Any, ...]  # input, offset and mask (or None), each with its strides
    sizes: tuple[int, ...]  # height, width, out_height, out_width, taps
    steps: tuple[int, ...]  # kernel width; stride, padding, dilation, each vertical and horizontal
    channels: tuple[int, ...]  # of a conv group in, of one out, of an offset group, of a piece
    weight: Tensor  # [taps, C_out, C / groups], flat: neighbouring channels lie side by side
    geometry: Geometry
    constants: Options

    def sample(self, n: int) -> "Work":
        """The same for one sample of the batch."""
        return self._replace(sampled=tuple(t if t is None else t[n : n + 1] for t in self.sampled))

    def arguments(self) -> tuple[object, ...]:
        return self.sampled, self.sizes, self.steps, self.channels

    @property
    def dot(self) -> bool:
        return bool(self.constants["DOT"])

    @property
    def acc(self) -> torch.dtype:
        return torch.float32 if self.dot else torch.float64

    def block(self, channels: int, most: int) -> int:
        return side(channels, most, self.dot)


def work(input: Tensor, offset: Tensor, mask: Tensor | None, weight: Tensor, g: Geometry, allow_tf32: bool) -> Work:
    acc = accumulator(input, offset, mask)
    c = input.shape[1]
    group_in, each = c // g.groups, c // g.offset_groups
    piece = max(math.gcd(group_in, each), 1)
    return Work(
        (input, offset, mask),
        (*input.shape[2:], *offset.shape[2:], g.taps),
        (g.kernel[1], *g.stride, *g.padding, *g.dilation),
        (group_in, weight.shape[0] // g.groups, each, piece),
        weight.permute(2, 3, 0, 1).contiguous().flatten(),
        g,
        product_constants(input.dtype, acc, allow_tf32),
    )


@triton.jit
def tap_position(sampled, sizes, steps, b, q, t, i, j, live, ACC: tl.constexpr):
    """Where tap t of output pixels (i, j) reads in offset group q, [BLOCK]: position, mask, whether a corner is inside.

    y = i s_y - p_y + u d_y + offset[2 (q T + t)],  x = j s_x - p_x + v d_x + offset[2 (q T + t) + 1],  t = u KW + v
    """
    _, offset, mask = sampled
    height, width, _, _, taps = sizes
    kernel_width, stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x = steps
    start_y = i * stride_y - padding_y + t // kernel_width * dilation_y
    start_x = j * stride_x - padding_x + t % kernel_width * dilation_x
    plane = q * taps + t
    y0, ly, ry, _ = axis(start_y, load_plane(offset, b, 2 * plane, i, j, live, ACC), height, "zeros")
    x0, lx, rx, _ = axis(start_x, load_plane(offset, b, 2 * plane + 1, i, j, live, ACC), width, "zeros")
    inside = live & (x0 >= -1) & (x0 < width) & (y0 >= -1) & (y0 < height)
    inside = inside & (x0 + width >= 0) & (y0 + height >= 0)  # where the input has no pixels, -1 is beside none
    m = tl.zeros_like(ly) + 1
    if mask is not None:
        m = load_plane(mask, b, plane, i, j, inside, ACC)
    return (x0, y0, lx, ly, rx, ry), m, inside


@triton.jit
def columns(sampled, sizes, b, c, last, spot, m, inside, ACC: tl.constexpr, KIND: tl.constexpr):
    """mask * value of channels c < last, 0 where no corner is inside; rounded to KIND, [BLOCK_C, BLOCK]."""
    value = sample(sampled[0], b, c, last, spot, sizes[0], sizes[1], inside, ACC)
    return tl.where(inside[None, :], m[None, :] * value, 0.0).to(KIND)


@triton.jit
def load_weight(weight, t, group, groups, o, last_o, c, last, channels, KIND: tl.constexpr):
    """weight[t, o, c] for o < last_o and c < last, both of `group`, else 0; o and c broadcast to a tile."""
    group_in, group_out, _, _ = channels
    at = (t * groups * group_out + o) * group_in + (c - group * group_in)
    return tl.load(weight + at, (o < last_o) & (c < last), other=0).to(KIND)
