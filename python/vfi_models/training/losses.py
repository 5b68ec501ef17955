"""Losses between frames (B, C, H, W); each is a scalar."""

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = 5


def laplacian(result: Tensor, truth: Tensor) -> Tensor:
    """L1 distance of Laplacian pyramids, its mean in each of five levels, summed, as in RIFE.

    What five halvings leave over does not count. H and W: at least 33, so that each level can be mirrored at its
    border.
    """
    total = result.new_zeros(())
    current = (result - truth).float() if result.dtype != torch.float64 else result - truth
    for _ in range(LEVELS):
        smaller = blurred(current)[:, :, ::2, ::2]
        total = total + (current - enlarged(smaller, current.shape[2:])).abs().mean()
        current = smaller
    return total


def kernel(like: Tensor) -> Tensor:
    """(C, 1, 5, 5): binomial, of sum 1."""
    row = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=like.dtype, device=like.device) / 16
    return torch.outer(row, row).expand(like.shape[1], 1, 5, 5)


def blurred(x: Tensor) -> Tensor:
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), kernel(x), groups=x.shape[1])


def enlarged(x: Tensor, size: torch.Size) -> Tensor:
    """Zeros between the pixels, blurred: twice the size, cut to `size`."""
    spread = x.new_zeros(*x.shape[:2], *size)
    spread[:, :, ::2, ::2] = x
    return 4 * blurred(spread)


def psnr(result: Tensor, truth: Tensor) -> Tensor:
    """dB, of frames in [0, 1], over the whole batch."""
    return -10 * (result.float() - truth.float()).square().mean().clamp_min(1e-10).log10()
