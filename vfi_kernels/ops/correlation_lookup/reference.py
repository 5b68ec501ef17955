"""Windows of a cost volume at given positions in plain PyTorch: the specification that the kernels are tested against.

out = sum over the four corners of weight * product is linear in the products of one pixel with the (n + 1)^2 whole
neighbours of its window: those are made first, for one row of every window at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vfi_kernels._arguments import expect, expect_image, expect_like, expect_planes, expect_size, shape
from vfi_kernels._results import accumulator, as_result, not_needed
from vfi_kernels.ops._shared.reference_math.bilinear import split

OP = "correlation_lookup"
LARGEST_RADIUS = 12
MOST_LEVELS = 16

Pair = tuple[Tensor, Tensor]  # what the nearer and the farther corner along an axis is multiplied by


def check(first: Tensor, second: Tensor, positions: Tensor, radius: int, levels: int) -> None:
    """Raises ArgumentError unless the maps are (B, C, H, W) and (B, C, H', W') of one dtype and device, positions
    (B, 2, H, W) on it, 0 <= radius <= 12 and 1 <= levels <= 16."""
    expect_image(OP, "first", first)
    expect_image(OP, "second", second)
    b, c = first.shape[:2]
    right = tuple(second.shape[:2]) == (b, c)
    expect(right, OP, f"second of shape (B, C, H, W) with B, C = {b}, {c} as first has", shape(second))
    expect_like(OP, "second", second, first, "first")
    expect_planes(OP, "positions", positions, 2, first, "first")
    expect_size(OP, "positions", positions, tuple(first.shape[2:]), "first")
    expect(0 <= radius <= LARGEST_RADIUS, OP, f"radius from 0 to {LARGEST_RADIUS}", radius)
    expect(1 <= levels <= MOST_LEVELS, OP, f"levels from 1 to {MOST_LEVELS}", levels)


@dataclass(frozen=True)
class Windows:
    """The windows of one level, (n + 1)^2 whole neighbours for every pixel, n = 2 radius + 1."""

    left: Tensor  # [B, H, W], the column of the first neighbour
    top: Tensor  # its row
    finite: Tensor  # bool [B, H, W]
    across: Pair  # weights along x, [B, 1, 1, H, W]
    down: Pair
    radius: int

    @property
    def side(self) -> int:
        return 2 * self.radius + 1

    def rows(self, size: torch.Size) -> Iterator[tuple[int, Tensor, Tensor]]:
        """For every row of the windows: its number, the offsets of its neighbours in a plane of `size`, 0 outside, and
        which are inside, [B, n + 1, H, W] both."""
        height, width = size
        steps = torch.arange(self.side + 1, device=self.left.device)[:, None, None]
        columns = self.left[:, None] + steps
        for j in range(self.side + 1):
            row = self.top[:, None] + j
            inside = self.finite[:, None] & (columns >= 0) & (columns < width) & (row >= 0) & (row < height)
            yield j, torch.where(inside, row * width + columns, 0).long(), inside


def windows(positions: Tensor, level: int, radius: int) -> Windows:
    """Where positions (B, 2, H, W), in pixels of level 0, lie in `level`."""
    finite = positions.isfinite().all(1)
    known = torch.where(finite[:, None], positions, 0) / 2**level
    whole, fraction = split(torch.zeros_like(known), known)
    rest = torch.where(fraction == 0, 1, known.floor() + 1 - known)
    lx, ly, rx, ry = (t[:, None, None] for t in (*fraction.unbind(1), *rest.unbind(1)))
    left, top = (whole - radius).unbind(1)
    return Windows(left, top, finite, (rx, lx), (ry, ly), radius)


def pooled(image: Tensor) -> Tensor:
    """Means of 2 x 2 pixels; an odd last row or column is left out."""
    h, w = (n // 2 * 2 for n in image.shape[2:])
    image = image[..., :h, :w]
    above, below = image[..., ::2, :], image[..., 1::2, :]
    return (above[..., ::2] + above[..., 1::2] + below[..., ::2] + below[..., 1::2]) / 4


def pyramid(second: Tensor, levels: int) -> list[Tensor]:
    """`second`, and each level the one before, pooled."""
    found = [second]
    for _ in range(levels - 1):
        found.append(pooled(found[-1]))
    return found


def neighbours(level: Tensor, index: Tensor) -> Tensor:
    """level[b, c] at offsets (B, n + 1, H, W): (B, C, n + 1, H, W)."""
    b, c = level.shape[:2]
    if level.shape[2] * level.shape[3] == 0:
        return level.new_zeros(b, c, *index.shape[1:])
    count = index.shape[1:].numel()
    planes, flat = level.reshape(b, c, level.shape[2] * level.shape[3]), index.reshape(b, 1, count)
    return planes.gather(2, flat.expand(b, c, count)).reshape(b, c, *index.shape[1:])


def products(first: Tensor, level: Tensor, at: Windows) -> Tensor:
    """Of every pixel with the neighbours in its window, summed over the channels, 0 outside: (B, n + 1, n + 1, H, W),
    rows first."""
    rows = []
    for _, index, inside in at.rows(level.shape[2:]):
        values = torch.where(inside[:, None], first[:, :, None] * neighbours(level, index), 0)
        rows.append(values.sum(1))
    return torch.stack(rows, 1)


def blend(values: Tensor, across: Pair, down: Pair) -> Tensor:
    """Every four neighbouring products with the weights of the pixel: (B, n + 1, n + 1, H, W) -> (B, n, n, H, W)."""
    n = values.shape[1] - 1
    total = torch.zeros_like(values[:, :n, :n])
    for j, wy in enumerate(down):
        for i, wx in enumerate(across):
            corner = values[:, j : j + n, i : i + n]
            total = total + torch.where((wx != 0) & (wy != 0), wx * wy * corner, 0)
    return total


def spread(grad: Tensor, across: Pair, down: Pair) -> Tensor:
    """The transpose of `blend`: (B, n, n, H, W) -> (B, n + 1, n + 1, H, W)."""
    total = grad.new_zeros(())
    for j, wy in enumerate(down):
        for i, wx in enumerate(across):
            term = torch.where((wx != 0) & (wy != 0), wx * wy * grad, 0)
            total = total + F.pad(term, (0, 0, 0, 0, i, 1 - i, j, 1 - j))
    return total


def correlation_lookup(first: Tensor, second: Tensor, positions: Tensor, radius: int = 4, levels: int = 4) -> Tensor:
    """out[l n^2 + i n + j, y, x] = sum over c of first[c, y, x] S_l[c] at (p / 2^l + (i - r, j - r)) / sqrt(C)."""
    check(first, second, positions, radius, levels)
    acc = accumulator(first, positions)
    a, planes = first.to(acc), []
    for number, level in enumerate(pyramid(second.to(acc), levels)):
        at = windows(positions.to(acc), number, radius)
        looked_up = blend(products(a, level, at), at.across, at.down)
        planes.append(looked_up.transpose(1, 2).flatten(1, 2))  # the first index moves x
    return as_result(torch.cat(planes, 1) / max(first.shape[1], 1) ** 0.5, first)


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
    """With G = spread(grad_out): first receives G S, S receives G first, a position the products times the derivatives
    of the weights. A neighbour whose factor is exactly 0 gives and receives nothing."""
    acc = accumulator(first, positions)
    a, pyramids = first.to(acc), pyramid(second.to(acc), levels)
    g = grad_out.to(acc).unflatten(1, (levels, 2 * radius + 1, 2 * radius + 1)) / max(first.shape[1], 1) ** 0.5
    grad_first, grad_positions = torch.zeros_like(a), positions.new_zeros(positions.shape, dtype=acc)
    grad_levels = []
    for number, level in enumerate(pyramids):
        at = windows(positions.to(acc), number, radius)
        upstream = g[:, number].transpose(1, 2)
        factor = spread(upstream, at.across, at.down)
        if need_first:
            grad_first = grad_first + _grad_first(factor, level, at)
        if need_second:
            grad_levels.append(_grad_level(factor, a, level, at))
        if need_positions:
            found = products(a, level, at)
            grad_positions = grad_positions + _grad_positions(upstream, found, at, level) / 2**number
    return (
        as_result(grad_first, first) if need_first else not_needed(first),
        as_result(unpooled(grad_levels), second) if need_second else not_needed(second),
        as_result(grad_positions, positions) if need_positions else not_needed(positions),
    )


def _times(factor: Tensor, inside: Tensor, value: Tensor) -> Tensor:
    """factor * value, and 0 outside and where the factor is 0: of no number, too. Derivatives are the product's."""
    used = inside & ((factor != 0) | value.isfinite())
    return torch.where(inside, factor * torch.where(used, value, 0), 0)


