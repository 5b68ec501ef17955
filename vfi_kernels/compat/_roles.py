"""Which functions and classes of other repositories `compat.patch` knows, and what it puts in their place."""

import inspect
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from vfi_kernels._types import Function, Options
from vfi_kernels.compat import _trials, ebme, ifrnet, mmcv, rife, softsplat, torchvision, xvfi

Names = tuple[str, ...]

# By name and parameters: around CuPy kernels and C++ extensions, whose own code may not run here. One in plain torch
# must also compute the same.
FUNCTIONS: dict[tuple[str, Names], Function] = {
    ("softsplat", ("tenIn", "tenFlow", "tenMetric", "strMode")): softsplat.softsplat,
    ("softsplat", ("tenInput", "tenFlow", "tenMetric", "strMode")): softsplat.softsplat,
    ("FunctionSoftsplat", ("tenInput", "tenFlow", "tenMetric", "strType")): ebme.FunctionSoftsplat,
    ("FunctionCorrelation", ("tenFirst", "tenSecond")): ebme.FunctionCorrelation,
    ("FunctionCorrelation", ("tenOne", "tenTwo")): softsplat.FunctionCorrelation,
    (
        "deform_conv2d",
        ("input", "offset", "weight", "bias", "stride", "padding", "dilation", "mask"),
    ): torchvision.deform_conv2d,
}
# By name, the parameters of __init__ and those of forward.
DEFORM = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
CLASSES: dict[tuple[str, Names, Names], type] = {
    ("softsplat_func", (), ("tenIn", "tenFlow")): softsplat.softsplat_func,
    ("ModuleSoftsplat", ("strType",), ("tenInput", "tenFlow", "tenMetric")): ebme.ModuleSoftsplat,
    ("ModuleCorrelation", (), ("tenFirst", "tenSecond")): ebme.ModuleCorrelation,
    ("DeformConv2d", (*DEFORM, "bias"), ("input", "offset", "mask")): torchvision.DeformConv2d,
    (
        "ModulatedDeformConv2d",
        (*DEFORM, "deform_groups", "bias"),
        ("x", "offset", "mask"),
    ): mmcv.ModulatedDeformConv2d,
    ("ModulatedDeformConv2dPack", ("args", "kwargs"), ("x",)): mmcv.ModulatedDeformConv2dPack,
}
# `apply` of an autograd function, bound to a name of its own.
APPLIES: dict[str, Function] = {
    "ModulatedDeformConv2dFunction": mmcv.modulated_deform_conv2d,
    "softsplat_func": softsplat.softsplat_func.apply,
}
# Warps have many names and conventions: they are told apart by what they compute, and by these only if they want a GPU
# and there is none.
WARP_NAMES = ("warp", "backwarp", "bwarp", "flow_warp", "backward_warp")
WARPS: tuple[Function, ...] = (rife.warp, ifrnet.warp, softsplat.backwarp, xvfi.bwarp)
WITH_GRID = ("tenInput", "tenFlow", "tenFlow_div", "backwarp_tenGrid")
WITH_MASK = ("x", "flo", "withmask")
WARPS_BY_NAME: dict[tuple[str, Names], Function] = {
    ("warp", ("tenInput", "tenFlow")): rife.warp,
    ("warp", WITH_GRID): rife.warp,
    ("warp", ("img", "flow")): ifrnet.warp,
    ("backwarp", ("tenIn", "tenFlow")): softsplat.backwarp,
    ("backwarp", ("tenInput", "tenFlow")): ebme.backwarp,
    ("bwarp", ("x", "flo")): xvfi.bwarp,
    ("bwarp", WITH_MASK): xvfi.bwarp,
}
KNOWN_NAMES = {name for name, *_ in (*FUNCTIONS, *CLASSES, *WARPS_BY_NAME)} | set(WARP_NAMES) | set(APPLIES)


@dataclass(frozen=True)
class Verdict:
    """What takes the place of something, or None; and why."""

    replacement: Function | None
    reason: str


def name_of(value: object) -> str | None:
    """The known name that a function, class or bound `apply` was defined with."""
    if not (inspect.isroutine(value) or isinstance(value, (type, staticmethod))):
        return None
    name = getattr(value, "__name__", None)
    owner = getattr(value, "__self__", None)
    if name == "apply" and isinstance(owner, type):
        name = owner.__name__
    return name if isinstance(name, str) and name in KNOWN_NAMES else None


