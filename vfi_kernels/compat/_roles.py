"""Which functions and classes of other repositories `compat.patch` looks at, and what it finds that they compute."""

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol

import torch

from vfi_kernels._types import Foreign, Function
from vfi_kernels.compat import (
    _blocks,
    _branches,
    _caches,
    _children,
    _coverage,
    _effects,
    _functions,
    _kernels,
    _methods,
    _splats,
    _state,
    _survey,
    _targets,
    _trials,
    _warp_objects,
    _warp_trials,
    _warps,
)
from vfi_kernels.compat import _warp_pictures as pictures
from vfi_kernels.compat._stand_ins import WarpPlan

# What is tried; names decide nothing else. Also tried: what calls grid_sample.
TRIED = re.compile(r"warp|resample|splat|corr(?!ect|upt|espond)|cost_?vol|deform_?conv|sepconv|adacof", re.IGNORECASE)
WARPS = re.compile(r"warp|resample", re.IGNORECASE)
BLOCK = re.compile(r"corr_?block", re.IGNORECASE)  # of classes
LAYER = re.compile(r"deform_?conv|dcn", re.IGNORECASE)  # of classes with weights


class Plan(Protocol):
    """What takes the place of something; `by`: its name, str(): what it computes."""

    @property
    def by(self) -> str: ...
    def build(self, original: Foreign) -> Foreign: ...


@dataclass(frozen=True)
class Verdict:
    """What takes the place of something, or None; and why. `own`: the variables that it changed in its trials."""

    plan: Plan | None
    reason: str
    own: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Candidate:
    """`value` as it was found; `function`: what is tried of it; `owner`: the class that it is a method of, with an
    object of it where there is one."""

    value: Foreign
    function: Foreign
    takes_self: bool = False
    owner: type | None = None
    instance: object = None
    name: str = ""
    named: bool = True  # its name, or a grid_sample in it, says that it belongs here; else it calls such a function

    @property
    def key(self) -> tuple[int, ...]:
        return id(self.function), id(self.instance), int(self.takes_self)


def is_function_of_autograd(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, torch.autograd.Function)


def candidate(
    value: Foreign, method: bool = False, owner: type | None = None, instance: object = None, name: str = ""
) -> Candidate | None:
    """`value`, which is called `name`, if it may be something that we replace: a function (`method`: with a first
    parameter self), an autograd function, or its bound `apply`."""
    if not _state.is_readable(value):
        return None
    takes_self = method and not isinstance(value, staticmethod)
    function = value.__func__ if isinstance(value, staticmethod) else value
    bound_to = getattr(function, "__self__", None)
    if getattr(function, "__name__", "") == "apply" and isinstance(bound_to, type):
        function = bound_to
    if isinstance(function, type):
        pattern = TRIED if is_function_of_autograd(function) else BLOCK
        return Candidate(value, function) if pattern.search(function.__name__) and is_foreign(function) else None
    function = getattr(function, "_torchdynamo_orig_callable", function)  # compiled: a trial would compile it
    function = function.__wrapped__ if isinstance(function, _state.Cached) else function
    if isinstance(function, torch.jit.ScriptFunction):
        return Candidate(value, function, name=name) if TRIED.search(name) else None
    if not inspect.isfunction(function) or not is_foreign(function) or function.__name__.startswith("test"):
        return None
    code = function.__code__
    if owner is not None and is_layer(function, owner):
        return Candidate(value, function, takes_self, owner, instance, owner.__name__)
    count = code.co_argcount + code.co_kwonlyargcount
    if count < (3 if takes_self else 2) and not code.co_flags & inspect.CO_VARARGS:
        return None
    names = [owner.__name__] if owner is not None and function.__name__ == "forward" else [function.__name__, name]
    named = any(map(TRIED.search, names)) or samples(function)
    if named or (function.__name__ != "forward" and samples_somewhere(function)):
        return Candidate(value, function, takes_self, owner if takes_self else None, instance, " ".join(names), named)
    return None


