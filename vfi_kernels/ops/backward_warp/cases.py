"""Inputs of backward_warp for tests and benchmarks."""

import functools

from torch import Tensor
from typing_extensions import Unpack

from vfi_kernels._options import PADDING_MODES
from vfi_kernels.ops.backward_warp.op import backward_warp
from vfi_kernels.testing import OpCase, Place, make_flow, random, register

SMALL = ((1, 1, 1, 1), (2, 3, 7, 9), (1, 5, 16, 67))
LARGE: dict[str, tuple[int, ...]] = {
    "1080p": (1, 3, 1080, 1920),
    "4k": (1, 3, 2160, 3840),
    "features-448": (1, 64, 256, 448),
    "features-960": (1, 64, 540, 960),
    "training": (16, 3, 224, 224),
}


def make_inputs(b: int, c: int, h: int, w: int, flow: str = "noise", **options: Unpack[Place]) -> tuple[Tensor, Tensor]:
    return random((b, c, h, w), **options), make_flow(flow, b, h, w, **options)


def bytes_moved(image: Tensor, flow: Tensor) -> int:
    """Image and flow read once, the output written once."""
    return 2 * image.nbytes + flow.nbytes


for padding_mode in PADDING_MODES:
    register(
        OpCase(
            name=f"backward_warp-{padding_mode}",
            op="backward_warp",
            call=functools.partial(backward_warp, padding_mode=padding_mode),
            make_inputs=make_inputs,
            small=SMALL,
            large=LARGE,
            bytes_moved=bytes_moved,
        )
    )
