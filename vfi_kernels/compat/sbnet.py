"""The three operations of SBNet (uber-research/sbnet) on torch tensors, on `vk.patch_indices`, `patch_gather` and
`patch_scatter`; docs/migrate.md has both side by side."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vfi_kernels._arguments import expect
from vfi_kernels._overrides import overridable
from vfi_kernels._tracing import of_this_size
from vfi_kernels.ops.patches.op import patch_gather, patch_indices, patch_scatter

__all__ = ["ReducedMask", "reduce_mask", "sparse_gather", "sparse_scatter"]


class ReducedMask(NamedTuple):
    """What reduce_mask returns."""

    bin_counts: Tensor  # (1,) int32: how many blocks are active
    active_block_indices: Tensor  # (M, 3) int32: (n, row, column) of each, sorted


@overridable
def reduce_mask(
    mask: Tensor,
    block_count: Sequence[int],
    *,
    bsize: Sequence[int],
    boffset: Sequence[int] = (0, 0),
    bstride: Sequence[int],
    tol: float = 0.5,
    avgpool: bool = False,
) -> ReducedMask:
    """In place of sbnet_module.reduce_mask: the blocks in which a mask is active.

    Args:
        mask: (N, H, W) or (N, H, W, C), floating.
        block_count: rows and columns of blocks; block (i, j) starts at pixel boffset + (i, j) * bstride and has bsize
            pixels, of which those outside the mask count nothing.
        tol: a block is active where its largest value (avgpool: its mean) exceeds tol.

    Differences: indices are sorted and int32 (theirs: int16, in any order); no block at all is legal (there one is
    always computed). Errors are ArgumentError.
    """
    op = "sbnet.reduce_mask"
    expect(mask.dim() in (3, 4), op, "mask of shape (N, H, W) or (N, H, W, C)", tuple(mask.shape))
    expect(mask.device.type != "meta", op, "a mask with values, which say how many blocks there are", "one on meta")
    if mask.dim() == 4:
        mask = mask.amax(3) if not avgpool else mask.mean(3)
    mask, low = of_this_size(mask, 1, 2), float("nan") if avgpool else float("-inf")
    need = [(n - 1) * s + b for n, s, b in zip(block_count, bstride, bsize)]
    blocks = window(mask[:, None], boffset, need, low).unfold(2, bsize[0], bstride[0]).unfold(3, bsize[1], bstride[1])
    value = (blocks.nanmean((4, 5)) if avgpool else blocks.amax((4, 5)))[:, 0]
    indices, count = patch_indices(value > tol, return_count=True)
    return ReducedMask(count.int().reshape(1), indices)


@overridable
def sparse_gather(
    x: Tensor,
    bin_counts: Tensor,
    active_block_indices: Tensor,
    *,
    bsize: Sequence[int],
    boffset: Sequence[int] = (0, 0),
    bstride: Sequence[int],
    transpose: bool = False,
) -> Tensor:
    """In place of sbnet_module.sparse_gather: the active blocks, one after another.

    Args:
        x: (N, H, W, C). Pixels of a block outside x are 0.
        bin_counts, active_block_indices: from reduce_mask (the first is not needed here).
        bsize, bstride: square blocks, as wide as their stride or an even number of pixels wider (the halo).
        transpose: False for (M, bsize, bsize, C), True for (M, C, bsize, bsize).

    Returns:
        dtype of x, differentiable in x.
    """
    op = "sbnet.sparse_gather"
    patch = square(op, "bstride", bstride)
    halo, odd = divmod(square(op, "bsize", bsize) - patch, 2)
    expect(halo >= 0 and odd == 0, op, "bsize to be bstride or an even number of pixels more", (*bsize, *bstride))
    image = x.permute(0, 3, 1, 2)
    begin = (boffset[0] + halo, boffset[1] + halo)
    # With whole patches before the first block and behind the last one no halo reaches beyond the image's patches.
    more = -(-halo // patch)
    starts = [b - more * patch for b in begin]
    sizes = [(-(-(n - s) // patch) + more) * patch for n, s in zip(image.shape[2:], starts)]
    blocks = patch_gather(window(image, starts, sizes), further(active_block_indices, more, more), patch, halo=halo)
    return blocks if transpose else blocks.permute(0, 2, 3, 1)


@overridable
def sparse_scatter(
    blocks: Tensor,
    bin_counts: Tensor,
    active_block_indices: Tensor,
    x: Tensor,
    *,
    bsize: Sequence[int],
    boffset: Sequence[int] = (0, 0),
    bstride: Sequence[int],
    add: bool = False,
    transpose: bool = False,
    atomic: bool = False,
) -> Tensor:
    """In place of sbnet_module.sparse_scatter: a copy of x with the active blocks overwritten, or added to.

    Args:
        blocks: (M, bsize, bsize, C), or (M, C, bsize, bsize) with transpose.
        bin_counts, active_block_indices: from reduce_mask (the first is not needed here).
        x: (N, H, W, C), dtype of blocks. Pixels of a block outside x are dropped.
        bsize, bstride: equal and square: blocks that overlap would overwrite one another in an undefined order.
        atomic: not needed: no block overlaps another.

    Returns:
        (N, H, W, C), differentiable in blocks and x.
    """
    op = "sbnet.sparse_scatter"
    patch = square(op, "bstride", bstride)
    expect(square(op, "bsize", bsize) == patch, op, "bsize equal to bstride", (*bsize, *bstride))
    base, tall, wide = x.permute(0, 3, 1, 2), x.shape[1], x.shape[2]
    more = [max(-(-begin // patch), 0) for begin in boffset]
    starts = [begin - n * patch for begin, n in zip(boffset, more)]  # 0 or less
    sizes = [-(-(n - s) // patch) * patch for n, s in zip((tall, wide), starts)]
    under = window(torch.zeros_like(base) if add else base, starts, sizes)
    new = blocks if transpose else blocks.permute(0, 3, 1, 2)
    out = window(patch_scatter(new, further(active_block_indices, *more), under), [-s for s in starts], (tall, wide))
    out = out.permute(0, 2, 3, 1)
    return x + out if add else out


def square(op: str, name: str, sizes: Sequence[int]) -> int:
    """The side of a square."""
    right = isinstance(sizes, Sequence) and len(sizes) == 2 and sizes[0] == sizes[1] and sizes[0] >= 1
    expect(right, op, f"{name} of two equal integers", sizes)
    return sizes[0]


def further(indices: Tensor, rows: int, columns: int) -> Tensor:
    """The same blocks, counted from `rows` and `columns` further up and left."""
    return indices.int() + torch.tensor([0, rows, columns], dtype=torch.int32, device=indices.device)


def window(image: Tensor, starts: Sequence[int], sizes: Sequence[int], value: float = 0.0) -> Tensor:
    """`sizes` pixels of (B, C, H, W) from `starts` on; `value` outside of it."""
    (tall, wide), (top, left) = image.shape[2:], starts
    pads = (-left, left + sizes[1] - wide, -top, top + sizes[0] - tall)
    return F.pad(image, pads, value=value) if any(pads) else image
