"""Whether what a function reads is what it was when it was tried: told at each call, by identity; and looked at again,
by value, where something is not the same object any more."""

import collections
import dataclasses
import functools
import io
import weakref
from collections.abc import Callable, Iterable
from operator import attrgetter, itemgetter
from types import BuiltinFunctionType, CodeType, FunctionType, MappingProxyType, ModuleType
from typing import Literal

import torch
from torch import Tensor

from vfi_kernels._types import Foreign, Function
from vfi_kernels.compat import _state, _trials
from vfi_kernels.compat._spaces import MISSING
from vfi_kernels.compat._survey import PLAIN, SETTINGS, Get, Survey

# Whose objects are not like numbers, and do not change inside, or are looked into besides.
FIXED = (
    type(None), str, CodeType, FunctionType, BuiltinFunctionType, ModuleType, type, torch.dtype, torch.device,
)  # fmt: skip
Answer = Literal["ours", "theirs", "compare"]
MOST_KEPT = 2**20  # elements of a tensor of which a copy is kept
MOST_LOOKED_AT = 64  # elements of a tensor on the CPU that are looked at at each call: .data changes no version
LOOKS, COMPARISONS, STATES = 100, 16, 4  # of one object: then every call is the original's
SIDE, ELEMENTS = 64, 2**14  # numbers above are sizes of pictures that were not tried, and numbers of their elements


class Watch:
    """All that a survey read, as the objects that they are: read again in as few steps as Python has."""

    def __init__(self, survey: Survey):
        grouped: dict[object, tuple[Get, object, dict[object, tuple[object, object]]]] = {}
        for get, keys, values in survey.probes:
            how, owner = source(get)
            group = grouped.setdefault((how, id(owner if how is not None else get)), (get, owner, {}))
            # What a dictionary does not have is told by its length.
            there = [(k, v) for k, v in zip(keys, values) if how is not itemgetter or has(owner, k)]
            group[2].update({k if isinstance(k, (str, int)) else id(k): (k, v) for k, v in there})
        self.readers: list[tuple[Get, object]] = []
        self.values: list[object] = []
        for (how, _), (get, owner, found) in grouped.items():  # type: ignore[misc]
            if found:
                pairs = [*found.values()] * (1 + (len(found) == 1))
                several = [key for key, _ in pairs]
                self.readers.append((functools.partial(mapped, get, several) if how is None else how(*several), owner))
                self.values += [value for _, value in pairs]
        # Equal is not enough for what may change inside, or is a number.
        self.strict = [(n, value) for n, value in enumerate(self.values) if type(value) not in FIXED]
        lengths = {id(container): (container, size) for container, size in survey.lengths}
        self.containers, self.sizes = zip(*lengths.values())
        self.tensors = survey.tensors
        self.versions = [version(t) for t in self.tensors]

    def holds(self) -> bool:
        now: list[object] = []
        try:
            for get, owner in self.readers:
                now += get(owner)  # type: ignore[arg-type]
            if now != self.values or tuple(map(len, self.containers)) != self.sizes:
                return False
        except Exception:  # something is not there any more
            return False
        for n, value in self.strict:
            if now[n] is not value and not same(value, now[n]):
                return False
        return not self.tensors or [version(t) for t in self.tensors] == self.versions


def source(get: Foreign) -> tuple[Foreign, object]:
    """itemgetter or attrgetter, and of what, for a function that reads; or None."""
    if isinstance(get, functools.partial) and get.func is getattr:
        return attrgetter, get.args[0]
    owner = getattr(get, "__self__", None)
    return (
        (itemgetter, owner) if type(owner) in (dict, list, collections.OrderedDict, MappingProxyType) else (None, None)
    )


def has(owner: Foreign, key: object) -> bool:
    return isinstance(owner, list) or key in owner


def mapped(get: Get, keys: list[object], _: object) -> tuple[object, ...]:
    return tuple(map(get, keys))


def version(t: Tensor) -> object:
    """What changes when a tensor does: of few elements what they are; of those of inference mode, which do not count
    their changes, the first and the last."""
    seen: object = None
    if t.is_cpu and t.layout is torch.strided:
        few, inference = t.numel() <= MOST_LOOKED_AT, t.is_inference()
        if few:
            seen = t.tolist()
        elif inference:
            seen = t[(0,) * t.dim()].item(), t[(-1,) * t.dim()].item()
    return t.data_ptr(), 0 if t.is_inference() else t._version, t.requires_grad, seen


class KeptTensor:
    """A tensor as it was: a copy, or, of a large one, which one it was."""

    def __init__(self, t: Tensor):
        self.copy = t.detach().clone() if t.numel() <= MOST_KEPT else None
        self.ref, self.version, self.learns = weakref.ref(t), version(t), t.requires_grad

    def same(self, t: Foreign) -> bool:
        if self.copy is None:
            return isinstance(t, Tensor) and self.ref() is t and version(t) == self.version
        return (
            isinstance(t, Tensor)
            and (t.shape, t.dtype, t.layout) == (self.copy.shape, self.copy.dtype, self.copy.layout)
            and t.requires_grad == self.learns
            and _trials.same_bits(t.detach().to(self.copy.device), self.copy)
        )


def same(kept: Foreign, now: Foreign) -> bool:
    """The same object; of plain values an equal one."""
    if isinstance(kept, KeptTensor):
        return kept.same(now)
    if kept is now:
        return True
    plain = type(kept) is type(now) and isinstance(kept, (*PLAIN, tuple, CodeType))
    try:
        return plain and bool(kept == now or (kept != kept and now != now))
    except Exception:  # of tensors in tuples
        return False


