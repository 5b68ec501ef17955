"""Peers of the ops on patches: views of an image by patches, indexed as torch does it; and dense convolutions."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vfi_kernels.bench.peers import Peer, register
from vfi_kernels.testing import every_other_patch


def by_patches(x: Tensor, patch: int) -> Tensor:
    """(B, rows, columns, C, patch, patch), a view."""
    b, c, h, w = x.shape
    return x.view(b, c, h // patch, patch, w // patch, patch).permute(0, 2, 4, 1, 3, 5)


def listed(x: Tensor, patch: int) -> tuple[Tensor, ...]:
    """What indexes a view by patches; the row that names none is left out."""
    return every_other_patch(x, patch)[1:].long().unbind(1)


def index(x: Tensor, *places: Tensor, patch: int, halo: int) -> Tensor:
    return by_patches(x, patch)[places]


def index_put(base: Tensor, patches: Tensor, *places: Tensor, patch: int) -> Tensor:
    out = base.clone()
    by_patches(out, patch).index_put_(places, patches)
    return out


def index_convolve_put(x: Tensor, weight: Tensor, *places: Tensor, patch: int, **options: object) -> Tensor:
    """Patches out, a convolution that pads each with zeros, patches in."""
    out = x.new_zeros(x.shape[0], weight.shape[0], *x.shape[2:])
    tiles = by_patches(x, patch)[places]
    by_patches(out, patch).index_put_(places, F.conv2d(tiles, weight, padding=weight.shape[2] // 2))
    return out


def dense(x: Tensor, weight: Tensor, **options: object) -> Tensor:
    return F.conv2d(x, weight, padding=weight.shape[2] // 2)


def with_places(*tensors: Tensor, patch: int, **options: object) -> tuple[Tensor, ...]:
    return *tensors, *listed(tensors[0], patch)


def without_unused(base: Tensor, patches: Tensor, *, patch: int) -> tuple[Tensor, ...]:
    return base, patches[1:], *listed(base, patch)


def in_channels_last(*tensors: Tensor, **options: object) -> tuple[Tensor, ...]:
    return tuple(t.contiguous(memory_format=torch.channels_last) for t in tensors)


def with_unused(patches: Tensor) -> Tensor:
    """The result has zeros for the row that names no patch."""
    return torch.cat([patches[:1] * 0, patches])


def with_halo(x: Tensor, *, halo: int, **options: object) -> str | None:
    return "no halo" if halo else None


def other_kinds(x: Tensor, weight: Tensor, **options: object) -> str | None:
    plain = options.get("padding_mode", "zeros") == "zeros" and options.keys() <= {"patch", "padding_mode"}
    return None if plain else "padding_mode zeros and stride 1 only"


def strided(x: Tensor, weight: Tensor, *, stride: int = 1, **options: object) -> str | None:
    return "stride 1 only" if stride > 1 else None


register(Peer("index", "patch_gather", index, prepare=with_places, unsuited=with_halo, result=with_unused))
register(Peer("clone and index_put", "patch_scatter", index_put, prepare=without_unused))
register(
    Peer("index, conv2d, index_put", "routed_conv2d", index_convolve_put, prepare=with_places, unsuited=other_kinds)
)
register(Peer("dense conv2d", "routed_conv2d", dense, unsuited=strided, yardstick=True))
register(
    Peer(
        "dense conv2d, channels_last",
        "routed_conv2d",
        dense,
        prepare=in_channels_last,
        unsuited=strided,
        yardstick=True,
    )
)
