"""Warps that are methods: the objects that they are tried on, and which other objects they are then ours for."""

import copy
import dataclasses
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vfi_kernels._types import Foreign, Function
from vfi_kernels.compat import _effects, _state
from vfi_kernels.compat._guards import Guard
from vfi_kernels.compat._stand_ins import Guarded, WarpPlan
from vfi_kernels.compat._survey import Untold
from vfi_kernels.compat._trials import CannotRun

if TYPE_CHECKING:
    from vfi_kernels.compat._roles import Candidate, Verdict


@dataclasses.dataclass(frozen=True)
class Bound:
    """A function of an image, a flow and further arguments by name; `grid`: the attribute that holds a grid of
    pixels."""

    call: Function
    grid: str = ""


def calls_of(c: "Candidate", with_grid: bool) -> Iterator[Bound]:
    """The ways in which a candidate can be called, one after another until one gives a warp."""
    function = c.function
    if not c.takes_self:

        def call(image: Tensor, flow: Tensor, **more: object) -> object:
            return function(image, flow, *(grid_arguments(image, flow) if with_grid else ()), **more)

        yield Bound(call)
        return
    assert c.owner is not None
    made = maker(c.owner, c.instance)
    sized = c.instance is None and is_sized(c.owner)
    for grid in ("", *sorted(name for name in _state.names_in(function.__code__) if "grid" in name.lower())):
        if grid and hasattr(c.owner, grid):
            continue

        def call_method(image: Tensor, flow: Tensor, grid: str = grid, **more: object) -> object:
            try:
                size = tuple(image.shape[2:])
                owner = _effects.owner(lambda: copied(made(*size)), size if sized else ())
                if grid:
                    setattr(owner, grid, pixel_grid(flow))
                before = _state.Namespace(owner)
                try:
                    return function(owner, image, flow, *(grid_arguments(image, flow) if with_grid else ()), **more)
                finally:
                    _state.written.update(f"self.{name}" for name in before.changed())
            except (AttributeError, TypeError) as error:
                if c.instance is None:
                    raise CannotRun(f"it needs its object: patch a model that has one ({error})") from None
                raise

        yield Bound(call_method, grid)


def maker(owner: type, instance: object) -> Callable[[int, int], Foreign]:
    """Gives an object for a height and a width: the one at hand, one made of them, or one that has nothing but its
    methods."""
    if instance is not None:
        return lambda *_: instance
    if not made_of_sizes(owner):
        return lambda *_: bare(owner)
    return lambda height, width: owner(*arguments_of(owner, height, width) or ())


def pixel_grid(flow: Tensor) -> Tensor:
    """(B, 2, H, W): where each pixel is."""
    ys, xs = (torch.arange(n, dtype=flow.dtype, device="cpu") for n in flow.shape[2:])
    grid = torch.stack(torch.meshgrid(ys, xs, indexing="ij")[::-1])
    return grid.expand(flow.shape[0], -1, -1, -1).contiguous()


def copied(instance: Foreign) -> Foreign:
    """An object in whose place a method can change attributes and caches."""
    twin = copy.copy(instance)
    if hasattr(twin, "__dict__"):
        vars(twin).update({n: copy.copy(v) for n, v in vars(twin).items() if type(v) in _state.CONTAINERS})
    return twin


def grid_arguments(image: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """The divisors and the grid of vs-rife."""
    height, width = flow.shape[2:]
    axes = [torch.linspace(-1, 1, size, dtype=torch.float32, device="cpu") for size in (height, width)]
    ys, xs = torch.meshgrid(*axes, indexing="ij")
    half = torch.tensor([(n - 1) / 2 for n in (image.shape[3], image.shape[2])], dtype=torch.float32, device="cpu")
    return half.to(flow.dtype), torch.stack((xs, ys))[None].to(flow.dtype)


def bare(owner: type) -> Foreign:
    """An object of a class that has nothing but its methods."""
    made: Foreign = object.__new__(owner)
    if isinstance(made, nn.Module):
        nn.Module.__init__(made)
    return made


def made_of_sizes(owner: type) -> bool:
    """Whether objects can be made of a height, a width and a device, or of nothing."""
    if not issubclass(owner, nn.Module) or owner.__init__ is nn.Module.__init__:
        return False
    return arguments_of(owner, 8, 8) is not None


def is_sized(owner: type) -> bool:
    """Whether objects of another size are others."""
    return made_of_sizes(owner) and bool(arguments_of(owner, 8, 8))


def arguments_of(owner: type, height: int, width: int) -> list[object] | None:
    """What an object is made of, as far as the names of parameters tell."""
    known: dict[str, object] = {"h": height, "height": height, "w": width, "width": width, "device": "cpu"}
    found: list[object] = []
    for p in list(inspect.signature(owner.__init__).parameters.values())[1:]:  # type: ignore[misc]
        if p.default is not inspect.Parameter.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            break
        if p.name.lower() not in known:
            return None
        found.append(known[p.name.lower()])
    return found


def with_its_guard(c: "Candidate", verdict: "Verdict | None") -> "Verdict | None":
    """A verdict whose plan is for calls in which what the function reads is what it was; or that it stays, where what
    it reads cannot be told."""
    if verdict is None or verdict.plan is None:
        return verdict
    plan: Foreign = verdict.plan
    try:
        if c.takes_self or isinstance(plan, WarpPlan):
            guard = guard_of(c, getattr(plan, "grid", ""), verdict.own)
            return dataclasses.replace(verdict, plan=dataclasses.replace(plan, guard=guard))
        return dataclasses.replace(verdict, plan=Guarded(plan, Guard(reading(c.function), own=verdict.own)))
    except Untold as error:
        if c.takes_self or isinstance(plan, WarpPlan):
            return dataclasses.replace(verdict, plan=None, reason=str(error))
    return verdict  # a kernel that is made of text, and runs on no CPU


def reading(function: Foreign) -> Foreign:
    """Of an autograd function its forward."""
    is_of_autograd = isinstance(function, type) and issubclass(function, torch.autograd.Function)
    return function.forward if is_of_autograd else function


def guard_of(c: "Candidate", grid: str, own: Iterable[str]) -> Guard:
    without = [grid] if grid else []
    if not c.takes_self or c.owner is None:
        return Guard(c.function, own=own)
    made = maker(c.owner, c.instance)
    sized = c.instance is None and is_sized(c.owner)
    if sized:
        return Guard(c.function, made=made, own=own, without=without)
    owner = made(8, 8)
    guard = Guard(c.function, owner, own=own, without=without)
    if c.instance is None:
        guard.tried = lambda: owner
    return guard


def numbers_of(c: "Candidate", grid: str) -> list[int]:
    """The numbers that a warp compares with."""
    return guard_of(c, grid, ()).numbers
