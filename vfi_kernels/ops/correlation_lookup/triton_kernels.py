"""Windows of a cost volume at given positions, in Triton: level after level, with the products, or what becomes of
them, in (B, (n + 1)^2, H, W) between two kernels, [x][y] in a window. The pyramid is made by torch's own ops."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vfi_kernels._results import accumulator, as_result, empty_result, not_needed
from vfi_kernels.ops._shared.triton_math.bilinear import axis, block_pixels, load_plane, load_tile, store_plane
from vfi_kernels.ops._shared.triton_math.functions import divide
from vfi_kernels.ops._shared.triton_math.launch import THREADS, launch, triton_dtype
from vfi_kernels.ops.correlation_lookup import reference


@triton.jit
def lookup_window(positions, b, y, x, live, SIZE: tl.constexpr, RADIUS: tl.constexpr, ACC: tl.constexpr):
    """x0, y0, lx, ly, rx, ry of the windows of pixels (y, x) in a level that is SIZE times as coarse."""
    px = load_plane(positions, b, 0, y, x, live, ACC) / SIZE
    py = load_plane(positions, b, 1, y, x, live, ACC) / SIZE
    x0, lx, rx, _ = axis(-RADIUS, px, 1, "zeros")
    y0, ly, ry, _ = axis(-RADIUS, py, 1, "zeros")
    return x0, y0, lx, ly, rx, ry


# products[k] = sum over c of first[c, y, x] level[c, y0 + k % m, x0 + k // m], 0 outside;  m = n + 1
@triton.jit
def _lookup_products_kernel(
    blocks, first, level, positions, products, channels, height, width, level_height, level_width, SIZE: tl.constexpr,
    RADIUS: tl.constexpr, ACC: tl.constexpr, BLOCK: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    m: tl.constexpr = 2 * RADIUS + 2
    b, y, x = block_pixels(blocks, width, BLOCK)
    live = y < height
    x0, y0, _, _, _, _ = lookup_window(positions, b, y, x, live, SIZE, RADIUS, ACC)
    for k in range(0, m * m):
        to_x = x0 + k // m
        to_y = y0 + k % m
        inside = live & (to_x >= 0) & (to_x < level_width) & (to_y >= 0) & (to_y < level_height)
        total = tl.zeros([BLOCK], ACC)
        for start in range(0, channels, BLOCK_C):
            c = start + tl.arange(0, BLOCK_C)
            v = load_tile(first, b, c, channels, y, x, inside, ACC)
            w = load_tile(level, b, c, channels, to_y, to_x, inside, ACC)
            total += tl.sum(v * w, 0)
        store_plane(products, b, k, y, x, live, total)


# out[start + i n + j] = 1/sqrt(C) sum over u, v of wx_u wy_v products[(i + u) m + j + v]
@triton.jit
def _lookup_blend_kernel(
    blocks, products, positions, out, start, count, height, width, SIZE: tl.constexpr, RADIUS: tl.constexpr,
    ACC: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    n: tl.constexpr = 2 * RADIUS + 1
    b, y, x = block_pixels(blocks, width, BLOCK)
    live = y < height
    _, _, lx, ly, rx, ry = lookup_window(positions, b, y, x, live, SIZE, RADIUS, ACC)
    root = tl.sqrt(tl.zeros([BLOCK], ACC) + count)
    for d in range(0, n * n):
        total = tl.zeros([BLOCK], ACC)
        for corner in tl.static_range(4):
            wx = lx if corner % 2 else rx
            wy = ly if corner // 2 else ry
            plane = (d // n + corner % 2) * (n + 1) + d % n + corner // 2
            used = live & (wx != 0) & (wy != 0)
            total += wx * wy * load_plane(products, b, plane, y, x, used, ACC)
        store_plane(out, b, start + d, y, x, live, divide(total, root))


# factors[k] = 1/sqrt(C) sum over u, v of wx_u wy_v grad_out[start + (i - u) n + j - v], k = i m + j, 0 outside
# the level; along x (y) with (-1, 1) for the weights wx (wy): ALONG
@triton.jit
def _lookup_factors_kernel(
    blocks, grad_out, positions, factors, start, count, height, width, level_height, level_width, ALONG: tl.constexpr,
    SIZE: tl.constexpr, RADIUS: tl.constexpr, ACC: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    n: tl.constexpr = 2 * RADIUS + 1
    m: tl.constexpr = n + 1
    b, y, x = block_pixels(blocks, width, BLOCK)
    live = y < height
    x0, y0, lx, ly, rx, ry = lookup_window(positions, b, y, x, live, SIZE, RADIUS, ACC)
    one = tl.zeros([BLOCK], ACC) + 1
    root = tl.sqrt(tl.zeros([BLOCK], ACC) + count)
    if ALONG == "x":
        lx, rx = one, -one
    if ALONG == "y":
        ly, ry = one, -one
    for k in range(0, m * m):
        to_x = x0 + k // m
        to_y = y0 + k % m
        inside = live & (to_x >= 0) & (to_x < level_width) & (to_y >= 0) & (to_y < level_height)
        total = tl.zeros([BLOCK], ACC)
        for corner in tl.static_range(4):
            wx = lx if corner % 2 else rx
            wy = ly if corner // 2 else ry
            i = tl.zeros([BLOCK], tl.int32) + (k // m - corner % 2)
            j = tl.zeros([BLOCK], tl.int32) + (k % m - corner // 2)
            used = inside & (wx != 0) & (wy != 0) & (i >= 0) & (i < n) & (j >= 0) & (j < n)
            total += wx * wy * load_plane(grad_out, b, start + i * n + j, y, x, used, ACC)
        store_plane(factors, b, k, y, x, live, divide(total, root))


# grad[c, y, x] += sum over k of factors[k, y, x] level[c, y0 + k % m, x0 + k // m]
@triton.jit
def _lookup_grad_first_kernel(
    blocks, factors, level, positions, grad, channels, height, width, SIZE: tl.constexpr, RADIUS: tl.constexpr,
    ACC: tl.constexpr, BLOCK: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    m: tl.constexpr = 2 * RADIUS + 2
    b, y, x = block_pixels(blocks, width, BLOCK)
    live = y < height
    x0, y0, _, _, _, _ = lookup_window(positions, b, y, x, live, SIZE, RADIUS, ACC)
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        total = load_tile(grad, b, c, channels, y, x, live, ACC)
        for k in range(0, m * m):
            factor = load_plane(factors, b, k, y, x, live, ACC)
            used = factor != 0  # not outside
            total += factor[None, :] * load_tile(level, b, c, channels, y0 + k % m, x0 + k // m, used, ACC)
        strides = grad[1]
        pixel = b * strides[0] + y.to(tl.int64) * strides[2] + x.to(tl.int64) * strides[3]
        at = grad[0] + pixel[None, :] + c.to(tl.int64)[:, None] * strides[1]
        tl.store(at, total, live[None, :] & (c < channels)[:, None])


# grad[c, y, x] = sum over pixels (v, u) whose windows reach (y, x) of factors[(x - x0) m + y - y0, v, u] first[c, v, u]
#
# One program per BLOCK pixels of the level, which it alone sums over all pixels in their order.
@triton.jit
def _lookup_grad_level_kernel(
    blocks, factors, first, positions, grad, channels, level_height, level_width, height, width, SIZE: tl.constexpr,
    RADIUS: tl.constexpr, ACC: tl.constexpr, BLOCK: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    m: tl.constexpr = 2 * RADIUS + 2
    b, y, x = block_pixels(blocks, level_width, BLOCK)
    live = y < level_height
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        total = tl.zeros([BLOCK_C, BLOCK], ACC)
        for v in range(0, height):
            for u in range(0, width):
                from_y = tl.zeros([BLOCK], tl.int32) + v
                from_x = tl.zeros([BLOCK], tl.int32) + u
                x0, y0, _, _, _, _ = lookup_window(positions, b, from_y, from_x, live, SIZE, RADIUS, ACC)
                i = x - x0
                j = y - y0
                reached = live & (i >= 0) & (i < m) & (j >= 0) & (j < m)
                factor = load_plane(factors, b, i.to(tl.int64) * m + j, from_y, from_x, reached, ACC)
                used = factor != 0
                total += factor[None, :] * load_tile(first, b, c, channels, from_y, from_x, used, ACC)
        strides = grad[1]
        pixel = b * strides[0] + y.to(tl.int64) * strides[2] + x.to(tl.int64) * strides[3]
        at = grad[0] + pixel[None, :] + c.to(tl.int64)[:, None] * strides[1]
        tl.store(at, total, live[None, :] & (c < channels)[:, None])


class _Lookup:
    """The launches of one call."""

    def __init__(self, first: Tensor, second: Tensor, positions: Tensor, radius: int, levels: int):
        self.first, self.positions, self.radius = first, positions, radius
        self.acc = accumulator(first, positions)
        coarse = reference.pyramid(reference.pooled(second.to(self.acc)), levels - 1) if levels > 1 else []
        self.levels = [second, *coarse]
        self.channels, self.size = first.shape[1], tuple(first.shape[2:])
        self.side = 2 * radius + 1
        self.block_c = min(8, triton.next_power_of_2(max(self.channels, 1)))

    def _launch(
        self, kernel: triton.JITFunction, level: int, size: tuple[int, ...], *args: object, **more: object
    ) -> None:
        constants = {"SIZE": 2**level, "RADIUS": self.radius, "ACC": triton_dtype(self.acc), **more}
        launch(kernel, self.first, size, *args, BLOCK=THREADS, **constants)

    def _planes(self) -> Tensor:
        b, _, h, w = self.first.shape
        return self.first.new_empty((b, (self.side + 1) ** 2, h, w), dtype=self.acc)

    def products(self, level: int) -> Tensor:
        found, other = self._planes(), self.levels[level]
        arguments = (self.first, other, self.positions, found, self.channels, *self.size, *other.shape[2:])
        self._launch(_lookup_products_kernel, level, self.size, *arguments, BLOCK_C=self.block_c)
        return found

    def blend(self, level: int, out: Tensor) -> None:
        arguments = (self.products(level), self.positions, out, level * self.side**2, float(max(self.channels, 1)))
        self._launch(_lookup_blend_kernel, level, self.size, *arguments, *self.size)

    def factors(self, level: int, grad_out: Tensor, along: str = "") -> Tensor:
        found, start, size = self._planes(), level * self.side**2, self.levels[level].shape[2:]
        arguments = (grad_out, self.positions, found, start, float(max(self.channels, 1)), *self.size, *size)
        self._launch(_lookup_factors_kernel, level, self.size, *arguments, ALONG=along)
        return found

    def add_first(self, level: int, factors: Tensor, grad: Tensor) -> None:
        arguments = (factors, self.levels[level], self.positions, grad, self.channels, *self.size)
        self._launch(_lookup_grad_first_kernel, level, self.size, *arguments, BLOCK_C=self.block_c)

    def grad_level(self, level: int, factors: Tensor) -> Tensor:
        grad = torch.zeros_like(self.levels[level], dtype=self.acc)
        if grad.numel() > 0:
            size = tuple(grad.shape[2:])
            arguments = (factors, self.first, self.positions, grad, self.channels, *size, *self.size)
            self._launch(_lookup_grad_level_kernel, level, size, *arguments, BLOCK_C=self.block_c)
        return grad

    def grad_positions(self, level: int, grad_out: Tensor) -> Tensor:
        found = self.products(level)
        along = [self.factors(level, grad_out, name) for name in ("x", "y")]
        return torch.stack([torch.where(f != 0, f * found, 0).sum(1) for f in along], 1) / float(2**level)


def correlation_lookup(first: Tensor, second: Tensor, positions: Tensor, radius: int = 4, levels: int = 4) -> Tensor:
    """The windows of every level, in the order of RAFT's CorrBlock."""
    reference.check(first, second, positions, radius, levels)
    out = empty_result(first, (first.shape[0], levels * (2 * radius + 1) ** 2, *first.shape[2:]))
    if out.numel() > 0:
        lookup = _Lookup(first, second, positions, radius, levels)
        for level in range(levels):
            lookup.blend(level, out)
    return out


def correlation_lookup_grad(
    grad_out: Tensor,
    first: Tensor,
    second: Tensor,
    positions: Tensor,
    radius: int,
    levels: int,
    need_first: bool,
    need_second: bool,
    need_positions: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Each level's factors, and what becomes of them."""
    lookup = _Lookup(first, second, positions, radius, levels)
    grad_first = torch.zeros_like(first, dtype=lookup.acc)
    grad_positions = torch.zeros_like(positions, dtype=lookup.acc)
    grad_levels = [torch.zeros_like(level, dtype=lookup.acc) for level in lookup.levels]
    for level in range(levels if grad_out.numel() > 0 else 0):
        factors = lookup.factors(level, grad_out)
        if need_first:
            lookup.add_first(level, factors, grad_first)
        if need_second:
            grad_levels[level] = lookup.grad_level(level, factors)
        if need_positions:
            grad_positions += lookup.grad_positions(level, grad_out)
    return (
        as_result(grad_first, first) if need_first else not_needed(first),
        as_result(reference.unpooled(grad_levels), second) if need_second else not_needed(second),
        as_result(grad_positions, positions) if need_positions else not_needed(positions),
    )
