"""Peers of correlation_lookup: RAFT's volume of all pairs, and windows of features without it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vfi_kernels.bench.peers import Peer, register


def volumes(first: Tensor, second: Tensor, levels: int) -> list[Tensor]:
    """The products of all pairs of pixels, and their means over 2 x 2, 4 x 4, ... pixels of `second`."""
    b, c, h, w = first.shape
    pairs = torch.matmul(first.flatten(2).transpose(1, 2), second.flatten(2)).div_(c**0.5)
    found = [pairs.view(b * h * w, 1, *second.shape[2:])]
    for _ in range(levels - 1):
        found.append(pooled(found[-1]))
    return found


def pooled(planes: Tensor) -> Tensor:
    """Means of 2 x 2 pixels, of which there may be none."""
    h, w = (n // 2 for n in planes.shape[2:])
    return F.avg_pool2d(planes, 2, stride=2) if h * w > 0 else planes.new_zeros(*planes.shape[:2], h, w)


def sampled(level: Tensor, positions: Tensor) -> Tensor:
    """`level` at positions (N, H, W, 2) in its pixels, zeros outside."""
    if level.numel() == 0:
        return level.new_zeros(*level.shape[:2], *positions.shape[1:3])
    size = torch.tensor([level.shape[3], level.shape[2]], dtype=positions.dtype, device=level.device)
    return F.grid_sample(level, (2 * positions + 1) / size - 1, padding_mode="zeros", align_corners=False)


def windows(positions: Tensor, level: int, radius: int) -> Tensor:
    """The positions of every window, (B H W, n, n, 2)."""
    steps = torch.arange(-radius, radius + 1, dtype=positions.dtype, device=positions.device)
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), -1)
    return positions.permute(0, 2, 3, 1).reshape(-1, 1, 1, 2) / float(2**level) + grid


def by_volume(first: Tensor, second: Tensor, positions: Tensor, radius: int = 4, levels: int = 4) -> Tensor:
    """The volume is made, and looked up once."""
    return look_up(volumes(first, second, levels), positions, radius)


def look_up(pyramid: list[Tensor], positions: Tensor, radius: int) -> Tensor:
    """The windows around positions in every volume."""
    b, _, h, w = positions.shape
    planes = [sampled(v, windows(positions, n, radius)).view(b, h, w, -1) for n, v in enumerate(pyramid)]
    return torch.cat(planes, 3).permute(0, 3, 1, 2).contiguous()


def by_features(first: Tensor, second: Tensor, positions: Tensor, radius: int = 4, levels: int = 4) -> Tensor:
    """The pooled features are sampled anew for every displacement, and multiplied."""
    b, c, h, w = first.shape
    n, planes = 2 * radius + 1, []
    for number in range(levels):
        at = windows(positions, number, radius).view(b, h, w, n * n, 2)
        planes += [(first * sampled(second, at[..., d, :])).sum(1) / c**0.5 for d in range(n * n)]
        second = pooled(second) if number + 1 < levels else second
    return torch.stack(planes, 1)


register(Peer("volume of all pairs", "correlation_lookup", by_volume))
register(Peer("sampled features", "correlation_lookup", by_features))
