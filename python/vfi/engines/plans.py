"""Ways to run a model, and a model that runs so."""

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from types import ModuleType
from typing import Protocol, TypeVar, cast, runtime_checkable

import torch
from torch import Tensor, nn

from vfi.engines import cache, onnx_engine, openvino_engine, parts, programs
from vfi.engines.machine import Machine
from vfi.engines.names import ENGINES, PRECISIONS, Engine, Precision
from vfi.engines.stop import EngineFailed
from vfi.errors import ArgumentError, UserError

__all__ = ["EngineFailed", "Plan", "built", "check_names", "plans"]
PROBE_SIDE = 128  # of the frames by which a model's parts are found
AUTO: tuple[Engine, ...] = ("torch", "openvino", "tensorrt", "onnxruntime")  # those that take time to build last


@dataclass(frozen=True)
class Plan:
    """An engine, its precision, and what it runs on where there are several: OpenVINO's device, onnxruntime's
    provider."""

    engine: Engine
    precision: Precision
    target: str = ""

    def __str__(self) -> str:
        where = self.target.removesuffix("ExecutionProvider")
        return f"{self.engine}{where and f' ({where})'} in {self.precision}"


class Network(Protocol):
    """A model as engines see it: a module, in float32."""

    programs: tuple[str, ...]

    def interpolate(self, frame0: Tensor, frame1: Tensor, t: float) -> Tensor: ...


@runtime_checkable
class Foldable(Protocol):
    """A module that can be made quicker for inference, once and for good."""

    def fold(self, dtype: torch.dtype) -> None: ...


Model = TypeVar("Model", bound=Network)
USUAL = Plan("torch", "float32")


def check_names(engine: object, precision: object) -> None:
    for name, value, allowed in (("engine", engine, ENGINES), ("precision", precision, PRECISIONS)):
        if value not in allowed:
            raise ArgumentError(f"expected `{name}` {', '.join(allowed)}, got {value!r}")


def plans(engine: Engine, precision: Precision, device: str, machine: Machine) -> list[Plan]:
    """What can run a model on torch's `device`; of an engine its likely fastest first, of "auto" whatever is installed,
    in the fast precision and in float32. Inductor is not among those: to compile takes a minute.

    Raises:
        UserError: if an engine that is asked for by name is not installed, or has no such precision here.
    """
    check_names(engine, precision)
    if engine != "auto":
        offered = of_engine(engine, device, machine)
        wanted = [plan for plan in offered if precision in ("auto", plan.precision)]
        if not wanted:
            able = ", ".join(dict.fromkeys(plan.precision for plan in offered))
            raise ArgumentError(f"{engine} has no `precision` {precision} here: it has {able}")
        return wanted
    result = []
    for each in AUTO:
        try:
            offered = plans(each, precision, device, machine)
            fast = (machine.fast, "float32") if precision == "auto" and each == "torch" else PRECISIONS
            result += [plan for plan in offered if plan.precision in fast]
        except UserError:
            continue
    return sorted(result, key=lambda plan: plan.precision == "float32")


def of_engine(engine: Engine, device: str, machine: Machine) -> list[Plan]:
    """All that an engine can do here, the likely fastest first."""
    if engine in ("torch", "compile"):
        every: tuple[Precision, ...] = ("float32", "bfloat16", "float16")
        return [Plan(engine, each) for each in sorted(every, key=lambda name: name != machine.fast)]
    pairs: list[tuple[str, list[str]]]
    if engine == "openvino":
        if not device.startswith("cpu"):
            raise ArgumentError(f"openvino runs models whose `device` is cpu, there or on a GPU of Intel, got {device}")
        names = sorted(openvino_engine.devices(), key=lambda name: name == "CPU")
        pairs = [(name, openvino_engine.precisions(name)) for name in names]
    else:
        names = onnx_engine.providers(device, tensorrt=engine == "tensorrt")
        pairs = [(name, onnx_engine.precisions(name)) for name in names]
    return [Plan(engine, each, name) for name, able in pairs for each in able]  # type: ignore[arg-type]


def built(model: Model, plan: Plan, cuda: ModuleType = torch.cuda) -> Model:
    """A copy of a model that runs as `plan` says.

    cuda: torch.cuda, or what stands in for it.

    Raises:
        EngineFailed: if the engine takes no part of it.
    """
    twin = copy.deepcopy(model)
    module = cast(nn.Module, twin)
    if plan.engine in ("torch", "compile"):
        dtype: torch.dtype = getattr(torch, plan.precision)
        for each in module.modules():
            if isinstance(each, Foldable):
                each.fold(dtype)
        module.to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        on_gpu = next(module.parameters()).is_cuda or cuda is not torch.cuda
        how = compiled if plan.engine == "compile" else (lambda f: programs.Recorded(f, cuda)) if on_gpu else None
        programs.replace(module, twin.programs, dtype, how)
        return twin
    where = next(module.parameters()).device
    frame0, frame1 = (torch.rand(1, 3, PROBE_SIDE, PROBE_SIDE, device=where) for _ in range(2))
    taken = parts.found(module, lambda: twin.interpolate(frame0, frame1, 0.5))
    if not taken:
        raise EngineFailed(f"{plan.engine} has nothing to run in {type(model).__name__}")
    engine = openvino_engine if plan.engine == "openvino" else onnx_engine
    parts.replace(module, taken, engine.Builder(plan.target, plan.precision, cache.hash_of(cast(nn.Module, model))))
    return twin


def compiled(function: Callable[..., object]) -> Callable[..., object]:
    """By Inductor, whose results are kept in the user's cache folder."""
    path = cache.usable("inductor")
    if path is not None:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(path))
    fast = torch.compile(function, dynamic=False)

    @wraps(function)
    def call(owner: nn.Module, *arguments: object) -> object:
        try:
            return fast(owner, *arguments)
        except (RuntimeError, ImportError) as error:
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            reason = (str(error).strip().splitlines() or ["no reason"])[0]
            raise EngineFailed(f"torch.compile failed: {reason}") from error

    return call
