"""Kernels of CuPy in a trial: their text is computed on the CPU, on the tensors that they are given."""

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from types import BuiltinFunctionType, FunctionType, ModuleType

import numpy as np
import torch
from torch import Tensor

from vfi_kernels._arguments import dtype_name
from vfi_kernels._types import Arguments, Foreign, Function
from vfi_kernels.compat import _cuda_machine, _cuda_text
from vfi_kernels.compat._cuda_expressions import Type
from vfi_kernels.compat._cuda_numbers import Pointer, cast
from vfi_kernels.compat._cuda_tokens import NotUnderstood


class Nothing:
    """Every object of CuPy and torch.cuda that one waits for, or enters: it does nothing."""

    cuda_stream = 0

    def __init__(self, *_: object, **__: object):
        pass

    def __enter__(self) -> "Nothing":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, *_: object, **__: object) -> "Nothing":
        return self

    def __getattr__(self, name: str) -> "Nothing":
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing()

    def __getitem__(self, _: object) -> "Nothing":
        return self


class Launches:
    """What was launched since `begin`: `unread` says why of those that were launched as nothing."""

    def __init__(self) -> None:
        self.on_gpu = False
        self.begin()

    def begin(self) -> None:
        self.tensors: dict[int, Tensor] = {}  # whose address was asked for, by it
        self.unread: list[str] = []
        self.computed = 0
        self.instead: Callable[[list[Tensor]], None] | None = None  # what one that is not understood does

    @property
    def count(self) -> int:
        return self.computed + len(self.unread)

    def address_of(self, t: Tensor) -> int:
        found = t.data_ptr()
        self.tensors[found] = t
        return found


launches = Launches()


class Kernel:
    """cupy.RawKernel, RawModule, compile_with_cache and what they return."""

    outside = "a kernel of CuPy needs a GPU"

    def __init__(self, code: Foreign = "", name: Foreign = "", *_: object, **__: object):
        self.code, self.name = code, name if isinstance(name, str) else ""

    def get_function(self, name: str) -> "Kernel":
        return type(self)(self.code, name)

    def __call__(
        self, grid: Foreign = (), block: Foreign = (), args: Foreign = (), shared_mem: int = 0, **_: object
    ) -> None:
        if not launches.on_gpu:
            raise RuntimeError(self.outside)
        try:
            compute(str(self.code), self.name, whole(grid), whole(block), list(args), int(shared_mem))
            launches.computed += 1
        except WrongType as error:
            raise RuntimeError(str(error)) from None
        except NotUnderstood as construct:
            launched_as_nothing(str(construct), args)
        except Exception as error:  # whatever the text does to its reader: it is not understood
            launched_as_nothing(f"{type(error).__name__} in it", args)


class OtherKernel(Kernel):
    """cupy.ElementwiseKernel, ReductionKernel: pieces of a text that only CuPy makes whole."""

    def __call__(self, *args: Foreign, **_: Foreign) -> None:
        if not launches.on_gpu:
            raise RuntimeError(self.outside)
        launched_as_nothing("a kernel whose text CuPy completes", args)


class WrongType(Exception):
    """A kernel is given other numbers than it says."""


def launched_as_nothing(why: str, args: Arguments) -> None:
    launches.unread.append(why)
    if launches.instead is not None:
        launches.instead([tensor_of(a) for a in args if isinstance(a, Tensor) or a in launches.tensors])


def whole(size: Foreign) -> tuple[int, int, int]:
    sides = [int(n) for n in (size if isinstance(size, Sequence) else (size,))]
    x, y, z = [*sides, 1, 1, 1][:3]
    return x, y, z


def compute(
    text: str, name: str, grid: tuple[int, int, int], block: tuple[int, int, int], args: Arguments, shared: int
) -> None:
    if "__global__" not in text:
        raise NotUnderstood("")
    program = _cuda_text.program_of(text)
    if not name and len(program.routines) == 1:
        (name,) = program.routines
    if name not in program.routines:
        raise NotUnderstood(f"a text without the kernel {name!r}")
    types = [kind for _, kind in program.routines[name].parameters]
    if len(types) != len(args):
        raise NotUnderstood(f"{len(args)} arguments for {len(types)} parameters")
    given = [argument(value, kind) for value, kind in zip(args, types)]
    with untraced():
        _cuda_machine.launch(program, name, grid, block, given, shared)


