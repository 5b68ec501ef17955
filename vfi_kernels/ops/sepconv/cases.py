"""Inputs of sepconv for tests and benchmarks."""

import functools

from torch import Tensor
from typing_extensions import Unpack

from vfi_kernels.ops.sepconv.op import sepconv
from vfi_kernels.testing import OpCase, Place, is_large, random, register

FEW = 1 << 14  # pixels: images of tests


def make_inputs(
    b: int,
    c: int,
    h: int,
    w: int,
    flow: str = "none",
    taps: tuple[int, int] = (3, 4),
    many: int | None = None,
    **options: Unpack[Place],
) -> tuple[Tensor, Tensor, Tensor]:
    """An image padded for `taps`, (vertical, horizontal), and kernels whose weights add to about 1. Images that are
    larger than those of tests have `many` of each."""
    count = taps if many is None or not is_large(h, w, FEW) else (many, many)
    image = random((b, c, h + count[0] - 1, w + count[1] - 1), **options)
    vertical, horizontal = (random((b, n, h, w), **options).mul(n**-0.5) for n in count)
    return image, vertical, horizontal


def bytes_moved(image: Tensor, vertical: Tensor, horizontal: Tensor) -> int:
    """Everything read once, the output written once."""
    pixels = vertical[:, :1].numel()
    return image.nbytes + vertical.nbytes + horizontal.nbytes + image.shape[1] * pixels * image.element_size()


for many, taps in ((25, (3, 4)), (51, (5, 2))):
    register(
        OpCase(
            name=f"sepconv-{many}",
            op="sepconv",
            call=sepconv,
            make_inputs=functools.partial(make_inputs, taps=taps, many=many),
            small=((1, 1, 1, 1), (2, 3, 7, 9), (1, 5, 19, 37)),
            large={"vimeo": (1, 3, 256, 448)},
            bytes_moved=bytes_moved,
            flow=None,
        )
    )
