"""Inputs of modulated_deform_conv2d for tests and benchmarks."""

import functools

import torch
from torch import Tensor
from typing_extensions import Unpack

from vfi_kernels.ops.modulated_deform_conv2d.op import modulated_deform_conv2d
from vfi_kernels.testing import OpCase, Place, make_flow, random, register

SPREAD = 2 / 3  # of make_flow's offsets, whose noise then has a sigma of 2 pixels


def divisor(c: int, most: int) -> int:
    """The largest number up to `most` that divides c."""
    return next(n for n in range(most, 0, -1) if c % n == 0)


def make_inputs(
    b: int, c: int, h: int, w: int, flow: str = "noise", *, parts: int = 4, grouped: bool = False, masked: bool = True,
    **options: Unpack[Place],
) -> tuple[Tensor, ...]:  # fmt: skip
    """Input, offset, mask if `masked`, weight; a 3x3 kernel that keeps the size, up to `parts` offset groups."""
    parts = divisor(c, parts)
    groups, c_out = parts if grouped else 1, c if c >= 48 else 12
    double: Place = {**options, "dtype": torch.float64}
    moves = make_flow(flow, b * parts * 9, h, w, **double)
    if flow != "integer":
        moves = moves * SPREAD
    offset = moves.reshape(b, parts * 18, h, w).to(options["dtype"])
    mask = random((b, parts * 9, h, w), **double).sigmoid().to(options["dtype"])
    scale = max(c // groups * 9, 1) ** -0.5  # results of size one
    weight = (random((c_out, c // groups, 3, 3), **double) * scale).to(options["dtype"])
    x = random((b, c, h, w), **options)
    return (x, offset, mask, weight) if masked else (x, offset, weight)


def without_mask(input: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
    """DCNv1 with mmcv's edge."""
    return modulated_deform_conv2d(input, offset, None, weight, padding=2, dilation=2, edge="mmcv")


def bytes_moved(input: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> int:
    """Input, offset, mask and weight read once, the output written once."""
    return input.nbytes + offset.nbytes + mask.nbytes + weight.nbytes + input[:, :1].nbytes * weight.shape[0]


SMALL = ((1, 1, 1, 1), (2, 3, 7, 9), (1, 5, 16, 67))
register(
    OpCase(
        name="modulated_deform_conv2d-4",
        op="modulated_deform_conv2d",
        call=functools.partial(modulated_deform_conv2d, padding=1),
        make_inputs=make_inputs,
        small=(*SMALL, (1, 24, 5, 37)),
        autocast=True,
        local="planes",
        large={"features-112": (1, 128, 64, 112), "features-256": (1, 128, 144, 256)},
        bytes_moved=bytes_moved,
    )
)
register(
    OpCase(
        name="modulated_deform_conv2d-8",
        op="modulated_deform_conv2d",
        call=functools.partial(modulated_deform_conv2d, padding=1),
        make_inputs=functools.partial(make_inputs, parts=8),
        small=((1, 64, 3, 21),),
        autocast=True,
        local="planes",
        large={"features-56": (1, 256, 32, 56), "features-448": (1, 64, 256, 448), "1080p": (1, 64, 1088, 1920)},
        bytes_moved=bytes_moved,
    )
)
register(
    OpCase(
        name="modulated_deform_conv2d-groups",
        op="modulated_deform_conv2d",
        call=functools.partial(modulated_deform_conv2d, padding=1),
        make_inputs=functools.partial(make_inputs, grouped=True),
        small=(*SMALL, (1, 32, 5, 37)),
        autocast=True,
        local="planes",
        large={"features-112": (2, 128, 64, 112)},
        bytes_moved=bytes_moved,
    )
)
register(
    OpCase(
        name="modulated_deform_conv2d-v1",
        op="modulated_deform_conv2d",
        call=without_mask,
        make_inputs=functools.partial(make_inputs, masked=False),
        small=SMALL,
        autocast=True,
        local="planes",
    )
)
