"""What takes a function's place: ours for the calls that were tried, the function itself for every other one."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType

import torch
from torch import Tensor
from torch.compiler import is_compiling

from vfi_kernels._types import Arguments, Foreign, Function, Options
from vfi_kernels.compat import _warps
from vfi_kernels.compat._guard_calls import agree, beyond, whose
from vfi_kernels.compat._guards import Guard
from vfi_kernels.compat._held_grids import holds_grid, of_standard_grid
from vfi_kernels.compat._warp_trials import Found
from vfi_kernels.compat._warps import Mask, Warp

NAMES: dict[Warp, str] = {
    Warp(sizes="image"): "compat.rife.warp",
    Warp(sizes="flow"): "compat.ifrnet.warp",
    Warp(): "compat.rife.warp",
    Warp(outside="zeros", sizes="image"): "compat.softsplat.backwarp",
    Warp(outside="zeros", mask=Mask(0.999)): "compat.xvfi.bwarp",
}
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
SMALL = 2**16  # elements of an image: below, a change of the flow takes as long as the warp, and theirs is as fast
FEW = 2**9  # the same, where theirs is given its grid, and ours has to look at it
Read = Callable[[Arguments, Options], tuple[Foreign, Foreign, Warp | None]]


@dataclass(frozen=True)
class WarpPlan:
    """`found`, for a function of an image, a flow and further parameters; `guard`: whose its calls are."""

    found: Found
    takes_self: bool = False
    takes_grid: bool = False  # the divisors and the grid of vs-rife
    grid: str = ""  # the attribute of its object that holds the grid of pixels that it adds
    guard: Guard | None = None

    @property
    def by(self) -> str:
        return NAMES.get(self.found.calls[0][1], "vk.backward_warp")

    def __str__(self) -> str:
        more = [", ".join(f"{name}={value!r}" for name, value in given) for given, _ in self.found.calls[1:]]
        return str(self.found.calls[0][1]) + (f"; also {'; '.join(more)}" if more else "")

    def build(self, original: Function) -> Function:
        """The function that takes the place of `original`."""
        guard, first = self.guard, int(self.takes_self)
        assert guard is not None
        kind = self.found.calls[0][1]
        read, is_taken, answered = reader(original, first, self), taker(self, guard), answerer(self, guard, original)
        names = list(inspect.signature(original).parameters)
        always = min(self.least(kind) for _, kind in self.found.calls)  # whatever further arguments are
        usual, short, image_name = self.least(kind), 99 if self.takes_grid else 2 + first, names[first]
        defaults, named = original.__defaults__, original.__kwdefaults__
        any_default = bool(defaults or named)
        in_graph, tensor = is_compiling, Tensor  # of its closure: its globals will be the original's

        def call(*args: Foreign, **kwargs: Foreign) -> Foreign:
            nonlocal defaults, named
            changed = any_default and (stand_in.__defaults__ is not defaults or stand_in.__kwdefaults__ is not named)
            if changed and not in_graph():
                original.__defaults__ = defaults = stand_in.__defaults__
                original.__kwdefaults__ = named = stand_in.__kwdefaults__
            asked: Warp | None = kind
            if len(args) == short and not kwargs:
                image, flow = args[first], args[first + 1]
                if usual and isinstance(image, tensor) and image.is_cpu and image.numel() < usual:
                    return original(*args)
            else:
                if always:
                    image = args[first] if len(args) > first else kwargs.get(image_name)
                    if isinstance(image, tensor) and image.is_cpu and image.numel() < always:
                        return original(*args, **kwargs)
                image, flow, asked = read(args, kwargs)
            if asked is None or not is_taken(image, flow, asked):
                return original(*args, **kwargs)
            return answered(image, flow, asked, args, kwargs)

        # torch.jit.script, which compiles the source of a method's original, looks for names in these globals.
        built = FunctionType(call.__code__, original.__globals__, argdefs=defaults, closure=call.__closure__)
        built.__kwdefaults__ = named
        stand_in: Function = as_scriptable(built, original)
        return stand_in

    def least(self, kind: Warp) -> int:
        """The elements of an image from which ours is called on a CPU: where it takes one op, from the first on."""
        if self.found.needs_gpu:
            return 0
        return SMALL if kind.grid != "corners" or kind.mask is not None else FEW * self.takes_grid


def answerer(plan: WarpPlan, guard: Guard, original: Function) -> Function:
    """Computes a call as the guard says."""
    method, grid, last = plan.takes_self, plan.grid, plan.found.calls[0][1].last

    def answered(image: Tensor, flow: Tensor, kind: Warp, args: Arguments, kwargs: Options) -> object:
        owner = args[0] if method and args else None
        size = () if guard.made is None else tuple(flow.shape[1:3] if last else flow.shape[2:])
        if (method and owner is None) or (grid and not holds_grid(owner, grid, flow)):
            return original(*args, **kwargs)
        answer = whose(guard, owner, size)
        if answer == "ours":
            return _warps.warped(image, flow, kind)
        theirs = original(*args, **kwargs)
        if answer == "compare":
            with torch.no_grad():
                guard.compared(agree(theirs, _warps.warped(image, flow, kind)), owner, size)
        return theirs

    return answered


@dataclass(frozen=True)
class Guarded:
    """A plan for a function or a class whose calls are the original's where what it reads is not what it was."""

    plan: Foreign
    guard: Guard

    @property
    def by(self) -> str:
        return str(self.plan.by)

    def __str__(self) -> str:
        return str(self.plan)

    def build(self, original: Foreign) -> Foreign:
        new, guard = self.plan.build(original), self.guard
        if isinstance(new, type):
            return guarded_class(new, original, guard)
        theirs = applied(original) if isinstance(original, type) else original

        def call(*args: Foreign, **kwargs: Foreign) -> Foreign:
            answer = "theirs" if beyond(guard, (*args, *kwargs.values())) else whose(guard)
            if answer == "ours":
                return new(*args, **kwargs)
            result = theirs(*args, **kwargs)
            if answer == "compare":
                with torch.no_grad():
                    guard.compared(agree(result, new(*args, **kwargs)))
            return result

        return as_scriptable(call, theirs)


