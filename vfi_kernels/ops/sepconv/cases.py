"""Inputs of sepconv for tests and benchmarks."""

import functools

from torch import Tensor
from typing_extensions import Unpack

from vfi_kernels.ops.sepconv.op import sepconv
from vfi_kernels.testing import OpCase, Place, random, register


def make_inputs(
    b: int, c: int, h: int, w: int, flow: str = "none", taps: tuple[int, int] = (3, 4), **options: Unpack[Place]
) -> tuple[Tensor, Tensor, Tensor]:
    """An image padded for `taps`, (vertical, horizontal), and kernels whose weights add to about 1."""
    image = random((b, c, h + taps[0] - 1, w + taps[1] - 1), **options)
    vertical, horizontal = (random((b, n, h, w), **options).mul(n**-0.5) for n in taps)
    return image, vertical, horizontal


def bytes_moved(image: Tensor, vertical: Tensor, horizontal: Tensor) -> int:
    """Everything read once, the output written once."""
    pixels = vertical[:, :1].numel()
    return image.nbytes + vertical.nbytes + horizontal.nbytes + image.shape[1] * pixels * image.element_size()


register(
    OpCase(
        name="sepconv",
        op="sepconv",
        call=sepconv,
        make_inputs=make_inputs,
        small=((1, 1, 1, 1), (2, 3, 7, 9), (1, 5, 19, 37)),
        bytes_moved=bytes_moved,
        flow=None,
    )
)
for side, taps, size in (
    (51, (51, 51), (1, 3, 256, 448)),
    (25, (25, 25), (1, 3, 256, 448)),
    (5, (5, 5), (1, 3, 256, 448)),
):
    register(
        OpCase(
            name=f"sepconv-{side}",
            op="sepconv",
            call=sepconv,
            make_inputs=functools.partial(make_inputs, taps=taps),
            small=((1, 1, 1, 1), (1, 4, 10, 17)),
            large={"vimeo": size},
            bytes_moved=bytes_moved,
            flow=None,
        )
    )
