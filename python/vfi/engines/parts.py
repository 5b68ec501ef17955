"""The parts of a model that other engines take: modules from tensors to tensors that hold weights and use no op of
vfi_kernels. Warps, splats and deformable convolutions stay ours; convolutions between them are an engine's."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from vfi.engines import trees
from vfi.engines.stop import EngineFailed

Run = Callable[[Sequence[Tensor]], list[Tensor]]
OURS = "vfi_kernels."
MOST_SHAPES = 24  # of one part; more are lists that change with every frame, and stay in torch
WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


@dataclass(frozen=True)
class Part:
    """A module's name, and where tensors are in what it returns."""

    name: str
    result: trees.Shape


class Flat(nn.Module):
    """A part from tensors to tensors, as exporters want it."""

    def __init__(self, module: nn.Module, arguments: trees.Shape):
        super().__init__()
        self.module, self.arguments = module, arguments

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        arguments = trees.arguments(tensors, self.arguments)
        return tuple(trees.taken_apart(own_forward(self.module)(*arguments))[0])


def own_forward(module: nn.Module) -> Callable[..., object]:
    """That of its class, whatever stands in its place."""
    method: Callable[..., object] = partial(type(module).forward, module)
    return method


class PartRunner:
    """In place of a part's forward: runs what `build` made for the shapes it sees.

    Args:
        build: of a part, flat, and tensors like those that it will get.
    """

    deadline: ClassVar[float] = math.inf  # of time.monotonic(): no part is built after it

    def __init__(self, module: nn.Module, part: Part, build: Callable[[str, Flat, Sequence[Tensor]], Run | None]):
        self.module, self.part, self.build = module, part, build
        self.built: dict[object, Run | None] = {}

    def __deepcopy__(self, memo: dict[int, object]) -> "PartRunner":
        """Of a copy of the module; what was built is built again, from the cache."""
        return PartRunner(cast(nn.Module, memo.get(id(self.module), self.module)), self.part, self.build)

    def __call__(self, *arguments: object) -> object:
        tensors, shape = trees.taken_apart(arguments)
        key = (shape, tuple((tuple(t.shape), t.dtype) for t in tensors))
        if key not in self.built and len(self.built) < MOST_SHAPES:
            if time.monotonic() > self.deadline:
                raise EngineFailed("takes too long to build")
            self.built[key] = self.build(self.part.name, Flat(self.module, shape), tensors)
        run = self.built.get(key)
        if run is None:
            return own_forward(self.module)(*arguments)
        return trees.put_together(iter(run(tensors)), self.part.result)


@contextmanager
def building_until(deadline: float) -> Iterator[None]:
    """Inside, what is not built by then fails."""
    before, PartRunner.deadline = PartRunner.deadline, deadline
    try:
        yield
    finally:
        PartRunner.deadline = before


class OpsHeard(TorchDispatchMode):
    """Calls `heard` with the name of each op that runs inside, before it does."""

    def __init__(self, heard: Callable[[str], object]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.heard = heard

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        self.heard(str(func))
        return func(*args, **(kwargs or {}))


class Watch(OpsHeard):
    """Sees which modules are at work when an op of ours runs."""

    def __init__(self) -> None:
        super().__init__(self.blame)
        self.active: list[str] = []
        self.impure: set[str] = set()

    def blame(self, op: str) -> None:
        if op.startswith(OURS):
            self.impure.update(self.active)


def found(model: nn.Module, run: Callable[[], object]) -> list[Part]:
    """The largest parts of `model`, by running it once."""
    watch = Watch()
    seen: dict[str, trees.Shape] = {}
    unfit: set[str] = set()

    def enter(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: object, keywords: object) -> None:
            watch.active.append(name)
            try:
                tensors, _ = trees.taken_apart(arguments)
            except TypeError:
                tensors = []
            if keywords or not tensors or not all(t.is_floating_point() and len(t) <= 2 for t in tensors if t.ndim):
                unfit.add(name)

        return hook

    def leave(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: object, result: object) -> None:
            watch.active.pop()
            try:
                tensors, shape = trees.taken_apart(result)
            except TypeError:
                tensors, shape = [], ()
            if not tensors or seen.setdefault(name, shape) != shape:
                unfit.add(name)

        return hook

    hooks = []
    for name, module in model.named_modules():
        if name:
            hooks.append(module.register_forward_pre_hook(enter(name), with_kwargs=True))
            hooks.append(module.register_forward_hook(leave(name), always_call=True))
    try:
        with watch, torch.no_grad():
            run()
    finally:
        for each in hooks:
            each.remove()
    able = {name for name in seen if name not in unfit | watch.impure and weighted(model.get_submodule(name))}
    return [Part(name, seen[name]) for name in seen if name in able and not able & set(above(name))]


def weighted(module: nn.Module) -> bool:
    return any(isinstance(each, WEIGHTED) for each in module.modules())


def above(name: str) -> list[str]:
    """a.b and a, of a.b.c."""
    words = name.split(".")
    return [".".join(words[:n]) for n in range(1, len(words))]


def replace(
    model: nn.Module, parts: Sequence[Part], build: Callable[[str, Flat, Sequence[Tensor]], Run | None]
) -> None:
    for part in parts:
        module = model.get_submodule(part.name)
        module.__dict__["forward"] = PartRunner(module, part, build)
