"""The operations of SBNet (uber-research/sbnet) on torch tensors, on `vk.patch_indices`, `patch_gather` and
`patch_scatter`; docs/migrate.md has both side by side.

Block (i, j) of sample n has bsize pixels (rows, columns) and starts at pixel boffset + (i, j) * bstride: blocks may
overlap, or leave gaps. Sizes come under the names of SBNet's page (bsize, boffset, bstride) or of its code
(dynamic_bsize, ...). Squares beside each other, with a halo or without, run on the kernels; others by torch's indexing.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import Unpack

from vfi_kernels._arguments import dtype_name, expect, expect_integer, expect_tensors
from vfi_kernels._overrides import overridable
from vfi_kernels._tracing import of_this_size
from vfi_kernels._types import Foreign
from vfi_kernels.ops.patches.op import patch_gather, patch_indices, patch_scatter

__all__ = ["ReducedMask", "reduce_mask", "sparse_gather", "sparse_scatter", "sparse_scatter_var"]


class Sizes(TypedDict, total=False):
    """The keywords of a block's place, (rows, columns) each; boffset is (0, 0) where it is not given."""

    bsize: Sequence[int]
    boffset: Sequence[int]
    bstride: Sequence[int]
    dynamic_bsize: Sequence[int]
    dynamic_boffset: Sequence[int]
    dynamic_bstride: Sequence[int]


class Blocks(NamedTuple):
    """Where blocks lie, (rows, columns) each."""

    size: tuple[int, int]
    offset: tuple[int, int]
    stride: tuple[int, int]

    @property
    def overlap(self) -> bool:
        return self.size[0] > self.stride[0] or self.size[1] > self.stride[1]

    @property
    def halo(self) -> int | None:
        """How far square blocks reach into each of their neighbours; None where they are no such squares."""
        halo, odd = divmod(self.size[0] - self.stride[0], 2)
        square = self.size[0] == self.size[1] and self.stride[0] == self.stride[1]
        return halo if square and halo >= 0 and not odd else None


def blocks_of(op: str, sizes: Sizes) -> Blocks:
    """What the keywords say."""
    values = []
    for name, least in (("bsize", 1), ("boffset", None), ("bstride", 1)):
        names = [n for n in (name, f"dynamic_{name}") if n in sizes]
        expect(len(names) < 2, op, f"{name} or dynamic_{name}", "both")
        expect(bool(names) or name == "boffset", op, f"{name}, (rows, columns)", "none")
        pair = sizes[names[0]] if names else (0, 0)  # type: ignore[literal-required]
        values.append(expect_integers(op, name, pair, -(2**31) if least is None else least))
    unknown = sorted(set(sizes) - Sizes.__annotations__.keys())
    expect(not unknown, op, f"the keywords {', '.join(Sizes.__annotations__)}", ", ".join(unknown))
    return Blocks(*values)


def expect_blocks(op: str, x: Tensor, bin_counts: Tensor, indices: Tensor) -> None:
    """What gathering and scattering take beside blocks: an image and a list."""
    expect_tensors(op, x=x, bin_counts=bin_counts, active_block_indices=indices)
    expect(x.dim() == 4, op, "x of shape (N, H, W, C)", tuple(x.shape))
    expect(
        indices.dim() == 2 and indices.shape[1] == 3, op, "active_block_indices of shape (M, 3)", tuple(indices.shape)
    )
    for name, tensor in (("bin_counts", bin_counts), ("active_block_indices", indices)):
        whole = not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
        expect(whole, op, f"{name} of integers", dtype_name(tensor.dtype))
    expect(bin_counts.numel() == 1, op, "bin_counts of one number", tuple(bin_counts.shape))
    graph = torch.jit.is_tracing() or torch.compiler.is_compiling() or type(indices) is not Tensor
    if not graph and bin_counts.device.type == indices.device.type == "cpu":  # where to ask costs nothing
        count = int(bin_counts)
        expect(0 <= count <= len(indices), op, f"bin_counts of at most the {len(indices)} blocks listed", count)
        samples = indices[:, 0]
        inside = bool(((samples >= 0) & (samples < len(x))).all())
        expect(inside, op, f"samples from 0 to {len(x) - 1} in active_block_indices", samples.tolist()[:4])


def expect_new(op: str, blocks: Tensor, place: Blocks, indices: Tensor, x: Tensor, transpose: bool) -> None:
    """What is scattered."""
    expect_tensors(op, blocks=blocks)
    shape = (len(indices), *place.size, x.shape[3])
    shape = (shape[0], shape[3], *place.size) if transpose else shape
    expect(tuple(blocks.shape) == shape, op, f"blocks of shape {shape}", tuple(blocks.shape))
    expect(blocks.dtype == x.dtype, op, f"blocks of the dtype of x, {dtype_name(x.dtype)}", dtype_name(blocks.dtype))


