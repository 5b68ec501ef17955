"""Where the functions are that a module, a package, a network or an object that holds networks uses."""

import inspect
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from torch import nn
from torch.autograd import Function

from vfi_kernels._types import Foreign
from vfi_kernels.compat import _state
from vfi_kernels.compat._folders import library_folders

LIBRARIES = ("torch", "torchvision", "mmcv", "vfi_kernels", "builtins", "numpy")
BUILTIN = (str, bytes, int, float, complex, bool, list, tuple, dict, set, frozenset, type(None))
MOST_FILES = 2000  # of a package, in which modules that are not imported are looked for


@dataclass(frozen=True)
class Place:
    """`owner`.`name` is `value`. `takes_self`: it is in a class; `instance`: an object of it."""

    owner: Foreign
    name: str
    value: Foreign
    path: str
    in_class: bool = False
    instance: object = None


def expect_target(target: object) -> None:
    if isinstance(target, (*BUILTIN, type)) or inspect.isroutine(target):
        name = type(target).__name__
        raise TypeError(f"patch: expected a module, a package or an nn.Module, got {name}")


def objects_in(target: object, depth: int = 3) -> list[Foreign]:
    """The networks and other objects that an object holds in its attributes, and in lists and dictionaries there."""
    found: dict[int, Foreign] = {}
    left = [(target, depth)]
    while left:
        value, more = left.pop(0)
        if isinstance(value, (list, tuple, dict)):
            inside: Iterable[Foreign] = value.values() if isinstance(value, dict) else value
            left += [(v, more - 1) for v in list(inside)[:100] if more]
        elif isinstance(value, nn.Module):
            found |= {id(part): part for part in value.modules()}
        elif id(value) not in found and hasattr(value, "__dict__") and not is_of_library(value):
            found[id(value)] = value
            left += [(v, more - 1) for v in vars(value).values() if more]
    return list(found.values())


def is_of_library(value: object) -> bool:
    """A class, a function, a module, or an object of a library's class."""
    return isinstance(value, (type, ModuleType)) or inspect.isroutine(value) or installed(type(value).__module__)


def installed(name: str) -> bool:
    """Whether a module is a library's: its functions are not those of a repository."""
    top = name.partition(".")[0]
    return top in LIBRARIES or (top in sys.stdlib_module_names and top != "__main__")


def package_modules(target: ModuleType) -> tuple[list[ModuleType], list[str]]:
    """The module and those below it that are imported; the names of those in its folders that are not."""
    missing: list[str] = []
    for folder in list(getattr(target, "__path__", [])):
        for file in files_in(Path(folder)):
            parts = file.relative_to(folder).with_suffix("").parts
            name = ".".join((target.__name__, *(parts[:-1] if parts[-1] == "__init__" else parts)))
            if name not in sys.modules and name not in missing:
                missing.append(name)
    return [target, *(m for m in below(target.__name__) if m is not target)], missing


def files_in(folder: Path) -> Iterator[Path]:
    """Python files of modules, those in folders that cannot be imported excepted."""
    count = 0
    for top, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if f.isidentifier() and f != "__pycache__")
        for file in sorted(files):
            if file.endswith(".py") and file[:-3].isidentifier() and count < MOST_FILES:
                count += 1
                yield Path(top, file)


def modules_of(objects: Iterable[Foreign]) -> list[ModuleType]:
    """The modules that define the classes of these objects, those of the same packages, and those of the same folders
    that these refer to."""
    defining = {kind.__module__ for value in objects for kind in type(value).__mro__}
    found = [sys.modules[name] for name in sorted(defining) if name in sys.modules and not installed(name)]
    roots = {root for module in found for root in roots_of(module)}
    for name in sorted({m.__name__.partition(".")[0] for m in found if "." in m.__name__}):
        found += [m for m in below(name) if m not in found]
    for module in found:  # grows
        for value in list(vars(module).values()):
            named = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
            others = [sys.modules.get(named)] if isinstance(named, str) else []
            others += below(value.__name__) if isinstance(value, ModuleType) and hasattr(value, "__path__") else []
            for other in others:
                is_new = isinstance(other, ModuleType) and other not in found and not installed(other.__name__)
                if other is not None and is_new and roots & set(roots_of(other)):
                    found.append(other)
    return found


def below(name: str) -> list[ModuleType]:
    """The imported modules of a package."""
    return [m for n, m in list(sys.modules.items()) if isinstance(m, ModuleType) and f"{n}.".startswith(f"{name}.")]


def roots_of(module: ModuleType) -> list[str]:
    """The folders from which a module's package is imported; of an installed one, the package itself."""
    file = getattr(module, "__file__", None)
    if not file:
        return []
    parts = module.__name__.count(".") + (os.path.basename(file) == "__init__.py")
    top = Path(file).resolve().parent
    for _ in range(parts):
        top = top.parent
    inside = f"{top}{os.sep}".startswith(library_folders())
    return [str(top / module.__name__.partition(".")[0]) if inside else str(top)]


def places(modules: Iterable[ModuleType], objects: Iterable[Foreign]) -> Iterator[Place]:
    """Every name in these modules, in the classes and closures there, in the objects' classes, and in the objects."""
    seen: set[int] = set()
    objects = list(objects)
    for module in modules:
        for name, value in list(vars(module).items()):
            if not _state.is_readable(value):
                continue
            yield Place(module, name, value, f"{module.__name__}.{name}")
            if isinstance(value, type) and value.__module__ == module.__name__ and id(value) not in seen:
                seen.add(id(value))
                yield from in_class(value, objects, seen)
            yield from in_closure(value, f"{module.__name__}.{name}", seen)
    for value in objects:
        for kind in type(value).__mro__:
            if id(kind) not in seen and not installed(kind.__module__):
                seen.add(id(kind))
                yield from in_class(kind, objects, seen)
        for name, held in list(getattr(value, "__dict__", {}).items()):
            if inspect.isfunction(held):
                yield Place(value, name, held, f"{type(value).__name__}.{name}")


def in_class(kind: type, objects: Iterable[Foreign], seen: set[int]) -> Iterator[Place]:
    """The methods of a class; those of autograd functions stand behind their `apply`."""
    if issubclass(kind, Function):
        return
    prefix = f"{kind.__module__}.{kind.__qualname__}"
    instance = next((value for value in objects if isinstance(value, kind)), None)
    for name, value in list(vars(kind).items()):
        # A function of the module under a name of a class has no dot of a class in its name.
        qualified = getattr(_state.unbound(value), "__qualname__", "").rpartition("<locals>.")[2]
        if isinstance(value, staticmethod) or "." in qualified:
            yield Place(kind, name, value, f"{prefix}.{name}", True, instance)
        yield from in_closure(_state.unbound(value), f"{prefix}.{name}", seen)


def in_closure(value: Foreign, prefix: str, seen: set[int]) -> Iterator[Place]:
    """The functions and classes in the closure of a function."""
    known = inspect.isfunction(value) and not hasattr(value, "__vfi_kernels__")
    for layer in _state.layers(value) if known else ():
        for name, cell in zip(getattr(getattr(layer, "__code__", None), "co_freevars", ()), _state.filled(layer)):
            held = cell.cell_contents
            if id(cell) in seen or name == "__class__":
                continue
            seen.add(id(cell))
            if inspect.isfunction(held):
                yield Place(cell, "cell_contents", held, f"{prefix}.{name}")
                yield from in_closure(held, f"{prefix}.{name}", seen)
            elif isinstance(held, type) and not installed(held.__module__) and id(held) not in seen:
                seen.add(id(held))
                yield from in_class(held, (), seen)
