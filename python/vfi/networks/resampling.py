"""Warping without the blur of bilinear sampling, and filling of holes."""

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 4  # side of the blocks over which is averaged, px
_STRIP = 2**16  # pixels


def doubled(image: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, 2H - 1, 2W - 1): the pixels themselves at even places, six-tap values between them.

    Bilinear sampling in the doubled image blurs a quarter as much as in the image itself.
    """
    batch, channels, height, width = image.shape
    fine = image.new_empty(batch, channels, 2 * height - 1, 2 * width - 1)
    for rows in strips(image):
        part, at = image[:, :, rows], slice(2 * rows.start, 2 * rows.stop - 1, 2)
        fine[:, :, at, ::2] = part
        fine[:, :, at, 1::2] = _half_way(F.pad(part, (2, 2, 0, 0), mode="replicate"), 3)
    even = fine[:, :, ::2]
    for rows in strips(image):
        # The last row of a strip has one between it and the next, that of the image has none.
        first, last = rows.start - 2, min(rows.stop + 3, height + 2)
        part = even[:, :, max(first, 0) : min(last, height)]
        padded = F.pad(part, (0, 0, max(-first, 0), last - min(last, height)), mode="replicate")
        fine[:, :, 2 * rows.start + 1 : 2 * rows.stop : 2] = _half_way(padded, 2)
    return fine


def _half_way(padded: Tensor, dim: int) -> Tensor:
    """Values between neighbours along `dim`: (1, -5, 20, 20, -5, 1) / 32, the filter of H.264's motion compensation;
    of what was continued by two at either end."""
    count = padded.shape[dim] - 5
    tap = [padded.narrow(dim, i, count) for i in range(6)]
    return (tap[0] + tap[5]).mul_(1 / 32).sub_(tap[1] + tap[4], alpha=5 / 32).add_(tap[2] + tap[3], alpha=20 / 32)


def strips(flow: Tensor) -> list[slice]:
    """Rows to be worked on one after the other, whole blocks of block_means, so that what comes between two steps stays
    in the caches of a CPU. Elsewhere, and in a graph, they are all rows at once."""
    batch, _, height, width = flow.shape
    if flow.device.type != "cpu" or torch.compiler.is_exporting():
        return [slice(0, height)]
    rows = max(_STRIP // (batch * width * BLOCK), 1) * BLOCK
    return [slice(first, min(first + rows, height)) for first in range(0, height, rows)]


def offsets(rows: slice, width: int, times: int, like: Tensor) -> Tensor:
    """(1, 2, rows, width): the flow to the pixels of these rows of an image, in the image `times` as fine, from what
    holds the rows alone."""
    x = torch.arange(width, device=like.device, dtype=like.dtype) * (times - 1)
    y = torch.arange(rows.start, rows.stop, device=like.device, dtype=like.dtype) * (times - 1) + rows.start
    return torch.stack(torch.broadcast_tensors(x, y[:, None]))[None]


def block_means(plane: Tensor) -> Tensor:
    """Mean over blocks of BLOCK x BLOCK pixels, of which the last ones may be smaller."""
    return F.avg_pool2d(plane, BLOCK, ceil_mode=True, count_include_pad=False)


def mean_around(blocks: Tensor) -> Tensor:
    """Mean over 3 x 3 blocks, at the border over those that are there."""
    return F.avg_pool2d(blocks, 3, 1, 1, count_include_pad=False)


def spread(blocks: Tensor, height: int, width: int) -> Tensor:
    """To the pixels of the blocks, interpolated between their centres."""
    return F.interpolate(blocks, scale_factor=BLOCK, mode="bilinear")[..., :height, :width]


def fill_holes(values: Tensor, valid: Tensor) -> Tensor:
    """Replaces unknown pixels by the mean of the known ones around, over the smallest window that has any.

    Pull and push: halve the resolution over known pixels until nothing is missing, then fill each level from the
    coarser one.

    Args:
        values: (B, C, H, W).
        valid: bool (B, 1, H, W).
    """
    height, width = values.shape[2:]
    # A graph goes down to the last pixel, which gives the same.
    if not torch.compiler.is_exporting() and bool(valid.all()):
        return values
    values = torch.where(valid, values, 0)
    if max(height, width) == 1:
        return values
    count = _sums_of_four(valid.to(values.dtype))
    coarse = fill_holes(_sums_of_four(values).div_(count.clamp(min=1)), count > 0)
    fine = F.interpolate(coarse, scale_factor=2, mode="bilinear")[..., :height, :width]
    return torch.where(valid, values, fine)


def _sums_of_four(planes: Tensor) -> Tensor:
    """Over 2 x 2 pixels, at the last row and column of those that are there. avg_pool2d takes ten times as long."""
    padded = F.pad(planes, (0, 1, 0, 1))
    height, width = planes.shape[2:]
    rows = padded[:, :, :height:2] + padded[:, :, 1::2]
    return rows[..., :width:2] + rows[..., 1::2]
