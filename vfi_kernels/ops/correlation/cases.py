"""Inputs of correlation for tests and benchmarks."""

import functools
from typing import Any

from torch import Tensor
from typing_extensions import Unpack

from vfi_kernels.ops.correlation.op import correlation
from vfi_kernels.testing import OpCase, Place, random, register

SMALL = ((1, 1, 1, 1), (2, 3, 7, 9), (1, 5, 18, 35))


def make_inputs(b: int, c: int, h: int, w: int, flow: str = "none", **options: Unpack[Place]) -> tuple[Tensor, Tensor]:
    """Two feature maps; there is no flow, whatever kind is asked for."""
    return random((b, c, h, w), **options), random((b, c, h, w), **options)


def bytes_moved(planes: int, first: Tensor, second: Tensor) -> int:
    """Both maps read once, the planes of all displacements written once."""
    return first.nbytes + second.nbytes + planes * first[:, :1].nbytes


def register_case(name: str, small: tuple[tuple[int, ...], ...], planes: int = 0, **options: Any) -> None:
    """`planes`: how many a benchmark's call has, each as large as the maps."""
    large, generic = options.pop("large", {}), options.pop("generic", True)
    register(
        OpCase(
            name=name,
            op="correlation",
            call=functools.partial(correlation, **options) if options else correlation,
            make_inputs=make_inputs,
            small=small,
            large=large,
            bytes_moved=functools.partial(bytes_moved, planes) if large else None,
            autocast=True,
            generic=generic,
            flow=None,
        )
    )


FEATURES = {
    "features-448": (1, 64, 128, 224),
    "features-160": (1, 48, 120, 160),
    "features-64": (1, 128, 64, 112),
    "features-16": (1, 196, 16, 28),
}
register_case("correlation", ((1, 1, 1, 1), (2, 3, 7, 9), (1, 5, 19, 67)), 81, large=FEATURES)
register_case("correlation-1", SMALL, radius=1)
# The window, 3 x 3 around a pixel; FlowNetC's layer, at an eighth of 384 x 512; M2M's cost volume.
WINDOW = {"features-448": FEATURES["features-448"]}
register_case("correlation-window", SMALL, 25, radius=2, kernel_size=3, padding=1, large=WINDOW)
FLOWNET = {"flownet": (1, 256, 48, 64)}
register_case("correlation-far", ((1, 2, 5, 9),), 441, radius=10, patch_dilation=2, large=FLOWNET, generic=False)
register_case("correlation-l1", SMALL, 81, cost="l1", large={"features-448": (1, 32, 128, 224)})
register_case(
    "correlation-strided", SMALL, radius=(1, 2), kernel_size=(1, 2), stride=(3, 2), padding=(2, 1), dilation=(1, 2),
    patch_dilation=(2, 1), normalize=False,
)  # fmt: skip
