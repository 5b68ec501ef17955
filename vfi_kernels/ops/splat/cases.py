"""Inputs of splat for tests and benchmarks."""

import functools
from typing import Any

from torch import Tensor
from typing_extensions import Unpack

from vfi_kernels._types import Function
from vfi_kernels.ops.splat.op import splat
from vfi_kernels.testing import Inputs, OpCase, Place, make_flow, random, register, tensors

SMALL = ((1, 1, 1, 1), (2, 3, 7, 9), (1, 5, 16, 67))
LARGE: dict[str, tuple[int, ...]] = {
    "1080p": (1, 3, 1080, 1920),
    "4k": (1, 3, 2160, 3840),
    "features-448": (1, 64, 256, 448),
    "features-960": (1, 32, 540, 960),
}


def make_inputs(
    b: int,
    c: int,
    h: int,
    w: int,
    flow: str = "noise",
    metric: float | None = None,
    several: bool = False,
    **options: Unpack[Place],
) -> Inputs:
    """`metric`: its scale, None without one. `several`: a list of two inputs, the second with one channel more."""
    image = random((b, c, h, w), **options)
    inputs = [image, random((b, c + 1, h, w), **options)] if several else image
    arguments = (inputs, make_flow(flow, b, h, w, **options))
    return arguments if metric is None else (*arguments, random((b, 1, h, w), **options) * metric)


def make_linear_inputs(*shape: int, **options: Unpack[Place]) -> Inputs:
    """Weights away from 0, where the quotient has no derivative."""
    b, c, h, w = shape
    image, flow, metric = make_inputs(b, c, h, w, metric=1.0, **options)
    return image, flow, metric.abs() + 0.5


def bytes_moved(inputs: Tensor | list[Tensor], *others: Tensor) -> int:
    """Every input, the flow and the metric read once, every output written once."""
    return 2 * sum(t.nbytes for t in tensors(inputs)) + sum(t.nbytes for t in others)


def _register(name: str, make: Function, large: bool = True, smooth: bool = True, **options: Any) -> None:
    call = functools.partial(splat, **options)
    sizes = LARGE if large else {}
    register(OpCase(name, "splat", call, make, SMALL, sizes, bytes_moved, smooth))


_register("splat-sum", make_inputs, mode="sum")
_register("splat-average", make_inputs, mode="average")
_register("splat-average-add", make_inputs, large=False, mode="average", holes="add")
_register("splat-average-clip", make_inputs, large=False, mode="average", holes="clip")
_register("splat-linear", make_linear_inputs, large=False, mode="linear", return_weight=True)
_register("splat-softmax", functools.partial(make_inputs, metric=5.0), mode="softmax")
_register("splat-softmax-wide", functools.partial(make_inputs, metric=300.0), mode="softmax", smooth=False)
# The shift counts as a constant; with holes "add" the true derivative differs by eps / D.
_register(
    "splat-softmax-add",
    functools.partial(make_inputs, metric=2.0),
    large=False,
    smooth=False,
    mode="softmax",
    holes="add",
)
_register(
    "splat-softmax-several", functools.partial(make_inputs, metric=2.0, several=True), large=False, mode="softmax"
)
_register(
    "splat-softmax-weight", functools.partial(make_inputs, metric=2.0), large=False, mode="softmax", return_weight=True
)
