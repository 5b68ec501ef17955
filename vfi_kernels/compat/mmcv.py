"""Modulated deformable convolution with the signatures of mmcv.ops."""

from collections.abc import Sequence

from torch import Tensor

from vfi_kernels import nn
from vfi_kernels.ops.modulated_deform_conv2d import op

__all__ = ["ModulatedDeformConv2d", "ModulatedDeformConv2dPack", "modulated_deform_conv2d"]


def modulated_deform_conv2d(
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    deform_groups: int = 1,
) -> Tensor:
    """`vk.modulated_deform_conv2d` in place of mmcv.ops.modulated_deform_conv2d; shapes and units are the same in both.

    As in mmcv an offset whose coordinate is exactly -1 has the gradient 0 (edge="mmcv"). Differences: positions are
    float32 whatever the dtype of the offset; bfloat16 works, and every dtype on the CPU; the result has the dtype of
    input; an offset that is NaN or infinite reads 0; errors are RuntimeError.
    """
    return op.modulated_deform_conv2d(
        input, offset, mask, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups,
        offset_groups=deform_groups, edge="mmcv",
    )  # fmt: skip


class ModulatedDeformConv2d(nn.ModulatedDeformConv2d):
    """`vk.nn.ModulatedDeformConv2d` with edge="mmcv", in place of mmcv.ops.ModulatedDeformConv2d.

    Parameters, their names and first values are the same; differences as in modulated_deform_conv2d above.
    """

    edge = "mmcv"


class ModulatedDeformConv2dPack(nn.ModulatedDeformConv2dPack):
    """`vk.nn.ModulatedDeformConv2dPack` with edge="mmcv", in place of mmcv.ops.ModulatedDeformConv2dPack.

    Parameters, their names and first values are the same; differences as in modulated_deform_conv2d above.
    """

    edge = "mmcv"
