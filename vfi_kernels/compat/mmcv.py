"""Deformable and masked convolution, and correlation, with the signatures of mmcv.ops."""

import functools
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import Module

from vfi_kernels import _autocast as autocast
from vfi_kernels._arguments import expect, expect_image, expect_tensors
from vfi_kernels._options import Edge
from vfi_kernels._overrides import leaf, overridable
from vfi_kernels._tracing import of_this_size
from vfi_kernels._types import Foreign, Function
from vfi_kernels.compat._mmcv_correlation import Correlation
from vfi_kernels.nn import _deform as deform
from vfi_kernels.ops._shared.convolution import pair
from vfi_kernels.ops.modulated_deform_conv2d import op
from vfi_kernels.ops.patches.op import patch_indices
from vfi_kernels.ops.routed_conv2d.op import routed_conv2d

__all__ = [
    "Correlation", "DeformConv2d", "DeformConv2dPack", "MaskedConv2d", "ModulatedDeformConv2d",
    "ModulatedDeformConv2dPack", "deform_conv2d", "masked_conv2d", "modulated_deform_conv2d", "with_current_names",
]  # fmt: skip

M = TypeVar("M", bound=type[Module])


def takes_early_names(module: M) -> M:
    """`deformable_groups`, as mmcv called deform_groups until its version 1.2, is taken with a DeprecationWarning."""
    init: Function = module.__init__

    @functools.wraps(init)
    def with_names(self: Module, *arguments: Foreign, **options: Foreign) -> None:
        if "deformable_groups" in options:
            expect("deform_groups" not in options, module.__name__, "deform_groups or deformable_groups", "both")
            warnings.warn("deformable_groups is called deform_groups", DeprecationWarning, stacklevel=2)
            options["deform_groups"] = options.pop("deformable_groups")
        init(self, *arguments, **options)

    module.__init__ = with_names  # type: ignore[method-assign]
    return module


@overridable
def modulated_deform_conv2d(
    input: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    deform_groups: int = 1,
) -> Tensor:
    """`vk.modulated_deform_conv2d` in place of mmcv.ops.modulated_deform_conv2d; shapes and units are the same in both.

    As in mmcv the input and the weights are cast to the dtype of offset, which the result has, also inside
    torch.autocast, and an offset whose coordinate is exactly -1 has the gradient 0 (edge="mmcv"). Differences:
    positions are float32 whatever the dtype of the offset; bfloat16 works, and every dtype on the CPU; an offset that
    is NaN or infinite reads 0; errors are ArgumentError.
    """
    expect_tensors("modulated_deform_conv2d", input=input, offset=offset)
    with autocast.disabled(offset):
        return op.modulated_deform_conv2d(
            input.to(offset.dtype), offset, mask, weight, bias, stride=stride, padding=padding, dilation=dilation,
            groups=groups, offset_groups=deform_groups, edge="mmcv",
        )  # fmt: skip


@overridable
def deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    deform_groups: int = 1,
    bias: bool = False,
    im2col_step: int = 32,
) -> Tensor:
    """Deformable convolution without a mask (DCNv1), in place of mmcv.ops.deform_conv2d: as modulated_deform_conv2d
    above. bias has to be False, as there; im2col_step is not needed. An input that is too small for any output is an
    error, as there; a module's input that is smaller than the kernel counts as filled up to it, and gives what is left
    of that, which may be nothing."""
    expect(bias is False, "deform_conv2d", "bias=False, as mmcv does", bias)
    if isinstance(input, Tensor):
        expect_output("deform_conv2d", input.shape, weight, stride, padding, dilation)
    return modulated_deform_conv2d(input, offset, None, weight, None, stride, padding, dilation, groups, deform_groups)


