"""The warp of IFRNet and AMT."""

import torch
from torch import Tensor

from vfi_kernels._overrides import overridable
from vfi_kernels._results import accumulator
from vfi_kernels.compat._grids import as_under_autocast, expect_warp, spread_over_image
from vfi_kernels.ops.backward_warp.op import backward_warp

__all__ = ["warp"]


@overridable
def warp(img: Tensor, flow: Tensor) -> Tensor:
    """`vk.backward_warp` with padding_mode "border", in place of utils.warp(img, flow) of IFRNet and AMT.

    Args:
        img: (B, C, Hi, Wi).
        flow: (B, 2, H, W), in pixels of the flow's own grid: where img has another size, vectors are scaled by
            (Wi - 1) / (W - 1) and (Hi - 1) / (H - 1), and pixels start evenly spread over img. For equal sizes this is
            `compat.rife.warp`.

    Returns:
        (B, C, H, W), dtype of img; float32 inside torch.autocast, as grid_sample.

    Differences: as `compat.rife.warp`.
    """
    expect_warp("ifrnet.warp", img, flow)
    if flow.shape[2:] != img.shape[2:]:
        scale = [(img.shape[axis] - 1) / max(flow.shape[axis] - 1, 1) for axis in (3, 2)]
        dtype = accumulator(flow)
        flow = flow.to(dtype) * torch.tensor(scale, dtype=dtype, device=flow.device).view(1, 2, 1, 1)
    image, flow = spread_over_image(img, flow)
    return backward_warp(as_under_autocast(image), flow)
