"""From the sums of a scatter to its result, in Triton: division, rounding, layout."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vfi_kernels._results import empty_result, memory_format
from vfi_kernels.ops._shared.triton_math.bilinear import block_pixels, store_tile
from vfi_kernels.ops._shared.triton_math.functions import divide
from vfi_kernels.ops._shared.triton_math.launch import launch, tile
from vfi_kernels.ops._shared.triton_math.scatter import Landing, lane_group, order_by_cell, scatter


@triton.jit
def is_hole(weight):
    """Where D counts as 0 with "zero": a subnormal sum has lost the digits of its terms (csrc/base/options.h)."""
    if weight.dtype == tl.float64:
        return tl.abs(weight) < 2.2250738585072014e-308
    else:
        return tl.abs(weight) < 1.1754943508222875e-38


@triton.jit
def safe_divisor(weight, EPS: tl.constexpr):
    """q of out = N / q; with "zero", out is 0 in holes, and q anything."""
    if EPS == "add":
        return weight + 1e-7
    elif EPS == "clip":
        return tl.where(weight < 1e-7, 1e-7, weight)
    else:
        return tl.where(is_hole(weight), 1.0, weight)


# out[b, c, t] = total[t, c] / q, or total[t, c] if EPS is "none"; one program per BLOCK pixels
@triton.jit
def _collect_kernel(
    blocks,
    out,  # [B, C, height, width]
    total,  # [B * height * width, groups * GROUP]
    divisor,  # D of pixel t at divisor[t * divisor_stride]
    divisor_stride,
    height,
    width,
    channels,
    groups,
    GROUP: tl.constexpr,
    EPS: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    b, y, x = block_pixels(blocks, width, BLOCK)
    live = y < height
    target = (b * height + y) * width + x
    lanes = groups * GROUP
    if EPS != "none":
        d = tl.load(divisor + target * divisor_stride, live, other=1)
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        mask = live[None, :] & (c < lanes)[:, None]
        value = tl.load(total + target[None, :] * lanes + c[:, None], mask, other=0)
        if EPS != "none":
            value = divide(value, safe_divisor(d, EPS)[None, :])
        if EPS == "zero":
            value = tl.where(is_hole(d)[None, :], 0.0, value)
        store_tile(out, b, c, channels, y, x, live, value)


def collect(total: Tensor, x: Tensor, divisor: Tensor | None = None, holes: str = "none") -> Tensor:
    """out = N / q, or N for holes "none", with x's channels, dtype and layout; divisor (B, H, W) is a lane of a
    total."""
    b, h, w, lanes = total.shape
    if holes == "none" and total.dtype == x.dtype and lanes == x.shape[1] and memory_format(x) == torch.channels_last:
        return total.permute(0, 3, 1, 2)
    out = empty_result(x, (b, x.shape[1], h, w))
    if out.numel() > 0:
        lane = total[..., 0] if divisor is None else divisor
        group = lane_group(lanes)
        tiles = tile(out)
        tiles["BLOCK_C"] = max(tiles["BLOCK_C"], group)
        arguments = (out, total.flatten(), lane, lane.stride(2), h, w, x.shape[1], lanes // group)
        launch(_collect_kernel, out, (h, w), *arguments, GROUP=group, EPS=holes, **tiles)
    return out


def image_grad(grad_out: Tensor, image: Tensor, landing: Landing, deterministic: bool) -> Tensor:
    """The image gradient of a warp: grad_out splatted to where it was read."""
    if image.numel() == 0 or grad_out.numel() == 0:
        return empty_result(image).zero_()
    order = order_by_cell(landing) if deterministic else None
    return collect(scatter(grad_out, landing, order=order), image)
