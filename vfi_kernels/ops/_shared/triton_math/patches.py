"""Lists of square patches for Triton kernels: csrc/patch_lists/patches.h in Triton, and a table of the listed cells."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vfi_kernels.ops._shared.triton_math.launch import THREADS


@triton.jit
def patch_at(indices, k, grid):
    """b, row and column that rows k of the list name, int64, and whether they name a patch."""
    batch, rows, columns = grid
    b = tl.load(indices + 3 * k).to(tl.int64)
    row = tl.load(indices + 3 * k + 1).to(tl.int64)
    column = tl.load(indices + 3 * k + 2).to(tl.int64)
    used = (b >= 0) & (b < batch) & (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    return b, row, column, used


# listed[cell] = the row that names it, for BLOCK rows of the list; no cell is listed twice
@triton.jit
def _list_cells_kernel(indices, listed, grid, count, BLOCK: tl.constexpr):
    _, rows, columns = grid
    k = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    b, row, column, used = patch_at(indices, tl.minimum(k, count - 1), grid)
    tl.store(listed + (b * rows + row) * columns + column, k.to(tl.int32), used & (k < count))


def cell_table(indices: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """For each cell of (B, rows, columns), flat, the row of the list that names it, or -1."""
    listed = torch.full((grid[0] * grid[1] * grid[2],), -1, dtype=torch.int32, device=indices.device)
    count = indices.shape[0]
    if count > 0 and listed.numel() > 0:
        with torch.cuda.device_of(indices):
            _list_cells_kernel[(triton.cdiv(count, THREADS),)](indices, listed, grid, count, BLOCK=THREADS)
    return listed
