"""Splats of other repositories: which arithmetic each of their modes is."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from vfi_kernels._options import Holes, Mode
from vfi_kernels._results import accumulator
from vfi_kernels._types import Foreign, Function
from vfi_kernels.compat import _functions, _kernels, _trials, softsplat
from vfi_kernels.compat._grids import as_under_autocast
from vfi_kernels.compat._kernels import Ours, drawn
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
    reason: str = _kernels.SAME

    def __str__(self) -> str:
        return "splats: " + ", ".join(f"{word} ({kind})" for word, kind, _ in self.modes)

    def build(self, original: Function) -> Function:
        parameters = list(inspect.signature(original).parameters.values())
        names = [p.name for p in parameters]
        defaults = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
        modes = {word: (kind, metrics) for word, kind, metrics in self.modes}
        further = names[4:]

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
                or not all(same_value(given[name], defaults[name]) for name in further)
            ):
                return original(*args, **kwargs)
            return splatted(image, flow, metric, kind)

        return as_scriptable(call, original)


def pictures(again: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """An image, a flow that leaves holes and pixels on which little lands, and a metric below 0 and above; `again`:
    others, of another size."""
    size, lowest, highest = ((9, 7), -3, 12) if again else ((12, 16), -22, 3)
    image, flow = drawn(2, 3, *size, low=-1, high=1 + 2 * again), drawn(2, 2, *size, seed=1, low=-5, high=5)
    return image, flow, drawn(2, 1, *size, seed=2, low=lowest, high=highest)


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
    for word in WORDS:
        try:
            kinds = {given: mode_of(function, word, given) for given in takes(function, word)}
        except (_trials.CannotRun, Differs) as error:  # calls with this word are left to the original
            failed = failed or error
            continue
        if len(set(kinds.values())) == 1:
            found.append((word, next(iter(kinds.values())), tuple(kinds)))
    if not found:
        raise failed or Differs("it takes no mode that we know")
    return SplatPlan(tuple(found), named(function, found))


def named(function: Function, found: list[tuple[str, Splat, tuple[bool, ...]]]) -> str:
    """The function of compat of these modes."""
    kinds = {word: kind for word, kind, _ in found}
    if kinds.get("soft") == Splat("softmax", "add"):
        return "compat.softsplat.softsplat"
    return "compat.ebme.FunctionSoftsplat" if kinds.get("softmax") == Splat("softmax", "zero") else "vk.splat"


def takes(function: Function, word: str) -> list[bool]:
    """With a metric, without one: which of these a mode takes. CannotRun if neither."""
    image, flow, metric = pictures()
    found: list[bool] = []
    failed: _trials.CannotRun | None = None
    for given in (False, True):
        try:
            _kernels.called(function, (image, flow, metric if given else None, word))
            found.append(given)
        except _trials.Misbehaves:
            raise
        except _trials.CannotRun as error:
            failed = failed or error
    if not found:
        assert failed is not None
        raise failed
    return found


def mode_of(function: Function, word: str, with_metric: bool) -> Splat:
    """What a mode computes, values and gradients, of both pictures."""
    kind = first_of(KINDS, function, word, with_metric, pictures())
    return first_of((kind,), function, word, with_metric, pictures(again=True))


def first_of(
    kinds: Sequence[Splat], function: Function, word: str, with_metric: bool, given: tuple[Tensor, Tensor, Tensor]
) -> Splat:
    """The first of these kinds that it is."""
    image, flow, metric = (t.requires_grad_() for t in given)
    metric_given = metric.abs() if word.startswith("linear") else metric
    arguments = (image, flow, metric_given if with_metric else None, word)
    leaves = (image, flow, metric) if with_metric else (image, flow)
    theirs, slopes = _kernels.called(function, arguments, leaves)
    for kind in kinds:
        if kind.weighted and not with_metric:
            continue
        weighted = kind.mode in ("linear", "softmax")
        ours, own = _trials.outcome(
            lambda i, f, m, _, kind=kind, weighted=weighted: splatted(i, f, m if weighted else None, kind),
            arguments,
            leaves,
        )
        if _kernels.close(theirs, ours) and all(
            (a is None or not a.any()) == (b is None or not b.any())
            and (a is None or b is None or _functions.alike(a, b))
            for a, b in zip(slopes, own)
        ):
            return kind
    raise Differs(f"in mode {word} it computes something else")
