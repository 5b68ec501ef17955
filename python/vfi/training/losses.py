"""Losses between frames (B, C, H, W); each is a scalar, of what has a plural name one for each sample, (B,)."""

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = 5
CENSUS = 7  # side of the surroundings of a pixel


def laplacian(result: Tensor, truth: Tensor) -> Tensor:
    """L1 distance of Laplacian pyramids, its mean in each of five levels, summed, as in RIFE.

    What five halvings leave over does not count. H and W: at least 33, so that each level can be mirrored at its
    border.
    """
    return laplacians(result, truth).mean()


def laplacians(result: Tensor, truth: Tensor) -> Tensor:
    total = result.new_zeros(())
    current = (result - truth).float() if result.dtype != torch.float64 else result - truth
    for _ in range(LEVELS):
        smaller = blurred(current)[:, :, ::2, ::2]
        total = total + (current - enlarged(smaller, current.shape[2:])).abs().mean((1, 2, 3))
        current = smaller
    return total


def blurred(x: Tensor) -> Tensor:
    """By the binomial weights 1, 4, 6, 4, 1 down and across: sums of shifted pictures take a third of the time of a
    convolution, and stay in float32 under autocast."""
    x = F.pad(x, (2, 2, 2, 2), mode="reflect")
    x = x[:, :, :-4] + x[:, :, 4:] + 4 * (x[:, :, 1:-3] + x[:, :, 3:-1]) + 6 * x[:, :, 2:-2]
    return (x[..., :-4] + x[..., 4:] + 4 * (x[..., 1:-3] + x[..., 3:-1]) + 6 * x[..., 2:-2]) / 256


def enlarged(x: Tensor, size: torch.Size) -> Tensor:
    """Zeros between the pixels, blurred: twice the size, cut to `size`."""
    spread = x.new_zeros(*x.shape[:2], *size)
    spread[:, :, ::2, ::2] = x
    return 4 * blurred(spread)


def charbonnier(result: Tensor, truth: Tensor) -> Tensor:
    """Mean of sqrt(difference^2 + 1e-6): L1 that is smooth at 0."""
    return charbonniers(result, truth).mean()


def charbonniers(result: Tensor, truth: Tensor) -> Tensor:
    return ((result - truth).float().square() + 1e-6).sqrt().mean((1, 2, 3))


def census(result: Tensor, truth: Tensor) -> Tensor:
    """How far the signs of 7 x 7 surroundings differ, mean over the pixels that have all of theirs.

    Of RGB frames in [0, 1]. Each neighbour's difference d in gray values of [0, 1] counts as d / sqrt(0.81 + d^2), and
    two such values that differ by e as e^2 / (0.1 + e^2). H and W: at least 7.

    Source: Meister et al., UnFlow, AAAI 2018, where gray values go to 255; up to 1 as in the code of EBME, whose
    authors APR-VFI has.
    """
    apart = (signs(result) - signs(truth)).square()
    return (apart / (0.1 + apart)).mean()


def signs(rgb: Tensor) -> Tensor:
    """(B, 49, (H - 6) * (W - 6)): the soft signs of the neighbours' differences."""
    weights = torch.tensor([0.2989, 0.5870, 0.1140], device=rgb.device).view(1, 3, 1, 1)
    gray = (rgb.float() * weights).sum(1, keepdim=True)
    around = F.unfold(gray, CENSUS)
    away = around - around[:, CENSUS**2 // 2, None]
    return away / (0.81 + away.square()).sqrt()


def psnr(result: Tensor, truth: Tensor) -> Tensor:
    """dB, of frames in [0, 1], over the whole batch."""
    return decibels((result.float() - truth.float()).square().mean())


def decibels(error: Tensor) -> Tensor:
    """PSNR of a mean squared error of values in [0, 1], at most 100."""
    return -10 * error.clamp_min(1e-10).log10()
