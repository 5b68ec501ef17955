"""Lists of square patches in plain PyTorch.

An index list is (P, 3) int32, a row (b, row, column) for each patch: the pixels row s .. row s + s - 1 and
column s .. column s + s - 1 of sample b, where s is the patch's size. A row that names no patch of the image, as the
-1 that fill a list up to its capacity, is ignored.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from vfi_kernels._arguments import dtype_name, expect, expect_device, shape


def check_indices(op: str, indices: Tensor, x: Tensor, owner: str) -> None:
    expect(indices.dim() == 2 and indices.shape[1] == 3, op, "indices of shape (P, 3)", shape(indices))
    expect(indices.dtype == torch.int32, op, "indices of dtype int32", dtype_name(indices))
    expect_device(op, "indices", indices, x, owner)


def check_patch(op: str, patch: int, x: Tensor, owner: str) -> None:
    expect(patch >= 1, op, "patch of at least one pixel", patch)
    h, w = x.shape[2:]
    if h % patch != 0 or w % patch != 0:
        expect(False, op, f"{owner} whose height and width are multiples of the patch of {patch} pixels", shape(x))


def used(indices: Tensor, batch: int, rows: int, columns: int) -> Tensor:
    """(P,) bool: which rows of `indices` name one of the patches."""
    limits = torch.tensor([batch, rows, columns], device=indices.device)
    return ((indices >= 0) & (indices < limits)).all(1)


def places(indices: Tensor, x: Tensor, patch: int, halo: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of every pixel of every patch with its halo: sample (P, 1, 1), row (P, s, 1), column (P, 1, s), and whether it is
    one of x (P, s, s); where it is not, the three are 0."""
    b, _, h, w = x.shape
    steps = torch.arange(-halo, patch + halo, device=indices.device)
    listed = used(indices, b, h // patch, w // patch)[:, None]
    n, row, column = indices.long().unbind(1)
    ys, xs = row[:, None] * patch + steps, column[:, None] * patch + steps
    in_y, in_x = listed & (ys >= 0) & (ys < h), listed & (xs >= 0) & (xs < w)
    sample = torch.where(listed, n[:, None], 0)[:, :, None]
    inside = in_y[:, :, None] & in_x[:, None, :]
    return sample, torch.where(in_y, ys, 0)[:, :, None], torch.where(in_x, xs, 0)[:, None, :], inside


def gather(x: Tensor, indices: Tensor, patch: int, halo: int) -> Tensor:
    """(P, C, s, s) with s = patch + 2 halo; 0 outside x and for rows that are not used."""
    if x.numel() == 0:
        return x.new_zeros(indices.shape[0], x.shape[1], patch + 2 * halo, patch + 2 * halo)
    n, y, column, inside = places(indices, x, patch, halo)
    pixels = x.permute(0, 2, 3, 1)[n, y, column]  # [P, s, s, C]
    return torch.where(inside[..., None], pixels, 0).permute(0, 3, 1, 2)


def gather_adjoint(grad: Tensor, indices: Tensor, size: Sequence[int], patch: int, halo: int) -> Tensor:
    """(B, C, H, W) of the given size, dtype of `grad`: every pixel gets the sum over the patches that hold it."""
    x = grad.new_zeros(size)
    if grad.numel() == 0 or x.numel() == 0:
        return x
    n, y, column, inside = torch.broadcast_tensors(*places(indices, x, patch, halo))
    values = torch.where(inside[..., None], grad.permute(0, 2, 3, 1), 0)
    return x.permute(0, 2, 3, 1).index_put((n, y, column), values, accumulate=True).permute(0, 3, 1, 2)


def scatter(patches: Tensor, indices: Tensor, base: Tensor) -> Tensor:
    """`base` with the listed patches overwritten."""
    if base.numel() == 0 or patches.numel() == 0:
        return base.clone()
    n, y, column, inside = places(indices, base, patches.shape[2], 0)
    b, c, h, w = base.shape
    # One more sample takes what is not used.
    room = torch.cat([base, base.new_zeros(1, c, h, w)]).permute(0, 2, 3, 1)
    room = room.index_put((torch.where(inside, n, b), y.expand_as(inside), column.expand_as(inside)),
                          patches.permute(0, 2, 3, 1))  # fmt: skip
    return room[:b].permute(0, 3, 1, 2)
