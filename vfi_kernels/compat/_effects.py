"""What a call of a function of someone else's leaves behind, besides its result: caches, which nobody else reads, may
be left out; anything else may not."""

import collections
import contextlib
import inspect
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vfi_kernels._types import Arguments, Foreign, Function, Options
from vfi_kernels.compat import _coverage, _flow, _launches, _state
from vfi_kernels.compat._spaces import in_library

MOST = 2000  # values in what a function can see
REPEATED = 4  # calls, and those after them that change something new
MOST_KEPT = 2**16  # elements of a tensor that is compared by what is in it
VALUES = (Tensor.__bool__, Tensor.__float__, Tensor.__int__, Tensor.__index__, Tensor.item, Tensor.tolist, Tensor.numpy)
PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)
# What code that asks for values calls, or may; in jumps it is seen by the way that is taken.
ASKS = ("item", "tolist", "numpy", "float", "int", "bool", "complex", "round", "range", "index", "array", "asarray")
SAYS = ("warn", "warn_explicit", "showwarning")


class Leaves(Exception):
    """It leaves something behind; the text says what."""


class Trial:
    """One candidate's: `owners`: the objects whose method it is, kept from one call to the next, by what they are made
    of; `changed`: what its calls changed, by the last name on the way there; `noted`: that, and the lines in which
    tensors were asked for their values, in calls that were repeated."""

    def __init__(self) -> None:
        self.keeps = False
        self.owners: dict[object, Foreign] = {}
        self.at_first: dict[str, object] = {}
        self.changed: set[str] = set()
        self.noted: set[str] = set()
        self.repeated = 0
        self.known: dict[int, tuple[list[tuple[Foreign, set[str]]], set[str]]] = {}

    def reached(self, function: Function) -> tuple[list[tuple[Foreign, set[str]]], set[str]]:
        """The functions that it calls, with the names in the code of each, and all of these."""
        if id(function) not in self.known:
            layers = [(layer, _state.names_in(layer.__code__)) for layer in _state.called_by(function)]
            self.known[id(function)] = layers, set[str]().union(*(names for _, names in layers))
        return self.known[id(function)]


trial = Trial()


def begin() -> None:
    global trial
    trial = Trial()


@contextlib.contextmanager
def one_object() -> Iterator[None]:
    """Inside, the object of a method is the same in all calls."""
    if trial.keeps:
        yield
        return
    trial.keeps = True
    try:
        yield
    finally:
        trial.keeps, trial.owners, trial.at_first = False, {}, {}


def owner(make: Callable[[], Foreign], key: object) -> Foreign:
    """The object of a method in a trial: made anew, but for calls that are repeated to see what they leave. `key`: what
    it is made of."""
    if not trial.keeps:
        return make()
    if key not in trial.owners:
        with torch.random.fork_rng(devices=[]):  # making it may draw its weights
            made = trial.owners[key] = make()
        trial.at_first |= contents({"self": made}, names_in(type(made)))
    return trial.owners[key]


routines: dict[type, bool] = {}


def names_in(kind: type) -> set[str]:
    """The names in the methods of a class."""
    codes = [getattr(_state.unbound(value), "__code__", None) for k in kind.__mro__ for value in vars(k).values()]
    return set[str]().union(*(_state.names_in(code) for code in codes if code is not None))


def contents(roots: dict[str, object], names: set[str]) -> dict[str, object]:
    """Everything that is reached from some values, by where it stands; of objects the attributes of these names."""
    found: dict[str, object] = {}
    seen: set[int] = set()
    left = list(roots.items())
    while left and len(found) < MOST:
        path, value = left.pop()
        found[path] = leaf(value)
        if isinstance(value, (*PLAIN, Tensor)) or id(value) in seen:
            continue
        seen.add(id(value))
        left += inside(path, value, names)
    return found


