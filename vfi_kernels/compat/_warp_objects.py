"""Warps that are methods: the objects that they are tried on, and which other objects they are then ours for."""

import copy
import dataclasses
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vfi_kernels._types import Foreign, Function
from vfi_kernels.compat import _state
from vfi_kernels.compat._stand_ins import WarpPlan
from vfi_kernels.compat._trials import CannotRun

if TYPE_CHECKING:
    from vfi_kernels.compat._roles import Candidate, Verdict

Values = tuple[tuple[str, object], ...]
PLAIN = (str, bool, int, float, type(None))


@dataclasses.dataclass(frozen=True)
class Bound:
    """A function of an image, a flow and further arguments by name; `of_self`: of an object that is made for its trial,
    the attributes that others must have; `grid`: the attribute that holds a grid of pixels."""

    call: Function
    of_self: Values = ()
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
    made, of_self = maker(c.owner, function, c.instance)
    for grid in ("", *sorted(name for name in _state.names_in(function.__code__) if "grid" in name.lower())):
        if grid and hasattr(c.owner, grid):
            continue

        def call_method(image: Tensor, flow: Tensor, grid: str = grid, **more: object) -> object:
            try:
                owner = copied(made(*image.shape[2:]))
                if grid:
                    setattr(owner, grid, pixel_grid(flow))
                return function(owner, image, flow, *(grid_arguments(image, flow) if with_grid else ()), **more)
            except (AttributeError, TypeError) as error:
                if c.instance is None:
                    raise CannotRun(f"it needs its object: patch a model that has one ({error})") from None
                raise

        yield Bound(call_method, tuple((n, v) for n, v in of_self if n != grid), grid)


def maker(owner: type, function: Function, instance: object) -> tuple[Callable[[int, int], Foreign], Values]:
    """Gives an object for a height and a width: the one at hand, one made of them, or one that has nothing but its
    methods."""
    if instance is not None:
        return lambda *_: instance, ()
    if not made_of_sizes(owner):
        return lambda *_: bare(owner), ()

    def made(height: int, width: int) -> Foreign:
        return owner(*arguments_of(owner, height, width) or ())

    try:
        alike = [dict(attributes_read(function, made(*size))) for size in ((8, 16), (32, 64))]
    except Exception:  # its trial says why
        return made, ()
    plain = ((name, value) for name, value in alike[0].items() if isinstance(value, PLAIN) and name != "training")
    return made, tuple((name, value) for name, value in plain if alike[1].get(name) == value)


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


def with_its_object(c: "Candidate", verdict: "Verdict | None") -> "Verdict | None":
    """A warp that was tried on an object is ours for those that have the same in the attributes that it reads."""
    if verdict is None or not isinstance(verdict.plan, WarpPlan) or c.instance is None:
        return verdict
    held = tuple((n, v) for n, v in attributes_read(c.function, c.instance) if n != verdict.plan.grid)
    return dataclasses.replace(verdict, plan=dataclasses.replace(verdict.plan, of_self=held))


def attributes_read(function: Function, instance: object) -> Values:
    """The attributes of an object that a method, and those that it calls, name; empty caches excepted."""
    names: set[str] = set()
    left = [function]
    while left:
        code = getattr(left.pop(), "__code__", None)
        new = (_state.names_in(code) if code else set()) - names
        names |= new
        left += [_state.unbound(getattr(type(instance), n)) for n in new if callable(getattr(type(instance), n, None))]
    missing = object()
    spaces: Sequence[dict[str, Foreign]] = [vars(instance)] if hasattr(instance, "__dict__") else []
    spaces = [*spaces, *(s.get(k) or {} for s in spaces for k in ("_parameters", "_buffers", "_modules"))]
    held = {name: space[name] for name in names for space in spaces if space.get(name, missing) is not missing}
    return tuple((n, v) for n, v in held.items() if not (type(v) in _state.CONTAINERS and not v))
