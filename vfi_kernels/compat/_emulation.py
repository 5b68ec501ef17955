"""A CPU that says it is a GPU: code that wants CUDA, or launches CuPy kernels, runs here to show what it computes."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vfi_kernels._types import Arguments, Foreign, Function, Options
from vfi_kernels.compat._launches import Nothing, launches

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
        if func is Tensor.data_ptr:
            return launches.address_of(args[0])
        if func is torch.autograd.grad:
            return self.gradients(*args, **kwargs or {})
        if func is Tensor.type:
            return self.typed(*args, **kwargs or {})
        args = [on_cpu_by_number(a) if func is Tensor.to and n == 1 else on_cpu(a) for n, a in enumerate(args)]
        kwargs = dict(kwargs or {})
        if "device" in kwargs:
            kwargs["device"] = on_cpu_by_number(kwargs["device"])
        return func(*args, **kwargs)

    def gradients(
        self, outputs: Foreign, inputs: Foreign, grad_outputs: Foreign = None, retain_graph: bool | None = None,
        create_graph: bool = False, **options: object,
    ) -> object:  # fmt: skip
        """torch.autograd.grad of an output with its weights, as trials ask for it: its own code runs outside of a mode,
        and in one would come here again."""
        out, leaves, weights = (v if isinstance(v, (tuple, list)) else (v,) for v in (outputs, inputs, grad_outputs))
        weights = [torch.ones_like(o) if w is None else w for o, w in zip(out, weights)]
        engine, keep = torch.autograd.Variable._execution_engine, bool(retain_graph or create_graph)
        with self:
            return engine.run_backward(tuple(out), tuple(weights), keep, create_graph, tuple(leaves), True, False)

    def typed(self, t: Tensor, kind: str | torch.dtype | None = None, **options: object) -> object:
        """Tensor.type: "torch.cuda.FloatTensor" is what it is called, and what it may be made."""
        if kind is None:
            return t.type().replace("torch.", "torch.cuda.")
        return t.type(kind.replace("torch.cuda.", "torch.") if isinstance(kind, str) else kind)


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
        mock.patch.object(launches, "on_gpu", True),
        mock.patch.multiple(torch.cuda, create=True, **names_of_cuda()),
        mock.patch.object(nn.Module, "cuda", lambda self, *_: self),
        CpuAsCuda(),
    ):
        yield
