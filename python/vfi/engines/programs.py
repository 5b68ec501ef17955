"""A model's programs, run otherwise: in another precision and layout, compiled, or recorded on a GPU.

A program is a method from tensors and numbers to tensors that changes nothing else; `Interpolator.programs` names
them."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import cast

import torch
from torch import Tensor, nn

from vfi.engines import trees

Function = Callable[..., object]


class Program:
    """Stands for a method of a module, in the module itself: copies of the module have copies of it.

    Args:
        owner, name: the method.
        dtype: of all floating maps (B, C, H, W) that it is called with.
        wrap: makes of the method what is called, once for each copy; None: it is called as it is.
        tensor_times: its `timestep` is passed as a tensor, so that all times are one program.
    """

    def __init__(
        self,
        owner: nn.Module,
        name: str,
        dtype: torch.dtype,
        wrap: Callable[[Function], Function] | None,
        tensor_times: bool,
    ):
        self.owner, self.name, self.dtype, self.wrap = owner, name, dtype, wrap
        self.function: Function = getattr(type(owner), name)
        names = list(inspect.signature(self.function).parameters)[1:]
        self.time = names.index("timestep") if tensor_times and "timestep" in names else None
        self.called = self.function if wrap is None else wrap(self.function)

    def __deepcopy__(self, memo: dict[int, object]) -> "Program":
        owner = cast(nn.Module, memo.get(id(self.owner), self.owner))
        return Program(owner, self.name, self.dtype, self.wrap, self.time is not None)

    def __call__(self, *arguments: object) -> object:
        inputs = [trees.mapped(self.prepared, argument) for argument in arguments]
        if self.time is not None and isinstance(inputs[self.time], (int, float)):
            inputs[self.time] = torch.tensor(
                float(cast(float, inputs[self.time])), device=next(self.owner.parameters()).device
            )
        return self.called(self.owner, *inputs)

    def prepared(self, tensor: Tensor) -> Tensor:
        if tensor.ndim != 4 or not tensor.is_floating_point():
            return tensor
        return tensor.to(self.dtype, memory_format=torch.channels_last)


def replace(
    model: nn.Module, names: tuple[str, ...], dtype: torch.dtype, wrap: Callable[[Function], Function] | None = None
) -> None:
    """Puts a Program in the place of each method; a name with dots is of a module below."""
    any_time = bool(getattr(model, "any_time", False))
    for place in names:
        path, _, name = place.rpartition(".")
        owner = model.get_submodule(path)
        owner.__dict__[name] = Program(owner, name, dtype, wrap, tensor_times=wrap is not None and any_time)


@dataclass(frozen=True)
class Graph:
    """A recording, and where it reads and writes."""

    replay: Callable[[], None]
    inputs: list[Tensor]
    outputs: object


class Recorded:
    """A function recorded as a CUDA graph for each size: launches cost nothing, and its memory stays where it is.

    What cannot be recorded (it waits for a value, or asks for one) runs as it is.

    Args:
        cuda: torch.cuda, or what stands in for it.
    """

    warm_ups = 2  # libraries choose their kernels, which must not happen while recording
    recording = False  # of any: what is called inside another is part of it

    def __init__(self, function: Function, cuda: ModuleType = torch.cuda):
        self.function, self.cuda = function, cuda
        self.graphs: dict[object, Graph | None] = {}

    def __call__(self, owner: nn.Module, *arguments: object) -> object:
        tensors, shape = trees.taken_apart(arguments)
        on_gpu = any(t.is_cuda for t in tensors) or self.cuda is not torch.cuda
        if Recorded.recording or not on_gpu:
            return self.function(owner, *arguments)
        key = (shape, tuple((t.shape, t.dtype, t.stride()) for t in tensors))
        if key not in self.graphs:
            self.graphs[key] = self.record(owner, tensors, shape)
        found = self.graphs[key]
        if found is None:
            return self.function(owner, *arguments)
        for static, tensor in zip(found.inputs, tensors, strict=True):
            static.copy_(tensor)
        found.replay()
        return trees.mapped(torch.clone, found.outputs)  # the next replay writes there again

    def record(self, owner: nn.Module, tensors: list[Tensor], shape: trees.Shape) -> Graph | None:
        """None: it cannot be recorded."""
        inputs = [tensor.clone(memory_format=torch.preserve_format) for tensor in tensors]

        def run() -> object:
            return self.function(owner, *trees.arguments(inputs, shape))

        Recorded.recording = True
        try:
            side = self.cuda.Stream()
            side.wait_stream(self.cuda.current_stream())
            with self.cuda.stream(side):
                for _ in range(self.warm_ups):
                    run()
            self.cuda.current_stream().wait_stream(side)
            graph = self.cuda.CUDAGraph()
            with self.cuda.graph(graph):
                outputs = run()
        except RuntimeError:
            return None
        finally:
            Recorded.recording = False
        return Graph(graph.replay, inputs, outputs)
