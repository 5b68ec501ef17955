"""What a function of someone else's can see and change, as it was before a call."""

import collections
import contextlib
import copy
import functools
import inspect
import sys
from collections.abc import Iterator
from types import CellType, FunctionType, ModuleType

from vfi_kernels._types import Foreign, Function
from vfi_kernels.compat import _launches
from vfi_kernels.compat._folders import library_folders

CONTAINERS = (dict, list, set, collections.OrderedDict, collections.defaultdict, collections.deque)
PARTS = ("_parameters", "_buffers", "_modules")  # of an nn.Module
Cached = functools._lru_cache_wrapper
as_they_are: dict[int, FunctionType] = {}  # functions in whose place nothing stands in a trial, by their numbers
written = set[str]()  # the variables that functions changed while they were tried; of their objects "self.name"


@contextlib.contextmanager
def restored(function: Function) -> Iterator[None]:
    """Puts back, after a call, the variables that a function can see, and what is in their containers. Inside, what
    functools.lru_cache wraps is called without its cache, and CuPy has kernels that are computed on the CPU."""
    seen = seen_by(function)
    bare = [space for space in seen if type(space) is FunctionType and not space.__dict__]  # nearly all functions
    spaces = [Namespace(space) for space in seen if type(space) is not FunctionType or space.__dict__]
    cells = [(name, cell, cell.cell_contents, held_in(cell.cell_contents)) for name, cell in cells_of(function)]
    try:
        for space in spaces:
            space.let_run()
        yield
    finally:
        for space in spaces:
            written.update(space.put_back())
        for plain in bare:
            written.update(plain.__dict__)
            plain.__dict__.clear()
        for name, cell, value, held in cells:
            if cell.cell_contents is not value or differs(value, held):
                written.add(name)
            cell.cell_contents = value
            refill(value, held)


def layers(function: Function) -> Iterator[Foreign]:
    """The function, those that its decorators wrap, and what it binds."""
    layer: Foreign = function
    while layer is not None:
        yield layer
        layer = getattr(layer, "__wrapped__", None) or getattr(layer, "__func__", None) or getattr(layer, "func", None)


def called_by(function: Function) -> list[Function]:
    """The function, and the functions and methods of its repository that it reaches by the names in its code."""
    top = str(getattr(function, "__module__", "")).partition(".")[0]
    found: dict[int, Function] = {}
    left: list[Foreign] = [function]
    while left:
        value = left.pop()
        for layer in layers(value):
            code = getattr(layer, "__code__", None)
            if code is None or id(layer) in found:
                continue
            found[id(layer)] = layer
            names = getattr(layer, "__globals__", {})
            cells = [cell.cell_contents for cell in filled(layer)]
            left += [v for v in [*(names.get(name) for name in names_in(code)), *cells] if is_own(v, top)]
        if isinstance(value, type):
            left += [v for v in map(unbound, vars(value).values()) if inspect.isfunction(v) and id(v) not in found]
    return list(found.values())