def is_routine(value: object) -> bool:
    """`inspect.isroutine`, which goes by the type and takes long."""
    kind = type(value)
    if kind not in routines:
        routines[kind] = inspect.isroutine(value)
    return routines[kind]


def leaf(value: object) -> object:
    if isinstance(value, Tensor):
        kept = value.detach().clone() if value.numel() <= MOST_KEPT and value.layout is torch.strided else None
        return (value.dtype, value.shape, kept) if kept is not None else (id(value), value._version)
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, (*_state.CONTAINERS, tuple, frozenset)):
        return type(value), len(value)
    return type(value) if hasattr(value, "__dict__") and not is_routine(value) else id(value)


def inside(path: str, value: Foreign, names: set[str]) -> list[tuple[str, object]]:
    """What a value holds."""
    if isinstance(value, dict):
        return [(f"{path}[{key!r}]" if isinstance(key, PLAIN) else f"{path}[{n}]", v)
                for n, (key, v) in enumerate(list(value.items()))]  # fmt: skip
    if isinstance(value, (list, tuple, collections.deque, set, frozenset)):
        return [(f"{path}[{n}]", v) for n, v in enumerate(value)]
    if isinstance(value, ModuleType):
        return [] if in_library(value.__name__) else [(f"{path}.{n}", v) for n, v in vars(value).items() if n in names]
    if is_routine(value):
        return [(f"{path}.{name}", v) for name, v in getattr(value, "__dict__", {}).items() if name != "__wrapped__"]
    kind = value if isinstance(value, type) else type(value)
    if in_library(kind.__module__) and not isinstance(value, (nn.Module, *_state.CONTAINERS)):
        return []
    space = getattr(value, "__dict__", {})
    held = {name: v for name, v in space.items() if not name.startswith("__")}
    if isinstance(value, nn.Module):
        parts = {name: v for part in _state.PARTS for name, v in held.pop(part, {}).items()}
        held = {name: v for name, v in {**held, **parts}.items() if name in names}
    return [(f"{path}.{name}", v) for name, v in held.items() if not is_routine(v)]


def same(a: object, b: object) -> bool:
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and (torch.equal(a, b) or bool(((a == b) | ((a != a) & (b != b))).all()))
    return type(a) is type(b) and bool(a == b or (a != a and b != b))


def changes(before: dict[str, object], after: dict[str, object]) -> list[str]:
    """The places that are not as they were."""
    return sorted(path for path in before.keys() | after.keys()
                  if path not in before or path not in after or not same(before[path], after[path]))  # fmt: skip


def now(function: Function) -> dict[str, object]:
    """All that a function can see besides its arguments, and in its object."""
    found: dict[str, object] = {}
    layers, names = trial.reached(function)
    for layer, of_code in layers:
        variables = layer.__globals__
        found.update({name: variables[name] for name in of_code if name in variables})
        cells = zip(layer.__code__.co_freevars, layer.__closure__ or ())
        found.update({name: cell.cell_contents for name, cell in cells if not _state.is_empty(cell)})
        found[f"the defaults of {layer.__name__}"] = layer.__defaults__, layer.__kwdefaults__
        found[layer.__name__] = layer
    seen = contents(found, names)
    for made in trial.owners.values():
        seen |= contents({"self": made}, names_in(type(made)))
    return seen


