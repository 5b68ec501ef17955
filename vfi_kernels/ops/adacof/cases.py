"""Inputs of adacof for tests and benchmarks."""

import functools

import torch
from torch import Tensor
from typing_extensions import Unpack

from vfi_kernels.ops.adacof.op import adacof
from vfi_kernels.testing import OpCase, Place, is_large, make_flow, random, register

FEW = 1 << 14  # pixels: images of tests


def make_inputs(
    b: int,
    c: int,
    h: int,
    w: int,
    flow: str = "noise",
    side: int = 2,
    many: int | None = None,
    dilation: int = 1,
    **options: Unpack[Place],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A padded image, weights that add to about 1, and a flow of the kind for each of the side x side taps; many x many
    for images that are larger than those of tests."""
    side = side if many is None or not is_large(h, w, FEW) else many
    border = dilation * (side - 1)
    image = random((b, c, h + border, w + border), **options)
    weights = random((b, side * side, h, w), **options).mul(1 / side)
    moves = [make_flow(flow, b, h, w, **options) for _ in range(side * side)]
    right, down = (torch.cat([m[:, n : n + 1] for m in moves], 1) for n in (0, 1))
    return image, weights, down, right


def bytes_moved(image: Tensor, weights: Tensor, offsets_vertical: Tensor, offsets_horizontal: Tensor) -> int:
    """Everything read once, the output written once."""
    read = image.nbytes + weights.nbytes + offsets_vertical.nbytes + offsets_horizontal.nbytes
    return read + image.shape[1] * weights[:, :1].numel() * image.element_size()


for many, side, dilation in ((5, 2, 1), (11, 3, 2)):  # of AdaCoF and ST-MFNet, of CDFI
    register(
        OpCase(
            name=f"adacof-{many}",
            op="adacof",
            call=functools.partial(adacof, dilation=dilation),
            make_inputs=functools.partial(make_inputs, side=side, many=many, dilation=dilation),
            small=((1, 1, 1, 1), (2, 3, 7, 9), (1, 5, 16, 35)),
            large={"vimeo": (1, 3, 256, 448)},
            bytes_moved=bytes_moved,
            flow=2,
        )
    )
