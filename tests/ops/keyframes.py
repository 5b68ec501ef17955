"""Keyframes, and the ops that move an image along them."""

import functools

import torch

import vfi_kernels as vk


def keyframes_like(count, dtype=torch.float64, size=(3, 4), batch=2):
    return torch.randn(batch, count, 2, *size, generator=torch.Generator().manual_seed(count), dtype=torch.float64).to(
        dtype
    )


IMAGE = torch.linspace(-1, 1, 48, dtype=torch.float64).view(2, 1, 4, 6)
ALONG = {
    "sample": vk.sample_trajectory,
    "warp": functools.partial(vk.trajectory_warp, IMAGE),
    "splat": functools.partial(vk.trajectory_splat, IMAGE, mode="average"),
}
