"""Calling a function of someone else's to see what it computes, and leaving everything else as it was."""

import collections
import contextlib
import copy
import inspect
import io
import random
import sys
import warnings
from collections.abc import Iterator, Sequence
from types import CellType
from typing import Any

import torch
from torch import Tensor

from vfi_kernels._types import Function

CONTAINERS = (dict, list, set, collections.OrderedDict, collections.defaultdict, collections.deque)
TOLERANCE = 1e-4  # of the largest value: far above rounding, far below another convention


class CannotRun(Exception):
    """What a trial call raised, in one line; `no_gpu`: because it wants a GPU and there is none."""

    def __init__(self, error: BaseException):
        text = str(error).strip().splitlines()
        super().__init__(f"{type(error).__name__}: {text[0]}" if text else type(error).__name__)
        missing = "CUDA" in str(error) or "NVIDIA" in str(error)
        self.no_gpu = missing and not torch.cuda.is_available()
        self.wants_gpu = "cuda" in str(error).lower() and torch.cuda.is_available()


def outcome(
    function: Function, arguments: Sequence[object], leaves: tuple[Tensor, ...] = (), source: Function | None = None
) -> tuple[object, list[Tensor | None]]:
    """What `function` returns, and its gradients for `leaves`; CannotRun if it raises anything but KeyboardInterrupt.

    It runs with plain defaults of torch, nothing it prints is seen, and what it changed is put back: random numbers,
    variables of its module and of the classes there, its closure and attributes, and the containers that these hold.
    `source`: whose module and closure these are, if `function` is a bound form of it.
    """
    try:
        with undisturbed(source or function):
            out = function(*arguments)
            gradients: list[Tensor | None] = [None for _ in leaves]
            if leaves and isinstance(out, Tensor) and out.requires_grad:
                weights = torch.linspace(-1, 1, out.numel(), device=out.device, dtype=out.dtype).view(out.shape)
                gradients = list(torch.autograd.grad(out, leaves, weights, allow_unused=True))
            return out, gradients
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise CannotRun(error) from None


@contextlib.contextmanager
def undisturbed(function: Function) -> Iterator[None]:
    """Inside, `function` can be called without a trace."""
    numpy = sys.modules.get("numpy")
    python_state, numpy_state = random.getstate(), numpy.random.get_state() if numpy else None
    dtype = torch.get_default_dtype()
    silent = io.StringIO()
    with (
        restored(function),
        torch.random.fork_rng(devices=[]),
        contextlib.redirect_stdout(silent),
        contextlib.redirect_stderr(silent),
        warnings.catch_warnings(),
        torch.device("cpu"),
        torch.enable_grad(),
        torch.autocast("cpu", enabled=False),
    ):
        warnings.simplefilter("ignore")
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            random.setstate(python_state)
            if numpy:
                numpy.random.set_state(numpy_state)


@contextlib.contextmanager
def restored(function: Function) -> Iterator[None]:
    """Puts back, after a call, the variables that a function can see, and what is in their containers."""
    spaces = [Namespace(space) for space in seen_by(function)]
    cells = [(cell, cell.cell_contents, held_in(cell.cell_contents)) for cell in closure_of(function)]
    try:
        yield
    finally:
        for space in spaces:
            space.put_back()
        for cell, value, held in cells:
            cell.cell_contents = value
            refill(value, held)


def layers(function: Function) -> Iterator[object]:
    """The function and those that its decorators wrap."""
    layer: object = function
    while layer is not None:
        yield layer
        layer = getattr(layer, "__wrapped__", None)


def seen_by(function: Function) -> list[object]:
    """The modules (their dictionaries), classes and functions whose variables a call can change."""
    found: dict[int, object] = {}
    for layer in layers(function):
        names = getattr(layer, "__globals__", {})
        module = getattr(layer, "__module__", None)
        own = [v for v in names.values() if isinstance(v, type) or inspect.isfunction(v)]
        for space in (layer, names, *(v for v in own if v.__module__ == module)):
            if isinstance(space, dict) or hasattr(space, "__dict__"):
                found[id(space)] = space
    return list(found.values())


def closure_of(function: Function) -> list[CellType]:
    """The filled cells of the function and of what it wraps."""
    found = []
    for layer in layers(function):
        for cell in getattr(layer, "__closure__", None) or ():
            with contextlib.suppress(ValueError):  # an empty one
                found.append((cell, cell.cell_contents)[0])
    return found


def held_in(value: object) -> object:
    """A copy of a container; None for anything else."""
    return copy.copy(value) if type(value) in CONTAINERS else None


def refill(container: Any, held: object) -> None:
    if held is not None:
        container.clear()
        (container.update if hasattr(container, "update") else container.extend)(held)


class Namespace:
    """The variables of a module (its dictionary), a class or a function, as they are now."""

    def __init__(self, owner: object):
        self.owner = owner
        self.before = {name: (value, held_in(value)) for name, value in self.variables().items()}

    def variables(self) -> dict[str, object]:
        space = self.owner if isinstance(self.owner, dict) else vars(self.owner)
        return {name: value for name, value in space.items() if not name.startswith("__")}

    def put_back(self) -> None:
        now = self.variables()
        for name in now.keys() - self.before.keys():
            if isinstance(self.owner, dict):
                del self.owner[name]
            else:
                delattr(self.owner, name)
        for name, (value, held) in self.before.items():
            refill(value, held)
            if now.get(name) is value and name in now:
                continue
            if isinstance(self.owner, dict):
                self.owner[name] = value
            else:
                setattr(self.owner, name, value)
