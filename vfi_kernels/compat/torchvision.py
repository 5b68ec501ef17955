"""Deformable convolution with the signatures of torchvision.ops."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vfi_kernels import _autocast as autocast
from vfi_kernels._arguments import expect_tensors
from vfi_kernels._overrides import leaf, overridable
from vfi_kernels._results import accumulator
from vfi_kernels._types import Options
from vfi_kernels.nn._deform import both_ways, check_channels
from vfi_kernels.ops.modulated_deform_conv2d.op import modulated_deform_conv2d

__all__ = ["DeformConv2d", "deform_conv2d"]


@overridable
def deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = (1, 1),
    padding: int | Sequence[int] = (0, 0),
    dilation: int | Sequence[int] = (1, 1),
    mask: Tensor | None = None,
) -> Tensor:
    """`vk.modulated_deform_conv2d` in place of torchvision.ops.deform_conv2d; shapes and units are the same in both.

    Inside torch.autocast it computes in float32 and returns the dtype of input, as there.

    Differences: positions are float32 whatever the dtype of the offset; bfloat16 works; dtypes of offset, mask and
    weights may differ from that of input, which the result has; an offset that is NaN or infinite reads 0; errors are
    RuntimeError.
    """
    expect_tensors("deform_conv2d", input=input, offset=offset, weight=weight)
    options: Options = {"stride": stride, "padding": padding, "dilation": dilation, "edge": "torchvision"}
    if not autocast.enabled(input):
        return modulated_deform_conv2d(input, offset, mask, weight, bias, **options)
    with autocast.disabled(input):
        x, kernel, shift = (None if t is None else t.to(accumulator(input)) for t in (input, weight, bias))
        assert x is not None and kernel is not None
        return modulated_deform_conv2d(x, offset, mask, kernel, shift, **options).to(input.dtype)


class DeformConv2d(nn.Module):
    """`deform_conv2d` with its weight and bias, in place of torchvision.ops.DeformConv2d; differences as there.

    Parameters, their names and first values are the same: weight (C_out, C / groups, KH, KW), kaiming_uniform with
    a = sqrt(5); bias (C_out,) uniform in +-1 / sqrt(fan_in). kernel_size, stride, padding and dilation are one integer
    or (vertical, horizontal). forward(input, offset, mask=None): the number of offset groups is what offset says.
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
        bias: bool = True,
    ):
        super().__init__()
        name = "DeformConv2d"
        check_channels(name, in_channels, out_channels, groups=groups)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = both_ways(name, "kernel_size", kernel_size, 1)
        self.stride = both_ways(name, "stride", stride, 1)
        self.padding = both_ways(name, "padding", padding, 0)
        self.dilation = both_ways(name, "dilation", dilation, 1)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, *self.kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(max(math.prod(self.weight.shape[1:]), 1))
            nn.init.uniform_(self.bias, -bound, bound)

    @leaf
    def forward(self, input: Tensor, offset: Tensor, mask: Tensor | None = None) -> Tensor:
        return deform_conv2d(
            input, offset, self.weight, self.bias, self.stride, self.padding, self.dilation, mask
        )  # fmt: skip

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, dilation={self.dilation}, groups={self.groups}, bias={self.bias is not None}"
        )
