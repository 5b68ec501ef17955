"""Convolution of listed patches in Triton, and the gradient of its input, which is the other form of the same sum: the
formulas are in csrc/ops/routed_conv2d/routed_conv2d.h.

A program has BLOCK output pixels of one phase of a patch and BLOCK_O output channels. Patches are the rows of the list,
or, for the gradient, the cells of the grid: a pixel of a patch next to it is then found through a table cell -> row of
the list, so that nothing is written twice and sums have one order. A convolution with transposed stride s has s x s
phases, output pixels of one read the same taps. Pixels are read where they lie.
"""

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from vfi_kernels._results import accumulator
from vfi_kernels._types import Options
from vfi_kernels.ops._shared.triton_math.bilinear import block_pixels, load_tile, store_tile
from vfi_kernels.ops._shared.triton_math.functions import activate
from vfi_kernels.ops._shared.triton_math.launch import launch
from vfi_kernels.ops._shared.triton_math.patches import patch_at
from vfi_kernels.ops._shared.triton_math.products import add_product, product_constants, side
from vfi_kernels.ops.routed_conv2d import reference


class Form(NamedTuple):
    """A convolution of patches in one of its forms and directions."""

    grid: tuple[int, int, int]  # B, rows, columns of patches
    axis: tuple[int, int, int, int, int]  # K, stride, padding; pixels along an input and an output patch
    channels: tuple[int, int]  # in, out
    transposed: bool
    neighbours: bool  # a pixel outside the patch is that of the image, else 0

    @property
    def phases(self) -> int:
        return self.axis[1] if self.transposed else 1

    @property
    def phase_side(self) -> int:
        return self.axis[4] // self.phases

    def exchanged(self) -> "Form":
        """The gradient's: from output patches to input patches."""
        k, stride, padding, inner, outer = self.axis
        axis = (k, stride, padding, outer, inner)
        return Form(self.grid, axis, self.channels[::-1], not self.transposed, self.neighbours)