def expect_integers(op: str, name: str, pair: Foreign, least: int) -> tuple[int, int]:
    pair = pair.tolist() if isinstance(pair, Tensor) else pair
    expect(isinstance(pair, Sequence) and len(pair) == 2, op, f"{name} of two integers", pair)
    for value in pair:
        expect_integer(op, name, value, least)
    return int(pair[0]), int(pair[1])


class ReducedMask(NamedTuple):
    """What reduce_mask returns."""

    bin_counts: Tensor  # (1,) int32: how many blocks are active
    active_block_indices: Tensor  # (M, 3) int32: (n, row, column) of each, sorted


@overridable
def reduce_mask(
    mask: Tensor, block_count: Sequence[int], *, tol: float = 0.5, avgpool: bool = False, **sizes: Unpack[Sizes]
) -> ReducedMask:
    """In place of sbnet_module.reduce_mask: the blocks in which a mask is active.

    Args:
        mask: (N, H, W) or (N, H, W, C) of real numbers, or of bools, which count 0 and 1.
        block_count: rows and columns of blocks; pixels of a block outside the mask count nothing.
        tol: a block is active where its largest value (avgpool: its mean) exceeds tol.
        sizes: bsize, boffset, bstride; see above.

    Differences: indices are sorted and int32 (theirs: int16, in any order); no block at all is legal (there one is
    always computed). Errors are ArgumentError.
    """
    op = "sbnet.reduce_mask"
    size, offset, stride = blocks_of(op, sizes)
    expect_tensors(op, mask=mask)
    expect_integers(op, "block_count", block_count, 0)
    expect(mask.dim() in (3, 4), op, "mask of shape (N, H, W) or (N, H, W, C)", tuple(mask.shape))
    expect(mask.device.type != "meta", op, "a mask with values, which say how many blocks there are", "one on meta")
    mask = mask if mask.is_floating_point() else mask.float()
    if mask.dim() == 4:
        mask = mask.amax(3) if not avgpool else mask.mean(3)
    mask, low = of_this_size(mask, 1, 2), float("nan") if avgpool else float("-inf")
    need = [(n - 1) * s + b for n, s, b in zip(block_count, stride, size)]
    blocks = window(mask[:, None], offset, need, low).unfold(2, size[0], stride[0]).unfold(3, size[1], stride[1])
    value = (blocks.nanmean((4, 5)) if avgpool else blocks.amax((4, 5)))[:, 0]
    indices, count = patch_indices(value > tol, return_count=True)
    return ReducedMask(count.int().reshape(1), indices)