@contextlib.contextmanager
def untraced() -> Iterator[None]:
    """Without sys.settrace's function, which is asked at each call otherwise: here thousands of times."""
    before = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(before)


def tensor_of(value: Foreign) -> Tensor:
    return value if isinstance(value, Tensor) else launches.tensors[value]


def argument(value: Foreign, kind: Type) -> Foreign:
    """As a kernel has it: a number, or a pointer into the memory of a tensor."""
    if not kind.stars:
        number = getattr(value, "value", value)  # of ctypes
        if not isinstance(number, (bool, int, float, np.generic)):
            raise NotUnderstood(f"an argument that is {type(value).__name__}")
        return cast(np.asarray(number)[()], kind.number)
    if not isinstance(value, Tensor) and not (isinstance(value, int) and value in launches.tensors):
        raise NotUnderstood("a pointer to what is no tensor")
    found = tensor_of(value).detach()
    number = dtype_name(found.dtype)
    if kind.stars > 1 or number not in np.sctypeDict:
        raise NotUnderstood(f"a pointer to {number}")
    if kind.number not in ("", number):
        raise WrongType(f"its kernel takes {kind.number}, got {number}")
    whole_memory = torch.empty(0, dtype=found.dtype, device="cpu").set_(found.untyped_storage())
    return Pointer(whole_memory.numpy(), np.int64(found.storage_offset()))


def memoize(*_: object, **__: object) -> Function:
    """cupy.memoize: a decorator that does nothing."""
    return lambda function: function


KERNELS = {"RawKernel": Kernel, "RawModule": Kernel, "ElementwiseKernel": OtherKernel, "ReductionKernel": OtherKernel}
NUMBERS: dict[str, type] = {
    "int32": int, "int64": int, "uint32": int, "uint64": int, "float32": float, "float64": float,
}  # fmt: skip


@functools.cache
def stub_of_cupy() -> ModuleType:
    """A module whose kernels are computed on the CPU."""
    stub = ModuleType("cupy")
    util, cuda = Nothing(), Nothing()
    vars(util)["memoize"] = memoize
    vars(cuda).update(compile_with_cache=Kernel, get_cuda_path=lambda: "")
    vars(stub).update(memoize=memoize, util=util, _util=util, cuda=cuda, __version__="13.0.0", **KERNELS, **NUMBERS)
    return stub


NAMED = (type, FunctionType, BuiltinFunctionType)  # what has a module of its own


def in_a_trial(value: Foreign) -> Foreign:
    """What stands for a variable of a module in a trial: of CuPy, its stub, and its kernels."""
    if isinstance(value, ModuleType):
        home = value.__name__
    elif isinstance(value, FunctionType) and makes_kernels(value):
        return value.__wrapped__  # type: ignore[attr-defined]
    else:
        home = (value if isinstance(value, NAMED) else type(value)).__module__
    if type(home) is not str or not f"{home}.".startswith("cupy."):
        return value
    if isinstance(value, ModuleType):
        found: Foreign = stub_of_cupy()
        for part in home.split(".")[1:]:
            found = getattr(found, part)
        return found
    if type(value).__name__ in KERNELS:
        return KERNELS[type(value).__name__](getattr(value, "code", ""), getattr(value, "name", ""))
    name = getattr(value, "__name__", "")
    names = {**KERNELS, **NUMBERS, "memoize": memoize, "compile_with_cache": Kernel}
    return names.get(name, value)


MAKES_KERNELS = ("RawKernel", "RawModule", "compile_with_cache", "ElementwiseKernel", "get_function")


def makes_kernels(value: Foreign) -> bool:
    """Whether it is a function that compiles a kernel of CuPy, and is decorated to do so once."""
    inner: Foreign = getattr(value, "__wrapped__", None)
    return inspect.isfunction(inner) and any(name in MAKES_KERNELS for name in inner.__code__.co_names)
