"""Modules that own the weights of ops, with the parameter names of the libraries whose checkpoints they load."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vfi_kernels.checks import expect
from vfi_kernels.convolution import pair
from vfi_kernels.ops.modulated_deform_conv2d.op import modulated_deform_conv2d

__all__ = ["ModulatedDeformConv2d", "ModulatedDeformConv2dPack"]


def both_ways(name: str, what: str, value: int | Sequence[int]) -> tuple[int, int]:
    """(vertical, horizontal) of an argument that may be one integer."""
    vertical, horizontal = pair(name, what, value)
    return vertical, horizontal


class ModulatedDeformConv2d(nn.Module):
    """`vk.modulated_deform_conv2d` with its weight and bias; offset and mask come from the caller (DCNv2).

    Args:
        in_channels, out_channels: C and C_out, multiples of `groups`.
        kernel_size, stride, padding, dilation: in pixels; one integer, or (vertical, horizontal).
        groups: conv groups, as in torch.nn.Conv2d.
        deform_groups: G, in how many equal parts the channels of the input share offsets and mask.
        bias: False for none.

    Shapes:
        weight (C_out, C / groups, KH, KW), at first uniform in +-1 / sqrt(C KH KW); bias (C_out,), at first 0.
        forward(x, offset, mask): x (B, C, H, W), offset (B, 2 G KH KW, H_out, W_out) in pixels, vertical before
        horizontal, mask (B, G KH KW, H_out, W_out) or None, applied as it is -> (B, C_out, H_out, W_out), dtype of x.

    Source:
        Zhu et al., Deformable ConvNets v2, CVPR 2019. Loads the checkpoints of mmcv.ops.ModulatedDeformConv2d.
        Derivatives at a coordinate of exactly -1 follow `edge`, here "torchvision"; vfi_kernels.compat.mmcv has "mmcv".
    """

    edge = "torchvision"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        deform_groups: int = 1,
        bias: bool = True,
    ):
        super().__init__()
        name = type(self).__name__
        for divisor, what in ((groups, "groups"), (deform_groups, "deform_groups")):
            divides = divisor >= 1 and in_channels % divisor == 0
            expect(divides, name, f"{what} that divide the {in_channels} in_channels", divisor)
        expect(out_channels % groups == 0, name, f"groups that divide the {out_channels} out_channels", groups)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = both_ways(name, "kernel_size", kernel_size)
        self.stride = both_ways(name, "stride", stride)
        self.padding = both_ways(name, "padding", padding)
        self.dilation = both_ways(name, "dilation", dilation)
        self.groups, self.deform_groups = groups, deform_groups
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, *self.kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = 1 / math.sqrt(max(self.in_channels * math.prod(self.kernel_size), 1))
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor | None) -> Tensor:
        return modulated_deform_conv2d(
            x, offset, mask, self.weight, self.bias, stride=self.stride, padding=self.padding, dilation=self.dilation,
            groups=self.groups, offset_groups=self.deform_groups, edge=self.edge,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, dilation={self.dilation}, groups={self.groups}, "
            f"deform_groups={self.deform_groups}, bias={self.bias is not None}"
        )


class ModulatedDeformConv2dPack(ModulatedDeformConv2d):
    """ModulatedDeformConv2d that finds offset and mask itself, with an ordinary convolution of its input.

    With o1, o2, logits = the three equal parts of the channels of conv_offset(x): offset = cat(o1, o2) in pixels,
    mask = sigmoid(logits). Arguments as for ModulatedDeformConv2d.

    Shapes:
        weight, bias as there; conv_offset is a torch.nn.Conv2d from C to 3 G KH KW channels with the same kernel_size,
        stride, padding and dilation, at first 0: the module starts as conv2d with half its weight, plus the bias.
        forward(x): x (B, C, H, W) -> (B, C_out, H_out, W_out).

    Source:
        As ModulatedDeformConv2d. Loads checkpoints of mmcv.ops.ModulatedDeformConv2dPack with keys conv_offset.*.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        deform_groups: int = 1,
        bias: bool = True,
    ):
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, deform_groups, bias
        )  # fmt: skip
        channels = 3 * deform_groups * math.prod(self.kernel_size)
        place = (self.kernel_size, self.stride, self.padding, self.dilation)
        self.conv_offset = nn.Conv2d(in_channels, channels, *place)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        for parameter in self.conv_offset.parameters() if hasattr(self, "conv_offset") else ():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        first, second, logits = self.conv_offset(x).chunk(3, dim=1)
        return super().forward(x, torch.cat((first, second), dim=1), logits.sigmoid())
