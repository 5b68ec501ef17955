"""The gradient of routed_conv2d in Triton. grad_x is the other form of the convolution (triton_convolve.py); with g the
gradient of the output patches

    grad_weight[n, c, u] = sum over k, o of g[k, n, o] x[c, i]        grad_bias[n] = sum over k, o of g[k, n, o]

All sums have a fixed order.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vfi_kernels._results import accumulator, empty_result, not_needed
from vfi_kernels.ops._shared.triton_math.bilinear import load_tile, scan_pixels
from vfi_kernels.ops._shared.triton_math.launch import triton_dtype
from vfi_kernels.ops._shared.triton_math.patches import cell_table, patch_at
from vfi_kernels.ops._shared.triton_math.products import add_product, product_constants, side
from vfi_kernels.ops.routed_conv2d import reference
from vfi_kernels.ops.routed_conv2d.triton_convolve import (
    Form,
    arranged,
    convolve,
    form,
    input_pixels,
    patch_of,
    phase_axis,
)

PROGRAMS = 1024  # that grad_weight is split into at least, where there are pixels enough
PARTS = 64  # of the list, at most


# A program has one tap, BLOCK_O output and BLOCK_C input channels; of all tiles of BLOCK pixels of the listed patches
# it adds every `parts`-th. What the programs of one weight found is added afterwards in their order.
@triton.jit
def _routed_weight_grad_kernel(
    _,
    x,  # [B, depth, H, W]
    grad_out,  # [P, columns, patch', patch']
    indices,
    partial,  # [parts, K, K, columns, depth]
    grid,
    axis,
    channels,
    parts,
    pixel_tiles,  # of a phase of a patch
    all_tiles,  # of the list
    tiles,  # of BLOCK_O output channels
    chunks,  # of BLOCK_C input channels
    TRANSPOSED: tl.constexpr,
    NEIGHBOURS: tl.constexpr,
    ACC: tl.constexpr,
    KIND: tl.constexpr,
    DOT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    kernel, stride, padding, _, outer = axis
    depth, columns = channels
    program = tl.program_id(0)
    o = program % tiles * BLOCK_O + tl.arange(0, BLOCK_O)
    c = program // tiles % chunks * BLOCK_C + tl.arange(0, BLOCK_C)
    tap = program // tiles // chunks % (kernel * kernel)
    part = program // tiles // chunks // (kernel * kernel)
    u, v = tap // kernel, tap % kernel
    phases = stride if TRANSPOSED else 1
    far = kernel * phases - padding  # a multiple of the stride more: no negative number
    _, tap_y, next_y, step_y, in_y, move_y, out_step_y, out_y = phase_axis(axis, (u + far) % phases, TRANSPOSED)
    _, tap_x, next_x, step_x, in_x, move_x, out_step_x, out_x = phase_axis(axis, (v + far) % phases, TRANSPOSED)
    in_y, in_x = in_y + (u - tap_y) // next_y * move_y, in_x + (v - tap_x) // next_x * move_x
    total = tl.zeros([BLOCK_O, BLOCK_C if DOT else BLOCK], ACC)
    for n in range(part, all_tiles, parts):
        k = (n // pixel_tiles).to(tl.int64)
        b, row, column, used = patch_of(indices, indices, k, grid, False)
        if used:
            i, j = scan_pixels((n % pixel_tiles).to(tl.int64) * BLOCK, outer // phases, BLOCK)
            live = i < outer // phases
            g = load_tile(grad_out, k, o, columns, i * out_step_y + out_y, j * out_step_x + out_x, live, ACC).to(KIND)
            ys, xs = i * step_y + in_y, j * step_x + in_x
            at, ys, xs, there = input_pixels(indices, grid, axis, b, row, column, used, ys, xs, live, False, NEIGHBOURS)
            tile = load_tile(x, at, c, depth, ys, xs, there, ACC).to(KIND)
            if DOT:
                total = add_product(total, g, tl.trans(tile), DOT, PRECISION)
            else:
                total += g * tile
    if not DOT:
        total = tl.sum(total, 1)[:, None]
    at = ((part.to(tl.int64) * kernel * kernel + tap) * columns + o[:, None]) * depth + c[None, :]
    tl.store(partial + at, total, (o < columns)[:, None] & (c < depth)[None, :])


# partial[k, n]: a program has one patch and BLOCK_C channels
@triton.jit
def _routed_bias_grad_kernel(
    tiles,
    grad_out,  # [P, columns, side, side]
    indices,
    partial,
    grid,
    columns,
    outer,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    k, tile = tl.program_id(0).to(tl.int64) // tiles, tl.program_id(0) % tiles
    c = tile * BLOCK_C + tl.arange(0, BLOCK_C)
    _, _, _, used = patch_at(indices, k, grid)
    total = tl.zeros([BLOCK_C, BLOCK], ACC)
    for first in range(0, tl.where(used, outer * outer, 0), BLOCK):
        i, j = scan_pixels(first + tl.zeros([], tl.int64), outer, BLOCK)
        total += load_tile(grad_out, k, c, columns, i, j, i < outer, ACC)
    tl.store(partial + k * columns + c, tl.sum(total, 1), c < columns)


def _weight_gradient(f: Form, grad_out: Tensor, x: Tensor, weight: Tensor, indices: Tensor, allow_tf32: bool) -> Tensor:
    constants = product_constants(x.dtype, accumulator(x), allow_tf32)
    dot, kernel, (depth, columns) = constants["DOT"], f.axis[0], f.channels
    block_o, block_c = side(columns, 64 if dot else 16, dot), side(depth, 64, dot) if dot else 1
    tiles, chunks = triton.cdiv(columns, block_o), triton.cdiv(depth, block_c)
    block = 32 if dot else 64
    pixel_tiles = triton.cdiv(f.phase_side**2, block)
    all_tiles = indices.shape[0] * pixel_tiles
    programs = tiles * chunks * kernel**2
    parts = max(1, min(PROGRAMS // programs, all_tiles, PARTS))
    acc = accumulator(x)
    partial = torch.empty((parts, kernel, kernel, columns, depth), dtype=acc, device=x.device)
    with torch.cuda.device_of(x):
        _routed_weight_grad_kernel[(programs * parts,)](
            0, (x, x.stride()), (grad_out, grad_out.stride()), indices, partial, f.grid, f.axis, f.channels, parts,
            pixel_tiles, all_tiles, tiles, chunks, TRANSPOSED=f.transposed, NEIGHBOURS=f.neighbours, BLOCK=block,
            BLOCK_O=block_o, BLOCK_C=block_c, **constants,
        )  # fmt: skip
    grad = partial.sum(0).permute((3, 2, 0, 1) if f.transposed else (2, 3, 0, 1))
    return empty_result(weight).copy_(grad)


def _bias_gradient(f: Form, grad_out: Tensor, indices: Tensor) -> Tensor:
    count, columns, outer = grad_out.shape[:3]
    block_c = min(triton.next_power_of_2(columns), 32)
    tiles = triton.cdiv(columns, block_c)
    acc = accumulator(grad_out)
    partial = torch.empty((count, columns), dtype=acc, device=grad_out.device)
    with torch.cuda.device_of(grad_out):
        _routed_bias_grad_kernel[(count * tiles,)](
            tiles, (grad_out, grad_out.stride()), indices, partial, f.grid, columns, outer, ACC=triton_dtype(acc),
            BLOCK=64, BLOCK_C=block_c,
        )  # fmt: skip
    return partial.sum(0).to(grad_out.dtype)


def routed_conv2d_grad(
    grad_out: Tensor, x: Tensor, weight: Tensor, indices: Tensor, patch: int, stride: int, transposed: bool,
    padding_mode: str, allow_tf32: bool, need_x: bool, need_weight: bool, need_bias: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients of x, weight and bias; of rows that name no patch grad_out counts nothing."""
    reference.check(x, weight, None, indices, patch, stride, transposed, padding_mode)
    f, indices = form(x, weight, patch, stride, transposed, padding_mode), indices.contiguous()
    grad_x, grad_weight, grad_bias = (not_needed(x) for _ in range(3))
    if need_x:
        grad_x = empty_result(x)
        w, listed = arranged(weight, not transposed), cell_table(indices, f.grid)
        convolve(f.exchanged(), grad_out, w, indices, grad_x, allow_tf32, listed=listed)
    if need_weight:
        empty = 0 in (grad_out.numel(), x.numel(), weight.numel())
        grad_weight = (
            empty_result(weight).zero_() if empty else _weight_gradient(f, grad_out, x, weight, indices, allow_tf32)
        )
    if need_bias:
        empty = grad_out.numel() == 0
        grad_bias = x.new_zeros(f.channels[1]) if empty else _bias_gradient(f, grad_out, indices)
    return grad_x, grad_weight, grad_bias
