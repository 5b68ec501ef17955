"""Splats of other repositories: which arithmetic each of their modes is."""

import contextlib
import functools
import inspect
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vfi_kernels._options import Holes, Mode
from vfi_kernels._results import accumulator
from vfi_kernels._types import Arguments, Foreign, Function
from vfi_kernels.compat import _functions, _kernels, _situations, _trials, softsplat
from vfi_kernels.compat._comparing import Unread
from vfi_kernels.compat._grids import as_under_autocast
from vfi_kernels.compat._kernels import Ours
from vfi_kernels.compat._limits import EVERY, Comparing, Limits
from vfi_kernels.compat._limits import limits_of as limits_of_op
from vfi_kernels.compat._situations import AGAIN, FIRST, Situation, drawn, prepared
from vfi_kernels.compat._stand_ins import as_scriptable, same_value
from vfi_kernels.compat._warp_trials import Differs
from vfi_kernels.ops.splat.op import splat

WORDS = [
    *("sum", "avg", "linear", "soft", "summation", "average", "softmax"),
    *(f"{mode}-{eps}eps" for mode in ("avg", "linear", "soft", "softmax") for eps in ("add", "zero", "clip")),
]


@dataclass(frozen=True)
class Splat:
    """vk.splat in one mode. Softmax with 1e-7 is the sum of exp(metric) itself, to which the 1e-7 is added."""

    mode: Mode
    holes: Holes = "zero"

    @property
    def weighted(self) -> bool:
        return self.mode in ("linear", "softmax")

    def __str__(self) -> str:
        return self.mode + {"zero": "", "add": " + 1e-7", "clip": ", at least 1e-7"}[self.holes]


def splatted(image: Tensor, flow: Tensor, metric: Tensor | None, kind: Splat) -> Tensor:
    """What `kind` says; a metric that it does not want is not looked at."""
    mode, metric = kind.mode, metric if kind.weighted else None
    if mode == "softmax" and kind.holes != "zero" and metric is not None:
        mode, metric = "linear", metric.to(accumulator(metric)).clamp(max=softsplat.LARGEST_METRIC).exp()
    return splat(as_under_autocast(image), flow, metric, mode=mode, holes=kind.holes)


EPS: tuple[Holes, ...] = ("zero", "add", "clip")
DIVIDED: tuple[Mode, ...] = ("average", "linear", "softmax")
KINDS = (Splat("sum"), *(Splat(mode, holes) for mode in DIVIDED for holes in EPS))


@dataclass(frozen=True)
class SplatPlan:
    """For each word for a mode: what it computes, and whether it wants a metric, wants none, or takes both."""

    modes: tuple[tuple[str, Splat, tuple[bool, ...]], ...]
    by: str = "vk.splat"
    dtypes: tuple[torch.dtype, ...] = (torch.float32,)
    reason: str = _kernels.SAME
    limits: Limits = EVERY

    def __str__(self) -> str:
        return "splats: " + ", ".join(f"{word} ({kind})" for word, kind, _ in self.modes)

    def build(self, original: Function) -> Function:
        parameters = list(inspect.signature(original).parameters.values())
        names = [p.name for p in parameters]
        defaults = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
        modes = {word: (kind, metrics) for word, kind, metrics in self.modes}
        further, dtypes, limits = names[4:], self.dtypes, self.limits

        def call(*args: Foreign, **kwargs: Foreign) -> Foreign:
            given = {**defaults, **dict(zip(names, args)), **kwargs}
            if len(args) > len(names) or len(given) != len(names):
                return original(*args, **kwargs)
            image, flow, metric, word = (given[name] for name in names[:4])
            kind, metrics = modes.get(word, (None, ())) if isinstance(word, str) else (None, ())
            if (
                kind is None
                or (metric is not None) not in metrics
                or not all(isinstance(t, Tensor) for t in (image, flow, *([] if metric is None else [metric])))
                or image.dtype not in dtypes
                or not limits.allow((image, flow, metric))
                or not all(same_value(given[name], defaults[name]) for name in further)
            ):
                return original(*args, **kwargs)
            return splatted(image, flow, metric, kind)

        return as_scriptable(call, original)


def given_in(s: Situation, word: str) -> list[Foreign]:
    """An image, a flow that leaves holes and pixels on which little lands, and a metric below 0 and above."""
    lowest, highest = (-22, 3) if s.variant == 0 else (-3, 12)
    if s.reach > FIRST.reach or s.in_half:
        lowest, highest = (-2, 2) if s.in_half else (-60, 60)
    metric = drawn(s.batch, 1, *s.size, seed=2, low=lowest, high=highest)
    if word.startswith("linear"):  # some of it so small that 1e-7 is seen
        metric = metric.abs() * torch.where(metric < -15, 1e-9, 1.0)
    return prepared([*_kernels.pictures(s), metric], s)


def plan_for(function: Function, name: str) -> "SplatPlan | Ours":
    """Which arithmetic each word for a mode is. Differs if none is one of ours."""
    if _kernels.is_not_implemented(function) or len(_kernels.parameters_of(function)) == 2:
        return _functions.plan_for(function, name)
    parameters = list(inspect.signature(function).parameters.values())
    names = [p.name for p in parameters]
    if len(names) < 4 or "flo" not in names[1].lower() or any(p.default is p.empty for p in parameters[4:]):
        raise Differs(f"its parameters are ({', '.join(names)}), expected an image, a flow, a metric and a mode")
    failed: Exception | None = None
    found: list[tuple[str, Splat, tuple[bool, ...]]] = []
    tried: set[str] = set()
    for word in WORDS:
        try:
            kinds = {given: mode_of(function, word, given, tried) for given in takes(function, word)}
        except (_trials.CannotRun, Differs) as error:  # calls with this word are left to the original
            failed = error if isinstance(error, Differs) and not isinstance(failed, Differs) else failed or error
            continue
        if len(set(kinds.values())) == 1:
            found.append((word, next(iter(kinds.values())), tuple(kinds)))
    if not found:
        raise failed or Differs("it takes no mode that we know")
    return SplatPlan(tuple(found), named(found), dtypes_of(function, found), limits=limits_of(function, found))


