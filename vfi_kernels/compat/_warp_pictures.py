"""What warps are tried with: pictures, flows, and what each of our own warps makes of them."""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from vfi_kernels._types import Options
from vfi_kernels.compat import _trials, _warps
from vfi_kernels.compat._warps import Grid, Warp

FLOAT: Options = {"dtype": torch.float32, "device": "cpu"}
MARGINS = (0.999, 0.9999)  # thresholds of masks
HIDDEN = 1e-5  # rounding of a weight, in float32 and these sizes


HALVES = (torch.float16, torch.bfloat16)
HALF_ROUNDING = (
    0.1  # of the range of random values: a grid in half precision, 64 pixels wide, is a tenth of a pixel off
)
# A grid in [-1, 1] is rounded four times on its way to pixels, n / 2 of them: whatever n is, a picture whose values
# change by `rise` from its middle to its border is off by 2 rise x 4 roundings then; and by four more of its own.
EPS = 2.0**-10  # of float16; bfloat16 has 8 times as much


@dataclass(frozen=True)
class Given:
    """An image, a flow (B, 2, H, W), and how far from ours a result may be: rounding of positions, and no more."""

    name: str
    key: tuple[object, ...]
    image: Tensor
    flow: Tensor
    tolerance: float  # of the range of values
    range: float = 1.0
    half: float = HALF_ROUNDING  # its tolerance in float16

    def near(self, a: Tensor, b: Tensor) -> Tensor:
        """Where `a` is the same as `b`, as far as its dtype tells."""
        tolerance = self.tolerance if a.dtype not in HALVES else self.half * (8 if a.dtype == torch.bfloat16 else 1)
        return (a.float() - b.float()).abs() <= tolerance * self.range

    @property
    def size(self) -> tuple[int, int]:
        return self.flow.shape[2], self.flow.shape[3]

    def arguments(self, dtype: torch.dtype, last: bool) -> tuple[Tensor, Tensor]:
        """Fresh leaves."""
        flow = self.flow.permute(0, 2, 3, 1) if last else self.flow
        leaves = (self.image.to(dtype, copy=True), flow.to(dtype).clone(memory_format=torch.contiguous_format))
        return leaves[0].requires_grad_(), leaves[1].requires_grad_()


def generator() -> torch.Generator:
    return torch.Generator("cpu").manual_seed(0)


def edges(size: int, count: int, margins: tuple[float, ...]) -> Tensor:
    """Positions on both sides of the first and the last pixel, of weights inside on both sides of the margins."""
    off = torch.logspace(-4.3, -0.3, count, **FLOAT)
    if margins:
        near = [1 - m for m in margins]
        off[: 4 * len(near)] = torch.tensor([n * by for n in near for by in (0.9, 0.95, 1.05, 1.1)], **FLOAT)
    return torch.where(torch.arange(count, device="cpu") % 2 == 0, -off, size - 1 + off)


def positions(height: int, width: int, margins: tuple[float, ...] = ()) -> Tensor:
    """(2, 2, height, width): inside, a little outside, and far outside. [x, y]"""
    g = generator()
    at = torch.rand(2, 2, height, width, generator=g, **FLOAT)
    far = torch.rand(2, 2, height, width, generator=g, **FLOAT) < 0.05
    at = torch.where(far, at * 5 - 2, at * 1.1 - 0.05)
    at = at * torch.tensor([width - 1.0, height - 1.0], **FLOAT).view(1, 2, 1, 1)
    inside = 0.37 + torch.arange(max(height, width), device="cpu") % 7
    at[0, 0, :, 0], at[0, 1, :, 0] = edges(width, height, margins), inside[:height]
    at[1, 1, 0], at[1, 0, 0] = edges(height, width, margins), inside[:width]
    return at


def starts(height: int, width: int) -> Tensor:
    ys, xs = torch.meshgrid(torch.arange(height, **FLOAT), torch.arange(width, **FLOAT), indexing="ij")
    return torch.stack((xs, ys))[None]


@functools.cache
def first() -> Given:
    """Where one of the family is told from another."""
    at = positions(32, 64)
    image = torch.rand(2, 3, 32, 64, generator=generator(), **FLOAT)
    return Given("first", (), image, at - starts(32, 64), 2e-5)


@functools.cache
def second(grid: Grid, size: tuple[int, int] = (35, 22)) -> Given:
    """Other sizes, other values, and positions of this grid close to what masks are told apart by."""
    height, width = size
    at = positions(height, width, MARGINS)
    image = torch.rand(2, 5, height, width, generator=generator(), **FLOAT) * 300 - 100
    planes, begin = [], starts(height, width)
    for axis, n in enumerate((width, height)):
        a, d, c = _warps.affine(grid, n, n, n)
        planes.append((at[:, axis] - a * begin[:, axis] - c) / d)
    return Given("second", (grid, size), image, torch.stack(planes, 1), 2e-5, 300.0)


