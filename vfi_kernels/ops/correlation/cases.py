"""Inputs of correlation for tests and benchmarks."""

import functools

from torch import Tensor
from typing_extensions import Unpack

from vfi_kernels.ops.correlation.op import correlation
from vfi_kernels.testing import OpCase, Place, random, register


def make_inputs(b: int, c: int, h: int, w: int, flow: str = "none", **options: Unpack[Place]) -> tuple[Tensor, Tensor]:
    """Two feature maps; there is no flow, whatever kind is asked for."""
    return random((b, c, h, w), **options), random((b, c, h, w), **options)


def bytes_moved(first: Tensor, second: Tensor) -> int:
    """Both maps read once, the 81 planes of radius 4 written once."""
    return first.nbytes + second.nbytes + 81 * first[:, :1].nbytes


register(
    OpCase(
        name="correlation",
        op="correlation",
        call=correlation,
        make_inputs=make_inputs,
        small=((1, 1, 1, 1), (2, 3, 7, 9), (1, 5, 19, 67)),
        large={
            "features-448": (1, 64, 128, 224),
            "features-160": (1, 48, 120, 160),
            "features-64": (1, 128, 64, 112),
            "features-16": (1, 196, 16, 28),
        },
        bytes_moved=bytes_moved,
        autocast=True,
        flow=None,
    )
)
register(
    OpCase(
        name="correlation-1",
        op="correlation",
        call=functools.partial(correlation, radius=1),
        make_inputs=make_inputs,
        small=((1, 1, 1, 1), (2, 3, 7, 9), (1, 5, 18, 35)),
        autocast=True,
        flow=None,
    )
)
