"""Where the attributes of objects, classes, modules and functions of someone else's stand."""

import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import MemberDescriptorType, MethodType, ModuleType

from torch import nn

from vfi_kernels._types import Foreign
from vfi_kernels.compat import _state
from vfi_kernels.compat._folders import library_folders

MISSING = object()
WRAPPERS = (
    functools.partial, functools.cached_property, MethodType, property, staticmethod, classmethod, _state.Cached,
)  # fmt: skip
LIBRARIES = ("torch", "torchvision", "mmcv", "vfi_kernels", "numpy")
OURS = str(Path(__file__).parents[1]) + os.sep


class StandIn(staticmethod):  # type: ignore[type-arg]
    """What `patch` put into a class of someone else's that had nothing there."""


def spaces_of(value: Foreign, is_library: Callable[[object], bool]) -> list[Foreign]:
    """Where the attributes of an object, a class, a module or a function stand: in itself, in its class, and in those
    above that are not a library's."""
    spaces: list[Foreign] = [] if isinstance(value, type) or not hasattr(value, "__dict__") else [vars(value)]
    if isinstance(value, nn.Module):
        spaces += [vars(value).get(name, {}) for name in _state.PARTS]
    if inspect.isfunction(value) or isinstance(value, ModuleType):
        return spaces
    kinds = value.__mro__ if isinstance(value, type) else type(value).__mro__
    slots = any("__slots__" in vars(kind) for kind in kinds) and not isinstance(value, type)
    return [*spaces, *(vars(kind) for kind in kinds if not is_library(kind.__module__)), *[Slots(value)] * slots]


def attributes_of(
    value: Foreign, names: Iterable[str], is_library: Callable[[object], bool]
) -> Iterator[tuple[str, int, Foreign]]:
    """Which of these attributes there are, and where. The first place is numbered 1."""
    spaces = spaces_of(value, is_library)
    for name in sorted(names):
        there = [space for space in spaces if name in space and not isinstance(space.get(name), StandIn)]
        for number, space in enumerate(there, 1):
            yield name, number, space


class Slots:
    """The attributes of an object without a dictionary, as one."""

    def __init__(self, owner: object):
        self.owner = owner

    def __contains__(self, name: str) -> bool:
        return isinstance(vars(type(self.owner)).get(name), MemberDescriptorType) and hasattr(self.owner, name)

    def get(self, name: str) -> object:
        return getattr(self.owner, name, MISSING)


def methods_of(kind: type) -> list[Foreign]:
    """The functions of a class and those above it whose first argument is the object."""
    found = [value for k in kind.__mro__ for value in vars(k).values() if not isinstance(value, staticmethod)]
    return [f for value in found for f in (inside(value) if isinstance(value, WRAPPERS) else [value])]


def attribute(value: Foreign, name: str) -> object:
    """MISSING where there is none, also of a cell that is empty."""
    try:
        return getattr(value, name, MISSING)
    except ValueError:
        return MISSING


def inside(value: Foreign) -> list[Foreign]:
    """What a wrapper of functions holds."""
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, property):
        return [value.fget]
    return [getattr(value, "__wrapped__", None) or getattr(value, "__func__", None) or getattr(value, "func", None)]


def original(value: Foreign) -> Foreign:
    """The function in whose place one of ours stands."""
    while inspect.isfunction(value) and value.__code__.co_filename.startswith(OURS) and hasattr(value, "__wrapped__"):
        value = value.__wrapped__
    return value


@functools.lru_cache(maxsize=4096)
def in_library(name: str) -> bool:
    """Whether a module belongs to Python or to an installed package."""
    top = name.partition(".")[0]
    if top in LIBRARIES or (top in sys.stdlib_module_names and top != "__main__"):
        return True
    file = getattr(sys.modules.get(name), "__file__", None) or ""
    return file.startswith(library_folders())