def is_layer(function: Function, owner: type) -> bool:
    """Whether it is what a layer computes of its input, and has weights for, that is a deformable convolution by its
    name."""
    known = issubclass(owner, torch.nn.Module) and LAYER.search(owner.__name__) is not None
    return known and function.__name__ == "forward" and function.__code__.co_argcount <= 3


def samples(function: Function) -> bool:
    return "grid_sample" in _state.names_in(function.__code__)


def samples_somewhere(function: Function) -> bool:
    """Whether a function, or one that it calls, also as an attribute of a module, calls grid_sample."""
    layers = _state.called_by(function)
    return any(map(samples, layers)) or any(map(samples, of_modules(layers)))


def of_modules(layers: Sequence[Function]) -> list[Function]:
    """The functions that these name as attributes of modules that are no library's."""
    found: list[Function] = []
    for layer in layers:
        names = _state.names_in(layer.__code__)
        modules = [v for v in map(layer.__globals__.get, names) if isinstance(v, ModuleType)]
        for module in modules:
            if not _targets.installed(module.__name__):
                found += [f for f in map(vars(module).get, names) if inspect.isfunction(f)]
    return found


def is_foreign(value: object) -> bool:
    """Neither ours nor torch's own, and nothing whose place was taken already."""
    top = str(getattr(value, "__module__", "")).partition(".")[0]
    return top not in ("vfi_kernels", "torch") and not (hasattr(value, "__vfi_kernels__") or "apply" in vars(value))


def verdicts(candidates: Sequence[Candidate]) -> list[Verdict | None]:
    """What each is; None: nothing that we know. One that is there more than once is tried once."""
    single = {c.key: c for c in candidates}
    tasks: list[Callable[[], Verdict | None]] = [lambda c=c: judge(c) for c in single.values()]  # type: ignore[misc]
    with torch.inference_mode(False):  # what is made inside of it has no gradient for ever
        if single:
            pictures.warm()
        found = dict(zip(single, _children.answers(tasks, lambda why: Verdict(None, why))))
        guarded = {key: _warp_objects.with_its_guard(c, found[key]) for key, c in single.items()}
    pairs = [(c, guarded[c.key]) for c in candidates]
    return [v if c.named or (v is not None and v.plan is not None) else None for c, v in pairs]


def judge(c: Candidate) -> Verdict | None:
    """The verdict on one candidate; it runs here."""
    _state.written.clear()
    _effects.begin()
    with _coverage.anew():
        verdict = judged(c)
        if verdict is not None and verdict.plan is not None:
            try:
                expect_nothing_unseen(c)
            except (_effects.Leaves, _warp_trials.Differs) as why:
                verdict = Verdict(None, str(why))
    if verdict is None:
        return None
    return dataclasses.replace(verdict, own=frozenset(_state.written))


def expect_nothing_unseen(c: Candidate) -> None:
    """Leaves if it writes more than caches, Differs if it can go a way that no trial took."""
    _caches.expect_caches(c.function, c.owner)
    _coverage.expect_every_way()


def judged(c: Candidate) -> Verdict | None:
    if isinstance(c.function, torch.jit.ScriptFunction):
        return Verdict(None, "it is compiled by torch.jit.script")
    if c.owner is not None and is_layer(c.function, c.owner):
        return Verdict(None, "it is a layer with weights of its own: make it of vfi_kernels.compat's mmcv or basicsr")
    try:
        if is_function_of_autograd(c.function):
            role = _functions.role_of(c.function)
            return Verdict(role, role.reason)
        if isinstance(c.function, type):
            return Verdict(_blocks.block_for(c.function), _kernels.SAME)
        if _functions.NAMED.search(c.name) and not (WARPS.search(c.name) and samples_somewhere(c.function)):
            return judge_function(c)
        return judge_warp(c)
    except _trials.CannotRun as error:
        said = isinstance(error, _trials.Misbehaves) or str(error).startswith("it ")
        return Verdict(
            None, str(error) if said else f"it does not run here, so what it computes is not known ({error})"
        )
    except (_warp_trials.Differs, _survey.Untold) as difference:
        return Verdict(None, str(difference))


