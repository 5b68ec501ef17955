"""The gradient of modulated_deform_conv2d in Triton. With g = grad_out and m the mask:

    G[c, t, p] = sum over o of weight[o, c, t] g[o, p]           grad_mask = sum over c of G value
    grad_input[c, corner k] += w_k m G                           grad_offset = sum over c of m G (d value / dy, dx)
    grad_weight[o, c, t] = sum over p of g[o, p] column[c, t, p]

Sampled values are made again in registers. All sums but that of grad_input have a fixed order.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vfi_kernels._results import accumulator, empty_result, not_needed
from vfi_kernels.ops._shared.triton_math.bilinear import (
    block_pixels,
    corner,
    load_tile,
    sample_slopes,
    scan_pixels,
    store_plane,
)
from vfi_kernels.ops._shared.triton_math.collect import collect
from vfi_kernels.ops._shared.triton_math.launch import launch
from vfi_kernels.ops._shared.triton_math.products import add_product
from vfi_kernels.ops._shared.triton_math.scatter import lane_group
from vfi_kernels.ops.modulated_deform_conv2d import reference
from vfi_kernels.ops.modulated_deform_conv2d.triton_columns import (
    WARPS,
    Work,
    columns,
    load_weight,
    tap_position,
    work,
)
from vfi_kernels.ops.modulated_deform_conv2d.triton_ordered import add_in_order

PROGRAMS = 1024  # that a grad_weight is split into at least, where there are pixels enough


@triton.jit
def add_corners(total, b, c, last, spot, height, width, inside, back, lanes):
    """total[b, corner, c] += weight * back for the used corners and c < last, atomically: in no fixed order."""
    for k in tl.static_range(4):
        cx, cy, weight, there = corner(spot, k % 2, k // 2, height, width)
        used = (inside & there & (weight != 0))[None, :] & (c < last)[:, None]
        target = (b * height + cy) * width + cx
        tl.atomic_add(total + target[None, :] * lanes + c[:, None], weight[None, :] * back, mask=used, sem="relaxed")


# grad_offset and grad_mask, and with "add" grad_input, with "store" the m G that it is made of
#
# One program per BLOCK output pixels of one tap and offset group; it alone sums over the group's channels.
@triton.jit
def _deform_columns_grad_kernel(
    blocks,
    sampled,
    sizes,
    steps,
    channels,
    weight,  # [taps, C_out, C / groups]
    grad_out,  # [B, C_out, out_height, out_width]
    grad_offset,  # or None
    grad_mask,  # or None
    total,  # "add": [B, height, width, lanes]; "store": [B, offset groups, taps, pixels, C / offset groups]
    groups,
    offset_groups,
    lane_groups,
    MMCV: tl.constexpr,
    INPUT: tl.constexpr,
    GROUP: tl.constexpr,  # lanes that are added as one vector
    UNIT: tl.constexpr,  # divides GROUP and a piece, so that UNIT lanes have one mask
    ACC: tl.constexpr,
    KIND: tl.constexpr,
    DOT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    height, width, out_height, out_width, taps = sizes
    group_in, group_out, each, pieces = channels
    piece = pieces * UNIT
    number, i, j = block_pixels(blocks, out_width, BLOCK)
    b = number // (offset_groups * taps)
    plane = (number % (offset_groups * taps)).to(tl.int32)
    q, t = plane // taps, plane % taps
    live = i < out_height
    spot, m, inside = tap_position(sampled, sizes, steps, b, q, t, i, j, live, ACC)
    sum_y, sum_x, sum_m = tl.zeros([BLOCK], ACC), tl.zeros([BLOCK], ACC), tl.zeros([BLOCK], ACC)
    for first in range(q * each, (q + 1) * each, piece):
        group = first // group_in
        for start in range(first, first + piece, BLOCK_C):
            c = start + tl.arange(0, BLOCK_C)
            back = tl.zeros([BLOCK_C, BLOCK], ACC)
            last_o = (group + 1) * group_out
            for first_o in range(group * group_out, last_o, BLOCK_O):
                o = first_o + tl.arange(0, BLOCK_O)
                cs = c[:, None]
                w = load_weight(weight, t, group, groups, o[None, :], last_o, cs, first + piece, channels, KIND)
                g = load_tile(grad_out, b, o, last_o, i, j, live, ACC).to(KIND)
                back = add_product(back, w, g, DOT, PRECISION)
            value, dx, dy = sample_slopes(sampled[0], b, c, first + piece, spot, height, width, inside, ACC)
            back = tl.where(inside[None, :], back, 0.0)
            sum_m += tl.sum(tl.where(inside[None, :], back * value, 0.0), 0)
            back = tl.where(inside[None, :], m[None, :] * back, 0.0)
            sum_x += tl.sum(tl.where(inside[None, :], back * dx, 0.0), 0)
            sum_y += tl.sum(tl.where(inside[None, :], back * dy, 0.0), 0)
            if INPUT == "add":
                add_corners(total, b, c, first + piece, spot, height, width, inside, back, lane_groups * GROUP)
            if INPUT == "store":
                row = (number * out_height + i) * out_width + j
                used = live[None, :] & (c < first + piece)[:, None]
                tl.store(total + row[None, :] * each + (c - q * each)[:, None], back, used)
    if MMCV:
        edge = ((spot[0] == -1) & (spot[2] == 0)) | ((spot[1] == -1) & (spot[3] == 0))
        sum_x, sum_y = tl.where(edge, 0.0, sum_x), tl.where(edge, 0.0, sum_y)
    if grad_offset is not None:
        store_plane(grad_offset, b, 2 * plane, i, j, live, sum_y)
        store_plane(grad_offset, b, 2 * plane + 1, i, j, live, sum_x)
    if grad_mask is not None:
        store_plane(grad_mask, b, plane, i, j, live, sum_m)


# One program per BLOCK output pixels of a sample, tap, BLOCK_O output and BLOCK_C input channels: STEP pixels at a time
# in scan order. What the programs of one weight found is added afterwards in their order.
@triton.jit
def _deform_weight_grad_kernel(
    blocks,
    sampled,
    sizes,
    steps,
    channels,
    grad_out,  # [B, C_out, out_height, out_width]
    partial,  # [B * blocks, taps, C_out, C / groups]
    groups,
    tiles,  # of BLOCK_O output channels in a group
    chunks,  # of BLOCK_C channels in a piece
    ACC: tl.constexpr,
    KIND: tl.constexpr,
    DOT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
    STEP: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    _, _, out_height, out_width, taps = sizes
    group_in, group_out, each, piece = channels
    program = tl.program_id(0).to(tl.int64)
    number = program // blocks
    parts = groups * group_in // piece * chunks * tiles * taps
    b, part = number // parts, (number % parts).to(tl.int32)
    t, rest = part % taps, part // taps
    tile, rest = rest % tiles, rest // tiles
    first = rest // chunks * piece
    c = first + rest % chunks * BLOCK_C + tl.arange(0, BLOCK_C)
    group = first // group_in
    o = group * group_out + tile * BLOCK_O + tl.arange(0, BLOCK_O)
    last_o = (group + 1) * group_out
    total = tl.zeros([BLOCK_O, BLOCK_C if DOT else STEP], ACC)
    for n in range(0, BLOCK, STEP):
        i, j = scan_pixels(program % blocks * BLOCK + n, out_width, STEP)
        live = i < out_height
        spot, m, inside = tap_position(sampled, sizes, steps, b, first // each, t, i, j, live, ACC)
        column = columns(sampled, sizes, b, c, first + piece, spot, m, inside, ACC, KIND)
        g = load_tile(grad_out, b, o, last_o, i, j, live, ACC).to(KIND)
        if DOT:
            total = add_product(total, g, tl.trans(column), DOT, PRECISION)
        else:
            total += g * column
    if not DOT:
        total = tl.sum(total, 1)[:, None]
    at = ((b * blocks + program % blocks) * taps + t) * groups * group_out
    at = (at + o[:, None]) * group_in + (c - group * group_in)[None, :]
    tl.store(partial + at, total, (o < last_o)[:, None] & (c < first + piece)[None, :])


def _columns_gradient(
    w: Work,
    grad_out: Tensor,
    edge: str,
    grad_offset: Tensor | None,
    grad_mask: Tensor | None,
    total: Tensor | None,
    mode: str,
) -> None:
    g, input, (*channels, piece) = w.geometry, w.sampled[0], w.channels
    group, block_c = lane_group(input.shape[1]), w.block(piece, 32 if w.dot else 8)
    unit = next(n for n in (4, 2, 1) if n <= group and piece % n == 0)
    launch(
        _deform_columns_grad_kernel, grad_out, grad_out.shape[2:], *w.arguments()[:3], (*channels, piece // unit),
        w.weight, grad_out, grad_offset, grad_mask, None if total is None else total.flatten(), g.groups,
        g.offset_groups, triton.cdiv(input.shape[1], group), parts=g.offset_groups * g.taps, MMCV=edge == "mmcv",
        INPUT=mode, GROUP=group, UNIT=unit, BLOCK=32, BLOCK_O=w.block(w.channels[1], 32) if w.dot else 1,
        BLOCK_C=block_c, num_warps=WARPS if block_c > 16 else WARPS // 2, **w.constants,
    )  # fmt: skip


def _sums_in_order(w: Work, grad_out: Tensor, total: Tensor) -> None:
    """total = grad_input, by way of the m G of one sample after another."""
    g, (_, _, ho, wo, taps) = w.geometry, w.sizes
    back = torch.empty((g.offset_groups, taps, ho * wo, w.channels[2]), dtype=w.acc, device=total.device)
    for n in range(total.shape[0]):
        one = w.sample(n)
        _columns_gradient(one, grad_out[n : n + 1], "torchvision", None, None, back, "store")
        add_in_order(one, back, total[n : n + 1])


def _weight_gradient(w: Work, grad_out: Tensor, weight: Tensor) -> Tensor:
    b, _, ho, wo = grad_out.shape
    g = w.geometry
    group_in, group_out, _, piece = w.channels
    block_o, block_c = w.block(group_out, 64 if w.dot else 16), w.block(piece, 64) if w.dot else 1
    tiles, chunks = triton.cdiv(group_out, block_o), triton.cdiv(piece, block_c)
    parts = g.groups * group_in // piece * chunks * tiles * g.taps
    step = 32 if w.dot else 64
    block = triton.next_power_of_2(triton.cdiv(ho * wo, triton.cdiv(PROGRAMS, parts * b)))
    block = max(block, step)
    partial = torch.empty(
        (b * triton.cdiv(ho * wo, block), g.taps, *weight.shape[:2]),
        dtype=w.acc,
        device=grad_out.device,
    )
    launch(
        _deform_weight_grad_kernel, grad_out, (ho, wo), *w.arguments(), grad_out, partial.flatten(), g.groups, tiles,
        chunks, parts=parts, BLOCK=block, STEP=step, BLOCK_O=block_o, BLOCK_C=block_c, **w.constants,
    )  # fmt: skip
    return empty_result(weight).copy_(partial.sum(0).permute(1, 2, 0).reshape(weight.shape))


def modulated_deform_conv2d_grad(
    grad_out: Tensor,
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    offset_groups: int,
    edge: str,
    allow_tf32: bool,
    deterministic: bool,
    need_input: bool,
    need_offset: bool,
    need_mask: bool,
    need_weight: bool,
    need_bias: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of input, offset, mask, weight and bias."""
    g, _ = reference.check(
        input, offset, mask, weight, None, stride, padding, dilation, groups, offset_groups, "none", None, edge
    )
    grad_bias = not_needed(weight)
    if need_bias:
        grad_bias = grad_out.sum((0, 2, 3), dtype=accumulator(input, offset, mask)).to(weight.dtype)
    owners = (input, offset, input if mask is None else mask, weight)
    needed = (need_input, need_offset, need_mask and mask is not None, need_weight)
    if 0 in (grad_out.numel(), input.numel(), weight.numel()):
        zeros = [empty_result(x).zero_() if n else not_needed(x) for x, n in zip(owners, needed)]
        return zeros[0], zeros[1], zeros[2], zeros[3], grad_bias
    w = work(input, offset, mask, weight, g, allow_tf32)
    moves, factors = (empty_result(x) if n else None for x, n in zip(owners[1:3], needed[1:3]))
    total, mode = None, "none"
    if need_input:
        group = lane_group(input.shape[1])
        lanes = triton.cdiv(input.shape[1], group) * group
        total = torch.zeros((input.shape[0], *input.shape[2:], lanes), dtype=w.acc, device=input.device)
        if deterministic:
            _sums_in_order(w, grad_out, total)
        else:
            mode = "add"
    if mode == "add" or moves is not None or factors is not None:
        _columns_gradient(w, grad_out, edge, moves, factors, total, mode)
    return (
        not_needed(input) if total is None else collect(total, input),
        not_needed(offset) if moves is None else moves,
        not_needed(input) if factors is None else factors,
        _weight_gradient(w, grad_out, weight) if need_weight else not_needed(weight),
        grad_bias,
    )
