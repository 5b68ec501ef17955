"""A convolution on the active patches of an image."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vfi_kernels._arguments import expect, expect_bool, expect_choice, expect_integer, expect_number, expect_tensors
from vfi_kernels._options import Activation, PatchPaddingMode
from vfi_kernels._overrides import leaf
from vfi_kernels._types import Options
from vfi_kernels.nn._routing import as_indices, expect_base, keep
from vfi_kernels.ops._shared.convolution import activate
from vfi_kernels.ops.routed_conv2d.op import FUSED, routed_conv2d, routed_conv2d_


class RoutedConv2d(nn.Module):
    """`vk.routed_conv2d` with its weights; without a list of patches the dense convolution.

    Args:
        in_channels, out_channels: C and C_out.
        kernel_size: 1 or 3; of a transposed convolution 4.
        patch: pixels of the input along each side of a patch.
        stride: 1 or 2; of a transposed convolution 2.
        transposed: a transposed convolution, with padding 1; otherwise the padding is kernel_size // 2.
        bias: False for none.
        padding_mode: "zeros" or "image": what a patch reads around itself, see `vk.routed_conv2d`.
        activation: None, "relu", "leaky_relu", "prelu" or "gelu". negative_slope: that of "leaky_relu".

    Shapes:
        weight and bias as those of torch.nn.Conv2d, or ConvTranspose2d, and initialised like them; activation_weight
        (C_out,) of "prelu", at first 0.25.
        forward(input, indices, base): input (B, C, H, W); indices (P, 3) as from `vk.patch_indices`, or a route map
        (B, H / patch, W / patch) of bool, or None for all of the image at once; base (B, C_out, H', W') or None for
        zeros -> (B, C_out, H', W'). With inplace=True `base` itself is written and returned, without a gradient; where
        patches are listed it must share no memory with x.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        patch: int,
        *,
        stride: int = 1,
        transposed: bool = False,
        bias: bool = True,
        padding_mode: PatchPaddingMode = "zeros",
        activation: Activation | None = None,
        negative_slope: float = 0.01,
    ):
        super().__init__()
        name = type(self).__name__
        expect_bool(name, "transposed", transposed)
        expect_bool(name, "bias", bias)
        kernel_sizes = (4,) if transposed else (1, 3)
        kind = "4 for a transposed convolution" if transposed else "1 or 3"
        expect(kernel_size in kernel_sizes, name, f"kernel_size {kind}", repr(kernel_size))
        strides = (2,) if transposed else (1, 2)
        expect(stride in strides, name, f"stride {'2' if transposed else '1 or 2'}", repr(stride))
        expect_integer(name, "patch", patch, 1)
        expect_choice(name, "padding_mode", padding_mode, ("zeros", "image"))
        if activation is not None:
            expect_choice(name, "activation", activation, FUSED)
        expect_number(name, "negative_slope", negative_slope)
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel_size
        self.patch, self.stride, self.transposed, self.padding_mode = patch, stride, transposed, padding_mode
        self.activation, self.negative_slope = activation, negative_slope
        channels = (in_channels, out_channels) if transposed else (out_channels, in_channels)
        self.weight = nn.Parameter(torch.empty(*channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.activation_weight = nn.Parameter(torch.empty(out_channels)) if activation == "prelu" else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(max(self.weight.shape[1] * self.kernel_size**2, 1))
            nn.init.uniform_(self.bias, -bound, bound)
        if self.activation_weight is not None:
            nn.init.constant_(self.activation_weight, 0.25)

    @leaf
    def forward(
        self, input: Tensor, indices: Tensor | None = None, base: Tensor | None = None, *, inplace: bool = False
    ) -> Tensor:
        op = type(self).__name__
        expect_tensors(op, input=input)
        expect_base(op, base, inplace)
        if indices is None:
            dense = activate(self._dense(input), self.activation, self.activation_weight, self.negative_slope)
            return keep(op, dense, input, base, inplace)
        listed = as_indices(op, indices, input, self.patch)
        options: Options = {
            "stride": self.stride, "transposed": self.transposed, "padding_mode": self.padding_mode,
            "activation": self.activation, "activation_weight": self.activation_weight, "negative_slope":
            self.negative_slope,
        }  # fmt: skip
        if inplace:
            assert base is not None
            return routed_conv2d_(input, self.weight, self.bias, listed, self.patch, base=base, **options)
        return routed_conv2d(input, self.weight, self.bias, listed, self.patch, base=base, **options)

    def _dense(self, x: Tensor) -> Tensor:
        if self.transposed:
            return F.conv_transpose2d(x, self.weight, self.bias, stride=2, padding=1)
        return F.conv2d(x, self.weight, self.bias, stride=self.stride, padding=self.kernel_size // 2)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, patch={self.patch}, "
            f"stride={self.stride}, transposed={self.transposed}, bias={self.bias is not None}, "
            f"padding_mode={self.padding_mode!r}, activation={self.activation!r}"
        )
