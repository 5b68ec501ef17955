"""Modules of the deformable convolution."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vfi_kernels._arguments import expect, expect_bool, expect_integer
from vfi_kernels._options import Edge
from vfi_kernels._overrides import leaf
from vfi_kernels.ops._shared.convolution import pair
from vfi_kernels.ops.modulated_deform_conv2d.op import modulated_deform_conv2d

__all__ = ["ModulatedDeformConv2d", "ModulatedDeformConv2dPack"]


def both_ways(name: str, what: str, value: int | Sequence[int], least: int) -> tuple[int, int]:
    """(vertical, horizontal) of an argument that may be one integer; both are `least` or more."""
    vertical, horizontal = pair(name, what, value, least)
    return vertical, horizontal


def check_channels(name: str, in_channels: int, out_channels: int, **divisors: int) -> None:
    """Channels are integers from 0 up, the divisors integers from 1 up: `groups` of both, others of in_channels."""
    expect_integer(name, "in_channels", in_channels, 0)
    expect_integer(name, "out_channels", out_channels, 0)
    for what, divisor in divisors.items():
        expect_integer(name, what, divisor, 1)
        expect(in_channels % divisor == 0, name, f"{what} that divide the {in_channels} in_channels", divisor)
    groups = divisors["groups"]
    expect(out_channels % groups == 0, name, f"groups that divide the {out_channels} out_channels", groups)


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

    edge: Edge = "torchvision"

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
        check_channels(name, in_channels, out_channels, groups=groups, deform_groups=deform_groups)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = both_ways(name, "kernel_size", kernel_size, 1)
        self.stride = both_ways(name, "stride", stride, 1)
        self.padding = both_ways(name, "padding", padding, 0)
        self.dilation = both_ways(name, "dilation", dilation, 1)
        self.groups, self.deform_groups = groups, deform_groups
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, *self.kernel_size))
        expect_bool(type(self).__name__, "bias", bias)
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = 1 / math.sqrt(max(self.in_channels * math.prod(self.kernel_size), 1))
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @leaf
    def forward(self, x: Tensor, offset: Tensor, mask: Tensor | None) -> Tensor:
        return self.convolve(x, offset, mask)

    def convolve(self, x: Tensor, offset: Tensor, mask: Tensor | None) -> Tensor:
        """What forward does once offset and mask are there."""
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


class FindsOffsets(nn.Module):
    """What a module adds to a deformable convolution that finds its offsets itself, with an ordinary convolution."""

    _version = 2  # of the keys, counted as mmcv does
    conv_offset: nn.Conv2d

    def make_conv_offset(self, of: ModulatedDeformConv2d, per_tap: int) -> None:
        """To `per_tap` channels for each tap of a group, at the places of the convolution `of`; at first 0."""
        channels = per_tap * of.deform_groups * math.prod(of.kernel_size)
        self.conv_offset = nn.Conv2d(of.in_channels, channels, of.kernel_size, of.stride, of.padding, of.dilation)
        self.init_offset()

    def init_offset(self) -> None:
        for parameter in self.conv_offset.parameters():
            nn.init.zeros_(parameter)

    def rename_early_offsets(self, state_dict: dict[str, Tensor], prefix: str, metadata: dict[str, int]) -> None:
        """What mmcv saved as `name_offset.weight` before version 2, with prefix `name.`, is conv_offset's."""
        if (metadata.get("version") or 1) >= self._version:
            return
        for parameter in ("weight", "bias"):
            early, current = f"{prefix[:-1]}_offset.{parameter}", f"{prefix}conv_offset.{parameter}"
            if early in state_dict and current not in state_dict:
                state_dict[current] = state_dict.pop(early)

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, local_metadata: dict[str, int], *rest: Any
    ) -> None:
        # torch shows a module only keys that begin with its prefix; loaders of mmcv and mmengine show it all of them.
        self.rename_early_offsets(state_dict, prefix, local_metadata)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


class ModulatedDeformConv2dPack(FindsOffsets, ModulatedDeformConv2d):
    """ModulatedDeformConv2d that finds offset and mask itself, with an ordinary convolution of its input.

    With o1, o2, logits = the three equal parts of the channels of conv_offset(x): offset = cat(o1, o2) in pixels,
    mask = sigmoid(logits). Arguments as for ModulatedDeformConv2d.

    Shapes:
        weight, bias as there; conv_offset is a torch.nn.Conv2d from C to 3 G KH KW channels with the same kernel_size,
        stride, padding and dilation, at first 0: the module starts as conv2d with half its weight, plus the bias.
        forward(x): x (B, C, H, W) -> (B, C_out, H_out, W_out).

    Source:
        As ModulatedDeformConv2d. Loads checkpoints of mmcv.ops.ModulatedDeformConv2dPack; those with keys of before its
        version 2 through vk.compat.mmcv.with_current_names, or with a loader of mmcv or mmengine.
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
        self.make_conv_offset(self, 3)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if hasattr(self, "conv_offset"):
            self.init_offset()

    @leaf
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        first, second, logits = self.conv_offset(x).chunk(3, dim=1)
        return self.convolve(x, torch.cat((first, second), dim=1), logits.sigmoid())
