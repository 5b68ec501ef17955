"""Calls in which a function may go another way: other numbers of channels and pictures, with and without gradients,
sizes that it compares with, other layouts of memory."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from vfi_kernels.compat import _effects, _trials, _warps
from vfi_kernels.compat._trials import CannotRun, Misbehaves
from vfi_kernels.compat._warp_pictures import FLOAT, HALVES
from vfi_kernels.compat._warp_trials import Differs, Found, More, Trials
from vfi_kernels.compat._warps import Warp

FEW = 8  # the numbers below are those of channels and pictures, too
MOST = 24  # numbers that are tried
TOLERANCE = 1e-4  # of a picture of values up to 1: rounding of positions, along 65 pixels
GRADIENT = 1e-3  # of the largest one


@dataclasses.dataclass(frozen=True)
class Way:
    """A call: the shape of the image, which of image and flow require a gradient, whether there are gradients at all,
    and how the image lies in memory."""

    shape: tuple[int, int, int, int]
    requires: tuple[bool, bool] = (False, False)
    grad: bool = True
    layout: torch.memory_format = torch.contiguous_format

    def __str__(self) -> str:
        text = f"an image of shape {self.shape}"
        return text if self.grad else f"{text} under torch.no_grad"


def ways(numbers: Sequence[int]) -> Iterator[Way]:
    """`numbers`: those that the function compares with."""
    for channels in (1, 3, 4):
        yield Way((1, channels, 32, 64))
        yield Way((2, channels, 32, 64), (True, True))
    yield Way((1, 3, 32, 64), grad=False)
    yield Way((2, 4, 32, 64), grad=False)
    yield Way((1, 3, 32, 64), (True, False))
    yield Way((1, 3, 32, 64), (False, True))
    yield Way((2, 3, 32, 64), layout=torch.channels_last)
    for size in ((31, 64), (31, 63), (32, 64), (32, 64)):  # which finds caches of the size before
        yield Way((2, 3, *size))
    for n in sorted({number + step for number in numbers[:MOST] for step in (-1, 0, 1)}):
        if 0 < n <= FEW:
            yield Way((1, n, 32, 64))
            yield Way((n, 3, 32, 64))
        elif n > FEW:
            yield Way((1, 3, n, n))
            yield Way((1, n, 32, 64))


@functools.lru_cache(maxsize=64)
def pictures(shape: tuple[int, int, int, int]) -> tuple[Tensor, Tensor]:
    """An image, and a flow that leaves it at places: off whole pixels, where a warp has no derivative, and off what
    masks are told apart by."""
    generator = torch.Generator("cpu").manual_seed(0)
    batch, _, height, width = shape
    image = torch.rand(shape, generator=generator, **FLOAT)
    return image, torch.randint(-40, 40, (batch, 2, height, width), generator=generator, device="cpu") / 8.0 + 1 / 16


def drawn(way: Way, last: bool, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Fresh leaves."""
    image, flow = pictures(way.shape)
    flow = (flow.permute(0, 2, 3, 1) if last else flow).to(dtype).clone(memory_format=torch.contiguous_format)
    image = image.to(dtype).clone(memory_format=way.layout)
    return image.requires_grad_(way.requires[0]), flow.requires_grad_(way.requires[1])


@functools.lru_cache(maxsize=256)
def ours(way: Way, kind: Warp, dtype: torch.dtype) -> tuple[object, list[Tensor | None]]:
    """What `kind` gives, and its gradients."""
    given = drawn(way, kind.last, dtype)
    with torch.enable_grad():
        out = _warps.warped(*given, kind)
        slopes = _trials.gradients_of(out, tuple(t for t in given if t.requires_grad))
    return out, slopes


def same_in_other_ways(trials: Trials, found: Found, numbers: Sequence[int]) -> Found:
    """What is left of `found`. Differs if that is nothing."""
    kept: list[tuple[More, Warp]] = []
    for more, kind in found.calls:
        try:
            expect_same_ways(trials, kind, more, numbers)
            kept.append((more, kind))
        except Differs:
            if not more:
                raise
    return dataclasses.replace(found, calls=tuple(kept))


def expect_same_ways(trials: Trials, kind: Warp, more: More, numbers: Sequence[int]) -> None:
    """Differs if a call of another kind is not `kind`; those that raise say nothing."""
    found: list[tuple[Way, object, list[Tensor | None]]] = []

    def all_of_them() -> None:
        with _effects.one_object():
            for way in ways(numbers):
                one_of_them(way)

    def one_of_them(way: Way) -> None:
        given = drawn(way, kind.last, trials.dtype)
        leaves = tuple(t for t in given if t.requires_grad)
        call = functools.partial(trials.call, **dict(more))
        try:
            with contextlib.nullcontext() if way.grad else torch.no_grad():
                out = _effects.called(trials.source, call, [t * 1 for t in given] if leaves else given)
                found.append((way, out, _trials.gradients_of(out, leaves)))
        except _effects.Leaves:
            raise
        except Exception:
            return

    try:
        _trials.outcome(all_of_them, (), (), trials.source, trials.emulated)
    except Misbehaves:
        raise
    except CannotRun:
        return
    for way, out, slopes in found:
        expected, own = ours(way, kind, trials.dtype)
        if _trials.is_recorded(out) and not any(way.requires):
            raise Differs(_trials.LEARNS)
        if not same(out, expected) or (trials.dtype not in HALVES and not all(map(alike, slopes, own))):
            raise Differs(f"it computes something else for {way}")


def same(theirs: object, own: object) -> bool:
    if isinstance(theirs, (tuple, list)) and isinstance(own, tuple):
        return len(theirs) == len(own) and all(map(same, theirs, own))
    if not (isinstance(theirs, Tensor) and isinstance(own, Tensor)) or theirs.shape != own.shape:
        return False
    if theirs.dtype != own.dtype:
        return False
    if theirs.dtype in HALVES:
        return True  # a grid in half precision is pixels off
    return bool((theirs - own).abs().max() <= TOLERANCE)


def alike(theirs: Tensor | None, own: Tensor | None) -> bool:
    if theirs is None or own is None:
        return theirs is own
    return bool((theirs - own).abs().max() <= GRADIENT * own.abs().max())
