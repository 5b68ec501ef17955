"""Inputs of sample_trajectory for tests and benchmarks."""

import functools

from torch import Tensor
from typing_extensions import Unpack

from vfi_kernels.ops.sample_trajectory.op import sample_trajectory
from vfi_kernels.testing import Line, OpCase, Place, make_keyframes, make_taus, register


class Sampled(Line, total=False):
    derivative: bool
    knots: tuple[float, ...]


def make_inputs(
    b: int,
    t: int,
    h: int,
    w: int,
    flow: str = "noise",
    count: int = 4,
    per_pixel: bool = False,
    **options: Unpack[Place],
) -> tuple[Tensor, Tensor]:
    """Keyframes (B, 2 K, H, W) and T taus: 4-dimensional, as layouts and strides are tested."""
    taus = make_taus(b, t, h, w, per_pixel=per_pixel, **options)
    return make_keyframes(flow, b, count, h, w, **options), taus


def call(keyframes: Tensor, taus: Tensor, **options: Unpack[Sampled]) -> Tensor:
    times = taus if taus.shape[2:] == keyframes.shape[2:] else taus[:, :, 0, 0]
    return sample_trajectory(keyframes.unflatten(1, (-1, 2)), times, **options).flatten(1, 2)


def bytes_moved(keyframes: Tensor, taus: Tensor) -> int:
    """Keyframes and taus read once, two planes for each tau written once."""
    b, t = taus.shape[:2]
    plane = keyframes.shape[2] * keyframes.shape[3] * keyframes.element_size()
    return keyframes.nbytes + taus.nbytes + 2 * b * t * plane


def _register(
    name: str,
    count: int,
    per_pixel: bool = False,
    large: dict[str, tuple[int, ...]] | None = None,
    **options: Unpack[Sampled],
) -> None:
    register(
        OpCase(
            name=f"sample_trajectory-{name}",
            op="sample_trajectory",
            call=functools.partial(call, **options),
            make_inputs=functools.partial(make_inputs, count=count, per_pixel=per_pixel),
            small=((1, 1, 1, 1), (2, 3, 7, 9), (1, 5, 16, 67)),
            large=large or {},
            bytes_moved=bytes_moved,
            flow=None,
        )
    )


_register("keys", 9, large={"576p": (1, 24, 576, 1024), "576p-8": (1, 8, 576, 1024), "1080p-8": (1, 8, 1088, 1920)})
_register("pixel", 4, per_pixel=True, boundary="linear", a=-0.75, extrapolate=True)
_register("velocity", 3, boundary="replicate", derivative=True, knots=(-1.0, 0.5, 2.0))
