"""Inputs of routed_conv2d for tests and benchmarks."""

import functools
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from vfi_kernels._types import Options
from vfi_kernels.ops.routed_conv2d.op import routed_conv2d
from vfi_kernels.testing import OpCase, Place, every_other_patch, random, register


def make_inputs(
    b: int, c: int, h: int, w: int, flow: str = "none", *, patch: int, kernel: int, transposed: bool = False,
    **options: Unpack[Place],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """An image of whole patches, and the weights."""
    h, w = (-(-n // patch) * patch for n in (h, w))
    c_out = c if c >= 32 else c + 2
    size = (c, c_out, kernel, kernel) if transposed else (c_out, c, kernel, kernel)
    scale = max(c * kernel * kernel, 1) ** -0.5  # results of size one
    double: Place = {**options, "dtype": torch.float64}
    return random((b, c, h, w), **options), (random(size, **double) * scale).to(options["dtype"])


def routed(x: Tensor, weight: Tensor, *, patch: int, **options: Any) -> Tensor:
    """Half of the patches."""
    return routed_conv2d(x, weight, None, every_other_patch(x, patch), patch, **options)


def bytes_moved(x: Tensor, weight: Tensor) -> int:
    """Half of the input read, the whole output written once."""
    return x.nbytes // 2 + weight.nbytes + x[:, :1].nbytes * weight.shape[0]


SMALL = ((1, 1, 1, 1), (2, 3, 7, 9), (1, 5, 16, 67), (1, 34, 5, 37))
WAYS: tuple[tuple[str, int, int, Options], ...] = (
    ("zeros", 3, 4, {"padding_mode": "zeros"}),
    ("image", 3, 4, {"padding_mode": "image"}),
    ("stride", 3, 8, {"padding_mode": "image", "stride": 2}),
    ("transposed", 4, 2, {"padding_mode": "image", "stride": 2, "transposed": True}),
)
for name, kernel, patch, options in WAYS:
    register(
        OpCase(
            name=f"routed_conv2d-{name}",
            op="routed_conv2d",
            call=functools.partial(routed, patch=patch, **options),
            make_inputs=functools.partial(
                make_inputs, patch=patch, kernel=kernel, transposed=options.get("transposed", False)
            ),
            small=SMALL,
            autocast=True,
            flow=None,
        )
    )
register(
    OpCase(
        name="routed_conv2d-64",
        op="routed_conv2d",
        call=functools.partial(routed, patch=64),
        make_inputs=functools.partial(make_inputs, patch=64, kernel=3),
        small=((1, 17, 64, 128),),
        large={"2k": (1, 32, 1088, 2048), "2k-64": (1, 64, 1088, 2048), "2k-96": (1, 96, 1088, 2048)},
        bytes_moved=bytes_moved,
        autocast=True,
        flow=None,
    )
)