def output_of(size: Sequence[int], weight: Tensor, *place: int | Sequence[int]) -> list[int]:
    """Rows and columns for an input of this size; place: stride, padding, dilation."""
    named = zip(("stride", "padding", "dilation"), place, (1, 0, 1))
    steps, pads, gaps = (pair("deform_conv2d", what, value, least) for what, value, least in named)
    return [
        (n + 2 * pad - gap * (taps - 1) - 1) // step + 1
        for n, taps, step, pad, gap in zip(size[2:], weight.shape[2:], steps, pads, gaps)
    ]


def expect_output(name: str, size: Sequence[int], weight: Tensor, *place: int | Sequence[int]) -> None:
    """What mmcv and BasicSR say of DCNv1, in their words."""
    if isinstance(weight, Tensor) and len(size) == weight.dim() == 4:
        sides = output_of(size, weight, *place)
        if min(sides) <= 0:
            told = "x".join(map(str, (size[0], len(weight), *sides)))
            sentence = f"convolution input is too small (output would be {told})"
            expect(False, name, "an output of 1x1 or more", sentence)


class _AsInMmcv(deform.ModulatedDeformConv2d):
    """What all modules share: the functions above, mmcv's name for reset_parameters, and what its ConvModule asks."""

    edge: Edge = "mmcv"
    transposed = False
    output_padding = (0,)

    def convolve(self, x: Tensor, offset: Tensor, mask: Tensor | None) -> Tensor:
        place = (self.stride, self.padding, self.dilation, self.groups, self.deform_groups)
        return modulated_deform_conv2d(x, offset, mask, self.weight, self.bias, *place)

    def reset_parameters(self) -> None:
        self.init_weights()

    def init_weights(self) -> None:
        """mmcv's name for reset_parameters; a subclass may have its own."""
        super().reset_parameters()


@takes_early_names
class ModulatedDeformConv2d(_AsInMmcv):
    """`vk.nn.ModulatedDeformConv2d` with edge="mmcv", in place of mmcv.ops.ModulatedDeformConv2d.

    Parameters, their names and first values are the same; differences as in modulated_deform_conv2d above.
    """


@takes_early_names
class ModulatedDeformConv2dPack(_AsInMmcv, deform.ModulatedDeformConv2dPack):
    """`vk.nn.ModulatedDeformConv2dPack` with edge="mmcv", in place of mmcv.ops.ModulatedDeformConv2dPack.

    Parameters, their names and first values are the same; differences as in modulated_deform_conv2d above.
    """


