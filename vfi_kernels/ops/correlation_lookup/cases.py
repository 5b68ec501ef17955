"""Inputs of correlation_lookup for tests and benchmarks."""

import functools

import torch
from torch import Tensor
from typing_extensions import Unpack

from vfi_kernels.ops.correlation_lookup.op import correlation_lookup
from vfi_kernels.testing import OpCase, Place, make_flow, random, register


def make_inputs(
    b: int, c: int, h: int, w: int, flow: str = "noise", **options: Unpack[Place]
) -> tuple[Tensor, Tensor, Tensor]:
    """Two feature maps, and where a flow takes every pixel."""
    first, second = random((b, c, h, w), **options), random((b, c, h, w), **options)
    moves = make_flow(flow, b, h, w, **options)
    ys, xs = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    return first, second, moves + torch.stack([xs, ys]).to(moves)


def bytes_moved(first: Tensor, second: Tensor, positions: Tensor) -> int:
    """Both maps and the positions read once, the 324 planes of radius 4 and 4 levels written once."""
    return first.nbytes + second.nbytes + positions.nbytes + 324 * first[:, :1].nbytes


# First what generic tests run: three levels, of odd sizes, and windows that leave them. Then what RAFT does.
register(
    OpCase(
        name="correlation_lookup-1",
        op="correlation_lookup",
        call=functools.partial(correlation_lookup, radius=1, levels=3),
        make_inputs=make_inputs,
        small=((1, 1, 1, 1), (2, 3, 7, 9), (1, 18, 11, 37)),
        autocast=True,
        flow=2,
    )
)
register(
    OpCase(
        name="correlation_lookup",
        op="correlation_lookup",
        call=correlation_lookup,
        make_inputs=make_inputs,
        small=((1, 5, 9, 35),),
        large={"features-1080p": (1, 256, 135, 240), "features-480": (1, 128, 60, 80)},
        bytes_moved=bytes_moved,
        autocast=True,
        generic=False,
        flow=2,
    )
)