def limits_of(function: Function, found: list[tuple[str, Splat, tuple[bool, ...]]]) -> Limits:
    """Which of its calls are not ours all the same."""
    word, kind, metrics = found[0]

    def gives(change: Function, given: Arguments) -> object:
        return _functions.called(change(function), given, (), function)[0]

    def answer(image: Tensor, flow: Tensor, metric: Tensor | None, word: str) -> Tensor:
        return splatted(image, flow, metric, kind)

    def arguments(s: Situation) -> Arguments:
        image, flow, metric = (t.detach() for t in given_in(s, word))
        return image, flow, metric if metrics[-1] else None, word

    def expect_same(s: Situation) -> None:
        for word, kind, metrics in found:
            expect_kind(function, word, metrics[-1], s, kind)

    return limits_of_op(Comparing(answer, gives, expect_same, id(function) in _functions.needs_gpu), arguments)


def named(found: list[tuple[str, Splat, tuple[bool, ...]]]) -> str:
    """The function of compat of these modes."""
    kinds = {word: kind for word, kind, _ in found}
    if kinds.get("soft") == Splat("softmax", "add"):
        return "compat.softsplat.softsplat"
    return "compat.ebme.FunctionSoftsplat" if kinds.get("softmax") == Splat("softmax", "zero") else "vk.splat"


def takes(function: Function, word: str) -> list[bool]:
    """With a metric, without one: which of these a mode takes. CannotRun if neither."""
    image, flow, metric = given_in(FIRST, word)
    found: list[bool] = []
    failed: _trials.CannotRun | None = None
    for given in (False, True):
        try:
            _functions.called(function, (image, flow, metric if given else None, word))
            found.append(given)
        except _trials.Misbehaves:
            raise
        except _trials.CannotRun as error:
            failed = failed or error
    if not found:
        assert failed is not None
        raise failed
    return found


COMMON = (FIRST, AGAIN, *_situations.MORE, *_situations.LOST)


def mode_of(function: Function, word: str, with_metric: bool, tried: set[str]) -> Splat:
    """What a mode computes, values and gradients, in all situations; `tried`: modes that were before."""
    difference = Differs(f"in mode {word} it computes something else")
    for kind in kinds_of(function, word, with_metric, FIRST, KINDS):
        try:
            for s in _situations.situations_of(function, _functions.launched_by(function)):
                # In the rarer ones a word of each mode stands for those that add something else to its weights.
                if s is not FIRST and (s in COMMON or kind.mode not in tried):
                    expect_kind(function, word, with_metric, s, kind)
            tried.add(kind.mode)
            return kind
        except Unread:
            raise
        except Differs as error:
            difference = error
    raise difference


def expect_kind(function: Function, word: str, with_metric: bool, s: Situation, kind: Splat) -> None:
    """Differs if it is another one. Where it does not run, ours may."""
    try:
        found = kinds_of(function, word, with_metric, s, (kind,))
    except _trials.Misbehaves:
        raise
    except (_trials.CannotRun, Unread):
        if s is AGAIN:
            raise
        return
    if not found:
        raise Differs(f"in mode {word} it computes something else ({s})")


def kinds_of(
    function: Function, word: str, with_metric: bool, s: Situation, kinds: Sequence[Splat]
) -> list[Splat]:  # fmt: skip
    """Those of these kinds that it is in a situation."""
    image, flow, metric = given_in(s, word)
    arguments = (image, flow, metric if with_metric else None, word)
    leaves = _situations.leaves_of(arguments)
    theirs, slopes = _functions.tried(function, arguments, leaves, function, s)
    found: list[Splat] = []
    for kind in kinds if with_metric else [kind for kind in kinds if not kind.weighted]:
        ours, own = expected(kind, s, word.startswith("linear"), with_metric)
        if _situations.close(theirs, ours, s) and all(map(_situations.alike, slopes, own)):
            found.append(kind)
    return found


@functools.lru_cache(maxsize=512)
def expected(kind: Splat, s: Situation, linear: bool, with_metric: bool) -> tuple[Foreign, list[Tensor | None]]:
    """What a kind gives in a situation, in float32 of what half precision leaves."""
    image, flow, metric = given_in(s, "linear" if linear else "")
    arguments = (image, flow, metric if with_metric else None)

    def ours(image: Tensor, flow: Tensor, metric: Tensor | None) -> Tensor:
        if not s.in_half:
            return splatted(image, flow, metric, kind)
        wide = None if metric is None else metric.float()
        return splatted(image.float(), flow.float(), wide, kind).to(image.dtype)

    return _trials.outcome(_situations.bound(ours, s), arguments, _situations.leaves_of(arguments))


def dtypes_of(function: Function, found: list[tuple[str, Splat, tuple[bool, ...]]]) -> tuple[torch.dtype, ...]:
    """For which of the image it is ours, in all modes."""
    dtypes = [torch.float32]
    for dtype in _situations.DTYPES:
        try:
            for word, kind, metrics in found:
                with contextlib.suppress(_trials.CannotRun, Unread):
                    expect_kind(function, word, metrics[-1], _situations.of_dtype(dtype), kind)
        except Differs:
            continue
        dtypes.append(dtype)
    return tuple(dtypes)