@functools.lru_cache(maxsize=4096)
def names_in(code: Foreign) -> set[str]:
    """The names in a function's code, and in the functions inside it."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if hasattr(constant, "co_names"):
            found |= names_in(constant)
    return found


def unbound(value: Foreign) -> Foreign:
    return getattr(value, "__func__", value)


def is_own(value: object, top: str) -> bool:
    """A function, class or cached function of the package `top`, or that no installed library defines."""
    if not (inspect.isfunction(value) or isinstance(value, (type, Cached))):
        return False
    module = sys.modules.get(str(getattr(value, "__module__", "")))
    inside = (getattr(module, "__file__", None) or "").startswith(library_folders())
    return str(getattr(value, "__module__", "")).partition(".")[0] == top or not (inside or is_builtin(module))


def is_builtin(module: ModuleType | None) -> bool:
    return module is not None and module.__name__ in sys.builtin_module_names


def seen_by(function: Function) -> list[Foreign]:
    """The modules (their dictionaries), classes and functions whose variables a call can change."""
    found: dict[int, object] = {}
    for layer in called_by(function):
        names = layer.__globals__
        if id(names) not in found:
            module = names.get("__name__")
            own = [v for v in names.values() if isinstance(v, (type, FunctionType))]
            for space in (names, *(v for v in own if v.__module__ == module)):
                found[id(space)] = space
        found[id(layer)] = layer
    return list(found.values())


def filled(layer: object) -> Iterator[CellType]:
    """The cells of a closure that have a value."""
    for cell in getattr(layer, "__closure__", None) or ():
        with contextlib.suppress(ValueError):
            yield (cell, cell.cell_contents)[0]


def cells_of(function: Function) -> list[tuple[str, CellType]]:
    """Those that have a value, and their names."""
    closures = [(layer.__code__.co_freevars, layer.__closure__ or ()) for layer in called_by(function)]
    full = [(name, cell) for names, cells in closures for name, cell in zip(names, cells)]
    return [(name, cell) for name, cell in full if not is_empty(cell)]


def is_empty(cell: CellType) -> bool:
    try:
        return (cell.cell_contents, False)[1]
    except ValueError:
        return True


def held_in(value: object) -> object:
    """A copy of a container; None for anything else."""
    return copy.copy(value) if type(value) in CONTAINERS else None


def differs(container: Foreign, held: Foreign) -> bool:
    """Whether a container has other things in it than its copy."""
    if held is None:
        return False
    if isinstance(held, set):
        return bool(container != held)
    if isinstance(held, dict):
        return container.keys() != held.keys() or any(container[key] is not value for key, value in held.items())
    return len(container) != len(held) or any(a is not b for a, b in zip(container, held))


def refill(container: Foreign, held: object) -> None:
    if held is not None:
        container.clear()
        (container.update if hasattr(container, "update") else container.extend)(held)


class Namespace:
    """The variables of a module (its dictionary), a class or a function, as they are now."""

    def __init__(self, owner: Foreign):
        self.owner = owner
        self.before = {name: (value, held_in(value)) for name, value in self.variables().items()}
        self.instead: dict[str, object] = {}

    def variables(self) -> dict[str, Foreign]:
        space = self.owner if isinstance(self.owner, dict) else getattr(self.owner, "__dict__", {})
        return {name: value for name, value in space.items() if not name.startswith("__")}

    def assign(self, name: str, value: object) -> None:
        if isinstance(self.owner, dict):
            self.owner[name] = value
        else:
            setattr(self.owner, name, value)

    def let_run(self) -> None:
        """Without caches, and with a CuPy that needs no GPU."""
        for name, (value, _) in self.before.items():
            if id(value) in as_they_are:
                continue
            instead = value.__wrapped__ if isinstance(value, Cached) else _launches.in_a_trial(value)
            if instead is not value:
                self.instead[name] = instead
            elif type(value) is FunctionType:
                as_they_are[id(value)] = value
        for name, stub in self.instead.items():
            self.assign(name, stub)

    def changed(self) -> set[str]:
        """The variables that are not as they were."""
        now = self.variables()
        if not now and not self.before:
            return set()
        found, missing = set(now) - set(self.before), object()
        for name, (value, held) in self.before.items():
            if name in PARTS and held is not None:
                both: list[Foreign] = [value, held]
                found |= {n for n in {*value, *both[1]} if value.get(n, missing) is not both[1].get(n, missing)}
            elif now.get(name, missing) is not self.instead.get(name, value) or differs(value, held):
                found.add(name)
        return found

    def put_back(self) -> set[str]:
        """The variables that were not as before."""
        found = self.changed()
        if not found and not self.instead:
            return found
        now = self.variables()
        for name in now.keys() - self.before.keys():
            if isinstance(self.owner, dict):
                del self.owner[name]
            else:
                delattr(self.owner, name)
        for name, (value, held) in self.before.items():
            refill(value, held)
            if name not in now or now[name] is not value:
                self.assign(name, value)
        return found


def constant_in_graphs(function: Function) -> Function:
    """As torch.compiler.assume_constant_result does, which imports all of the compiler for it: seconds."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def is_readable(value: Foreign) -> bool:
    """Whether it has attributes, or has none, without an error: dictionaries with attributes may have neither."""
    try:
        isinstance(value, type)
        return [getattr(value, name, None) for name in ("__module__", "__wrapped__", "__self__", "__func__")] != []
    except Exception:
        return False
