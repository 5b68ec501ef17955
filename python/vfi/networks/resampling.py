"""Warping without the blur of bilinear sampling, and filling of holes."""

import torch
import torch.nn.functional as F
from torch import Tensor

import vfi_kernels as vk


def doubled(image: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, 2H - 1, 2W - 1): the pixels themselves at even places, six-tap values between them.

    Bilinear sampling in the doubled image blurs a quarter as much as in the image itself.
    """
    batch, channels, height, width = image.shape
    fine = image.new_empty(batch, channels, 2 * height - 1, 2 * width - 1)
    fine[:, :, ::2, ::2] = image
    fine[:, :, ::2, 1::2] = _half_way(image, 3)
    fine[:, :, 1::2] = _half_way(fine[:, :, ::2].contiguous(), 2)
    return fine


def _half_way(image: Tensor, dim: int) -> Tensor:
    """Values between neighbours along `dim`: (1, -5, 20, 20, -5, 1) / 32, the filter of H.264's motion compensation."""
    padded = F.pad(image, (2, 2, 0, 0) if dim == 3 else (0, 0, 2, 2), mode="replicate")
    count = image.shape[dim] - 1
    tap = [padded.narrow(dim, i, count) for i in range(6)]
    return (tap[0] + tap[5]).mul_(1 / 32).sub_(tap[1] + tap[4], alpha=5 / 32).add_(tap[2] + tap[3], alpha=20 / 32)


def warp(image: Tensor, flow: Tensor, out: Tensor | None = None) -> Tensor:
    """backward_warp with one result, into `out` if it is given."""
    return vk.backward_warp(image, flow, out=out)


def warp_doubled(image: Tensor, flow: Tensor, out: Tensor | None = None) -> Tensor:
    """`warp` of an image given as doubled(image): position p of the image is position 2 p there."""
    height, width = flow.shape[2:]
    x = torch.arange(width, device=flow.device, dtype=flow.dtype).expand(height, width)
    y = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None].expand(height, width)
    return warp(image, 2 * flow + torch.stack((x, y)), out)


def local_mean(plane: Tensor) -> Tensor:
    """Mean over about 12 x 12 pixels: over blocks of 4 x 4, then over 3 x 3 blocks, interpolated between the blocks."""
    height, width = plane.shape[2:]
    blocks = F.avg_pool2d(plane, 4, ceil_mode=True, count_include_pad=False)
    blocks = F.avg_pool2d(blocks, 3, 1, 1, count_include_pad=False)
    return F.interpolate(blocks, scale_factor=4, mode="bilinear")[..., :height, :width]


def fill_holes(values: Tensor, valid: Tensor) -> Tensor:
    """Replaces unknown pixels by the mean of the known ones around, over the smallest window that has any.

    Pull and push: halve the resolution over known pixels until nothing is missing, then fill each level from the
    coarser one.

    Args:
        values: (B, C, H, W).
        valid: bool (B, 1, H, W).
    """
    height, width = values.shape[2:]
    values = torch.where(valid, values, 0)
    # A graph goes down to the last pixel, which gives the same.
    if max(height, width) == 1 or (not torch.compiler.is_exporting() and bool(valid.all())):
        return values
    sums, count = (
        F.avg_pool2d(plane, 2, ceil_mode=True, count_include_pad=False) for plane in (values, valid.to(values.dtype))
    )
    coarse = fill_holes(sums / count.clamp(min=1e-6), count > 0)
    fine = F.interpolate(coarse, scale_factor=2, mode="bilinear")[..., :height, :width]
    return torch.where(valid, values, fine)
