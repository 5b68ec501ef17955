"""What takes a function's place: ours for the calls that were tried, the function itself for every other one."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType

import torch
from torch import Tensor
from torch.compiler import is_compiling
from torch.utils.weak import WeakTensorKeyDictionary

from vfi_kernels._types import Arguments, Foreign, Function, Options
from vfi_kernels.compat import _warps
from vfi_kernels.compat._warp_trials import Found
from vfi_kernels.compat._warps import Mask, Warp

NAMES: dict[Warp, str] = {
    Warp(sizes="image"): "compat.rife.warp",
    Warp(sizes="flow"): "compat.ifrnet.warp",
    Warp(): "compat.rife.warp",
    Warp(outside="zeros", sizes="image"): "compat.softsplat.backwarp",
    Warp(outside="zeros", mask=Mask(0.999)): "compat.xvfi.bwarp",
}
SMALL = 2**16  # elements of an image: below, a change of the flow takes as long as the warp, and theirs is as fast
Read = Callable[[Arguments, Options], tuple[Foreign, Foreign, Warp | None]]


@dataclass(frozen=True)
class WarpPlan:
    """`found`, for a function of an image, a flow and further parameters."""

    found: Found
    takes_self: bool = False
    takes_grid: bool = False  # the divisors and the grid of vs-rife
    of_self: tuple[tuple[str, object], ...] = ()  # the attributes of its object that it was tried with
    grid: str = ""  # the attribute of its object that holds the grid of pixels that it adds

    @property
    def by(self) -> str:
        return NAMES.get(self.found.calls[0][1], "vk.backward_warp")

    def __str__(self) -> str:
        more = [", ".join(f"{name}={value!r}" for name, value in given) for given, _ in self.found.calls[1:]]
        return str(self.found.calls[0][1]) + (f"; also {'; '.join(more)}" if more else "")

    def build(self, original: Function) -> Function:
        """The function that takes the place of `original`."""
        first, dtypes = int(self.takes_self), self.found.dtypes
        kind: Warp | None = self.found.calls[0][1]
        read = reader(original, first, self)
        short, of_self, takes_grid, grid = 2 + first, dict(self.of_self), self.takes_grid, self.grid
        least = 0 if self.found.needs_gpu else SMALL
        is_taken, is_held, warped = taken, held, _warps.warped  # of its closure: its globals will be the original's

        def call(*args: Foreign, **kwargs: Foreign) -> Foreign:
            asked = kind
            if len(args) == short and not kwargs and not takes_grid:
                image, flow = args[first], args[first + 1]
            else:
                image, flow, asked = read(args, kwargs)
            if asked is None or not is_taken(image, flow, asked, dtypes, least):
                return original(*args, **kwargs)
            if (of_self or grid) and not is_held(args, of_self, grid, flow):
                return original(*args, **kwargs)
            return warped(image, flow, asked)

        # torch.jit.script, which compiles the source of a method's original, looks for names in these globals.
        return as_scriptable(FunctionType(call.__code__, original.__globals__, closure=call.__closure__), original)


def as_scriptable(call: Function, original: Function) -> Function:
    """`call` under the name of `original`, which torch.jit.script compiles instead."""
    wrapped: Foreign = functools.wraps(original)(call)
    wrapped.__prepare_scriptable__ = lambda: original
    wrapped.__vfi_kernels__ = True
    found: Function = wrapped
    return found


def taken(image: Foreign, flow: Foreign, kind: Warp, dtypes: tuple[torch.dtype, ...], least: int) -> bool:
    """Whether a call is one of those that were tried: tensors (and no proxies of torch.fx) of these shapes; and, where
    more than one op is needed, of `least` elements on a CPU."""
    if not (isinstance(image, Tensor) and isinstance(flow, Tensor)) or image.dim() != 4 or flow.dim() != 4:
        return False
    rows = 1 if kind.last else 2
    return (
        flow.shape[3 if kind.last else 1] == 2
        and image.shape[0] == flow.shape[0]
        and (kind.sizes is not None or image.shape[2:] == flow.shape[rows : rows + 2])
        and image.dtype in dtypes
        and flow.is_floating_point()
        and image.device == flow.device
        and ((kind.grid == "corners" and kind.mask is None) or image.numel() >= least or image.device.type != "cpu")
    )


def reader(original: Function, first: int, plan: WarpPlan) -> Read:
    """Reads the image, the flow and which warp is asked for from any call; None for one that was not tried."""
    parameters = list(inspect.signature(original).parameters.values())
    names = [p.name for p in parameters]
    defaults = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
    calls = [(dict(more), kind) for more, kind in plan.found.calls]
    image_name, flow_name, *further = names[first:]

    def read(args: Arguments, kwargs: Options) -> tuple[Foreign, Foreign, Warp | None]:
        given = {**defaults, **dict(zip(names, args)), **kwargs}
        if len(args) > len(names) or len(given) != len(names):
            return None, None, None
        image, flow = given[image_name], given[flow_name]
        if plan.takes_grid:
            kind = calls[0][1] if of_standard_grid(image, flow, *(given[name] for name in further)) else None
            return image, flow, kind
        for more, kind in calls:
            if all(same_value(given[name], more.get(name, defaults.get(name))) for name in further):
                return image, flow, kind
        return image, flow, None

    return read


def same_value(a: Foreign, b: Foreign) -> bool:
    """Equal, for words, numbers and None; the same, for anything else."""
    return a is b or (type(a) is type(b) and isinstance(a, (str, bool, int, float)) and bool(a == b))


def held(args: Arguments, values: Options, grid: str, flow: Tensor) -> bool:
    """Whether the object that a method is called on is like the one that it was tried on."""
    return bool(args) and has(args[0], values) and holds_grid(args[0], grid, flow)


def has(owner: object, values: Options) -> bool:
    """Whether an object has these attributes."""
    missing = object()
    return all(same_value(getattr(owner, name, missing), value) for name, value in values.items())


known_grids = WeakTensorKeyDictionary()  # a grid -> what it was looked at with, and whether it is the one


def looked_at(grid: Tensor, key: tuple[object, ...], right: Callable[[], bool]) -> bool:
    """Whether a grid is the one that belongs to `key`: looked at once, which is a wait on a GPU, and not in a graph."""
    if is_compiling():
        return True
    key = (grid._version, *key)
    if known_grids.get(grid, (None,))[0] != key:
        known_grids[grid] = (key, right())
    return bool(known_grids[grid][1])


def of_standard_grid(image: Foreign, flow: Foreign, divisors: Foreign, grid: Foreign) -> bool:
    """Whether these are the divisors and the grid that vs-rife makes for an image and a flow."""
    if not all(isinstance(t, Tensor) for t in (image, flow, divisors, grid)) or grid.shape[2:] != flow.shape[2:]:
        return False

    def right() -> bool:
        axes = [torch.linspace(-1, 1, n, dtype=torch.float32, device=grid.device) for n in flow.shape[2:]]
        expected = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1])
        half = [(n - 1) / 2 for n in (image.shape[3], image.shape[2])]
        rounding = 1e-5 if grid.dtype in (torch.float32, torch.float64) else 1e-2
        return (
            grid.dim() == 4
            and bool((grid.float() - expected).abs().max() <= rounding)
            and divisors.numel() == 2
            and all(abs(a - b) <= rounding * b for a, b in zip(divisors.flatten().tolist(), half))
        )

    return looked_at(grid, (id(divisors), divisors._version, *image.shape[2:]), right)


def holds_grid(owner: object, name: str, flow: Tensor) -> bool:
    """Whether an object holds, under this name, the grid of the flow's pixels."""
    if not name:
        return True
    grid = getattr(owner, name, None)
    if not isinstance(grid, Tensor) or grid.dim() != 4 or grid.shape[1:] != flow.shape[1:]:
        return False

    def right() -> bool:
        axes = [torch.arange(n, dtype=grid.dtype, device=grid.device) for n in flow.shape[2:]]
        return bool((grid == torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1])).all())

    return grid.shape[0] in (1, flow.shape[0]) and looked_at(grid, (), right)
