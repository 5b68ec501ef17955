"""Whether what a function of someone else's writes is a cache: read by itself, and by nobody else."""

import functools
import gc
import inspect
import sys
from collections.abc import Iterable, Iterator
from types import CodeType, ModuleType

from vfi_kernels._types import Foreign, Function
from vfi_kernels.compat import _code, _coverage, _effects, _flow, _state, _targets
from vfi_kernels.compat._spaces import in_library


def expect_caches(function: Foreign, owner: type | None) -> None:
    """Effects that a call has besides caches. Leaves says which; `owner`: the class of a method."""
    of_object = {f".{name.removeprefix('self.')}" for name in _state.written if name.startswith("self.")}
    changed = _effects.trial.changed | of_object
    if not changed:
        return
    layers = _state.called_by(function)
    own = set(_coverage.recorder.seen) | {layer.__code__ for layer in layers}
    looked_at = set[str]().union(*map(_flow.looked_at, own))
    cells = {name: cell for layer in layers for name, cell in _state.cells_of(layer)}
    others = [(code, space, kind) for code, space, kind in functions_around(function) if code not in own]
    for name in sorted(changed):
        said = name.removeprefix(".")
        if name not in looked_at:
            raise _effects.Leaves(f"it writes {said}, which it does not read itself")
        if shared(cells[name], own) if name in cells else any(reads(*other, name, layers, owner) for other in others):
            raise _effects.Leaves(f"it writes {said}, which something else reads, too")


@functools.lru_cache(maxsize=1)
def modules_outside(count: int) -> list[ModuleType]:
    """Of libraries. count: of all modules, with which they change."""
    return [m for m in list(sys.modules.values()) if isinstance(m, ModuleType) and not in_library(m.__name__)]


def functions_around(function: Foreign) -> Iterator[tuple[CodeType, Foreign, type | None]]:
    """Of the modules of its repository: each function's code, its variables, and the class that it is in."""
    name = str(getattr(function, "__module__", ""))
    home = sys.modules.get(name)
    roots = set() if home is None else set(_targets.roots_of(home))
    near = [
        m
        for m in modules_outside(len(sys.modules))
        if m.__name__.partition(".")[0] == name.partition(".")[0] or roots & {*_targets.roots_of(m)}
    ]
    spaces = {id(vars(m)): vars(m) for m in near}
    spaces.update({id(layer.__globals__): layer.__globals__ for layer in _state.called_by(function)})
    seen: set[int] = set()
    for space in spaces.values():
        for value in list(space.values()):
            if id(value) in seen or not _state.is_readable(value):
                continue
            seen.add(id(value))
            if isinstance(value, type):
                if not in_library(str(value.__module__)):
                    yield from ((f.__code__, space, value) for f in map(plain, vars(value).values()) if f is not None)
            else:
                found = plain(value)
                if found is not None:
                    yield found.__code__, found.__globals__, None


def plain(value: Foreign) -> Foreign:
    """The function in a method, a property or a decorator; or None."""
    value = value.fget if isinstance(value, property) else _state.unbound(value)
    found = next((v for v in _state.layers(value) if inspect.isfunction(v)), None) if value is not None else None
    return None if found is None or in_library(str(found.__module__)) else found


def reads(
    code: CodeType, space: Foreign, kind: type | None, name: str, layers: Iterable[Function], owner: type | None
) -> bool:
    """Whether another function may read what stands under a name, and does not fill it as well."""
    if name not in _flow.looked_at(code) or name in _flow.fills(code):
        return False
    if not name.startswith("."):
        of_module = any(layer.__globals__ is space for layer in layers)
        held = {id(layer.__globals__.get(name)) for layer in layers if name in layer.__globals__}
        return of_module or id(space.get(name, code)) in held
    known = _code.reads_of(code)
    of_itself = known.of_first is not None and name[1:] in known.of_first
    related = owner is None or kind is None or issubclass(kind, owner) or issubclass(owner, kind)
    return related or not of_itself


def shared(cell: Foreign, own: set[CodeType]) -> bool:
    """Whether another function has the same variable in its closure."""
    closures = [t for t in gc.get_referrers(cell) if isinstance(t, tuple)]
    holders = [f for closure in closures for f in gc.get_referrers(closure) if inspect.isfunction(f)]
    return any(f.__code__ not in own for f in holders)