def judge(value: Any, method: bool, instance: object = None) -> Verdict | None:
    """What takes the place of `value`, a function (`method`: with a first parameter self), class or bound apply.

    `instance`: an object of the method's class, if one is at hand. None: it is nothing that we know, or is ours.
    """
    name = name_of(value)
    if name is None or str(getattr(value, "__module__", "")).startswith("vfi_kernels"):
        return None
    if getattr(value, "__name__", "") == "apply":
        known = name in APPLIES
        return Verdict(APPLIES.get(name), "by its name" if known else f"the autograd function {name} is not known")
    if isinstance(value, staticmethod):
        value = value.__func__
    if isinstance(value, type):
        return judge_class(name, value)
    if not inspect.isfunction(value):
        return None
    value = getattr(value, "_torchdynamo_orig_callable", value)  # compiled: a trial would compile it
    names = tuple(parameters_of(value))[1 if method else 0 :]
    if name in WARP_NAMES:
        bound = (lambda *arguments: value(instance, *arguments)) if method else value
        return judge_warp(value, bound, name, names, method and instance is None)
    if (name, names) in FUNCTIONS:
        return judge_function(value, name, names)
    expected = " or ".join(f"({', '.join(known)})" for of, known in FUNCTIONS if of == name)
    return Verdict(None, f"its parameters are ({', '.join(names)}), expected {expected}") if expected else None


def parameters_of(function: Function) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function).parameters)


def judge_class(name: str, value: type) -> Verdict | None:
    forward = getattr(value, "forward", None)
    expected = [(made, called) for of, made, called in CLASSES if of == name]
    if not expected or forward is None or not inspect.isfunction(forward):
        return None
    (made, called) = expected[0]
    theirs = tuple(parameters_of(forward))[1:]
    if theirs != called:
        return Verdict(None, f"its forward takes ({', '.join(theirs)}), expected ({', '.join(called)})")
    if issubclass(value, torch.nn.Module):
        theirs = tuple(parameters_of(value.__init__))[1:]
        if theirs not in (made, ("args", "kwargs")):
            return Verdict(None, f"it is made of ({', '.join(theirs)}), expected ({', '.join(made)})")
    return Verdict(CLASSES[name, made, called], "by its name and parameters")


def judge_function(value: Function, name: str, names: Names) -> Verdict:
    """Ours by name, unless it is plain torch, runs here and computes something else."""
    ours = FUNCTIONS[name, names]
    by_name = Verdict(ours, "by its name and parameters")
    cupy = any(isinstance(v, ModuleType) and v.__name__ == "cupy" for v in value.__globals__.values())
    trials = arguments_of(name)
    if cupy or not trials:
        return by_name
    for arguments in trials:
        try:
            out, _ = _trials.outcome(value, arguments)
        except _trials.CannotRun:
            return by_name
        if not same(out, ours(*arguments)):
            return Verdict(None, "it computes something else")
    return Verdict(ours, "it computes the same")


def arguments_of(name: str) -> list[tuple[object, ...]]:
    """Small arguments of the functions that repositories write in plain torch too."""
    image, flow = pictures(6, 9, 6, 9, "cpu")
    if name == "softsplat":
        return [(image, flow, None, "sum"), (image, flow, image[:, :1], "soft")]
    if name == "FunctionSoftsplat":
        return [(image, flow, None, "summation"), (image, flow, image[:, :1], "softmax")]
    return [(image, image.flip(3))] if name == "FunctionCorrelation" else []


def judge_warp(value: Function, bound: Function, name: str, names: Names, no_self: bool) -> Verdict:
    """The one of WARPS that computes the same; by its name if it wants a GPU and there is none."""
    by_name = WARPS_BY_NAME.get((name, names))
    kinds = {p.kind for p in parameters_of(value).values()}
    if inspect.Parameter.VAR_POSITIONAL in kinds or inspect.Parameter.VAR_KEYWORD in kinds or (
        names not in (WITH_GRID, WITH_MASK) and (len(names) != 2 or not any("flo" in n.lower() for n in names))
    ):  # fmt: skip
        return Verdict(None, f"its parameters are ({', '.join(names)}), expected an image and a flow")
    candidates = [rife.warp] if names == WITH_GRID else [xvfi.bwarp] if names == WITH_MASK else list(WARPS)
    try:
        found = computing_the_same(value, bound, candidates, names == WITH_GRID)
    except _trials.CannotRun as error:
        if no_self:
            return Verdict(None, f"it needs its object: patch a model that has one ({error})")
        if error.no_gpu and by_name is not None:
            return Verdict(by_name, f"by its name and parameters (it does not run here: {error})")
        return Verdict(None, f"it does not run here, so what it computes is not known ({error})")
    if not found:
        reason = "none of our warps computes the same: another border, grid, mask, order of arguments or gradient"
        return Verdict(None, reason)
    return Verdict(by_name if by_name in found else found[0], "it computes the same")