def applied(kind: Foreign) -> Function:
    """What an autograd function's `apply` was before another one was put into the class."""
    own = vars(torch.autograd.Function)["apply"].__get__(None, kind)  # a class method; of C from torch 2.14 on

    def apply(*args: Foreign) -> Foreign:
        return own(*args)

    apply.__module__, apply.__qualname__ = kind.__module__, f"{kind.__qualname__}.apply"
    return apply


def guarded_class(new: Foreign, original: Foreign, guard: Guard) -> type:
    """`new`, under the name of the original, which is called where the guard says so."""
    inner = new.__call__

    def __call__(self: Foreign, *args: Foreign, **kwargs: Foreign) -> Foreign:
        if isinstance(self, new) and whose(guard) == "theirs":
            return self._theirs(*args, **kwargs)
        return inner(self, *args, **kwargs)

    new.__call__ = __call__
    new.__module__, new.__name__, new.__qualname__ = original.__module__, original.__name__, original.__qualname__
    new.__signature__ = inspect.signature(original)
    found: type = new
    return found


def as_scriptable(call: Function, original: Function) -> Function:
    """`call` under the name of `original`, which torch.jit.script compiles instead."""
    wrapped: Foreign = functools.wraps(original)(call)
    wrapped.__prepare_scriptable__ = lambda: original
    wrapped.__vfi_kernels__ = True
    found: Function = wrapped
    return found


def taker(plan: WarpPlan, guard: Guard) -> Callable[[Foreign, Foreign, Warp], bool]:
    """Tells whether a call is one of those that were tried: tensors (and no proxies of torch.fx) of these shapes; and,
    where more than one op is needed, of as many elements on a CPU."""
    dtypes, bounded = plan.found.dtypes, guard.sides is not None or guard.elements is not None
    least = {id(kind): plan.least(kind) for _, kind in plan.found.calls}  # a Warp takes long to hash

    def taken(image: Foreign, flow: Foreign, kind: Warp) -> bool:
        if not (isinstance(image, Tensor) and isinstance(flow, Tensor)):
            return False
        size, moved, last = image.shape, flow.shape, kind.last
        if len(size) != 4 or len(moved) != 4 or moved[3 if last else 1] != 2 or size[0] != moved[0]:
            return False
        row, few = 1 if last else 2, least[id(kind)]
        return (
            (kind.sizes is not None or (size[2] == moved[row] and size[3] == moved[row + 1]))
            and min(size[2], size[3], moved[row], moved[row + 1]) > 1  # where others divide by 0, or by 1 instead
            and image.dtype in dtypes
            and flow.dtype in FLOATS
            and ((image.is_cpu and flow.is_cpu) or image.device == flow.device)
            and (not few or image.numel() >= few or not image.is_cpu)
            and not (bounded and beyond(guard, (image, flow)))
        )

    return taken


def reader(original: Function, first: int, plan: WarpPlan) -> Read:
    """Reads the image, the flow and which warp is asked for from any call; None for one that was not tried."""
    parameters = list(inspect.signature(original).parameters.values())
    names = [p.name for p in parameters]
    defaults = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
    last = tuple(defaults.values())
    wanted = [[dict(more).get(name, defaults.get(name)) for name in names[first + 2 :]] for more, _ in plan.found.calls]
    calls = [(values, kind) for values, (_, kind) in zip(wanted, plan.found.calls)]

    def read(args: Arguments, kwargs: Options) -> tuple[Foreign, Foreign, Warp | None]:
        missing = len(names) - len(args)
        if kwargs or not 0 <= missing <= len(last):
            given = {**defaults, **dict(zip(names, args)), **kwargs}
            if missing < 0 or len(given) != len(names):
                return None, None, None
            args = [given[name] for name in names]
        elif missing:
            args = (*args, *last[-missing:])
        image, flow, *further = args[first:]
        if plan.takes_grid:
            return image, flow, calls[0][1] if of_standard_grid(image, flow, *further) else None
        for values, kind in calls:
            if all(map(same_value, further, values)):
                return image, flow, kind
        return image, flow, None

    return read


def same_value(a: Foreign, b: Foreign) -> bool:
    """Equal, for words, numbers and None; the same, for anything else."""
    return a is b or (type(a) is type(b) and isinstance(a, (str, bool, int, float)) and bool(a == b))
