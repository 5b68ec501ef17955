"""Modulated deformable convolution with the signatures of mmcv.ops."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from torch import Tensor
from torch.nn import Module

from vfi_kernels import _autocast as autocast
from vfi_kernels._arguments import expect_tensors
from vfi_kernels._options import Edge
from vfi_kernels._overrides import overridable
from vfi_kernels.nn import _deform as deform
from vfi_kernels.ops.modulated_deform_conv2d import op

__all__ = ["ModulatedDeformConv2d", "ModulatedDeformConv2dPack", "modulated_deform_conv2d", "with_current_names"]


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


class _AsInMmcv(deform.ModulatedDeformConv2d):
    """What both modules share: the function above, and mmcv's name for reset_parameters."""

    edge: Edge = "mmcv"

    def convolve(self, x: Tensor, offset: Tensor, mask: Tensor | None) -> Tensor:
        place = (self.stride, self.padding, self.dilation, self.groups, self.deform_groups)
        return modulated_deform_conv2d(x, offset, mask, self.weight, self.bias, *place)

    def reset_parameters(self) -> None:
        self.init_weights()

    def init_weights(self) -> None:
        """mmcv's name for reset_parameters; a subclass may have its own."""
        super().reset_parameters()


class ModulatedDeformConv2d(_AsInMmcv):
    """`vk.nn.ModulatedDeformConv2d` with edge="mmcv", in place of mmcv.ops.ModulatedDeformConv2d.

    Parameters, their names and first values are the same; differences as in modulated_deform_conv2d above.
    """


class ModulatedDeformConv2dPack(_AsInMmcv, deform.ModulatedDeformConv2dPack):
    """`vk.nn.ModulatedDeformConv2dPack` with edge="mmcv", in place of mmcv.ops.ModulatedDeformConv2dPack.

    Parameters, their names and first values are the same; differences as in modulated_deform_conv2d above.
    """


def with_current_names(state_dict: Mapping[str, Tensor], model: Module) -> OrderedDict[str, Tensor]:
    """`state_dict` for model.load_state_dict, with the keys that each ModulatedDeformConv2dPack in `model` has today.

    mmcv saved `name_offset.weight` (and bias) before version 2 of that module, `name.conv_offset.weight` since. The
    loaders of mmcv and mmengine rename by themselves; torch's load_state_dict does not let a module see such keys.
    """
    renamed = OrderedDict(state_dict)
    metadata = getattr(state_dict, "_metadata", {})
    renamed._metadata = metadata  # type: ignore[attr-defined]
    for name, module in model.named_modules():
        if isinstance(module, deform.ModulatedDeformConv2dPack):
            deform.rename_early_offsets(renamed, f"{name}.", metadata.get(name, {}))
    return renamed