@takes_early_names
class DeformConv2d(_AsInMmcv):
    """`deform_conv2d` with its weight, in place of mmcv.ops.DeformConv2d (DCNv1): forward(x, offset).

    Parameters, their names and first values are the same (kaiming_uniform for relu); no bias, as there; im2col_step is
    kept, and not needed. Differences as in modulated_deform_conv2d above.
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
        bias: bool = False,
        im2col_step: int = 32,
    ):
        expect(bias is False, type(self).__name__, "bias=False, as mmcv does", bias)
        place = (kernel_size, stride, padding, dilation, groups, deform_groups)
        super().__init__(in_channels, out_channels, *place, bias=False)
        self.im2col_step = im2col_step

    def init_weights(self) -> None:
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")

    @leaf
    def forward(self, x: Tensor, offset: Tensor) -> Tensor:  # type: ignore[override]
        larger = [max(n, taps) for n, taps in zip(x.shape[2:], self.kernel_size)]
        self.expect_output((*x.shape[:2], *larger))
        sides = output_of(x.shape, self.weight, self.stride, self.padding, self.dilation)
        if min(sides) < 0:
            return offset.new_zeros(len(x), len(self.weight), *(max(side, 0) for side in sides))
        return self.convolve(x, offset, None)

    def expect_output(self, size: Sequence[int]) -> None:
        expect_output(type(self).__name__, size, self.weight, self.stride, self.padding, self.dilation)


@takes_early_names
class DeformConv2dPack(deform.FindsOffsets, DeformConv2d):
    """DeformConv2d that finds its offset itself, in place of mmcv.ops.DeformConv2dPack: forward(x).

    conv_offset is a torch.nn.Conv2d from C to 2 G KH KW channels with the same kernel_size, stride, padding and
    dilation, at first 0. Early checkpoints' keys: see with_current_names.
    """

    def __init__(self, *arguments: Foreign, **options: Foreign):
        super().__init__(*arguments, **options)
        self.make_conv_offset(self, 2)

    @leaf
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        self.expect_output(x.shape)
        return self.convolve(x, self.conv_offset(x), None)


@overridable
def masked_conv2d(
    features: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> Tensor:
    """Convolution where a mask is positive and 0 elsewhere, in place of mmcv.ops.masked_conv2d; by `vk.routed_conv2d`
    with patches of one pixel for 1x1 and 3x3 kernels.

    Args:
        features: (B, C, H, W). mask: (B, H', W') of the output's size. weight: (C_out, C, KH, KW); bias: (C_out,).
        padding: pixels; one integer, or (vertical, horizontal). stride: 1, as there.

    Returns:
        (B, C_out, H', W'), dtype of features. Differentiable, unlike there; any batch.
    """
    name = "masked_conv2d"
    expect_tensors(name, features=features, mask=mask, weight=weight)
    expect(list(pair(name, "stride", stride, 1)) == [1, 1], name, "stride 1, as mmcv does", stride)
    expect_image(name, "features", features)
    down, across = pair(name, "padding", padding, 0)
    features, mask = of_this_size(features, 2, 3), of_this_size(mask, 0, 1, 2)
    kernel = tuple(weight.shape[2:])
    size = (features.shape[2] + 2 * down - kernel[0] + 1, features.shape[3] + 2 * across - kernel[1] + 1)
    expect(
        tuple(mask.shape) == (features.shape[0], *size), name, f"mask of shape {(features.shape[0], *size)}", mask.shape
    )
    if kernel not in ((1, 1), (3, 3)):
        return F.conv2d(features, weight, bias, padding=(down, across)) * (mask > 0)[:, None]
    # The op pads by half a kernel: what is missing to that is added, what is too much is computed nowhere and cut off.
    half = kernel[0] // 2
    more = [max(n - half, 0) for n in (across, across, down, down)]
    less = [max(half - n, 0) for n in (across, across, down, down)]
    x, route = F.pad(features, more), F.pad(mask > 0, less)
    with autocast.disabled(features):
        indices = patch_indices(route, capacity=int(mask.numel()))
        out = routed_conv2d(x, weight, bias, indices, 1, padding_mode="image")
    return F.pad(out, [-n for n in less])


class MaskedConv2d(nn.Conv2d):
    """torch.nn.Conv2d that computes only where a mask is positive, in place of mmcv.ops.MaskedConv2d:
    forward(input, mask=None), see masked_conv2d."""

    @leaf
    def forward(self, input: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            return super().forward(input)
        expect(isinstance(self.padding, tuple), "MaskedConv2d", "padding in pixels", self.padding)
        return masked_conv2d(input, mask, self.weight, self.bias, self.padding, self.stride)  # type: ignore[arg-type]


def with_current_names(state_dict: Mapping[str, Tensor], model: Module) -> OrderedDict[str, Tensor]:
    """`state_dict` for model.load_state_dict, with the keys that each Pack in `model` has today.

    mmcv saved `name_offset.weight` (and bias) before version 2 of that module, `name.conv_offset.weight` since. The
    loaders of mmcv and mmengine rename by themselves; torch's load_state_dict does not let a module see such keys.
    """
    for value, kind, what in ((state_dict, Mapping, "a state dict"), (model, Module, "a module")):
        expect(isinstance(value, kind), "with_current_names", what, type(value).__name__)
    renamed = OrderedDict(state_dict)
    metadata = getattr(state_dict, "_metadata", {})
    renamed._metadata = metadata  # type: ignore[attr-defined]
    for name, module in model.named_modules():
        if isinstance(module, deform.FindsOffsets):
            module.rename_early_offsets(renamed, f"{name}.", metadata.get(name, {}))
    return renamed
