"""What a function of someone else's reads that is no argument: variables of modules, attributes of its object and of
others, closures, defaults, and the functions that it calls; as it is now."""

import collections
import contextvars
import enum
import functools
import inspect
import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePath
from types import CodeType, MappingProxyType, ModuleType

import torch
from torch import Tensor, nn

from vfi_kernels._types import Foreign
from vfi_kernels.compat import _code, _state
from vfi_kernels.compat._spaces import (
    MISSING,
    OURS,
    WRAPPERS,
    Slots,
    attribute,
    attributes_of,
    in_library,
    inside,
    methods_of,
    original,
    spaces_of,
)  # fmt: skip

MOST = 400  # things that are looked at again at each call
PLAIN = (
    type(None), type(...), CodeType, bool, int, float, complex, str, bytes, range, enum.Enum, torch.dtype, torch.device,
    torch.layout, torch.memory_format, PurePath,
)  # fmt: skip
ORDERED = (list, tuple, collections.deque)
CONTAINERS = (*ORDERED, set, frozenset, dict, MappingProxyType)
CHANGING = ("ndarray", "array", "bytearray", "memoryview", "mmap", "Array")  # inside, and they do not say so
OPAQUE = ("threading", "_thread")  # whose objects decide nothing
HIDDEN = (  # what these hold cannot be seen, or is another thing for each who asks
    logging.Logger, logging.LoggerAdapter, contextvars.ContextVar, threading.local, weakref.ref,
    weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet, Iterator, torch.Generator,
)  # fmt: skip
ANY = ("__getattr__", "__getattribute__")  # methods that Python calls for every name
OPERATORS = (
    *ANY, "forward", "_forward_hooks", "_forward_pre_hooks", "__call__", "__getitem__", "__len__", "__bool__", "__eq__",
    "__iter__", "__contains__", "__float__", "__int__", "__index__", "__enter__", "__exit__", "__add__", "__radd__",
    "__sub__", "__rsub__", "__mul__", "__rmul__", "__truediv__", "__rtruediv__", "__get__", "__torch_function__",
)  # fmt: skip
WHOLE = (  # of an nn.Module: methods that read all that is in it
    "state_dict", "parameters", "buffers", "modules", "children", "named_parameters", "named_buffers", "named_modules",
    "named_children", "get_parameter", "get_buffer", "get_submodule",
)  # fmt: skip
MAKERS = ("__init__", "__new__", "__post_init__")
# Of torch: what a function may ask for, and what that is during a trial, if it is not as it was before.
SETTINGS: dict[str, tuple[Callable[[], object], object]] = {
    "get_default_dtype": (torch.get_default_dtype, torch.float32),
    "is_inference_mode_enabled": (torch.is_inference_mode_enabled, False),
    "is_inference": (torch.is_inference_mode_enabled, False),
    **{name: (lambda: torch.is_autocast_enabled("cuda") or torch.is_autocast_enabled("cpu"), False)
       for name in ("is_autocast_enabled", "is_autocast_cpu_enabled", "get_autocast_dtype", "get_autocast_gpu_dtype")},
    "are_deterministic_algorithms_enabled": (torch.are_deterministic_algorithms_enabled, MISSING),
    "get_float32_matmul_precision": (torch.get_float32_matmul_precision, MISSING),
    "get_num_threads": (torch.get_num_threads, MISSING),
}  # fmt: skip
Get = Callable[[Foreign], object]


class Untold(Exception):
    """What a function reads cannot be told; the text says why."""


