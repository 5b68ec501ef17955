"""Deformable convolution with the signatures of basicsr.ops.dcn, as EDVR, BasicVSR++ and their copies have it, and
DCNv2Pack of basicsr.archs.arch_util."""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from vfi_kernels._overrides import leaf, overridable
from vfi_kernels._types import Foreign
from vfi_kernels.compat import mmcv
from vfi_kernels.compat.torchvision import deform_conv2d

__all__ = [
    "DCNv2Pack", "DeformConv", "DeformConvPack", "ModulatedDeformConv", "ModulatedDeformConvPack", "deform_conv",
    "modulated_deform_conv",
]  # fmt: skip


@overridable
def deform_conv(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    deformable_groups: int = 1,
    im2col_step: int = 64,
) -> Tensor:
    """`compat.mmcv.deform_conv2d` under the name of basicsr.ops.dcn.deform_conv."""
    return mmcv.deform_conv2d(input, offset, weight, stride, padding, dilation, groups, deformable_groups)


@overridable
def modulated_deform_conv(
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    deformable_groups: int = 1,
) -> Tensor:
    """`compat.mmcv.modulated_deform_conv2d` under the name of basicsr.ops.dcn.modulated_deform_conv."""
    place = (stride, padding, dilation, groups, deformable_groups)
    return mmcv.modulated_deform_conv2d(input, offset, mask, weight, bias, *place)


class _Named(mmcv._AsInMmcv):
    """The groups of offsets under BasicSR's one name, deformable_groups, and with_bias."""

    def __init__(self, *arguments: Foreign, **options: Foreign):
        names = {"deformable_groups": "deform_groups"}
        super().__init__(*arguments, **{names.get(name, name): value for name, value in options.items()})

    @property
    def deformable_groups(self) -> int:
        return self.deform_groups

    @property
    def with_bias(self) -> bool:
        return self.bias is not None


class DeformConv(_Named, mmcv.DeformConv2d):
    """In place of basicsr.ops.dcn.DeformConv(in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1,
    groups=1, deformable_groups=1, bias=False): forward(x, offset). Parameters and first values as in mmcv."""


class DeformConvPack(_Named, mmcv.DeformConv2dPack):
    """In place of basicsr.ops.dcn.DeformConvPack: DeformConv that finds its offset itself, with conv_offset."""


class ModulatedDeformConv(_Named, mmcv.ModulatedDeformConv2d):
    """In place of basicsr.ops.dcn.ModulatedDeformConv(in_channels, out_channels, kernel_size, stride=1, padding=0,
    dilation=1, groups=1, deformable_groups=1, bias=True): forward(x, offset, mask)."""


class ModulatedDeformConvPack(_Named, mmcv.ModulatedDeformConv2dPack):
    """In place of basicsr.ops.dcn.ModulatedDeformConvPack: finds offset and mask itself, with conv_offset."""


class DCNv2Pack(ModulatedDeformConvPack):
    """In place of basicsr.archs.arch_util.DCNv2Pack (EDVR, BasicVSR++): offset and mask come from a second input.

    forward(x, feat): conv_offset of `feat` (B, C, H', W'), of the output's size, gives them. Offsets whose mean is
    above 50 pixels are warned of, as there (training has diverged); here by warnings.warn. As there with torchvision,
    derivatives at a coordinate of exactly -1 are torchvision's.
    """

    def convolve(self, x: Tensor, offset: Tensor, mask: Tensor | None) -> Tensor:
        return deform_conv2d(x, offset, self.weight, self.bias, self.stride, self.padding, self.dilation, mask)

    @leaf
    def forward(self, x: Tensor, feat: Tensor) -> Tensor:  # type: ignore[override]
        first, second, logits = self.conv_offset(feat).chunk(3, dim=1)
        offset = torch.cat((first, second), dim=1)
        if not torch.compiler.is_compiling() and not torch.jit.is_tracing() and offset.device.type != "meta":
            mean = float(offset.detach().abs().mean()) if offset.numel() else 0.0
            if mean > 50:
                warnings.warn(f"Offset abs mean is {mean}, larger than 50.", stacklevel=2)
        return self.convolve(x, offset, logits.sigmoid())
