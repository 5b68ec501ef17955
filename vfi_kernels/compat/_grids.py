"""What the shims of warps share: their arguments, and their result under autocast."""

import torch
from torch import Tensor

from vfi_kernels import _autocast as autocast
from vfi_kernels._arguments import expect, expect_tensors


def expect_warp(op: str, image: Tensor, flow: Tensor) -> None:
    """`image` is (B, C, Hi, Wi), `flow` (B, 2, H, W)."""
    expect_tensors(op, image=image, flow=flow)
    expect(image.dim() == 4, op, "an image of shape (B, C, H, W)", tuple(image.shape))
    expect(flow.dim() == 4 and flow.shape[1] == 2, op, "a flow of shape (B, 2, H, W)", tuple(flow.shape))


def as_under_autocast(image: Tensor) -> Tensor:
    """Inside torch.autocast a half image in float32: grid_sample and CuPy's splatting give float32 there."""
    half = image.dtype in (torch.float16, torch.bfloat16)
    return image.float() if half and autocast.enabled(image) else image