def _grad_first(factor: Tensor, level: Tensor, at: Windows) -> Tensor:
    total = level.new_zeros(())
    for j, index, inside in at.rows(level.shape[2:]):
        total = total + _times(factor[:, None, j], inside[:, None], neighbours(level, index)).sum(2)
    return total


def _grad_level(factor: Tensor, first: Tensor, level: Tensor, at: Windows) -> Tensor:
    b, c = level.shape[:2]
    planes = torch.zeros_like(level).reshape(b, c, level.shape[2] * level.shape[3])
    if planes.numel() > 0:
        for j, index, inside in at.rows(level.shape[2:]):
            terms = _times(factor[:, None, j], inside[:, None], first[:, :, None]).flatten(2)
            planes = planes.scatter_add(2, index.flatten(1)[:, None].expand_as(terms), terms)
    return planes.view(level.shape)


def _grad_positions(upstream: Tensor, found: Tensor, at: Windows, level: Tensor) -> Tensor:
    one = torch.ones_like(at.across[0])
    slope = (-one, one)  # right-sided at whole positions
    inside = torch.stack([i for _, _, i in at.rows(level.shape[2:])], 1)
    along_x, along_y = spread(upstream, slope, at.down), spread(upstream, at.across, slope)
    return torch.stack([_times(f, inside, found).sum((1, 2)) for f in (along_x, along_y)], 1)


def unpooled(grads: list[Tensor]) -> Tensor:
    """The transpose of `pyramid`: every level's gradient handed down to the one below."""
    total = grads[-1]
    for grad in reversed(grads[:-1]):
        wide = (total / 4).repeat_interleave(2, 2).repeat_interleave(2, 3)
        total = grad + F.pad(wide, (0, grad.shape[3] - wide.shape[3], 0, grad.shape[2] - wide.shape[2]))
    return total
