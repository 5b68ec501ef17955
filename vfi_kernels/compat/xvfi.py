"""The masked warp of XVFI."""

import torch
from torch import Tensor

from vfi_kernels._arguments import expect_size
from vfi_kernels._overrides import overridable
from vfi_kernels._results import accumulator
from vfi_kernels.compat._grids import as_under_autocast, expect_warp
from vfi_kernels.ops.backward_warp.op import backward_warp

__all__ = ["bwarp"]

COVERED = 0.999  # XVFI's threshold


@overridable
def bwarp(x: Tensor, flo: Tensor, withmask: bool = True) -> Tensor:
    """`vk.backward_warp` with padding_mode "zeros", times its validity, in place of bwarp(x, flo) of XVFI and of the
    networks that took it over (a method there: `compat.patch` drops the `self`).

    Args:
        x: (B, C, H, W).
        flo: (B, 2, H, W), in pixels.
        withmask: set to 0 the pixels whose bilinear weights inside x add up to less than 0.999.

    Returns:
        (B, C, H, W), dtype of x; float32 inside torch.autocast, as grid_sample.

    Differences: positions are exact to the rounding of the flow; the mask is one plane, computed, not sampled from an
    image of ones. A flow that is not finite gives 0. Errors are ArgumentError.
    """
    expect_warp("xvfi.bwarp", x, flo)
    expect_size("xvfi.bwarp", "flo", flo, tuple(x.shape[2:]), "x")
    out = backward_warp(as_under_autocast(x), flo, padding_mode="zeros")
    return out * covered(flo.detach()).to(out.dtype) if withmask else out


def covered(flow: Tensor) -> Tensor:
    """(B, 1, H, W) bool: the weights of the corners inside the image add up to COVERED or more."""
    height, width = flow.shape[2:]
    flow = flow.to(accumulator(flow))
    weight = []
    for channel, size in ((0, width), (1, height)):
        start = torch.arange(size, dtype=flow.dtype, device=flow.device)
        at = flow[:, channel : channel + 1] + (start if channel == 0 else start[:, None])
        weight.append(torch.minimum(at + 1, size - at).clamp(0, 1))
    return weight[0] * weight[1] >= COVERED
