"""Inputs of trajectory_warp for tests and benchmarks."""

import functools

from torch import Tensor
from typing_extensions import Unpack

from vfi_kernels._options import PaddingMode
from vfi_kernels._types import Options
from vfi_kernels.ops.trajectory_warp.op import trajectory_warp
from vfi_kernels.testing import Line, OpCase, Place, is_large, make_trajectory, random, register


class Warped(Line, total=False):
    padding_mode: PaddingMode


LARGE: dict[str, tuple[int, ...]] = {"576p": (1, 3, 576, 1024), "1080p": (1, 3, 1088, 1920)}


def make_inputs(
    b: int,
    c: int,
    h: int,
    w: int,
    flow: str = "noise",
    count: int = 4,
    taus: int = 3,
    coarse: int = 1,
    per_pixel: bool = False,
    curve: Line | None = None,
    **options: Unpack[Place],
) -> tuple[Tensor, ...]:
    """Image, `count` keyframes (B, 2 K, h, w), `coarse` times as coarse as the image, and taus: 4-dimensional all.
    Two taus at most on the small images of tests, of which interpreters do one at a time."""
    taus = taus if is_large(h, w, 1 << 16) else min(taus, 2)
    line: Options = {"coarse": coarse, "per_pixel": per_pixel, "curve": curve or {}}
    return random((b, c, h, w), **options), *make_trajectory(flow, b, taus, count, h, w, **line, **options)


def call(image: Tensor, keyframes: Tensor, taus: Tensor, **options: Unpack[Warped]) -> Tensor:
    times = taus if taus.shape[2:] == image.shape[2:] else taus[:, :, 0, 0]
    return trajectory_warp(image, keyframes.unflatten(1, (-1, 2)), times, **options).flatten(0, 1)


def bytes_moved(image: Tensor, keyframes: Tensor, taus: Tensor) -> int:
    """Image, keyframes and taus read once, an image for each tau written once."""
    return image.nbytes * (1 + taus.shape[1]) + keyframes.nbytes + taus.nbytes


def _register(name: str, inputs: Options, large: bool = False, **options: Unpack[Warped]) -> None:
    register(
        OpCase(
            name=f"trajectory_warp-{name}",
            op="trajectory_warp",
            call=functools.partial(call, **options),
            make_inputs=functools.partial(make_inputs, curve=options, **inputs),
            small=((1, 1, 1, 1), (2, 3, 7, 9), (1, 5, 16, 67)),
            large=LARGE if large else {},
            bytes_moved=bytes_moved,
        )
    )


_register("24", {"count": 9, "taus": 24}, large=True)
_register("coarse", {"count": 3, "coarse": 2}, padding_mode="zeros", boundary="linear")
_register("pixel", {"per_pixel": True, "count": 5}, boundary="replicate", a=-0.75, extrapolate=True)