def judge_function(c: Candidate) -> Verdict | None:
    """Of splats, correlations and convolutions."""
    if c.takes_self:
        method = _methods.plan_for(c)
        return None if method is None else Verdict(method, method.reason)
    of_kind = _splats.plan_for if "splat" in c.name.lower() else _functions.plan_for
    plan = of_kind(c.function, c.name)
    return Verdict(plan, plan.reason)


def judge_warp(c: Candidate) -> Verdict:
    """Of warps: which of the family it is."""
    parameters = list(inspect.signature(c.function).parameters.values())[int(c.takes_self) :]
    names = [p.name for p in parameters]
    kinds = {p.kind for p in parameters}
    with_grid = len(names) == 4 and "div" in names[2].lower() and "grid" in names[3].lower()
    further = [] if with_grid else parameters[2:]
    needed = [p for p in further if p.default is p.empty]
    variadic = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD} & kinds
    if inspect.Parameter.KEYWORD_ONLY in {p.kind for p in parameters[:2]}:
        raise _warp_trials.Differs(
            f"its parameters are ({', '.join(names)}), expected a flow that is given by place, too"
        )
    if variadic or len(names) < 2 or len(needed) > 1:
        raise _warp_trials.Differs(f"its parameters are ({', '.join(names)}), expected an image and a flow")
    failed: Exception | None = None
    for bound in _warp_objects.calls_of(c, with_grid):
        numbers = functools.partial(_warp_objects.numbers_of, c, bound.grid)
        try:
            found = with_needed(bound.call, c.function, needed, changes_of(further), numbers)
        except _trials.Misbehaves:
            raise
        except (_trials.CannotRun, _warp_trials.Differs) as error:
            failed = failed or error
        else:
            plan = WarpPlan(found, c.takes_self, with_grid, bound.grid)
            return Verdict(plan, f"it computes the same: {plan}")
    assert failed is not None
    raise failed


def with_needed(
    call: Function, source: Function, needed: Sequence[inspect.Parameter], changes: list[_warp_trials.More],
    numbers: Callable[[], Sequence[int]],
) -> _warp_trials.Found:  # fmt: skip
    """What a warp is that may want a further argument, for the values of that which are known words; `numbers`: that it
    compares with."""
    if not needed:
        trials = _warp_trials.Trials(call, source)
        return _branches.same_in_other_ways(trials, _warp_trials.recognised(trials, changes), numbers())
    name, failed = needed[0].name, "it does not run with any"
    found: list[_warp_trials.Found] = []
    for value in values_of(needed[0]):
        try:
            trials = _warp_trials.Trials(functools.partial(call, **{name: value}), source)
            other = _branches.same_in_other_ways(trials, _warp_trials.recognised(trials, changes), numbers())
        except _trials.Misbehaves:
            raise
        except _warp_trials.Differs as error:
            failed = str(error)
        except _trials.CannotRun:
            continue
        else:
            calls = tuple((((name, value), *more), kind) for more, kind in other.calls)
            found.append(dataclasses.replace(other, calls=calls))
    alike = [f for f in found if (f.dtypes, f.needs_gpu) == (found[0].dtypes, found[0].needs_gpu)]
    if not alike:
        raise _warp_trials.Differs(f"for no value of {name} that we know it is a warp of ours: {failed}")
    return dataclasses.replace(alike[0], calls=tuple(c for f in alike for c in f.calls))


def values_of(p: inspect.Parameter) -> tuple[object, ...]:
    """Of a parameter without a default."""
    name = p.name.lower()
    if "pad" in name or "border" in name:
        return _warps.OUTSIDE
    if "mode" in name or "interp" in name:
        return ("bilinear", *_warps.OUTSIDE)
    return (True, False) if "mask" in name or "align" in name else (*_warps.OUTSIDE, True, False, "bilinear", None)


def changes_of(further: Sequence[inspect.Parameter]) -> list[_warp_trials.More]:
    """Values of further parameters, one by one, that may give a warp of the family too."""
    found: list[_warp_trials.More] = []
    for p in further:
        if isinstance(p.default, bool):
            found.append(((p.name, not p.default),))
        elif p.default in _warps.OUTSIDE:
            found += [((p.name, word),) for word in _warps.OUTSIDE if word != p.default]
    return found
