"""A CPU that says it is a GPU: code that wants CUDA, or launches CuPy kernels, runs here to show what it computes."""

import contextlib
import functools
import inspect
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import ClassVar
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vfi_kernels._types import Arguments, Function, Options

# Of Tensor: what makes a GPU's tensor of one, and takes what `to` takes as a device.
STAYS = (Tensor.cuda, Tensor.pin_memory)
GPU = torch.device("cuda", 0)
SAYS = {Tensor.is_cuda.__get__: True, Tensor.device.__get__: GPU, Tensor.get_device: 0}  # type: ignore[attr-defined]


def on_cpu(value: object) -> object:
    """The CPU for a GPU, whether it is a device or its name."""
    if isinstance(value, torch.device) and value.type == "cuda":
        return torch.device("cpu")
    return "cpu" if isinstance(value, str) and value.partition(":")[0] == "cuda" else value


def on_cpu_by_number(value: object) -> object:
    """As on_cpu, where a number would be a GPU too."""
    return "cpu" if type(value) is int else on_cpu(value)


class CpuAsCuda(TorchFunctionMode):
    """Tensors are on a GPU, as far as they say; what is made or moved there is on the CPU."""

    def __torch_function__(
        self, func: Function, types: Sequence[type], args: Arguments = (), kwargs: Options | None = None
    ) -> object:
        if func in STAYS:
            return args[0]
        if func in SAYS:
            return SAYS[func]
        if func is Tensor.type:
            return self.typed(*args, **kwargs or {})
        args = [on_cpu_by_number(a) if func is Tensor.to and n == 1 else on_cpu(a) for n, a in enumerate(args)]
        kwargs = dict(kwargs or {})
        if "device" in kwargs:
            kwargs["device"] = on_cpu_by_number(kwargs["device"])
        return func(*args, **kwargs)

    def typed(self, t: Tensor, kind: str | torch.dtype | None = None, **options: object) -> object:
        """Tensor.type: "torch.cuda.FloatTensor" is what it is called, and what it may be made."""
        if kind is None:
            return t.type().replace("torch.", "torch.cuda.")
        return t.type(kind.replace("torch.cuda.", "torch.") if isinstance(kind, str) else kind)


class Nothing:
    """Every object of torch.cuda that one waits for, or enters: it does nothing."""

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


def names_of_cuda() -> Options:
    """What stands in torch.cuda during a trial."""
    dtypes = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Byte", "Char", "Bool")
    made = {f"{n}Tensor": getattr(torch, f"{n}Tensor") for n in dtypes}
    silent = (
        "synchronize", "empty_cache", "init", "_lazy_init", "set_device", "manual_seed", "manual_seed_all",
        "set_stream",
    )  # fmt: skip
    objects = ("device", "device_of", "stream", "Stream", "Event", "current_stream", "default_stream")
    told = {
        "is_available": True, "is_initialized": True, "current_device": 0, "device_count": 1,
        "get_device_name": "a CPU", "get_device_capability": (8, 0), "is_bf16_supported": True,
        "memory_allocated": 0, "max_memory_allocated": 0,
    }  # fmt: skip
    return {
        **made,
        **{name: lambda *_, **__: None for name in silent},
        **{name: functools.partial(lambda value, *_, **__: value, value) for name, value in told.items()},
        **{name: Nothing for name in objects},
    }


@contextlib.contextmanager
def cpu_as_cuda() -> Iterator[None]:
    """Inside, whoever asks finds a GPU, which is the CPU."""
    with (
        mock.patch.multiple(torch.cuda, create=True, **names_of_cuda()),
        mock.patch.object(nn.Module, "cuda", lambda self, *_: self),
        CpuAsCuda(),
    ):
        yield


class Launched(Nothing):
    """Kernels of CuPy, which are launched as nothing: how many were, and the texts that kernels were made of."""

    count = 0
    texts: ClassVar[list[str]] = []

    def __init__(self, *arguments: object, **named: object):
        Launched.texts += [v for v in (*arguments, *named.values()) if isinstance(v, str) and "__global__" in v]

    def __call__(self, *_: object, **__: object) -> "Nothing":
        Launched.count += 1
        return Nothing()

    def __getattr__(self, name: str) -> Nothing:
        if name.startswith("__"):
            raise AttributeError(name)
        return self


MAKES_KERNELS = ("RawKernel", "RawModule", "compile_with_cache", "ElementwiseKernel", "get_function")


def makes_kernels(value: object) -> bool:
    """Whether it is a function that compiles a kernel of CuPy, and is decorated to do so once."""
    inner = getattr(value, "__wrapped__", None) if inspect.isfunction(value) else None
    return inspect.isfunction(inner) and any(name in MAKES_KERNELS for name in inner.__code__.co_names)


def memoize(*_: object, **__: object) -> Function:
    """cupy.memoize: a decorator that does nothing."""
    return lambda function: function


def stub_of_cupy() -> ModuleType:
    """A module whose kernels are launched as nothing."""
    stub = ModuleType("cupy")
    util, cuda = Nothing(), Nothing()
    vars(util)["memoize"] = memoize
    vars(cuda).update(compile_with_cache=Launched, get_cuda_path=lambda: "")
    made = {name: Launched for name in ("RawKernel", "RawModule", "ElementwiseKernel", "ReductionKernel")}
    numbers = {"int32": int, "int64": int, "float32": float, "float64": float}
    vars(stub).update(memoize=memoize, util=util, _util=util, cuda=cuda, __version__="13.0.0", **made, **numbers)
    return stub
