"""Peers of modulated_deform_conv2d: columns written out by torch ops; the dense convolution as a yardstick."""

import functools
import importlib.util
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vfi_kernels.bench.peers import Peer, register


def positions(input: Tensor, offset: Tensor, weight: Tensor, padding: int, dilation: int) -> Tensor:
    """(B G, taps H, W, 2) in pixels, y before x, for stride 1."""
    b, groups = input.shape[0], offset.shape[1] // (2 * weight.shape[2] * weight.shape[3])
    kh, kw = weight.shape[2:]
    h, w = offset.shape[2:]
    dtype = torch.promote_types(offset.dtype, torch.float32)
    u, v, y, x = (torch.arange(n, device=input.device, dtype=dtype) for n in (kh, kw, h, w))
    u, v = torch.meshgrid(u, v, indexing="ij")
    y, x = torch.meshgrid(y, x, indexing="ij")
    taps = torch.stack([u, v], -1).reshape(-1, 1, 1, 2) * dilation - padding
    at = offset.to(dtype).reshape(b * groups, kh * kw, 2, h, w).permute(0, 1, 3, 4, 2) + taps + torch.stack([y, x], -1)
    return at.reshape(b * groups, kh * kw * h, w, 2)


def multiply(columns: Tensor, input: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Sampled values (B G, C / G, taps H, W) times mask times weight."""
    b, c = input.shape[:2]
    taps, (h, w) = weight.shape[2] * weight.shape[3], mask.shape[2:]
    masked = columns.to(input.dtype) * mask.reshape(columns.shape[0], 1, taps * h, w)
    groups = c // weight.shape[1]
    rows = masked.reshape(b, groups, weight.shape[1] * taps, h * w)
    return (weight.reshape(groups, weight.shape[0] // groups, -1) @ rows).reshape(b, weight.shape[0], h, w)


def by_grid_sample(
    input: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, *, padding: int = 0, dilation: int = 1, **_: object
) -> Tensor:
    """One grid_sample for all taps, then one product."""
    h, w = input.shape[2:]
    at = positions(input, offset, weight, padding, dilation)
    grid = (at.flip(-1) * 2 + 1) / torch.tensor([w, h], dtype=at.dtype, device=at.device) - 1
    maps = input.reshape(at.shape[0], -1, h, w)
    columns = F.grid_sample(maps, grid.to(maps.dtype), padding_mode="zeros", align_corners=False)
    return multiply(columns, input, mask, weight)


def by_gather(
    input: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, *, padding: int = 0, dilation: int = 1, **_: object
) -> Tensor:
    """Four gathers, then one product."""
    h, w = input.shape[2:]
    at = positions(input, offset, weight, padding, dilation)
    first = at.floor()
    part = at - first
    maps = input.reshape(at.shape[0], -1, h * w)
    columns: Any = 0
    for j in (0, 1):
        for i in (0, 1):
            y, x = (first[..., 0] + j), (first[..., 1] + i)
            inside = (y >= 0) & (y < h) & (x >= 0) & (x < w)
            share = (part[..., 0] if j else 1 - part[..., 0]) * (part[..., 1] if i else 1 - part[..., 1])
            index = (y.clamp(0, h - 1) * w + x.clamp(0, w - 1)).long().flatten(1)[:, None]
            gathered = maps.gather(2, index.expand(-1, maps.shape[1], -1)).view(*maps.shape[:2], *at.shape[1:3])
            columns = columns + gathered * (share * inside)[:, None]
    return multiply(columns, input, mask, weight)


def without_torchvision(*arguments: object, **_: object) -> str | None:
    return None if importlib.util.find_spec("torchvision") else "torchvision is not installed"


def by_torchvision(
    input: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, *, padding: int = 0, dilation: int = 1, **_: object
) -> Tensor:
    """torchvision's own kernel; it may be installed and yet not fit this torch, which its import then says."""
    from torchvision.ops import deform_conv2d

    out: Tensor = deform_conv2d(input, offset, weight, padding=padding, dilation=dilation, mask=mask)
    return out


def dense(
    input: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, *, layout: torch.memory_format, **_: object
) -> tuple[Tensor, Tensor]:
    """A convolution of the same size with groups 1."""
    shape = (weight.shape[0], input.shape[1], *weight.shape[2:])
    full = torch.randn(shape, dtype=torch.float32, device=input.device) * (input.shape[1] * 9) ** -0.5
    return input.contiguous(memory_format=layout), full.to(input.dtype).contiguous(memory_format=layout)


def conv2d(input: Tensor, weight: Tensor, *, padding: int = 0, dilation: int = 1, **_: object) -> Tensor:
    return F.conv2d(input, weight, padding=padding, dilation=dilation)


OP = "modulated_deform_conv2d"
register(Peer("torchvision", OP, by_torchvision, unsuited=without_torchvision))
register(Peer("grid_sample and product", OP, by_grid_sample))
register(Peer("gathers and product", OP, by_gather))
for name, layout in (("dense conv2d", torch.contiguous_format), ("dense conv2d, channels_last", torch.channels_last)):
    register(Peer(name, OP, conv2d, functools.partial(dense, layout=layout), differentiable=False, yardstick=True))
