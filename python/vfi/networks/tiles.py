"""Large pictures in overlapping tiles, so that a network's memory does not grow with the picture."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

OVERLAP = 4  # a tile shares at least a quarter of its side with the next: motion to an eighth is seen whole in either


def in_tiles(function: Callable[..., Tensor], frames: tuple[Tensor, Tensor], tile: int, *others: object) -> Tensor:
    """`function(frame0, frame1, *others)`, found tile by tile; where tiles overlap, one fades into the other.

    Args:
        frames: two of (B, C, H, W).
        tile: height and width of a tile, px; along a side that is shorter than that, there is one.
    """
    height, width = frames[0].shape[2:]
    if max(height, width) <= tile:
        return function(*frames, *others)
    total = weights = None
    for top in starts(height, tile):
        for left in starts(width, tile):
            part = (..., slice(top, top + tile), slice(left, left + tile))
            tile_result = function(*(frame[part].contiguous() for frame in frames), *others)
            if total is None or weights is None:
                total = tile_result.new_zeros(*tile_result.shape[:2], height, width, dtype=torch.float32)
                weights = total.new_zeros(height, width)
            rows, columns = (fading(n, tile, total.device) for n in tile_result.shape[2:])
            weight = torch.outer(rows, columns)
            total[part] += tile_result * weight
            weights[part] += weight
    assert total is not None and weights is not None
    return (total / weights).to(frames[0].dtype)


def starts(length: int, tile: int) -> list[int]:
    """Where the tiles along a side begin: as few as overlap enough, evenly spread."""
    if length <= tile:
        return [0]
    step = tile - tile // OVERLAP
    count = math.ceil((length - tile) / step) + 1
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def fading(length: int, tile: int, device: torch.device) -> Tensor:
    """(length,): 1 in the middle of a tile, down towards 0 at its ends."""
    distance = torch.arange(length, device=device)
    distance = torch.minimum(distance, length - 1 - distance) + 1
    return (distance / (tile // OVERLAP + 1)).clamp(max=1)