@functools.cache
def long(sides: tuple[int, int]) -> Given:
    """A wide or tall picture, and flows from one end of it to the other."""
    begin = starts(*sides)
    at = torch.rand(1, 2, *sides, generator=generator(), **FLOAT)
    at = at * torch.tensor([sides[1] - 1.0, sides[0] - 1.0], **FLOAT).view(1, 2, 1, 1)
    image = torch.sin(begin[:, :1] / 20) + torch.cos(begin[:, 1:] / 20)
    return Given("long", (sides,), image, at - begin, 5e-4, 2.0)


@functools.cache
def other_size() -> Given:
    """A flow of another size than the image."""
    flow = torch.rand(2, 2, 20, 24, generator=generator(), **FLOAT) * 8 - 4
    return Given("other_size", (), first().image, flow, 2e-5)


@functools.cache
def not_finite() -> Given:
    """Pixels that are not finite, in the image and in the flow."""
    given = first()
    image, flow = given.image.clone(), given.flow.clone()
    image[0, 0, 3::7, 4::7], image[0, 1, 5::7, 2::7] = float("nan"), float("inf")
    flow[1, 0, 9, 33], flow[1, 1, 20, 7] = float("nan"), float("nan")
    return Given("not_finite", (), image, flow, given.tolerance)


def hill(height: int, width: int) -> Tensor:
    """(1, 1, height, width): 0 at the border, 1 in the middle, as smooth as it can be."""
    rows, columns = (1 - torch.linspace(-1, 1, n, **FLOAT) ** 2 for n in (height, width))
    return (rows[:, None] * columns)[None, None]


@functools.cache
def in_half(inside: bool) -> Given:
    """What half precision hardly changes. `inside`: positions two pixels from the border and more."""
    size, least = (32, 64), 2 if inside else -4
    drawn = torch.rand(2, 2, *size, generator=generator(), **FLOAT)
    most = torch.tensor([size[1] - 1.0, size[0] - 1.0], **FLOAT).view(1, 2, 1, 1) - least
    rise = 0.25 if inside else 1.0
    image = (1 - rise + rise * hill(*size)).expand(2, 3, -1, -1).contiguous()
    tolerance = (8 * rise + 4) * EPS
    return Given("in_half", (inside,), image, least + drawn * (most - least) - starts(*size), 2e-5, 1.0, tolerance)


KINDS = {
    "first": first, "second": second, "long": long, "other_size": other_size, "not_finite": not_finite,
    "in_half": in_half,
}  # fmt: skip
Made = tuple[Tensor | tuple[Tensor, Tensor], list[Tensor | None]]


@functools.lru_cache(maxsize=512)
def ours(name: str, key: tuple[object, ...], kind: Warp, dtype: torch.dtype = torch.float32) -> Made:
    """What `kind` gives for the pictures of this name, in float32, of what is left of them in `dtype`; and gradients,
    for the first and the second."""
    leaves = KINDS[name](*key).arguments(torch.float32, kind.last)
    if dtype in HALVES:
        leaves = tuple(leaf.detach().to(dtype).float().requires_grad_() for leaf in leaves)  # type: ignore[assignment]
    with torch.enable_grad():
        out = _warps.warped(*leaves, kind)
        slopes = _trials.gradients_of(out, leaves if name in ("first", "second") else ())
    return (out.detach() if isinstance(out, Tensor) else (out[0].detach(), out[1])), slopes


def warm() -> None:
    """Makes what every trial needs once, before processes are forked that would each make it."""
    for grid, outside in _warps.FORMS:
        ours("first", (), Warp(grid, outside))
        coverage(grid)


@functools.cache
def coverage(grid: Grid) -> Tensor:
    """(B, H, W): how much of the weights lies inside, for the first pictures."""
    given, planes = first(), []
    height, width = given.size
    begin = starts(height, width)
    for axis, n in enumerate((width, height)):
        a, d, c = _warps.affine(grid, n, n, n)
        at = a * begin[:, axis] + d * given.flow[:, axis] + c
        planes.append(torch.minimum(at + 1, n - at).clamp(0, 1))
    return planes[0] * planes[1]


@functools.cache
def smooth(grid: Grid, name: str, key: tuple[object, ...]) -> Tensor:
    """(B, 2, H, W) bool: where the position is off whole pixels, on which a warp has no derivative."""
    given = KINDS[name](*key)
    height, width = given.size
    begin, planes = starts(height, width), []
    for axis, n in enumerate((width, height)):
        a, d, c = _warps.affine(grid, n, n, n)
        at = a * begin[:, axis] + d * given.flow[:, axis] + c
        planes.append((at - at.round()).abs() > 1e-4)
    free = planes[0] & planes[1]
    return free[:, None].expand(-1, 2, -1, -1)
