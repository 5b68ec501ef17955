"""Backward warping along trajectories in Triton."""

import triton
import triton.language as tl
from torch import Tensor

from vfi_kernels._results import accumulator, empty_result
from vfi_kernels.ops._shared.triton_math.bilinear import block_pixels, position_of, sample, store_tile
from vfi_kernels.ops._shared.triton_math.keys_cubic import Path, trajectory_flow
from vfi_kernels.ops._shared.triton_math.launch import launch, tile
from vfi_kernels.ops.trajectory_warp import reference

__all__ = ["trajectory_warp"]


# out[b T + t, c] = image[b, c] at (x, y) + flow[b, t]
#
# One program per BLOCK pixels of a sample: it walks over the taus, which share the keyframes' cache lines, and for each
# over the channels, BLOCK_C at a time. Each output is written by one program: nothing is summed across programs.
@triton.jit
def _trajectory_warp_kernel(
    blocks,
    image,  # [B, C, height, width]
    path,
    out,  # [B T, C, height, width]
    channels,
    height,
    width,
    PADDING: tl.constexpr,
    CURVE: tl.constexpr,
    SAME: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    b, y, x = block_pixels(blocks, width, BLOCK)
    live = y < height
    for t in range(0, path[2]):
        flow_x, flow_y = trajectory_flow(path, b, t, y, x, height, width, live, CURVE, SAME, ACC)
        spot = position_of(flow_x, flow_y, y, x, height, width, PADDING)
        for start in range(0, channels, BLOCK_C):
            c = start + tl.arange(0, BLOCK_C)
            value = sample(image, b, c, channels, spot, height, width, live, ACC)
            store_tile(out, b * path[2] + t, c, channels, y, x, live, value)


def trajectory_warp(
    image: Tensor,
    keyframes: Tensor,
    taus: Tensor,
    first: float,
    step: float,
    a: float,
    boundary: str,
    extrapolate: bool,
    padding_mode: str,
) -> Tensor:
    """out[b T + t, c] = image[b, c] at (x, y) + flow[b, t]."""
    reference.check(image, keyframes, taus, step, boundary, padding_mode)
    out = empty_result(image, (image.shape[0] * taus.shape[1], *image.shape[1:]))
    if out.numel() > 0:
        size = (image.shape[2], image.shape[3])
        path = Path(keyframes, taus, size, (first, step, a, boundary, extrapolate), accumulator(image, keyframes, taus))
        constants = {"PADDING": padding_mode, **path.constants(), **tile(out)}
        launch(_trajectory_warp_kernel, image, size, image, path.packed(), out, image.shape[1], *size, **constants)
    return out
