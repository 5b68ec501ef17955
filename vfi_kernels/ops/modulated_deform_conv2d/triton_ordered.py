"""grad_input of modulated_deform_conv2d with sums in a fixed order, in Triton."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vfi_kernels.ops._shared.triton_math.bilinear import block_pixels, corner
from vfi_kernels.ops._shared.triton_math.launch import THREADS, launch
from vfi_kernels.ops.modulated_deform_conv2d.triton_columns import Work, tap_position

BLOCK = 32  # input pixels


# cell[source] = (q, y0 + 1, x0 + 1) as one number, `cells` for a source that lands outside; a source is an output pixel
# of a tap of an offset group, in that order; one program per BLOCK of them
@triton.jit
def _deform_cell_kernel(
    blocks,
    sampled,
    sizes,
    steps,
    cell,  # [offset groups, taps, out_height, out_width]
    cells,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
):
    height, width, out_height, out_width, taps = sizes
    number, row, j = block_pixels(blocks, out_width, BLOCK)
    t, i = row // out_height, row % out_height
    live = t < taps
    spot, _, inside = tap_position(sampled, sizes, steps, 0, number, t, i, j, live, ACC)
    cell_number = (number * (height + 1) + spot[1] + 1) * (width + 1) + spot[0] + 1
    cell_number = tl.where(inside, cell_number, cells).to(cell.dtype.element_ty)
    tl.store(cell + (number * taps * out_height + row) * out_width + j, cell_number, live)


# Deterministic grad_input: one program per BLOCK input pixels and offset group adds the sources of their four cells,
# cell after cell, each in the order of taps and output pixels, at the price of waiting for the fullest cell.
@triton.jit
def _deform_ordered_kernel(
    blocks,
    sampled,
    sizes,
    steps,
    channels,
    back,  # m G, [offset groups * taps * out_height * out_width, C / offset groups]
    order,
    first,  # [cells + 1]
    total,  # [height * width, lanes]
    lanes,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    height, width, out_height, out_width, taps = sizes
    each = channels[2]
    q, y, x = block_pixels(blocks, width, BLOCK)
    live = y < height
    plane = taps * out_height * out_width
    for start in range(0, each, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        sums = tl.zeros([BLOCK_C, BLOCK], ACC)
        for k in tl.static_range(4):
            # This pixel is corner (k % 2, k // 2) of the sources in that cell.
            cell = (q * (height + 1) + y + 1 - k // 2) * (width + 1) + x + 1 - k % 2
            begin = tl.load(first + cell, live, other=0)
            count = tl.load(first + cell + 1, live, other=0) - begin
            for n in range(0, tl.max(count)):
                here = n < count
                source = tl.load(order + begin + n, here, other=0)
                at = tl.where(here, source - q * plane, 0)
                row, j = (at // out_width).to(tl.int32), (at % out_width).to(tl.int32)
                t, i = row // out_height, row % out_height
                spot, _, _ = tap_position(sampled, sizes, steps, 0, q, t, i, j, here, ACC)
                part = corner(spot, k % 2, k // 2, height, width)[2]
                used = (here & (part != 0))[None, :] & (c < each)[:, None]
                value = tl.load(back + source[None, :] * each + c[:, None], used, other=0)
                sums += tl.where(used, part[None, :] * value, 0.0)
        at = total + (y.to(tl.int64) * width + x)[None, :] * lanes + (q * each + c)[:, None]
        tl.store(at, sums, live[None, :] & (c < each)[:, None])


def add_in_order(w: Work, back: Tensor, total: Tensor) -> None:
    """total[0] = grad_input of the one sample of w; back = m G, (offset groups, taps, pixels, C / offset groups)."""
    _, h, width, lanes = total.shape
    g, (_, _, ho, wo, taps) = w.geometry, w.sizes
    cells = g.offset_groups * (h + 1) * (width + 1)
    dtype = torch.int32 if cells < 2**31 else torch.int64
    cell = torch.empty(g.offset_groups * taps * ho * wo, dtype=dtype, device=total.device)
    common = {"parts": g.offset_groups, "ACC": w.constants["ACC"]}
    launch(_deform_cell_kernel, total, (taps * ho, wo), *w.arguments()[:3], cell, cells, BLOCK=THREADS, **common)
    cell, order = torch.sort(cell, stable=True)
    first = torch.searchsorted(cell, torch.arange(cells + 1, dtype=dtype, device=cell.device))
    launch(
        _deform_ordered_kernel, total, (h, width), *w.arguments(), back.flatten(), order, first, total.flatten(), lanes,
        BLOCK=BLOCK, BLOCK_C=min(16, triton.next_power_of_2(w.channels[2])), **common,
    )  # fmt: skip
