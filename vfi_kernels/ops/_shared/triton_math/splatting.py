"""Splatting of every mode in Triton, along a flow or along trajectories: what softmax subtracts, sums, division."""

from collections.abc import Sequence
from dataclasses import replace

import torch
import triton
import triton.language as tl
from torch import Tensor

from vfi_kernels.ops._shared.reference_math.splatting import WIDE_SPAN
from vfi_kernels.ops._shared.triton_math.bilinear import block_pixels, corner
from vfi_kernels.ops._shared.triton_math.collect import collect
from vfi_kernels.ops._shared.triton_math.launch import THREADS, launch
from vfi_kernels.ops._shared.triton_math.scatter import Landing, order_by_cell, scatter, source

FACTORS = {"sum": "one", "average": "one", "linear": "metric", "softmax": "softmax"}
SPAN_BLOCK = 16 * THREADS  # sources per atomic: few enough atomics on one address


# span[b] = (max m, max -m) over the source pixels that are not skipped
#
# One program per BLOCK sources, one atomic per program and bound: a maximum does not depend on the order.
@triton.jit
def _span_kernel(
    blocks,
    landing,
    span,  # [B, 2], -inf before
    FACTOR: tl.constexpr,
    PADDING: tl.constexpr,
    PATH: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
):
    _, _, _, _, height, width, _, _ = landing
    b, y, x = block_pixels(blocks, width, BLOCK)
    spot, m, live = source(landing, b, y, x, y < height, FACTOR, PADDING, PATH, ACC)
    live = live & (spot[6] != 0) & (spot[7] != 0)  # a finite target, also one outside
    tl.atomic_max(span + b * 2, tl.max(tl.where(live, m, -float("inf"))), sem="relaxed")
    tl.atomic_max(span + b * 2 + 1, tl.max(tl.where(live, -m, -float("inf"))), sem="relaxed")


# shift[t] = max m over the sources that contribute to t, in the samples whose metrics span more than WIDE: the decision
# is taken on the device
#
# One program per BLOCK sources, atomic maxima: the order does not matter.
@triton.jit
def _target_shift_kernel(
    blocks,
    landing,  # its shift is -inf before
    span,  # [B, 2]
    WIDE: tl.constexpr,
    FACTOR: tl.constexpr,
    PADDING: tl.constexpr,
    PATH: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
):
    _, _, shift, _, height, width, _, _ = landing
    b, y, x = block_pixels(blocks, width, BLOCK)
    rows = tl.where(tl.load(span + b * 2) + tl.load(span + b * 2 + 1) > WIDE, height, 0)
    spot, m, live = source(landing, b, y, x, y < rows, FACTOR, PADDING, PATH, ACC)
    for k in tl.static_range(4):
        cx, cy, weight, inside = corner(spot, k % 2, k // 2, height, width)
        used = live & inside & (weight != 0)
        tl.atomic_max(shift + (b * height + cy) * width + cx, m, mask=used, sem="relaxed")


def _shifted(landing: Landing) -> Landing:
    """`landing` with the shift of every target, -inf where nothing lands."""
    b, (h, w) = landing.batch, landing.source_size
    span = landing.like.new_full((b, 2), -torch.inf, dtype=landing.acc)
    constants = {"parts": landing.parts, **landing.constants()}
    launch(_span_kernel, landing.like, (h, w), landing.packed(), span, BLOCK=SPAN_BLOCK, **constants)
    start = torch.where(span.sum(1) > WIDE_SPAN, -torch.inf, span[:, 0])
    landing = replace(landing, shift=start.view(b, 1, 1, 1).repeat(1, 1, h, w))
    constants |= {"WIDE": WIDE_SPAN, "BLOCK": THREADS}
    launch(_target_shift_kernel, landing.like, (h, w), landing.packed(), span, **constants)
    return landing


def splat_along(
    inputs: Sequence[Tensor], landing: Landing, mode: str, holes: str, keep_weight: bool, deterministic: bool
) -> tuple[list[Tensor], Tensor, Tensor]:
    """N[t] = sum over sources of w e x, D[t] = sum of w e; out = N or N / D by the rule of holes. Returns outs, D,
    shift."""
    absent = landing.like.new_empty((0,), dtype=landing.acc)
    any_pixel = landing.batch * landing.source_size[0] * landing.source_size[1] > 0
    if mode == "softmax":
        none = landing.like.new_empty((landing.batch, 1, *landing.source_size), dtype=landing.acc)
        landing = _shifted(landing) if any_pixel else replace(landing, shift=none)
    order = order_by_cell(landing) if deterministic and any_pixel else None
    outs, divisor = [], None
    for x in inputs:
        first = mode != "sum" and divisor is None
        total = scatter(x, landing, first, order)
        if first:
            divisor = total[..., x.shape[1]]
        outs.append(collect(total, x, divisor, "none" if mode == "sum" else holes))
    if divisor is None or not keep_weight:
        return outs, absent, absent.clone()
    weight = divisor.unsqueeze(1).contiguous()
    if landing.shift is None:
        return outs, weight, absent
    return outs, weight, torch.where(landing.shift.isfinite(), landing.shift, 0)
