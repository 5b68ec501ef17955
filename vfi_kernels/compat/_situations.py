"""In which situations everything is tried, whatever it is: channels, batches and sizes, far away, recorded or not,
values that are not finite, and other dtypes. One list for all kinds, so that none of them lacks one."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from vfi_kernels._types import Arguments, Foreign, Function, Options
from vfi_kernels.compat import _code, _state

FLOAT: Options = {"dtype": torch.float32, "device": "cpu"}
TOLERANCE = 2e-5  # of the largest value
EPS = torch.finfo(torch.float32).eps
HALVES = (torch.float16, torch.bfloat16)
DTYPES = (torch.float64, *HALVES)
# Roundings of a half result: of the weights, products, sums and quotients on the way, one each. What positions are made
# of is exact in half precision (`in_half`), and nothing cancels.
ROUNDINGS = 8
MOST_CHANNELS = 64

Grad = Literal["recorded", "not required", "off"]


@dataclass(frozen=True)
class Situation:
    """What a function is given. `variant`: of the numbers among its arguments; `reach`: how far flows and offsets lead,
    in pixels; `lost`: what is not finite, the first tensor or the others."""

    batch: int = 2
    channels: int = 3
    size: tuple[int, int] = (9, 11)
    variant: int = 0
    reach: float = 5.0
    grad: Grad = "recorded"
    lost: Literal["", "first", "others"] = ""
    dtype: torch.dtype = torch.float32
    on_gpu: bool = False
    whole: bool = False  # flows and offsets lead to whole pixels

    def __str__(self) -> str:
        if self.lost or self.on_gpu:
            return "on a GPU" if self.on_gpu else "values that are not finite"
        of = {"recorded": "", "not required": ", without gradients", "off": " in torch.no_grad"}[self.grad]
        return f"{self.batch} x {self.channels} x {self.size[0]} x {self.size[1]}{of}"

    @property
    def in_half(self) -> bool:
        return self.dtype in HALVES


FIRST = Situation()
AGAIN = Situation(2, 5, (12, 7), variant=1)
MORE = (
    Situation(1, 1, (8, 8), grad="not required"),
    Situation(1, 4, (7, 10), grad="off"),
    Situation(3, 2, (6, 5), variant=1, grad="off"),
)
FAR = tuple(Situation(1, 2, size, reach=1000.0, grad="off") for size in ((3, 1100), (1100, 3)))
LARGE = Situation(1, 1, (150, 170), grad="off")
THIN = (Situation(2, 3, (1, 9), grad="off"), Situation(2, 3, (9, 1), grad="off"), Situation(1, 1, (1, 1), grad="off"))
ON_GPU = Situation(grad="off", on_gpu=True)
WHOLE = Situation(whole=True)
LOST = (Situation(lost="first", grad="off"), Situation(lost="others", grad="off"))
LAUNCHED = (Situation(1, 4, (1, 6), grad="off"), Situation(1, 1, (5, 4), grad="not required"), *LOST)


def situations_of(function: Function, launches: bool = False, wide: bool = False) -> Iterator[Situation]:
    """All but the dtypes, for a function; `launches`: of kernels, which are computed here, and slow; `wide`: with
    results of hundreds of channels."""
    yield from (FIRST, AGAIN)
    if launches:
        yield from LAUNCHED[: 3 if wide else 4]
    else:
        yield from (*MORE, *THIN, *LOST, ON_GPU, *FAR, replace(LARGE, size=(66, 70)) if wide else LARGE)
    yield from of_constants(function, 2**10 if launches else 2**13 if wide else 2**19, 1 if launches else 6)


def of_constants(function: Function, most: int = 2**19, count: int = 6) -> Iterator[Situation]:
    """What a function may compare its channels, batch or sizes with: `count` numbers in its code of either kind;
    `most`: pixels."""
    numbers = [n for n in constants_of(function) if n > 1]
    for n in [n for n in numbers if 3 < n < MOST_CHANNELS][:count]:
        for channels in (n, n + 1):
            yield Situation(min(channels, 6), channels, (8, 9), grad="off")
    for n in [n for n in numbers if n > 15][-count:]:
        side = n + 1 if n <= 512 else math.isqrt(n) + 1
        sizes = [(side, side)] if side * side <= most else []
        sizes += [(4, n + 1), (n + 1, 4)] if 512 < n <= 4096 and 5 * n <= most else []
        for size in sizes:
            yield Situation(1, 1, size, grad="off")


def constants_of(function: Function) -> list[int]:
    """Whole numbers that a function and those that it calls compare with, or that their variables are."""
    found: set[int] = set()
    for layer in _state.called_by(function):
        found |= _code.reads_of(layer.__code__).compared
        names = _state.names_in(layer.__code__)
        found |= {v for v in map(layer.__globals__.get, names) if type(v) is int}
    return sorted(found)


def drawn(*sizes: int, seed: int = 0, low: float = 0.0, high: float = 1.0) -> Tensor:
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.rand(sizes, generator=generator, **FLOAT) * (high - low) + low


def leading(flow: Tensor, s: Situation) -> Tensor:
    """Where a situation says to whole pixels; and far from 0, where a position is rounded, and a quotient of small
    weights with it, by eighths of a pixel, which are exact."""
    if s.whole:
        return flow.round()
    return (flow * 8).round() / 8 if max(s.size) > 64 else flow


def prepared(arguments: Arguments, s: Situation) -> list[Foreign]:
    """Arguments as a situation says: of its dtype, with what is not finite, leaves or none."""
    found: list[Foreign] = []
    for n, value in enumerate(arguments):
        if isinstance(value, Tensor):
            value = halved(value) if s.in_half else value
            value = value.to(s.dtype, copy=True)
            if s.lost and (s.lost == "first") == (n == 0):
                flat = value.view(-1)
                flat[flat.numel() // 3], flat[flat.numel() // 2] = float("nan"), float("inf" if n == 0 else "nan")
            value = value.requires_grad_(s.grad == "recorded")
        found.append(value)
    return found


def halved(t: Tensor) -> Tensor:
    """In eighths, which half precision holds, and so it does sums of them and pixels; only what leads somewhere, and is
    larger than a pixel, is negative."""
    t = t if t.abs().max() > 1 else t.abs()
    return (t * 8).round() / 8


def bound(function: Function, s: Situation) -> Function:
    """`function`, called with or without recording."""

    def call(*arguments: Foreign) -> object:
        with torch.set_grad_enabled(s.grad != "off"):
            return function(*arguments)

    return call


def leaves_of(arguments: Sequence[Foreign]) -> tuple[Tensor, ...]:
    return tuple(a for a in arguments if isinstance(a, Tensor) and a.requires_grad)


def like(theirs: object, ours: object) -> bool:
    both = isinstance(theirs, Tensor) and isinstance(ours, Tensor)
    return both and theirs.shape == ours.shape and theirs.dtype == ours.dtype  # type: ignore[attr-defined]


def close(theirs: Foreign, ours: Foreign, s: Situation = FIRST) -> bool:
    """Whether results are the same, as far as a situation tells. Where ours is not finite theirs is not; it may lose
    more than ours to what is not finite, but not most."""
    if not like(theirs, ours):
        return False
    theirs, ours = theirs.detach().double(), ours.detach().double()
    finite, known = theirs.isfinite(), ours.isfinite()
    thin = 1 in s.size  # where a division by the size less 1 is NaN
    if (finite & ~known).any() or not (s.lost or thin or finite.all()):
        return False
    if s.lost and finite.sum() * 2 < known.sum():
        return False
    largest = ours[known].abs().max() if known.any() else 0.0
    # A grid in [-1, 1] rounds positions, in pixels by as much as it has of them.
    tolerance = ROUNDINGS * torch.finfo(s.dtype).eps if s.in_half else max(TOLERANCE, 4 * EPS * max(s.size))
    return bool(((theirs - ours).abs()[finite] <= tolerance * largest).all())


def alike(a: Tensor | None, b: Tensor | None) -> bool:
    """Whether two gradients are the same; none is as good as 0."""
    if a is None or b is None:
        return not any(t is not None and bool(torch.any(t != 0)) for t in (a, b))
    return a.shape == b.shape and bool((a - b).abs().max() <= 1e-3 * b.abs().max())


def of_dtype(dtype: torch.dtype) -> Situation:
    return replace(FIRST, dtype=dtype, reach=4.0, grad="off")
