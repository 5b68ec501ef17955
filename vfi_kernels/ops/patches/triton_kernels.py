"""The ops on patches in Triton: what each computes is in csrc/ops/patches/patches.h."""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from vfi_kernels._results import accumulator, empty_result, not_needed
from vfi_kernels.ops._shared.triton_math.bilinear import block_pixels, load_tile, store_tile
from vfi_kernels.ops._shared.triton_math.launch import launch, tile, triton_dtype
from vfi_kernels.ops._shared.triton_math.patches import cell_table, patch_at
from vfi_kernels.ops.patches import reference

CELLS = 1024  # of the route map that a program numbers at a time


# One program walks over the cells and numbers the active ones: the host is not asked, and the list is sorted.
@triton.jit
def _patch_indices_kernel(route, indices, count, cells, rows, columns, capacity, BLOCK: tl.constexpr):
    counted = tl.full([], 0, tl.int64)
    for start in range(0, cells, BLOCK):
        n = start + tl.arange(0, BLOCK)
        active = tl.load(route + n, n < cells, other=0).to(tl.int32)
        k = counted + tl.cumsum(active, 0) - active
        kept = (active != 0) & (k < capacity)
        tl.store(indices + 3 * k, n // (rows * columns), kept)
        tl.store(indices + 3 * k + 1, n // columns % rows, kept)
        tl.store(indices + 3 * k + 2, n % columns, kept)
        counted += tl.sum(active, 0)
    for start in range(0, capacity, BLOCK):
        k = start + tl.arange(0, BLOCK)
        for column in tl.static_range(3):
            tl.store(indices + 3 * k + column, -1, (k >= counted) & (k < capacity))
    tl.store(count, counted)


# One program per BLOCK pixels of a patch with its halo.
@triton.jit
def _patch_gather_kernel(
    blocks,
    x,  # [B, C, height, width]
    indices,
    out,  # [P, C, side, side]
    grid,
    sizes,  # patch, halo, height, width, C
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    patch, halo, height, width, channels = sizes
    side = patch + 2 * halo
    k, i, j = block_pixels(blocks, side, BLOCK)
    b, row, column, used = patch_at(indices, k, grid)
    y, along = row * patch - halo + i, column * patch - halo + j
    live = i < side
    last = tl.where(used, height, 0)  # a row that names no patch reads nothing
    inside = live & (y >= 0) & (y < last) & (along >= 0) & (along < width)
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        store_tile(out, k, c, channels, i, j, live, load_tile(x, b, c, channels, y, along, inside, ACC))


# One program per BLOCK pixels of a patch.
@triton.jit
def _patch_scatter_kernel(
    blocks,
    patches,  # [P, C, patch, patch], or None for zeros
    indices,
    result,  # [B, C, height, width]
    grid,
    patch,
    channels,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    k, i, j = block_pixels(blocks, patch, BLOCK)
    b, row, column, used = patch_at(indices, k, grid)
    live = i < tl.where(used, patch, 0)
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        value = tl.zeros([BLOCK_C, BLOCK], ACC)
        if patches is not None:
            value = load_tile(patches, k, c, channels, i, j, live, ACC)
        store_tile(result, b, c, channels, row * patch + i, column * patch + j, live, value)


# One program per BLOCK pixels of the image; each adds the patches that hold it, in the order of the grid.
@triton.jit
def _patch_gather_grad_kernel(
    blocks,
    grad_out,  # [P, C, side, side]
    listed,  # [B, rows, columns]
    grad,  # [B, C, height, width]
    grid,
    sizes,  # patch, halo, height, width, C
    reach,  # cells
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    patch, halo, height, width, channels = sizes
    _, rows, columns = grid
    side = patch + 2 * halo
    b, y, x = block_pixels(blocks, width, BLOCK)
    live = y < height
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        total = tl.zeros([BLOCK_C, BLOCK], ACC)
        for down in range(-reach, reach + 1):
            for right in range(-reach, reach + 1):
                row, column = y // patch + down, x // patch + right
                i, j = y - row * patch + halo, x - column * patch + halo
                inside = live & (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
                inside = inside & (i >= 0) & (i < side) & (j >= 0) & (j < side)
                k = tl.load(listed + (b * rows + row) * columns + column, inside, other=-1).to(tl.int64)
                total += load_tile(grad_out, k, c, channels, i, j, k >= 0, ACC)
        store_tile(grad, b, c, channels, y, x, live, total)


def patch_indices(route: Tensor, capacity: int | None = None) -> tuple[Tensor, Tensor]:
    """(b, row, column) of the active cells, and their number."""
    reference.check_route(route, capacity)
    cells = route.contiguous().view(torch.uint8).flatten()
    count = torch.empty((), dtype=torch.int64, device=route.device)

    def list_cells(rows: int) -> Tensor:
        indices = torch.empty((rows, 3), dtype=torch.int32, device=route.device)
        with torch.cuda.device_of(route):
            _patch_indices_kernel[(1,)](cells, indices, count, cells.numel(), *route.shape[1:], rows, BLOCK=CELLS)
        return indices

    if capacity is not None:
        return list_cells(capacity), count
    nothing = list_cells(0)
    active_count = int(count.item())
    return list_cells(active_count) if active_count > 0 else nothing, count


def patch_gather(x: Tensor, indices: Tensor, patch: int, halo: int, channels_last: bool | None) -> Tensor:
    """out[k, c, i, j] = x[b, c, row patch - halo + i, column patch - halo + j], 0 outside x."""
    reference.check_gather(x, indices, patch, halo)
    side = patch + 2 * halo
    layout = reference.order_of(x, channels_last)
    size = (indices.shape[0], x.shape[1], side, side)
    out = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=layout)
    if x.numel() == 0:
        return out.zero_()
    if out.numel() > 0:
        sizes = (patch, halo, *x.shape[2:], x.shape[1])
        launch(
            _patch_gather_kernel, out, (side, side), x, indices.contiguous(), out, _grid(x, patch), sizes,
            ACC=triton_dtype(x.dtype), **tile(out),
        )  # fmt: skip
    return out


def patch_gather_grad(
    grad_out: Tensor, indices: Tensor, size: Sequence[int], patch: int, halo: int, channels_last: bool
) -> Tensor:
    """Every pixel gets the sum over the patches that hold it."""
    order = reference.order(channels_last)
    grad = torch.empty(list(size), dtype=grad_out.dtype, device=grad_out.device, memory_format=order)
    if grad.numel() > 0:
        grid = _grid(grad, patch)
        listed = cell_table(indices.contiguous(), grid)
        sizes = (patch, halo, *grad.shape[2:], grad.shape[1])
        launch(
            _patch_gather_grad_kernel, grad, grad.shape[2:], grad_out, listed, grad, grid, sizes,
            triton.cdiv(halo, patch), ACC=triton_dtype(accumulator(grad)), **tile(grad),
        )  # fmt: skip
    return grad


def patch_scatter(patches: Tensor, indices: Tensor, base: Tensor) -> Tensor:
    """out[b, c, row patch + i, column patch + j] = patches[k, c, i, j], base elsewhere."""
    reference.check_scatter(patches, indices, base)
    out = empty_result(base).copy_(base)
    _scatter(patches, indices, patches.shape[2], out)
    return out


def patch_scatter_(patches: Tensor, indices: Tensor, base: Tensor) -> None:
    reference.check_scatter_(patches, indices, base)
    _scatter(patches, indices, patches.shape[2], base)


def patch_scatter_grad(
    grad_out: Tensor, indices: Tensor, patch: int, channels_last: bool, need_patches: bool, need_base: bool
) -> tuple[Tensor, Tensor]:
    """The patches get what lies at their places, `base` the rest."""
    grad_patches, grad_base = not_needed(grad_out), not_needed(grad_out)
    if need_patches:
        grad_patches = patch_gather(grad_out, indices, patch, 0, channels_last)
    if need_base:
        grad_base = empty_result(grad_out).copy_(grad_out)
        _scatter(None, indices, patch, grad_base)
    return grad_patches, grad_base


def _grid(image: Tensor, patch: int) -> tuple[int, int, int]:
    return image.shape[0], image.shape[2] // patch, image.shape[3] // patch


def _scatter(patches: Tensor | None, indices: Tensor, patch: int, result: Tensor) -> None:
    """The listed patches of `result` become `patches`, or 0."""
    if result.numel() == 0 or indices.shape[0] == 0:
        return
    launch(
        _patch_scatter_kernel, indices, (patch, patch), patches, indices.contiguous(), result, _grid(result, patch),
        patch, result.shape[1], ACC=triton_dtype(result.dtype), **tile(result),
    )  # fmt: skip
