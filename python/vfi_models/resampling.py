"""Warping without the blur of bilinear sampling, and filling of holes."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

import vfi_kernels as vk

# Half-way between two pixels: the six-tap filter of H.264's motion compensation.
_HALF_PIXEL = (1 / 32, -5 / 32, 20 / 32, 20 / 32, -5 / 32, 1 / 32)


def doubled(image: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, 2H - 1, 2W - 1): the pixels themselves at even places, six-tap values between them.

    Bilinear sampling in the doubled image blurs a quarter as much as in the image itself.
    """
    return _doubled_along_x(_doubled_along_x(image).transpose(2, 3)).transpose(2, 3)


def _doubled_along_x(image: Tensor) -> Tensor:
    width = image.shape[3]
    padded = F.pad(image, (2, 3, 0, 0), mode="replicate")
    half = torch.zeros_like(image)
    for i, tap in enumerate(_HALF_PIXEL):
        half.add_(padded[..., i : i + width], alpha=tap)
    return torch.stack((image, half), dim=4).flatten(3)[..., :-1]


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """backward_warp with one result."""
    return cast(Tensor, vk.backward_warp(image, flow))


def warp_doubled(image: Tensor, flow: Tensor) -> Tensor:
    """backward_warp of an image given as doubled(image): position p of the image is position 2 p there."""
    height, width = flow.shape[2:]
    x = torch.arange(width, device=flow.device, dtype=flow.dtype).expand(height, width)
    y = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None].expand(height, width)
    return warp(image, 2 * flow + torch.stack((x, y)))


def box_mean(plane: Tensor, radius: int) -> Tensor:
    """Mean over the (2 radius + 1)^2 neighbours that lie inside the image."""
    size = 2 * radius + 1
    rows = F.avg_pool2d(plane, (1, size), 1, (0, radius), count_include_pad=False)
    return F.avg_pool2d(rows, (size, 1), 1, (radius, 0), count_include_pad=False)


def fill_holes(values: Tensor, known: Tensor) -> Tensor:
    """Replaces unknown pixels by the mean of the known ones around, over the smallest window that has any.

    Pull and push: halve the resolution over known pixels until nothing is missing, then fill each level from the
    coarser one.

    Args:
        values: (B, C, H, W).
        known: bool (B, 1, H, W).
    """
    height, width = values.shape[2:]
    values = torch.where(known, values, 0)
    if bool(known.all()) or max(height, width) == 1:
        return values
    sums, count = (
        F.avg_pool2d(plane, 2, ceil_mode=True, count_include_pad=False) for plane in (values, known.to(values.dtype))
    )
    coarse = fill_holes(sums / count.clamp(min=1e-6), count > 0)
    fine = F.interpolate(coarse, scale_factor=2, mode="bilinear")[..., :height, :width]
    return torch.where(known, values, fine)
