"""The cost volumes of RAFT, SEA-RAFT, AMT and GIMM-VFI, without a volume of all pairs and without alt_cuda_corr."""

import torch
from torch import Tensor

from vfi_kernels import _autocast as autocast
from vfi_kernels._arguments import expect_integer, expect_tensors
from vfi_kernels._overrides import overridable
from vfi_kernels.ops.correlation_lookup.op import correlation_lookup

__all__ = ["AlternateCorrBlock", "BidirCorrBlock", "CorrBlock"]


@overridable
def prepared(fmap: Tensor) -> Tensor:
    """In float32 or wider, with the channels last, as it is read."""
    expect_tensors("CorrBlock", fmap=fmap)
    return fmap.to(torch.promote_types(fmap.dtype, torch.float32), memory_format=torch.channels_last)


@overridable
def looked_up(fmap1: Tensor, fmap2: Tensor, coords: Tensor, num_levels: int, radius: int) -> Tensor:
    """The windows around coords in every level, contiguous as there."""
    with autocast.disabled(fmap1):
        return correlation_lookup(fmap1, fmap2, coords, radius, levels=num_levels).contiguous()


class CorrBlock:
    """`vk.correlation_lookup` in place of corr.CorrBlock(fmap1, fmap2, num_levels=4, radius=4) of RAFT, SEA-RAFT, AMT
    and GIMM-VFI.

    Args:
        fmap1, fmap2: (B, C, H, W) of one dtype.
        num_levels, radius: of the pyramid, and of the window in pixels of each level.

    Called with coords (B, 2, H, W), in pixels of fmap2, it gives (B, num_levels (2 radius + 1)^2, H, W), float32
    (float64 for float64), also inside torch.autocast.

    Differences: nothing of size (H W)^2 is made; what is kept are the maps, and each call pools fmap2 again. Half maps
    are multiplied in float32. Levels without pixels are 0, where avg_pool2d refuses to make them. coords that are not
    finite give 0. Gradients reach coords that require one. Errors are ArgumentError.
    """

    def __init__(self, fmap1: Tensor, fmap2: Tensor, num_levels: int = 4, radius: int = 4):
        expect_integer("CorrBlock", "num_levels", num_levels, 1)
        expect_integer("CorrBlock", "radius", radius, 0)
        self.num_levels, self.radius = num_levels, radius
        self.fmap1, self.fmap2 = prepared(fmap1), prepared(fmap2)

    def __call__(self, coords: Tensor) -> Tensor:
        return looked_up(self.fmap1, self.fmap2, coords, self.num_levels, self.radius)


class AlternateCorrBlock(CorrBlock):
    """In place of corr.AlternateCorrBlock(fmap1, fmap2, num_levels=4, radius=4): the numbers of CorrBlock."""


class BidirCorrBlock(CorrBlock):
    """In place of corr.BidirCorrBlock(fmap1, fmap2, num_levels=4, radius=4) of AMT and GIMM-VFI: called with (coords0,
    coords1) it gives what CorrBlock(fmap1, fmap2) gives for coords0, and CorrBlock(fmap2, fmap1) for coords1."""

    def __call__(self, coords0: Tensor, coords1: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        there = looked_up(self.fmap1, self.fmap2, coords0, self.num_levels, self.radius)
        return there, looked_up(self.fmap2, self.fmap1, coords1, self.num_levels, self.radius)