class Values(TorchFunctionMode):
    """Notes what tensors are asked for that Python goes by."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, object]] = []

    def __torch_function__(
        self, func: Function, types: Sequence[type], args: Arguments = (), kwargs: Options | None = None
    ) -> object:
        found = func(*args, **kwargs or {})
        if func in VALUES:
            frame = sys._getframe(1)
            if _coverage.is_foreign(frame.f_code) and not _flow.jumps_on(frame.f_code, frame.f_lineno):
                what = found.tobytes() if func is Tensor.numpy else found
                self.asked.append((_coverage.place(frame.f_code, frame.f_lineno), what))
        return found


@contextlib.contextmanager
def seen(function: Foreign, once: bool) -> Iterator[Callable[[Function, Sequence[Foreign]], object]]:
    """Gives what calls `function` to see what it leaves. Leaves if that is more than caches."""
    drawn = generators()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        yield lambda call, arguments: called(function, call, arguments, once)
    if drawn != generators():
        raise Leaves("it draws random numbers, or changes what is drawn next")
    if said and not trial.reached(function)[1].isdisjoint(SAYS):
        raise Leaves(f"it warns: {str(said[0].message).splitlines()[0] if str(said[0].message) else 'of something'}")


def generators() -> tuple[object, ...]:
    numpy = sys.modules.get("numpy")
    state = numpy.random.get_state() if numpy else ("", (), 0)
    return bytes(torch.get_rng_state().numpy()), random.getstate(), state[0], bytes(state[1]), state[2]


def called(function: Foreign, call: Function, arguments: Sequence[Foreign], once: bool = False) -> object:
    """What a call gives; it is repeated, to tell a cache from what each call changes."""
    if once or not any(isinstance(a, Tensor) for a in arguments):
        with _coverage.recorded():
            return call(*arguments)
    values, copies = Values(), [a.detach().clone() if isinstance(a, Tensor) else a for a in arguments]
    with one_object(), _launches.untraced():
        before = now(function)
        asks = not trial.reached(function)[1].isdisjoint(ASKS)
        with _coverage.recorded(), values if asks else contextlib.nullcontext():
            out = call(*arguments)
        after = now(function)
        changed = changes({**before, **trial.at_first}, after)
        news = {name_of(path) for path in changed} | {place for place, _ in values.asked}
        if changed:
            trial.changed |= {name_of(path) for path in changed}
        if not all(same(a, b) for a, b in zip(arguments, copies) if isinstance(b, Tensor)):
            return out  # which is told by who asked for it
        if news and (trial.repeated < REPEATED or not news <= trial.noted):
            trial.repeated += 1
            trial.noted |= news
            expect_same_again(call, arguments, out)
            expect_no_more(function, call, arguments, after, values)
    return out


def expect_same_again(call: Function, arguments: Sequence[Foreign], out: object) -> None:
    """Leaves if a call that finds the caches of the first gives something else."""
    with _coverage.recorded():
        found = call(*arguments)
    outs, again = ((v,) if isinstance(v, Tensor) else v for v in (out, found))
    if not (isinstance(outs, (tuple, list)) and isinstance(again, (tuple, list)) and same(tuple(outs), tuple(again))):
        raise Leaves("a second call gives something else")


def expect_no_more(
    function: Foreign, call: Function, arguments: Sequence[Foreign], after: dict[str, object], first: "Values"
) -> None:
    """Leaves if a call with other values changes something again, or goes by these."""
    values = Values()
    try:
        with values:
            call(*map(other_values, arguments))
    except Exception:
        if first.asked:
            raise Leaves(f"it goes by the values of tensors: {first.asked[0][0]}") from None
        return
    more = changes(after, now(function))
    if more:
        raise Leaves(f"each call changes {without_places(more[0])}")
    for (place, value), (_, other) in zip(first.asked, values.asked):
        if not same(value, other):
            raise Leaves(f"it goes by the values of tensors: {place}")


def other_values(value: Foreign) -> Foreign:
    if not (isinstance(value, Tensor) and value.is_floating_point()):
        return value
    found = (value.detach() * 300 - 100) if value.detach().abs().max() <= 1 else value.detach().flip(-1) * 0.5
    return found.requires_grad_(value.requires_grad)


def without_places(path: str) -> str:
    return path.partition("[")[0]


def name_of(path: str) -> str:
    """The variable, or ".attribute", under which something stands."""
    name = without_places(path)
    return f".{name.rpartition('.')[2]}" if "." in name and not name.startswith("the defaults") else name
