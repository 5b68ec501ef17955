"""The bilinear scatter-add that splatting and the image gradients of warping share, in Triton.

    total[b, corner k of source s] += w_k e_k value[b, :, s]    for every source pixel s and used corner k

    factor "one": e = 1; "metric": e = m; "softmax": e_k = exp(m - shift[k]); "share", "rest": e = sigmoid(m), 1 - that

Sums are float32 (float64 for double), in a fresh (B, H, W, lanes) buffer: a pixel's channels lie side by side, so that
they are added four at a time where the GPU can (compute capability 9.0). The lane after the last channel, where there
is one, sums w_k e_k itself. `collect` then divides, rounds and lays out the result.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from vfi_kernels._types import Options
from vfi_kernels.ops._shared.triton_math.bilinear import (
    block_pixels,
    corner,
    load_plane,
    load_tile,
    position,
    position_of,
)
from vfi_kernels.ops._shared.triton_math.functions import exponential, sigmoid
from vfi_kernels.ops._shared.triton_math.keys_cubic import Path, trajectory_flow
from vfi_kernels.ops._shared.triton_math.launch import THREADS, launch, triton_dtype


@dataclass(frozen=True)
class Landing:
    """Where source pixels go, and with which factor."""

    flow: Tensor | Path  # (B, F, H, W), at least one pixel; or a path: B T samples, T that share values and metric
    size: Sequence[int]  # height and width of the target
    acc: torch.dtype
    factor: str = "one"  # see above
    metric: Tensor | None = None  # m, (B, 1, H, W)
    shift: Tensor | None = None  # contiguous (B, 1, *size), of dtype acc
    padding: str = "zeros"  # what becomes of positions outside the target
    channel: int = 0  # of the flow along x; the flow along y follows

    def packed(self) -> tuple[object, ...]:
        """What kernels call `landing`; some plane stands in for one that the factor does not use."""
        metric = self.like if self.metric is None else self.metric
        shift = self.like[0, 0, 0] if self.shift is None else self.shift.flatten()
        flow = self.flow.packed() if isinstance(self.flow, Path) else self.flow
        return flow, metric, shift, self.channel, *self.source_size, *self.size

    def constants(self) -> Options:
        path = None
        if isinstance(self.flow, Path):
            path = (self.flow.constants()["CURVE"], self.flow.constants()["SAME"])
        return {"FACTOR": self.factor, "PADDING": self.padding, "PATH": path, "ACC": triton_dtype(self.acc)}

    @property
    def like(self) -> Tensor:
        """A tensor on the device, of the batch size of the values."""
        return self.flow.keyframes if isinstance(self.flow, Path) else self.flow

    @property
    def parts(self) -> int:
        """How many samples share values and metric."""
        return self.flow.taus.shape[1] if isinstance(self.flow, Path) else 1

    @property
    def batch(self) -> int:
        return self.like.shape[0] * self.parts

    @property
    def source_size(self) -> tuple[int, int]:
        return self.flow.size if isinstance(self.flow, Path) else (self.flow.shape[2], self.flow.shape[3])


@dataclass(frozen=True)
class Order:
    """Source pixels by the cell they land in: those of cell n are order[first[n]:first[n + 1]], in scan order."""

    order: Tensor
    first: Tensor


@triton.jit
def owner(landing, b, PATH: tl.constexpr):
    """The sample of values and metric that sample b of the flow moves."""
    if PATH is None:
        return b
    else:
        return b // landing[0][2]


@triton.jit
def source(landing, b, y, x, live, FACTOR: tl.constexpr, PADDING: tl.constexpr, PATH: tl.constexpr, ACC: tl.constexpr):
    """Position, m and whether they count, of source pixels (y, x); splatting skips a metric that is not finite."""
    flow, metric, _, channel, height, width, target_height, target_width = landing
    if PATH is None:
        spot = position(flow, channel, b, y, x, target_height, target_width, live, PADDING, ACC)
    else:
        flow_x, flow_y = trajectory_flow(
            flow, b // flow[2], b % flow[2], y, x, height, width, live, PATH[0], PATH[1], ACC
        )
        spot = position_of(flow_x, flow_y, y, x, target_height, target_width, PADDING)
    m = tl.zeros([live.shape[0]], ACC)
    if FACTOR != "one":
        m = load_plane(metric, owner(landing, b, PATH), 0, y, x, live, ACC)
    if FACTOR == "metric" or FACTOR == "softmax":
        finite = tl.abs(m) < float("inf")
        m = tl.where(finite, m, 0.0)
        live = live & finite
    return spot, m, live


@triton.jit
def pixel_factor(m, FACTOR: tl.constexpr):
    """The part of e that is the same for all corners."""
    if FACTOR == "metric":
        return m
    elif FACTOR == "share":
        return sigmoid(m)
    elif FACTOR == "rest":
        return 1 - sigmoid(m)
    else:
        return tl.zeros_like(m) + 1


@triton.jit
def corner_factor(m, shift, target, used, FACTOR: tl.constexpr):
    """The part of e that depends on the target; finite also where m is far above the shift of an unused corner."""
    if FACTOR == "softmax":
        return exponential(m - tl.load(shift + target, used, other=0))
    else:
        return tl.zeros_like(m) + 1


# One program per BLOCK sources; it finds their corners once and adds BLOCK_C lanes at a time, atomically: the order of
# a sum is not fixed.
@triton.jit
def _scatter_kernel(
    blocks,
    value,  # [B, C, height, width]
    landing,
    total,  # [B * target_height * target_width, groups * GROUP]
    channels,
    groups,
    GROUP: tl.constexpr,
    FACTOR: tl.constexpr,
    PADDING: tl.constexpr,
    PATH: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    _, _, shift, _, height, width, target_height, target_width = landing
    b, y, x = block_pixels(blocks, width, BLOCK)
    spot, m, live = source(landing, b, y, x, y < height, FACTOR, PADDING, PATH, ACC)
    lanes = groups * GROUP
    for start in range(0, lanes, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        v = load_tile(value, owner(landing, b, PATH), c, channels, y, x, live, ACC)
        v = tl.where((c == channels)[:, None], 1.0, v) * pixel_factor(m, FACTOR)[None, :]
        for k in tl.static_range(4):
            cx, cy, weight, inside = corner(spot, k % 2, k // 2, target_height, target_width)
            used = live & inside & (weight != 0)
            target = (b * target_height + cy) * target_width + cx
            term = (weight * corner_factor(m, shift, target, used, FACTOR))[None, :] * v
            # One mask for a group of lanes, and lanes a multiple of it: the group is added as one vector.
            mask = used[None, :] & (c < lanes)[:, None]
            tl.atomic_add(total + target[None, :] * lanes + c[:, None], term, mask=mask, sem="relaxed")


# cell[source] = its (b, y0 + 1, x0 + 1) as one number, `cells` for a source that lands outside; one program per BLOCK
@triton.jit
def _cell_kernel(
    blocks,
    landing,
    cell,  # [B, height, width]
    cells,
    FACTOR: tl.constexpr,
    PADDING: tl.constexpr,
    PATH: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
):
    _, _, _, _, height, width, target_height, target_width = landing
    b, y, x = block_pixels(blocks, width, BLOCK)
    spot, _, live = source(landing, b, y, x, y < height, FACTOR, PADDING, PATH, ACC)
    x0, y0 = spot[0], spot[1]
    live = live & (x0 >= -1) & (x0 < target_width) & (y0 >= -1) & (y0 < target_height)
    number = (b * (target_height + 1) + y0 + 1) * (target_width + 1) + x0 + 1
    number = tl.where(live, number, cells).to(cell.dtype.element_ty)
    tl.store(cell + (b * height + y) * width + x, number, y < height)


# Deterministic: one program per BLOCK targets adds the sources of their four cells, cell after cell, each in scan
# order. Every sum has a fixed order, at the price of waiting for the fullest cell.
@triton.jit
def _ordered_kernel(
    blocks,
    value,
    landing,
    total,
    channels,
    groups,
    order,  # [B * height * width]
    first,  # [cells + 1]
    GROUP: tl.constexpr,
    FACTOR: tl.constexpr,
    PADDING: tl.constexpr,
    PATH: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    _, _, shift, _, height, width, target_height, target_width = landing
    b, y, x = block_pixels(blocks, target_width, BLOCK)
    live = y < target_height
    target = (b * target_height + y) * target_width + x
    lanes = groups * GROUP
    for start in range(0, lanes, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        sums = tl.zeros([BLOCK_C, BLOCK], ACC)
        for k in tl.static_range(4):
            # This target is corner (i, j) of the sources in cell (x - i, y - j).
            cell = (b * (target_height + 1) + y + 1 - k // 2) * (target_width + 1) + x + 1 - k % 2
            begin = tl.load(first + cell, live, other=0)
            count = tl.load(first + cell + 1, live, other=0) - begin
            for n in range(0, tl.max(count)):
                s = tl.load(order + begin + n, n < count, other=0) - b * height * width
                sy, sx = (s // width).to(tl.int32), (s % width).to(tl.int32)
                spot, m, here = source(landing, b, sy, sx, n < count, FACTOR, PADDING, PATH, ACC)
                weight = corner(spot, k % 2, k // 2, target_height, target_width)[2]
                used = here & (weight != 0)
                v = load_tile(value, owner(landing, b, PATH), c, channels, sy, sx, used, ACC)
                v = tl.where((c == channels)[:, None], 1.0, v) * pixel_factor(m, FACTOR)[None, :]
                term = (weight * corner_factor(m, shift, target, used, FACTOR))[None, :] * v
                sums += tl.where(used[None, :], term, 0.0)
        tl.store(total + target[None, :] * lanes + c[:, None], sums, live[None, :] & (c < lanes)[:, None])


def order_by_cell(landing: Landing) -> Order:
    """Sorts the sources (stable); every scatter with the same flow can use it."""
    b, (h, w) = landing.batch, landing.source_size
    cells = b * (landing.size[0] + 1) * (landing.size[1] + 1)
    dtype = torch.int32 if cells < 2**31 else torch.int64
    cell = torch.empty(b * h * w, dtype=dtype, device=landing.like.device)
    constants = {"parts": landing.parts, "BLOCK": THREADS, **landing.constants()}
    launch(_cell_kernel, landing.like, (h, w), landing.packed(), cell, cells, **constants)
    cell, order = torch.sort(cell, stable=True)
    return Order(order, torch.searchsorted(cell, torch.arange(cells + 1, dtype=dtype, device=cell.device)))


def lane_group(lanes: int) -> int:
    """Lanes that are added as one vector: at most 16 bytes of float32; the number of lanes is rounded up to it."""
    rounded: int = triton.next_power_of_2(max(lanes, 1))
    return min(4, rounded)


def scatter(value: Tensor, landing: Landing, with_weight: bool = False, order: Order | None = None) -> Tensor:
    """total (B, *size, lanes): sums of value (B, C, H, W), and of w e in lane C if `with_weight`; more lanes pad. Along
    a path B T samples."""
    _, channels, h, w = value.shape
    used = channels + with_weight
    group = lane_group(used)
    groups = triton.cdiv(used, group)
    total = torch.zeros((landing.batch, *landing.size, group * groups), dtype=landing.acc, device=value.device)
    if total.numel() == 0 or h * w == 0:
        return total
    block_c = min(16, triton.next_power_of_2(group * groups))
    constants = {"BLOCK": min(THREADS, 4 * THREADS // block_c), "BLOCK_C": block_c, **landing.constants()}
    constants["parts"] = landing.parts
    arguments = (value, landing.packed(), total.flatten(), channels, groups)
    if order is None:
        launch(_scatter_kernel, value, (h, w), *arguments, GROUP=group, **constants)
    else:
        launch(_ordered_kernel, value, landing.size, *arguments, order.order, order.first, GROUP=group, **constants)
    return total
