"""Which warp of the family a function of someone else's is, if any: told by what it computes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vfi_kernels._types import Function
from vfi_kernels.compat import _trials
from vfi_kernels.compat import _warp_pictures as pictures
from vfi_kernels.compat._situations import DTYPES
from vfi_kernels.compat._trials import CannotRun, Misbehaves
from vfi_kernels.compat._warp_pictures import Given
from vfi_kernels.compat._warp_results import Differs as Differs
from vfi_kernels.compat._warp_results import equal, matching, parts, same_parts
from vfi_kernels.compat._warps import SIZES, Warp

More = tuple[tuple[str, object], ...]  # further arguments, by name, where they are not at their defaults
NONE = "none of our warps computes the same: another border, grid, mask, order of arguments or gradient"
# (on a GPU that is this CPU, dtype), one after the other until it runs
WAYS = ((False, torch.float32), (True, torch.float32), (False, torch.float16), (True, torch.float16))


@dataclass(frozen=True)
class Found:
    """For which further arguments it is which warp, and for which dtypes of the image; whether it runs on no CPU."""

    calls: tuple[tuple[More, Warp], ...]
    dtypes: tuple[torch.dtype, ...]
    needs_gpu: bool


@dataclass
class Trials:
    """`call` takes an image, a flow and further arguments by name; `source`: whose module and closure are its own."""

    call: Function
    source: Function
    emulated: bool = False
    dtype: torch.dtype = torch.float32

    def run(
        self, given: Given, last: bool, more: More = (), *, dtype: torch.dtype | None = None, gradients: bool = False,
        emulated: bool = False,
    ) -> tuple[object, list[Tensor | None]]:  # fmt: skip
        leaves = given.arguments(dtype or self.dtype, last)
        copies = tuple(leaf * 1 for leaf in leaves)

        def bound(image: Tensor, flow: Tensor) -> object:
            return self.call(image, flow, **dict(more))

        return _trials.outcome(bound, copies, leaves if gradients else (), self.source, self.emulated or emulated)


def recognised(trials: Trials, changes: list[More]) -> Found:
    """What a function is, at the defaults of its further arguments and with each of `changes`. CannotRun if it does
    not run, Differs if it is none of the family."""
    kind = default_of(trials)
    calls: list[tuple[More, Warp]] = [((), kind)]
    for more in changes:
        try:
            calls.append((more, of_these(trials, more, (kind.last,))))
        except (CannotRun, Differs):
            continue
    return Found(tuple(calls), dtypes_of(trials, kind), trials.emulated)


def default_of(trials: Trials) -> Warp:
    """The warp without further arguments."""
    failed: CannotRun | None = None
    for trials.emulated, trials.dtype in WAYS:
        try:
            return of_these(trials, (), (False, True))
        except Misbehaves:
            raise
        except CannotRun as error:
            failed = failed or error
    assert failed is not None
    raise failed


def of_these(trials: Trials, more: More, layouts: tuple[bool, ...]) -> Warp:
    """The warp with these further arguments."""
    failed: CannotRun | None = None
    differs: Differs | None = None
    for last in layouts:
        try:
            result, gradients = trials.run(pictures.first(), last, more, gradients=trials.dtype == torch.float32)
        except Misbehaves:
            raise
        except CannotRun as error:
            failed = failed or error
            continue
        differs = differs or Differs(NONE)
        for kind in matching(result, last, trials.dtype):
            try:
                return verified(trials, kind, more, result, gradients)
            except Differs as difference:
                differs = difference
    if differs is not None:
        raise differs
    assert failed is not None
    raise failed


def verified(trials: Trials, kind: Warp, more: More, first: object, gradients: list[Tensor | None]) -> Warp:
    """`kind`, with what it does with a flow of another size; Differs where another picture, a gradient, a value that
    is not finite or a GPU tells it from the function."""
    exact = trials.dtype == torch.float32
    expect_same(first, gradients, pictures.first(), kind, trials.dtype)
    for given in (pictures.second(kind.grid), pictures.second(kind.grid, (64, 32))):  # some take multiples of 32 only
        try:
            result, slopes = trials.run(given, kind.last, more, gradients=exact)
        except Misbehaves:
            raise
        except CannotRun:
            continue
        expect_same(result, slopes, given, kind, trials.dtype)
        break
    else:
        raise Differs("it does not run on pictures of another size")
    if not more:  # it is one function: further arguments change neither how far it reaches nor where it runs
        expect_same_from_end_to_end(trials, kind)
        if not exact:
            for given in (pictures.in_half(True), pictures.in_half(False)):
                expect_same(run_or_differ(trials, given, kind), [], given, kind, trials.dtype)
        if exact:
            expect_same_not_finite(run_or_differ(trials, pictures.not_finite(), kind), kind)
        if not trials.emulated:
            expect_same_on_a_gpu(trials, kind, first)
    return with_sizes(trials, kind, more)


def expect_same_from_end_to_end(trials: Trials, kind: Warp) -> None:
    """For flows of thousands of pixels, which some clamp."""
    for sides in ((4, 2048), (2048, 4)):
        given = pictures.long(sides)
        try:
            result = trials.run(given, kind.last)[0]
        except Misbehaves:
            raise
        except CannotRun:
            given = pictures.long(tuple(max(n, 32) for n in sides))
            result = run_or_differ(trials, given, kind)
        expect_same(result, [], given, kind, trials.dtype)


def run_or_differ(trials: Trials, given: Given, kind: Warp) -> object:
    try:
        return trials.run(given, kind.last)[0]
    except Misbehaves:
        raise
    except CannotRun as error:
        height, width = given.size
        raise Differs(f"it does not run on pictures of {height}x{width} ({error})") from None


def expect_same(result: object, gradients: list[Tensor | None], given: Given, kind: Warp, dtype: torch.dtype) -> None:
    """Values everywhere, masks, and gradients where there is one."""
    slopes = pictures.ours(given.name, given.key, kind, dtype)[1]
    if not same_parts(result, given, kind, dtype):
        raise Differs(NONE)
    for n, slope in enumerate(gradients):
        mine = slopes[n]
        if (slope is None) != (mine is None):
            raise Differs("it has no gradient for the flow" if n else "it has no gradient for the image")
        if slope is None or mine is None:
            continue
        off = (slope - mine).abs()
        if n == 1:
            smooth = pictures.smooth(kind.grid, given.name, given.key)
            off = off * (smooth.permute(0, 2, 3, 1) if kind.last else smooth)
        if not off.max() <= 5e-4 * mine.abs().max():
            raise Differs("its gradient is another one")


def expect_same_not_finite(result: object, kind: Warp) -> None:
    """The same pixels are not finite; where the flow is not, theirs may be NaN or 0."""
    given = pictures.not_finite()
    theirs, ours = parts(result)[0], parts(pictures.ours("not_finite", (), kind)[0])[0]
    same = given.near(theirs, ours) | (~theirs.isfinite() & ~ours.isfinite())
    lost = ~given.flow.isfinite().all(1, keepdim=True) & (theirs.isnan() | (theirs == 0))
    if not (same | lost).all():
        raise Differs("it does something else with values that are not finite")


def expect_same_on_a_gpu(trials: Trials, kind: Warp, first: object) -> None:
    try:
        again = trials.run(pictures.first(), kind.last, emulated=True)[0]
    except CannotRun:
        return
    if not all(equal(a, b) for a, b in zip(parts(again), parts(first))):
        raise Differs("it computes something else on a GPU")


def with_sizes(trials: Trials, kind: Warp, more: More) -> Warp:
    """What it does with a flow of another size, if that is ours too; else such calls stay the original's."""
    given = pictures.other_size()
    try:
        result = trials.run(given, kind.last, more)[0]
    except CannotRun:
        return kind
    for sizes in SIZES:
        sized = Warp(kind.grid, kind.outside, kind.mask, sizes, kind.last)
        try:
            (a, mask), (b, own) = parts(result), parts(pictures.ours("other_size", (), sized, trials.dtype)[0])
        except (Differs, RuntimeError):
            continue
        if a.shape == b.shape and given.near(a, b).all() and equal(mask, own):
            return sized
    return kind


def dtypes_of(trials: Trials, kind: Warp) -> tuple[torch.dtype, ...]:
    """Of the image: for which it is ours. Where it does not run, ours does."""
    found = [torch.float32]
    for dtype in DTYPES:
        halves = (pictures.in_half(True), pictures.in_half(False)) if dtype in pictures.HALVES else ()
        try:
            for given in halves or (pictures.first(),):
                result = trials.run(given, kind.last, dtype=dtype)[0]
                if parts(result)[0].dtype != dtype or not same_parts(result, given, kind, dtype):
                    break
            else:
                found.append(dtype)
        except (CannotRun, Differs):
            found.append(dtype)
    return tuple(found)