@overridable
def sparse_gather(
    x: Tensor, bin_counts: Tensor, active_block_indices: Tensor, *, transpose: bool = False, **sizes: Unpack[Sizes]
) -> Tensor:
    """In place of sbnet_module.sparse_gather: the active blocks, one after another.

    Args:
        x: (N, H, W, C). Pixels of a block outside x are 0.
        bin_counts, active_block_indices: from reduce_mask (of the first it is looked at alone whether it can be).
        transpose: False for (M, rows, columns, C), True for (M, C, rows, columns).
        sizes: bsize, boffset, bstride; see above.

    Returns:
        dtype of x, differentiable in x.
    """
    blocks = blocks_of("sbnet.sparse_gather", sizes)
    expect_blocks("sbnet.sparse_gather", x, bin_counts, active_block_indices)
    halo, offset = blocks.halo, blocks.offset
    if halo is None:
        pixels = with_one_more(of_this_size(x, 1, 2))
        found = pixels[pixel_numbers(blocks, active_block_indices, x.shape)]
        return found.permute(0, 3, 1, 2) if transpose else found
    patch, image = blocks.stride[0], x.permute(0, 3, 1, 2)
    begin = (offset[0] + halo, offset[1] + halo)
    # With whole patches before the first block and behind the last one no halo reaches beyond the image's patches.
    more = -(-halo // patch)
    starts = [b - more * patch for b in begin]
    wanted = [(-(-(n - s) // patch) + more) * patch for n, s in zip(image.shape[2:], starts)]
    found = patch_gather(window(image, starts, wanted), further(active_block_indices, more, more), patch, halo=halo)
    return found if transpose else found.permute(0, 2, 3, 1)


@overridable
def sparse_scatter(
    blocks: Tensor,
    bin_counts: Tensor,
    active_block_indices: Tensor,
    x: Tensor,
    *,
    add: bool = False,
    transpose: bool = False,
    atomic: bool = False,
    **sizes: Unpack[Sizes],
) -> Tensor:
    """In place of sbnet_module.sparse_scatter: a copy of x with the active blocks overwritten, or added to.

    Args:
        blocks: (M, rows, columns, C), or (M, C, rows, columns) with transpose.
        bin_counts, active_block_indices: from reduce_mask (of the first it is looked at alone whether it can be).
        x: (N, H, W, C), dtype of blocks. Pixels of a block outside x are dropped.
        add: adds instead, also where blocks overlap. Where they do and overwrite, the last of the list stays (theirs:
            any).
        atomic: not needed: sums are right without.
        sizes: bsize, boffset, bstride; see above.

    Returns:
        (N, H, W, C), differentiable in blocks and x.
    """
    op, place = "sbnet.sparse_scatter", blocks_of("sbnet.sparse_scatter", sizes)
    expect_blocks(op, x, bin_counts, active_block_indices)
    expect_new(op, blocks, place, active_block_indices, x, transpose)
    if place.halo != 0:
        return scatter_pixels(blocks.permute(0, 2, 3, 1) if transpose else blocks, place, active_block_indices, x, add)
    patch, base, tall, wide = place.size[0], x.permute(0, 3, 1, 2), x.shape[1], x.shape[2]
    more = [max(-(-begin // patch), 0) for begin in place.offset]
    starts = [begin - n * patch for begin, n in zip(place.offset, more)]  # 0 or less
    wanted = [-(-(n - s) // patch) * patch for n, s in zip((tall, wide), starts)]
    under = window(torch.zeros_like(base) if add else base, starts, wanted)
    new = blocks if transpose else blocks.permute(0, 3, 1, 2)
    out = window(patch_scatter(new, further(active_block_indices, *more), under), [-s for s in starts], (tall, wide))
    out = out.permute(0, 2, 3, 1)
    return x + out if add else out


@overridable
def sparse_scatter_var(
    blocks: Tensor,
    bin_counts: Tensor,
    active_block_indices: Tensor,
    x: Tensor,
    *,
    add: bool = False,
    transpose: bool = False,
    atomic: bool = False,
    **sizes: Unpack[Sizes],
) -> Tensor:
    """In place of sbnet_module.sparse_scatter_var: sparse_scatter into x itself, which is returned."""
    options = {"add": add, "transpose": transpose, "atomic": atomic}
    result = sparse_scatter(blocks, bin_counts, active_block_indices, x, **options, **sizes)
    return x.copy_(result)


def pixel_numbers(blocks: Blocks, indices: Tensor, shape: Sequence[int]) -> Tensor:
    """Which of the N H W pixels each pixel of each block is; N H W where it is outside. (M, rows, columns)"""
    (n, tall, wide), (size, offset, stride) = shape[:3], blocks
    sample, *corner = indices.long().unbind(1)
    rows, columns = (
        (corner[k] * stride[k] + offset[k])[:, None] + torch.arange(size[k], device=indices.device) for k in (0, 1)
    )
    inside = ((rows >= 0) & (rows < tall))[:, :, None] & ((columns >= 0) & (columns < wide))[:, None]
    number = (sample[:, None, None] * tall + rows[:, :, None]) * wide + columns[:, None]
    return torch.where(inside, number, n * tall * wide)


def with_one_more(x: Tensor) -> Tensor:
    """The pixels of (N, H, W, C), and a last one of 0 that stands for all others. (N H W + 1, C)"""
    return torch.cat((x.reshape(-1, x.shape[3]), x.new_zeros(1, x.shape[3])))


def scatter_pixels(new: Tensor, blocks: Blocks, indices: Tensor, x: Tensor, add: bool) -> Tensor:
    """sparse_scatter for blocks of any kind."""
    numbers = pixel_numbers(blocks, indices, x.shape).flatten()
    pixels = with_one_more(of_this_size(x, 1, 2))
    if not add and blocks.overlap:
        order = torch.arange(numbers.numel(), device=x.device)
        last = order.new_full(pixels.shape[:1], -1).scatter_reduce(0, numbers, order, "amax")
        numbers = torch.where(last[numbers] == order, numbers, pixels.shape[0] - 1)
    new = new.reshape(-1, x.shape[3])
    out = pixels.index_add(0, numbers, new) if add else pixels.index_copy(0, numbers, new)
    return out[:-1].view(x.shape)


def further(indices: Tensor, rows: int, columns: int) -> Tensor:
    """The same blocks, counted from `rows` and `columns` further up and left."""
    return indices.int() + torch.tensor([0, rows, columns], dtype=torch.int32, device=indices.device)


def window(image: Tensor, starts: Sequence[int], sizes: Sequence[int], value: float = 0.0) -> Tensor:
    """`sizes` pixels of (B, C, H, W) from `starts` on; `value` outside of it."""
    (tall, wide), (top, left) = image.shape[2:], starts
    pads = (-left, left + sizes[1] - wide, -top, top + sizes[0] - tall)
    return F.pad(image, pads, value=value) if any(pads) else image