# Height and width of the image and of the flow, and how large their values are.
TRIALS = ((6, 9, 6, 9, 1.0), (24, 300, 24, 300, 255.0), (6, 9, 4, 5, 1.0))


def computing_the_same(value: Function, bound: Function, candidates: list[Function], with_grid: bool) -> list[Function]:
    """The candidates with the results and gradients of `bound`, a method of `value`'s class or `value` itself: for
    small and larger pictures, and for a flow of another size if it takes one. CannotRun if one of the first two fails.
    """
    left = candidates
    for n, (height, width, rows, columns, scale) in enumerate(TRIALS):
        device = "cpu"
        try:
            out, gradients, leaves = trial(value, bound, (height, width, rows, columns, device), scale, with_grid)
        except _trials.CannotRun as error:
            if n:
                if n == 1:
                    raise
                break
            if not error.wants_gpu:
                raise
            device = "cuda"
            out, gradients, leaves = trial(value, bound, (height, width, rows, columns, device), scale, with_grid)
        left = [c for c in left if gives(c, leaves, out, gradients, scale)]
    return left


def trial(
    value: Function, bound: Function, sizes: tuple[int, int, int, int, str], scale: float, with_grid: bool
) -> tuple[object, list[Tensor | None], tuple[Tensor, ...]]:
    """Result and gradients of one call, and the arguments that it got."""
    image, flow = pictures(*sizes)
    leaves = (image.mul(scale).requires_grad_(), flow.clone().requires_grad_())
    more = grid_arguments(image, flow) if with_grid else ()
    with torch.enable_grad():
        copies = tuple(t * 1 for t in leaves)  # that a function may write into
    out, gradients = _trials.outcome(bound, (*copies, *more), leaves, value)
    return out, gradients, (*leaves, *more)


def gives(
    candidate: Function, leaves: tuple[Tensor, ...], out: object, gradients: list[Tensor | None], scale: float
) -> bool:
    """Whether a function of ours gives the same result and gradients."""
    try:
        ours, own = _trials.outcome(candidate, leaves, leaves[:2])
    except _trials.CannotRun:
        return False
    pairs = zip(gradients, own, strict=True)
    return same(out, ours, scale) and all(
        (a is None) == (b is None) and (a is None or same(a, b, scale)) for a, b in pairs
    )


def same(theirs: object, ours: Any, scale: float = 1.0) -> bool:
    alike = isinstance(theirs, Tensor) and theirs.shape == ours.shape and theirs.dtype == ours.dtype
    return alike and bool((theirs - ours).abs().max() <= _trials.TOLERANCE * max(scale, ours.abs().max().item()))


def pictures(height: int, width: int, rows: int, columns: int, device: str) -> tuple[Tensor, Tensor]:
    """An image, and a flow that leaves it on every side, by far, by little and by hardly anything."""
    generator = torch.Generator().manual_seed(0)
    options: Options = {"generator": generator, "dtype": torch.float32, "device": "cpu"}
    image, flow = torch.rand(2, 3, height, width, **options), torch.rand(2, 2, rows, columns, **options) * 8 - 4
    if (rows, columns) == (height, width):
        flow[0, 1, :-1] = 0.37  # inside; off whole pixels, where a warp has no derivative
        flow[0, 0, :, 0] = -torch.logspace(
            -3.5, -0.5, rows, dtype=torch.float32, device="cpu"
        )  # masks differ in where they begin
        flow[1, :, 0] *= 100
    return image.to(device), flow.to(device)


def grid_arguments(image: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """The divisors and the grid of vs-rife."""
    height, width = flow.shape[2:]
    axes = [torch.linspace(-1, 1, size, dtype=torch.float32, device="cpu") for size in (height, width)]
    ys, xs = torch.meshgrid(*axes, indexing="ij")
    half = torch.tensor([(n - 1) / 2 for n in (image.shape[3], image.shape[2])], dtype=torch.float32, device="cpu")
    return half.to(image.device), torch.stack((xs, ys))[None].to(image.device)
