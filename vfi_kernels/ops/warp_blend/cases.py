"""Inputs of warp_blend for tests and benchmarks."""

import torch
from torch import Tensor
from typing_extensions import Unpack

from vfi_kernels.ops.warp_blend.op import warp_blend
from vfi_kernels.testing import OpCase, Place, make_flow, random, register


def make_inputs(b: int, c: int, h: int, w: int, flow: str = "noise", **options: Unpack[Place]) -> tuple[Tensor, ...]:
    frames = random((b, c, h, w), **options), random((b, c, h, w), **options)
    flows = torch.cat([make_flow(flow, b, h, w, **options), -make_flow(flow, b, h, w, **options)], 1)
    return *frames, flows, random((b, 1, h, w), **options)


def bytes_moved(frame0: Tensor, frame1: Tensor, flow: Tensor, mask_logits: Tensor) -> int:
    """Both frames, flow and mask read once, the output written once."""
    return 3 * frame0.nbytes + flow.nbytes + mask_logits.nbytes


register(
    OpCase(
        name="warp_blend",
        op="warp_blend",
        call=warp_blend,
        make_inputs=make_inputs,
        small=((1, 1, 1, 1), (2, 3, 7, 9), (1, 5, 16, 67)),
        large={"1080p": (1, 3, 1080, 1920), "4k": (1, 3, 2160, 3840)},
        bytes_moved=bytes_moved,
        flow=2,
    )
)