class Survey:
    """What `function` reads, as it is now; `owner`: the object that it is a method of; `without`: names of what is
    looked at elsewhere.

    Attributes:
        leaves: plain values, tensors, and the code and classes that are reached, by where they stand.
        roots: by the same, the variable or attribute ("self.x") through which they are reached.
        probes: what to read again: a function, what it is given, and what it gave.
        lengths: containers, and how much is in them.
        tensors: all of them.
        reads: what the code of each function reads.
    """

    def __init__(self, function: Foreign, owner: object = None, without: Iterable[str] = ()):
        self.leaves: dict[str, object] = {}
        self.roots: dict[str, str] = {}
        self.probes: list[tuple[Get, tuple[object, ...], tuple[object, ...]]] = []
        self.lengths: list[tuple[Foreign, int]] = []
        self.tensors: list[Tensor] = []
        self.reads: list[_code.Reads] = []
        self.owner, self.without = owner, frozenset(without)
        self.top = str(getattr(function, "__module__", "")).partition(".")[0]
        self.root = ""
        self.of_owner: set[str] | None = set()
        self.attributes: set[str] = set()
        self.seen: dict[int, object] = {}
        self.spaces: list[tuple[str, Foreign, set[str]]] = []  # what has attributes, and which of them were read
        self.methods = {id(layer) for value in methods_of(type(owner)) for layer in _state.layers(value)}
        if owner is not None:
            self.visit("self", owner)
        if isinstance(function, type):
            self.visit(function.__qualname__, function)
        else:
            self.function(getattr(function, "__qualname__", ""), function)
        self.settle()
        asked = self.attributes.union(*({name for chain in reads.chains for name in chain} for reads in self.reads))
        self.read("torch.", setting, sorted(asked & SETTINGS.keys()), root="torch")

    def settle(self) -> None:
        """Reads attributes until no function that is found names another one."""
        again = True
        while again:
            again = False
            for path, value, done in list(self.spaces):
                wanted = self.wanted(value) - done
                done |= wanted
                again = again or bool(wanted)
                if isinstance(value, nn.Module) and not wanted.isdisjoint(WHOLE):
                    self.contents(f"{path}:", vars(value))
                for name, number, space in attributes_of(value, wanted, self.is_library):
                    self.read(f"{path}{'.' * number}", space.get, [name], f"{path}.{name}" if path == "self" else name)

    def wanted(self, value: Foreign) -> set[str]:
        """The names that may be read of an object, a class or a module."""
        if value is self.owner:
            found = self.attributes.union(OPERATORS) if self.of_owner is None else self.of_owner.union(ANY)
            return found - self.without
        if isinstance(value, type):
            return self.attributes.union(ANY if isinstance(self.owner, value) else (*OPERATORS, *MAKERS))
        plain = inspect.isfunction(value) or isinstance(value, ModuleType)
        return self.attributes if plain else self.attributes.union(OPERATORS)

    def is_library(self, name: object) -> bool:
        """Whether a module is a library's, and not of the function's own package."""
        return isinstance(name, str) and name.partition(".")[0] != self.top and in_library(name)

    def add(self, path: str, leaf: object) -> None:
        if len(self.leaves) >= MOST:
            raise Untold(f"it reads more than can be watched, as {path}")
        self.leaves[path], self.roots[path] = leaf, self.root

    def read(self, path: str, get: Get, keys: Sequence[object], root: str | None = None) -> None:
        """What `get` gives for these, now and when it is read again."""
        values = [get(key) for key in keys]
        if type(getattr(get, "__self__", None)) is not tuple:  # which stays what it is
            self.probes.append((get, tuple(keys), tuple(values)))
        before = self.root
        for key, value in zip(keys, values):
            self.root = before if root is None else root
            self.visit(f"{path}{key}", value)
        self.root = before

    def space(self, path: str, value: Foreign) -> None:
        """What has attributes, of which those are read that some function names."""
        if not any(value is known for _, known, _ in self.spaces):
            self.spaces.append((path, value, set()))
            spaces = spaces_of(value, self.is_library)
            self.lengths += [(space, len(space)) for space in spaces if not isinstance(space, Slots)]

    def function(self, path: str, function: Foreign) -> None:
        """What a function reads, and those that its decorators wrap."""
        for layer in _state.layers(function):
            code = getattr(layer, "__code__", None)
            if code is None or id(layer) in self.seen or code.co_filename.startswith(OURS):
                continue
            self.seen[id(layer)] = layer
            reads = _code.reads_of(code)
            if reads.untold:
                raise Untold(f"what it reads is not known, as it uses {reads.untold}")
            self.reads.append(reads)
            self.attributes |= reads.attributes
            if id(layer) in self.methods or (self.owner is not None and len(self.reads) == 1):
                alone = self.of_owner is not None and reads.of_first is not None
                self.of_owner = self.of_owner | reads.of_first if alone else None  # type: ignore[operator]
            self.add(f"{path}()", code)
            self.read(f"{path}.", functools.partial(getattr, layer), ["__code__", "__defaults__", "__kwdefaults__"])
            self.variables(layer, reads)
            for name, cell in zip(code.co_freevars, layer.__closure__ or ()):
                if name not in self.without and name != "__class__":
                    self.read(f"{path}<{name}>.", functools.partial(attribute, cell), ["cell_contents"], root=name)

    def variables(self, layer: Foreign, reads: _code.Reads) -> None:
        """Of a function's module; of libraries the names behind dots as well."""
        space, module = layer.__globals__, layer.__globals__.get("__name__")
        for name in sorted({chain[0] for chain in reads.chains} - self.without):
            self.read(f"{module}.", space.get, [name], root=name)
        self.lengths.append((space, len(space)))
        for chain in sorted(reads.chains):
            value, path = space.get(chain[0]), chain[0]
            if chain[1:] and inspect.isfunction(value):  # has attributes; ours has its own
                self.space(f"{module}.{path}", value)
            for name in chain[1:]:
                # What torch.cuda says was tried both ways.
                if not isinstance(value, ModuleType) or not self.is_library(value.__name__) or value is torch.cuda:
                    break
                got, path = attribute(value, name), f"{path}.{name}"
                if path not in self.leaves:
                    in_it = vars(value).get if name in vars(value) else functools.partial(attribute, value)
                    self.probes.append((in_it, (name,), (got,)))
                    self.root = path
                    self.visit(path, got)
                value = got
        for name in sorted(reads.modules):
            for full in (name, f"{space.get('__package__')}.{name}"):
                if full in sys.modules:
                    self.visit(full, sys.modules[full])
        if "environ" in reads.attributes or "getenv" in reads.attributes:
            self.visit("os.environ", os.environ)

    def visit(self, path: str, value: Foreign) -> None:
        """One value, and what is inside it."""
        value = original(value)
        if isinstance(value, PLAIN) or value is MISSING:
            self.add(path, value)
        elif isinstance(value, Tensor):
            self.tensors.append(value)
            self.add(path, value)
        elif isinstance(value, CONTAINERS):
            self.contents(path, value)
        elif isinstance(value, WRAPPERS):
            self.add(path, type(value))
            for inner in inside(value):
                self.visit(f"{path}'", inner)
        elif inspect.isfunction(value) and not self.is_library(value.__module__):
            self.add(path, value.__code__)
            self.function(path, value)
        elif isinstance(value, (type, ModuleType)):
            self.add(path, value)
            if not self.is_library(value.__module__ if isinstance(value, type) else value.__name__):
                self.space(path, value)
        elif inspect.isroutine(value):
            self.add(path, value)
        else:
            self.object(path, value)

    def contents(self, path: str, value: Foreign) -> None:
        self.add(path, (type(value), len(value)))
        self.lengths.append((value, len(value)))
        if id(value) in self.seen:
            return
        self.seen[id(value)] = value
        if isinstance(value, (dict, MappingProxyType)):
            for number, key in enumerate(value):
                self.add(f"{path}[{number}]", key if isinstance(key, (*PLAIN, tuple)) else id(key))
            self.read(f"{path}:", value.get, list(value))
            if type(value).__module__ != "builtins" and hasattr(value, "__dict__"):
                self.space(path, value)
        elif isinstance(value, ORDERED):
            self.read(f"{path}:", value.__getitem__, range(len(value)))
        else:
            found = sorted(value, key=repr)
            self.probes.append((value.__contains__, tuple(found), (True,) * len(found)))
            for number, item in enumerate(found):
                self.visit(f"{path}:{number}", item)
        del self.seen[id(value)]

    def object(self, path: str, value: Foreign) -> None:
        kind = type(value)
        if issubclass(kind, HIDDEN) or kind in weakref.ProxyTypes:
            raise Untold(f"it reads {path}, which is a {kind.__name__}, whose state cannot be seen")
        if value is self.owner and path != "self":  # which someone else has as well
            self.of_owner = None
        if value is not self.owner:  # which is not kept
            self.probes.append((type, (value,), (kind,)))
        if not self.is_library(kind.__module__):
            self.add(path, "an object")
            self.space(path, value)
        elif hasattr(value, "__dict__") and kind.__module__ not in OPAQUE:
            self.add(path, kind)
            if id(value) not in self.seen:
                self.seen[id(value)] = value
                self.contents(f"{path}.", vars(value))
        elif kind.__name__ in CHANGING:
            raise Untold(f"it reads {path}, which is a {kind.__name__}, whose changes cannot be seen")
        else:
            self.add(path, value)


def setting(name: Foreign) -> object:
    return SETTINGS[name][0]()
