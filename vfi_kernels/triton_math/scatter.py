"""The bilinear scatter-add that splatting and the image gradients of warping share, in Triton.

    total[b, corner k of source s] += w_k e_k value[b, :, s]    for every source pixel s and used corner k

    factor "one": e = 1; "metric": e = m; "softmax": e_k = exp(m - shift[k]); "share", "rest": e = sigmoid(m), its rest

Sums are float32 (float64 for double), in a fresh (B, H, W, lanes) buffer: a pixel's channels lie side by side, so that
they are added four at a time where the GPU can (compute capability 9.0); the lane after the last channel, where there
is one, sums w_k e_k itself. `collect` then divides, rounds and lays out the result.

Not deterministic: one program per BLOCK sources, atomic adds. Deterministic: sources are sorted by the cell they land
in (stable, once per flow), and one program per BLOCK targets adds the sources of its four cells, each in scan order:
the order of every sum is fixed, at the price of waiting for the fullest cell.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from vfi_kernels.layout import empty_result, memory_format
from vfi_kernels.triton_math.bilinear import block_pixels, corner, load_tile, plane_offset, position, store_tile
from vfi_kernels.triton_math.functions import divide, exponential, sigmoid
from vfi_kernels.triton_math.launch import THREADS, launch, tile, triton_dtype


@dataclass(frozen=True)
class Landing:
    """Where source pixels go, and with which factor."""

    flow: Tensor  # (B, F, H, W)
    size: tuple[int, int]  # height and width of the target
    acc: torch.dtype
    factor: str = "one"  # see above
    metric: Tensor | None = None  # m, (B, 1, H, W)
    shift: Tensor | None = None  # contiguous (B, 1, *size), of dtype acc
    border: bool = False  # clip positions to the target
    channel: int = 0  # of the flow along x; the flow along y follows

    def arguments(self) -> tuple[object, ...]:
        """What the kernels below call flow ... target_width; flow stands in for planes that the factor does not use."""
        metric = self.flow if self.metric is None else self.metric
        shift = self.flow[0, 0, 0] if self.shift is None else self.shift.flatten()
        return self.flow, metric, shift, self.channel, *self.flow.shape[2:], *self.size

    def constants(self) -> dict[str, object]:
        return {"FACTOR": self.factor, "BORDER": self.border, "ACC": triton_dtype(self.acc)}


@triton.jit
def source(flow, flow_strides, metric, metric_strides, channel, b, y, x, target_height, target_width, live, FACTOR: tl.constexpr, BORDER: tl.constexpr, ACC: tl.constexpr):
    """Position, m and whether they count, of source pixels (y, x)."""
    spot = position(flow, flow_strides, channel, b, y, x, target_height, target_width, live, BORDER, ACC)
    if FACTOR == "one":
        m = tl.zeros([live.shape[0]], ACC)
    else:
        m = tl.load(metric + plane_offset(metric_strides, b, 0, y, x), live, other=0).to(ACC)
    if FACTOR == "metric" or FACTOR == "softmax":
        live = live & (tl.abs(m) < float("inf"))
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
    """The part of e that depends on the target pixel; finite, also where m is far above the shift of an unused corner."""
    if FACTOR == "softmax":
        return exponential(m - tl.load(shift + target, used, other=0))
    else:
        return tl.zeros_like(m) + 1


@triton.jit
def _scatter_kernel(
    blocks,
    value,  # [B, C, height, width]
    value_strides,
    flow,  # [B, F, height, width]
    flow_strides,
    metric,  # [B, 1, height, width]
    metric_strides,
    shift,  # [B, 1, target_height, target_width], contiguous
    channel,
    height,
    width,
    target_height,
    target_width,
    total,  # [B * target_height * target_width, groups * GROUP]
    channels,
    groups,
    GROUP: tl.constexpr,
    FACTOR: tl.constexpr,
    BORDER: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    b, y, x = block_pixels(blocks, width, BLOCK)
    spot, m, live = source(
        flow, flow_strides, metric, metric_strides, channel, b, y, x, target_height, target_width, y < height, FACTOR, BORDER, ACC
    )
    lanes = groups * GROUP
    for start in range(0, lanes, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        v = load_tile(value, value_strides, b, c, y, x, live, channels, ACC)
        v = tl.where((c == channels)[:, None], 1.0, v) * pixel_factor(m, FACTOR)[None, :]
        for k in tl.static_range(4):
            cx, cy, weight, inside = corner(spot[0], spot[1], spot[2], spot[3], k % 2, k // 2, target_height, target_width)
            used = live & inside & (weight != 0)
            target = (b * target_height + cy) * target_width + cx
            e = corner_factor(m, shift, target, used, FACTOR)
            # The mask is the same for a group of lanes and lanes is a multiple of it: added as one vector.
            tl.atomic_add(
                total + target[None, :] * lanes + c[:, None],
                (weight * e)[None, :] * v,
                mask=used[None, :] & (c < lanes)[:, None],
                sem="relaxed",
            )


@triton.jit
def _cell_kernel(
    blocks,
    flow,
    flow_strides,
    metric,
    metric_strides,
    shift,
    channel,
    height,
    width,
    target_height,
    target_width,
    cell,  # [B, height, width]: (b, y0 + 1, x0 + 1) as one number, `cells` for a source that lands outside
    cells,
    FACTOR: tl.constexpr,
    BORDER: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
):
    b, y, x = block_pixels(blocks, width, BLOCK)
    spot, _, live = source(
        flow, flow_strides, metric, metric_strides, channel, b, y, x, target_height, target_width, y < height, FACTOR, BORDER, ACC
    )
    x0, y0 = spot[0], spot[1]
    live = live & (x0 >= -1) & (x0 < target_width) & (y0 >= -1) & (y0 < target_height)
    number = (b * (target_height + 1) + y0 + 1) * (target_width + 1) + x0 + 1
    number = tl.where(live, number, cells).to(cell.dtype.element_ty)
    tl.store(cell + (b * height + y) * width + x, number, y < height)


@triton.jit
def _ordered_kernel(
    blocks,
    value,
    value_strides,
    flow,
    flow_strides,
    metric,
    metric_strides,
    shift,
    channel,
    height,
    width,
    target_height,
    target_width,
    total,
    channels,
    groups,
    order,  # [B * height * width]: source pixels by cell, each cell's in scan order
    first,  # [cells + 1]: where a cell's sources begin in `order`
    GROUP: tl.constexpr,
    FACTOR: tl.constexpr,
    BORDER: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
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
                here = n < count
                s = tl.load(order + begin + n, here, other=0) - b * height * width
                sy = (s // width).to(tl.int32)
                sx = (s % width).to(tl.int32)
                spot, m, here = source(
                    flow, flow_strides, metric, metric_strides, channel, b, sy, sx, target_height, target_width, here, FACTOR, BORDER, ACC
                )
                _, _, weight, _ = corner(spot[0], spot[1], spot[2], spot[3], k % 2, k // 2, target_height, target_width)
                used = here & (weight != 0)
                v = load_tile(value, value_strides, b, c, sy, sx, used, channels, ACC)
                v = tl.where((c == channels)[:, None], 1.0, v) * pixel_factor(m, FACTOR)[None, :]
                term = (weight * corner_factor(m, shift, target, used, FACTOR))[None, :] * v
                sums += tl.where(used[None, :], term, 0.0)
        tl.store(total + target[None, :] * lanes + c[:, None], sums, live[None, :] & (c < lanes)[:, None])


@triton.jit
def _collect_kernel(
    blocks,
    out,  # [B, C, height, width]
    out_strides,
    total,  # [B * height * width, lanes]
    divisor,  # D of pixel t at divisor[t * divisor_lanes]
    height,
    width,
    channels,
    groups,
    divisor_lanes,
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
        q = safe_divisor(tl.load(divisor + target * divisor_lanes, live, other=1), EPS)
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        mask = live[None, :] & (c < lanes)[:, None]
        value = tl.load(total + target[None, :] * lanes + c[:, None], mask, other=0)
        if EPS != "none":
            value = tl.where((q != 0)[None, :], divide(value, q[None, :]), 0.0)
        store_tile(out, out_strides, b, c, y, x, live, channels, value)


@triton.jit
def safe_divisor(weight, EPS: tl.constexpr):
    """q of out = N / q; 0 stands for "out = 0"."""
    if EPS == "add":
        return weight + 1e-7
    elif EPS == "clip":
        return tl.where(weight < 1e-7, 1e-7, weight)
    else:
        return weight


@dataclass(frozen=True)
class Order:
    """Source pixels by the cell they land in."""

    order: Tensor
    first: Tensor


def order_by_cell(landing: Landing) -> Order:
    """Sorts the sources once; every scatter with the same flow can use it."""
    b, _, h, w = landing.flow.shape
    cells = b * (landing.size[0] + 1) * (landing.size[1] + 1)
    dtype = torch.int32 if cells < 2**31 else torch.int64
    cell = torch.empty(b * h * w, dtype=dtype, device=landing.flow.device)
    launch(
        _cell_kernel, landing.flow, (h, w), *landing.arguments(), cell, cells, BLOCK=THREADS, **landing.constants()
    )
    cell, order = torch.sort(cell, stable=True)
    return Order(order, torch.searchsorted(cell, torch.arange(cells + 1, dtype=dtype, device=cell.device)))


def scatter(value: Tensor, landing: Landing, with_weight: bool = False, order: Order | None = None) -> Tensor:
    """total (B, *size, lanes): the sums of value (B, C, H, W), and of w e in lane C if `with_weight`; more lanes pad."""
    b, channels, h, w = value.shape
    used = channels + with_weight
    group = lane_group(used)
    groups = triton.cdiv(used, group)
    total = torch.zeros((b, *landing.size, group * groups), dtype=landing.acc, device=value.device)
    if total.numel() == 0 or h * w == 0:
        return total
    block_c = min(16, triton.next_power_of_2(group * groups))
    constants = {"BLOCK": min(THREADS, 4 * THREADS // block_c), "BLOCK_C": block_c, **landing.constants()}
    arguments = (value, *landing.arguments(), total.flatten(), channels, groups)
    if order is None:
        launch(_scatter_kernel, value, (h, w), *arguments, GROUP=group, **constants)
    else:
        launch(_ordered_kernel, value, landing.size, *arguments, order.order, order.first, GROUP=group, **constants)
    return total


def lane_group(lanes: int) -> int:
    """Lanes that are added as one vector: at most 16 bytes of float32; the number of lanes is rounded up to it."""
    return min(4, triton.next_power_of_2(max(lanes, 1)))


def collect(total: Tensor, x: Tensor, divisor: Tensor | None = None, eps: str = "none") -> Tensor:
    """out = N / q, or N for eps "none", in the dtype and layout of a result of x; divisor (B, H, W), a lane of a total."""
    _, h, w, lanes = total.shape
    if eps == "none" and total.dtype == x.dtype and lanes == x.shape[1] and memory_format(x) == torch.channels_last:
        return total.permute(0, 3, 1, 2)
    out = empty_result(x)
    if out.numel() > 0:
        lane = total[..., 0] if divisor is None else divisor
        group = lane_group(lanes)
        sizes = (h, w, x.shape[1], lanes // group, lane.stride(2))
        tiles = tile(out)
        tiles["BLOCK_C"] = max(tiles["BLOCK_C"], group)
        launch(_collect_kernel, out, (h, w), out, total.flatten(), lane, *sizes, GROUP=group, EPS=eps, **tiles)
    return out