def kept(survey: Survey, without: Iterable[str] = ()) -> dict[str, object]:
    """The leaves of a survey, for later, but for those that are reached through these variables."""
    roots = set(without)
    found = {p: KeptTensor(v) if isinstance(v, Tensor) else v for p, v in survey.leaves.items()}
    during = {f"torch.{name}": value for name, (_, value) in SETTINGS.items() if value is not MISSING}
    return {p: during.get(p, value) for p, value in found.items() if survey.roots[p] not in roots}


def all_same(before: dict[str, object], now: dict[str, object]) -> bool:
    return before.keys() == now.keys() and all(same(value, now[path]) for path, value in before.items())


@dataclasses.dataclass
class Known:
    """An object in one state, and whose its calls are."""

    watch: Watch
    answer: Answer


@dataclasses.dataclass
class Met:
    """The states of an object that were seen, and how often it was looked at."""

    ref: Callable[[], object]
    kind: type
    states: list[Known] = dataclasses.field(default_factory=list)
    looks: int = 0
    comparisons: int = 0


class Guard:
    """Whose a call of `function` is; `owner`: the object that it was tried on, or `made`: what makes one for a height
    and a width. `own`: the variables that it changes itself, as caches; where they are not as they were, the first
    call is computed both ways. Untold if what it reads cannot be told.

    Attributes:
        sides, elements: numbers that it compares with: pictures with sides or elements from there on were not tried.
        in_graph: whether it reads nothing but functions and modules, which torch.compile takes for constant.
    """

    def __init__(
        self, function: Function, owner: object = None, made: Callable[[int, int], Foreign] | None = None,
        own: Iterable[str] = (), without: Iterable[str] = (),
    ):  # fmt: skip
        self.function, self.made, self.own, self.without = function, made, frozenset(own), tuple(without)
        first = Survey(function, owner if made is None else made(8, 16), self.without)
        self.met: dict[object, Met] = {}
        self.kind = None if owner is None else type(owner)
        self.tried = self.referred(owner, None)
        self.steady = _state.constant_in_graphs(lambda: self.answer(self.tried()) == "ours")
        self.before = kept(first)
        self.roots = first.roots
        fixed = {p: v for p, v in first.leaves.items() if first.roots[p] not in self.own and "defaults__" not in p}
        self.in_graph = made is None and not any(varies(value) for value in fixed.values())
        numbers = {n for reads in first.reads for n in reads.compared}
        if any(reads.branches for reads in first.reads):
            numbers |= {v for v in first.leaves.values() if type(v) is int}
        self.sides = min((n for n in numbers if SIDE < n < ELEMENTS), default=None)
        self.elements = min((n for n in numbers if n >= ELEMENTS), default=None)
        self.numbers = sorted(n for n in numbers if 0 < n <= SIDE)

    def answer(self, owner: object = None, size: tuple[int, ...] = ()) -> Answer:
        """For a call on this object, and a flow of this height and width."""
        key = id(owner) if self.made is None else (id(owner), *size)
        met = self.met.get(key)
        if met is not None and met.ref() is owner and type(owner) is met.kind:
            for known in met.states:
                if known.watch.holds():
                    return known.answer
        return self.look(owner, size, key)

    def look(self, owner: Foreign, size: tuple[int, ...], key: object) -> Answer:
        """By value, once for each state."""
        met = self.met.get(key)
        if met is None or met.ref() is not owner or type(owner) is not met.kind:
            met = self.met[key] = Met(self.referred(owner, key), type(owner))
        met.looks += 1
        if met.looks > LOOKS:
            return "theirs"
        try:
            now = Survey(self.function, owner, self.without)
            answer = self.judged(now, self.expected(size))
        except Exception:  # nothing is known of it
            met.looks = LOOKS
            return "theirs"
        if answer == "compare" and met.comparisons >= COMPARISONS:
            answer = "theirs"
        met.states = [Known(Watch(now), answer), *met.states[: STATES - 1]]
        return answer

    def referred(self, owner: object, key: object) -> Callable[[], object]:
        try:
            return weakref.ref(owner, lambda _: self.met.pop(key, None))
        except TypeError:  # None, and what has no place for one
            return lambda: owner

    def expected(self, size: tuple[int, ...]) -> dict[str, object]:
        """What the leaves have to be."""
        if self.made is None:
            return self.before
        with _trials.undisturbed(self.function, io.StringIO(), []):
            return kept(Survey(self.function, self.made(*size), self.without))

    def judged(self, now: Survey, before: dict[str, object]) -> Answer:
        leaves = now.leaves
        if all_same(before, leaves):
            return "ours"
        fixed = {p: v for p, v in before.items() if self.roots.get(p, now.roots.get(p)) not in self.own}
        rest = {p: v for p, v in leaves.items() if now.roots[p] not in self.own}
        return "compare" if all_same(fixed, rest) else "theirs"

    def compared(self, agree: bool, owner: object = None, size: tuple[int, ...] = ()) -> None:
        """Says whether a call was the same both ways."""
        key = id(owner) if self.made is None else (id(owner), *size)
        met = self.met.get(key)
        if met is None:
            return
        met.comparisons += 1
        if self.look(owner, size, key) == "compare":  # the call may have changed its caches
            met.states[0].answer = "ours" if agree else "theirs"


def varies(value: object) -> bool:
    """Whether a leaf is more than what is called or looked into."""
    fixed = isinstance(value, (CodeType, type, ModuleType, torch.dtype, torch.device, type(None))) or callable(value)
    return not fixed and value is not MISSING and value != "an object"
