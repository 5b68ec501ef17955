"""Inputs of trajectory_splat for tests and benchmarks."""

import functools
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from vfi_kernels._options import Mode
from vfi_kernels._types import Options
from vfi_kernels.ops.trajectory_splat.op import trajectory_splat
from vfi_kernels.testing import (
    Inputs,
    Line,
    OpCase,
    Place,
    is_large,
    make_trajectory,
    map_tensors,
    random,
    register,
    tensors,
)


class Splatted(Line, total=False):
    mode: Mode
    return_weight: bool


Images = Tensor | list[Tensor]
LARGE: dict[str, tuple[int, ...]] = {"576p": (1, 3, 576, 1024)}


def make_dyadic(
    b: int, t: int, count: int, h: int, w: int, *, per_pixel: bool, **options: Unpack[Place]
) -> tuple[Tensor, ...]:
    """Keyframes that are multiples of 4, plus the same 3/16 everywhere, and taus halfway between knots. For a count of
    2 ** n + 1 flows are then odd sixteenths, and no bilinear weight, by which gradients are divided, is below 1/256."""
    keyframes = random((b, 2 * count, h, w), **options).mul(1.5).round().clamp(-2, 2) * 4 + 3 / 16
    steps = torch.randint(-1, count, (b, t, h, w) if per_pixel else (b, t, 1, 1), generator=options.get("generator"))
    return keyframes, ((steps + 0.5) / (count - 1)).to(options["dtype"]).to(options.get("device", "cpu"))


def make_inputs(
    b: int,
    c: int,
    h: int,
    w: int,
    flow: str = "noise",
    count: int = 5,
    taus: int = 2,
    coarse: int = 1,
    metric: float | None = None,
    per_pixel: bool = False,
    curve: Line | None = None,
    several: bool = False,
    **options: Unpack[Place],
) -> Inputs:
    """Input (`several`: a list of two, the second with one channel more), `count` keyframes (B, 2 K, h, w), `coarse`
    times as coarse as the input, taus and, unless None, a metric of that scale: 4-dimensional all. Two taus at most on
    the small images of tests."""
    taus = taus if is_large(h, w, 1 << 16) else min(taus, 2)
    image = random((b, c, h, w), **options)
    input = [image, random((b, c + 1, h, w), **options)] if several else image
    if flow == "noise" and coarse == 1:
        moving = (input, *make_dyadic(b, taus, count, h, w, per_pixel=per_pixel, **options))
    else:
        line: Options = {"coarse": coarse, "per_pixel": per_pixel, "curve": curve or {}}
        moving = (input, *make_trajectory(flow, b, taus, count, h, w, **line, **options))
    return moving if metric is None else (*moving, random((b, 1, h, w), **options) * metric)


def call(input: Images, keyframes: Tensor, taus: Tensor, metric: Tensor | None = None, **options: Any) -> Any:
    times = taus if taus.shape[2:] == tensors(input)[0].shape[2:] else taus[:, :, 0, 0]
    result = trajectory_splat(input, keyframes.unflatten(1, (-1, 2)), times, metric, **options)
    return map_tensors(lambda t: t.flatten(0, 1), result)


def bytes_moved(input: Images, keyframes: Tensor, taus: Tensor, metric: Tensor | None = None) -> int:
    """Every argument read once, an input for each tau written once."""
    images = sum(t.nbytes for t in tensors(input))
    return images * (1 + taus.shape[1]) + keyframes.nbytes + taus.nbytes + (0 if metric is None else metric.nbytes)


def _register(name: str, inputs: Options, case: Options | None = None, **options: Unpack[Splatted]) -> None:
    register(
        OpCase(
            name=f"trajectory_splat-{name}",
            op="trajectory_splat",
            call=functools.partial(call, **options),
            make_inputs=functools.partial(make_inputs, curve=options, **inputs),
            small=((1, 1, 1, 1), (2, 3, 7, 9), (1, 5, 16, 67)),
            bytes_moved=bytes_moved,
            **(case or {}),
        )
    )


_register("softmax", {"count": 9, "taus": 24, "metric": 2.0}, {"large": LARGE})
# One pixel alone decides most targets: what its gradients are made of cancels.
_register("softmax-wide", {"metric": 18.0}, {"smooth": False, "slack": 64.0}, boundary="linear")
_register("sum", {"coarse": 2, "count": 3}, mode="sum", a=-0.75, boundary="replicate")
_register("several", {"several": True, "count": 9, "metric": 2.0})
_register("pixel", {"per_pixel": True}, mode="average", extrapolate=True)