def form(x: Tensor, weight: Tensor, patch: int, stride: int, transposed: bool, padding_mode: str) -> Form:
    k = weight.shape[2]
    out_patch = 2 * patch if transposed else patch // stride
    return Form(
        (x.shape[0], x.shape[2] // patch, x.shape[3] // patch),
        (k, stride, 1 if transposed else k // 2, patch, out_patch),
        (x.shape[1], weight.shape[1 if transposed else 0]),
        transposed,
        reference.reach(weight, padding_mode) > 0,
    )


@triton.jit
def phase_axis(axis, phase, TRANSPOSED: tl.constexpr):
    """Taps, first tap and from one to the next; then pixel m of the phase reads m in_step + in_first + n tap_move with
    its n-th tap, and is output pixel m out_step + out_first."""
    k, stride, padding, _, _ = axis
    if TRANSPOSED:
        first = (phase + padding) % stride
        taps, in_first = (k - 1 - first + stride) // stride, (phase + padding - first) // stride
        return taps, first, stride, 1, in_first, -1, stride, phase
    else:
        return k, 0, 1, stride, -padding, 1, 1, 0


@triton.jit
def input_pixels(listed, grid, axis, b, row, column, used, y, x, live, CELLS: tl.constexpr, NEIGHBOURS: tl.constexpr):
    """Where input pixels (y, x) of a patch are, counted from its first: sample or row of the list, y, x, whether they
    are there, all [BLOCK]. With CELLS they are among patches, else in an image; not `used`: none is."""
    _, rows, columns = grid
    inner = axis[3]
    if CELLS:
        down = y * 0
        right = x * 0
        if NEIGHBOURS:  # at most one pixel away
            down = (y >= inner).to(tl.int32) - (y < 0).to(tl.int32)
            right = (x >= inner).to(tl.int32) - (x < 0).to(tl.int32)
        y, x = y - down * inner, x - right * inner
        there = live & (y >= 0) & (y < inner) & (x >= 0) & (x < inner)
        down, right = row + down, column + right
        there = there & (down >= 0) & (down < rows) & (right >= 0) & (right < columns)
        k = tl.load(listed + (b * rows + down) * columns + right, there, other=-1).to(tl.int64)
        return k, y, x, k >= 0
    else:
        end = tl.where(used, inner, -2)  # beyond any pixel that is read
        if NEIGHBOURS:
            low, left = -row * inner, -column * inner
            high = tl.where(used, (rows - row) * inner, low)
            there = live & (y >= low) & (y < high) & (x >= left) & (x < (columns - column) * inner)
        else:
            there = live & (y >= 0) & (y < end) & (x >= 0) & (x < end)
        return b + y.to(tl.int64) * 0, row * inner + y, column * inner + x, there


@triton.jit
def patch_of(indices, listed, n, grid, CELLS: tl.constexpr):
    """b, row, column of item n, and whether it is listed."""
    _, rows, columns = grid
    if CELLS:
        return n // (rows * columns), n // columns % rows, n % columns, tl.load(listed + n) >= 0
    else:
        return patch_at(indices, n, grid)


@triton.jit
def _routed_conv_kernel(
    blocks,
    pixels,  # [B, depth, H, W] or, with CELLS, [P, depth, patch, patch]
    weight,  # [K, K, columns, depth]
    bias,  # [columns] or None
    slopes,  # [columns] or [1], or None
    slope_step,
    indices,
    listed,  # with CELLS
    out,  # [B, columns, H', W'], or [P, columns, patch', patch']
    grid,
    axis,
    channels,
    tiles,  # of BLOCK_O output channels
    TRANSPOSED: tl.constexpr,
    NEIGHBOURS: tl.constexpr,
    CELLS: tl.constexpr,
    COMPACT: tl.constexpr,
    ACTIVATION: tl.constexpr,
    SLOPE: tl.constexpr,  # of prelu where there are no slopes
    ACC: tl.constexpr,
    KIND: tl.constexpr,
    DOT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    kernel, stride, _, _, outer = axis
    depth, columns = channels
    phases = stride if TRANSPOSED else 1
    number, i, j = block_pixels(blocks, outer // phases, BLOCK)
    parts = phases * phases * tiles
    n, part = number // parts, (number % parts).to(tl.int32)
    down, right = part // tiles // phases, part // tiles % phases
    o = part % tiles * BLOCK_O + tl.arange(0, BLOCK_O)
    taps_y, tap_y, next_y, step_y, in_y, move_y, out_step_y, out_y = phase_axis(axis, down, TRANSPOSED)
    taps_x, tap_x, next_x, step_x, in_x, move_x, out_step_x, out_x = phase_axis(axis, right, TRANSPOSED)
    b, row, column, used = patch_of(indices, listed, n, grid, CELLS)
    live = i < outer // phases
    total = tl.zeros([BLOCK_O, BLOCK], ACC)
    rows = taps_y if CELLS and NEIGHBOURS else tl.where(used, taps_y, 0)  # nothing is computed for what is not listed
    for u in range(0, rows):
        for v in range(0, taps_x):
            y, x = i * step_y + in_y + u * move_y, j * step_x + in_x + v * move_x
            at, y, x, there = input_pixels(listed, grid, axis, b, row, column, used, y, x, live, CELLS, NEIGHBOURS)
            tap = ((tap_y + u * next_y) * kernel + tap_x + v * next_x) * columns
            end = tl.where(tl.max(there.to(tl.int32), 0) > 0, depth, 0)
            for start in range(0, end, BLOCK_C):
                c = start + tl.arange(0, BLOCK_C)
                tile = load_tile(pixels, at, c, depth, y, x, there, ACC).to(KIND)
                mask = (o < columns)[:, None] & (c < depth)[None, :]
                w = tl.load(weight + (tap + o)[:, None] * depth + c[None, :], mask, other=0).to(KIND)
                total = add_product(total, w, tile, DOT, PRECISION)
    if bias is not None:
        total += tl.load(bias + o, o < columns, other=0).to(ACC)[:, None]
    slope = tl.zeros([BLOCK_O], ACC) + SLOPE
    if slopes is not None:
        slope = tl.load(slopes + o * slope_step, o < columns, other=0).to(ACC)
    total = activate(total, slope[:, None], ACTIVATION)
    y, x = i * out_step_y + out_y, j * out_step_x + out_x
    if COMPACT:
        total = tl.where(used, total, 0.0)
        store_tile(out, n, o, columns, y, x, live, total)
    else:
        if not CELLS:
            live = i < tl.where(used, outer // phases, 0)
        store_tile(out, b, o, columns, row * outer + y, column * outer + x, live, total)


def arranged(weight: Tensor, transposed: bool) -> Tensor:
    """[K, K, columns, depth], flat: neighbouring input channels lie side by side."""
    order = (2, 3, 1, 0) if transposed else (2, 3, 0, 1)
    return weight.permute(order).contiguous().flatten()


def convolve(
    f: Form, pixels: Tensor, weight: Tensor, indices: Tensor, out: Tensor, allow_tf32: bool, *,
    listed: Tensor | None = None, compact: bool = False, bias: Tensor | None = None, slopes: Tensor | None = None,
    slope: float = 0.0, activation: str = "none",
) -> None:  # fmt: skip
    """Into `out`; `listed` makes it the gradient of an input, `weight` is as `arranged`."""
    items = indices if listed is None else listed
    if items.shape[0] == 0 or out.numel() == 0:
        return
    constants: Options = product_constants(pixels.dtype, accumulator(pixels), allow_tf32)
    dot = constants["DOT"]
    block_o = side(f.channels[1], 128 if dot else 16, dot)
    tiles = triton.cdiv(f.channels[1], block_o)
    bias, slopes = (None if t is None else t.contiguous() for t in (bias, slopes))
    step = 0 if slopes is None or slopes.shape[0] == 1 else 1
    kind = "prelu" if activation == "leaky_relu" else activation
    launch(
        _routed_conv_kernel, items, (f.phase_side, f.phase_side), pixels, weight, bias, slopes, step,
        indices, listed, out, f.grid, f.axis, f.channels, tiles, parts=f.phases**2 * tiles, TRANSPOSED=f.transposed,
        NEIGHBOURS=f.neighbours, CELLS=listed is not None, COMPACT=compact, ACTIVATION=kind, SLOPE=float(slope),
        BLOCK=64, BLOCK_O=block_o, BLOCK_C=side(f.channels[0], 32, dot) if dot else 1,
        num_warps=8 if block_o > 32 else 4, **constants,
    )  # fmt: skip
