"""What the shims of warps share: the grids of other libraries in pixels, and their result under autocast."""

import torch
from torch import Tensor

from vfi_kernels import _autocast as autocast
from vfi_kernels._arguments import expect, expect_tensors
from vfi_kernels._results import accumulator
from vfi_kernels._tracing import of_the_size_of, of_this_size


def expect_warp(op: str, image: Tensor, flow: Tensor) -> None:
    """`image` is (B, C, Hi, Wi), `flow` (B, 2, H, W)."""
    expect_tensors(op, image=image, flow=flow)
    expect(image.dim() == 4, op, "an image of shape (B, C, H, W)", tuple(image.shape))
    expect(flow.dim() == 4 and flow.shape[1] == 2, op, "a flow of shape (B, 2, H, W)", tuple(flow.shape))


def spread_over_image(image: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """The image, and `flow` such that its pixels start evenly spread over it, corners on corners, as with
    linspace(-1, 1)."""
    if flow.shape[2:] == image.shape[2:]:
        return image, of_the_size_of(image, flow, 2, 3)
    image, flow = of_this_size(image, 2, 3), of_this_size(flow.to(accumulator(flow)), 2, 3)
    moved = []
    for channel, axis in ((0, 3), (1, 2)):
        step = (image.shape[axis] - 1) / max(flow.shape[axis] - 1, 1)
        start = torch.arange(flow.shape[axis], dtype=flow.dtype, device=flow.device) * (step - 1)
        moved.append(flow[:, channel : channel + 1] + (start if axis == 3 else start[:, None]))
    return image, torch.cat(moved, 1)


def as_under_autocast(image: Tensor) -> Tensor:
    """Inside torch.autocast a half image in float32: grid_sample and CuPy's splatting give float32 there."""
    half = image.dtype in (torch.float16, torch.bfloat16)
    return image.float() if half and autocast.enabled(image) else image
