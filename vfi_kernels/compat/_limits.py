"""Calls that stay the original's, of a function that computes what ours does: under torch.autocast, with gradients
where pixels meet, and with values at a border that are not finite."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.compiler import is_compiling

from vfi_kernels import _autocast as autocast
from vfi_kernels._types import Foreign, Function
from vfi_kernels.compat._situations import FIRST, WHOLE, Situation, like, prepared
from vfi_kernels.compat._warp_results import Differs

HALVES = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Limits:
    """`autocast`, `halves`: whether it is ours under torch.autocast, for wide and for half dtypes; `whole`: whether it
    has our gradient for what leads to whole pixels; `border`: whether maps have to be finite at their borders, where
    others multiply with what they padded them with."""

    autocast: bool = True
    halves: bool = True
    whole: bool = True
    border: bool = False

    def allow(self, values: Sequence[Foreign]) -> bool:
        first = values[0]
        if not (self.autocast and self.halves) and autocast.enabled(first):
            return self.halves if first.dtype in HALVES else self.autocast
        if not self.whole and torch.is_grad_enabled():
            return not any(isinstance(v, Tensor) and v.requires_grad for v in values[1:])
        return True

    def passes(self, maps: Sequence[Foreign], out: Tensor) -> bool:
        """Whether the volume of two maps may be ours."""
        if not self.border:
            return True
        if is_compiling() or (out.is_cuda and torch.cuda.is_current_stream_capturing()):
            return False
        reach = max(math.isqrt(out.shape[1]) // 2, 1) * 2
        return all(bool(strip.isfinite().all()) for t in maps[:2] for strip in strips(t, reach))


EVERY = Limits()  # call is ours


def strips(t: Tensor, width: int) -> Sequence[Tensor]:
    if 2 * width >= min(t.shape[2:]):
        return (t,)
    return t[:, :, :width], t[:, :, -width:], t[:, :, :, :width], t[:, :, :, -width:]


@dataclass(frozen=True)
class Comparing:
    """`answer`: ours; `gives`: what theirs, changed by a function, gives for arguments; `expect_same`: Differs if they
    differ in a situation; `needs_gpu`: whether theirs runs on no CPU."""

    answer: Function
    gives: Function
    expect_same: Callable[[Situation], None]
    needs_gpu: bool


def limits_of(c: Comparing, arguments: Function) -> Limits:
    """Which calls are not ours all the same."""
    whole = same_at_whole_pixels(c.expect_same)
    if c.needs_gpu:  # where it could not be compared under autocast
        return Limits(whole=whole)
    given = prepared(arguments(FIRST), replace(FIRST, grad="off"))
    return Limits(same_under_autocast(c.gives, c.answer, given), halves=False, whole=whole)


def limits_of_volume(c: Comparing, arguments: Function) -> Limits:
    """The same, of a cost volume."""
    border = reads_the_border(c.gives, c.answer, arguments(Situation(1, 4, (6, 5))))
    if c.needs_gpu:
        return Limits(border=border)
    given = prepared(arguments(FIRST), replace(FIRST, grad="off"))
    return Limits(same_under_autocast(c.gives, c.answer, given), halves=False, border=border)


def under_autocast(function: Function) -> Function:
    def call(*arguments: Foreign) -> object:
        with torch.autocast("cpu", torch.bfloat16):
            return function(*arguments)

    return call


def same_under_autocast(gives: Function, answer: Function, given: Sequence[Foreign]) -> bool:
    """Whether both give one dtype under torch.autocast; `gives`: what theirs, changed by a function, gives."""
    try:
        return like(gives(under_autocast, given), under_autocast(answer)(*given))
    except Exception:  # one of them does not run
        return False


def reads_the_border(gives: Function, answer: Function, maps: Sequence[Foreign]) -> bool:
    """Whether more of theirs is lost than of ours where a map is NaN in a corner."""
    for lost in (0, 1):
        given = [t.detach().clone() if isinstance(t, Tensor) else t for t in maps]
        given[lost][:, :, 0, 0] = math.nan
        theirs, ours = gives(lambda function: function, given), answer(*given)
        if not torch.equal(theirs.isfinite(), ours.isfinite()):
            return True
    return False


def same_at_whole_pixels(expect_same: Callable[[Situation], None]) -> bool:
    """Whether gradients are ours there. Differs if values are not."""
    try:
        expect_same(WHOLE)
    except Differs:
        expect_same(replace(WHOLE, grad="off"))
        return False
    return True
