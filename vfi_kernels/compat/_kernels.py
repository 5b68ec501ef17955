"""Autograd functions around kernels that cannot run here, and functions of two maps or of a convolution's arguments:
what of ours computes the same."""

import contextlib
import dis
import functools
import inspect
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vfi_kernels._types import Arguments, Foreign, Function, Options
from vfi_kernels.compat import (
    _emulation,
    _state,
    _trials,
    adacof,
    dsepconv,
    ebme,
    mmcv,
    sepconv,
    softsplat,
    torchvision,
)
from vfi_kernels.compat._stand_ins import as_scriptable
from vfi_kernels.compat._trials import CannotRun
from vfi_kernels.compat._warp_trials import Differs
from vfi_kernels.ops.correlation.op import correlation

FLOAT: Options = {"dtype": torch.float32, "device": "cpu"}
TOLERANCE = 2e-5  # of the largest value
SAME = "it computes the same"
ALIKE = "what its kernel returns has the shape and type of ours"
NOT_IMPLEMENTED = "it is not implemented there: by its name and parameters"


def drawn(*sizes: int, seed: int = 0, low: float = 0.0, high: float = 1.0) -> Tensor:
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.rand(sizes, generator=generator, **FLOAT) * (high - low) + low


@dataclass(frozen=True)
class Ours:
    """A function of ours, by its name in vfi_kernels, for calls with the same arguments in the same order; `options`:
    what is given to it besides."""

    by: str
    reason: str
    options: tuple[tuple[str, object], ...] = ()

    def __str__(self) -> str:
        return ", ".join([self.by, *(f"{name}={value!r}" for name, value in self.options)])

    @property
    def function(self) -> Function:
        return functools.partial(KNOWN[self.by], **dict(self.options)) if self.options else KNOWN[self.by]

    def build(self, original: Foreign) -> Function:
        """Ours; for calls of anything but tensors (proxies of torch.fx) a function of theirs."""
        ours = self.function
        if not inspect.isfunction(original):
            return ours
        parameters = list(inspect.signature(original).parameters.values())
        names = [p.name for p in parameters]
        defaults = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}

        def call(*args: Foreign, **kwargs: Foreign) -> Foreign:
            given = {**defaults, **dict(zip(names, args)), **kwargs}
            whole = len(args) <= len(names) == len(given) and isinstance(given[names[0]], Tensor)
            return ours(*[given[name] for name in names]) if whole else original(*args, **kwargs)

        return as_scriptable(call, original)


KNOWN: dict[str, Function] = {
    "vk.correlation": correlation,
    "compat.adacof.FunctionAdaCoF.apply": adacof.FunctionAdaCoF.apply,
    "compat.dsepconv.FunctionDSepconv": dsepconv.FunctionDSepconv,
    "compat.sepconv.FunctionSepconv": sepconv.FunctionSepconv,
    "compat.softsplat.softsplat_func.apply": softsplat.softsplat_func.apply,
    "compat.softsplat.softsplat": softsplat.softsplat,
    "compat.ebme.FunctionSoftsplat": ebme.FunctionSoftsplat,
    "compat.softsplat.FunctionCorrelation": softsplat.FunctionCorrelation,
    "compat.ebme.FunctionCorrelation": ebme.FunctionCorrelation,
    "compat.torchvision.deform_conv2d": torchvision.deform_conv2d,
    "compat.mmcv.modulated_deform_conv2d": mmcv.modulated_deform_conv2d,
}


def pictures(again: bool = False) -> Arguments:
    """An image, and a flow that leaves holes; `again`: others, of another size."""
    size = (9, 7) if again else (12, 16)
    return drawn(2, 3, *size), drawn(2, 2, *size, seed=1, low=-5, high=5)


def maps(again: bool = False) -> Arguments:
    size = (1, 5, 12, 7) if again else (2, 7, 9, 11)
    most = 3 if again else 1
    return drawn(*size, low=-most, high=most), drawn(*size, seed=1, low=-most, high=most)


def deformed(*order: str, again: bool = False) -> Arguments:
    """The arguments of a deformable convolution, in this order."""
    step, (height, width) = (2, (4, 5)) if again else (1, (9, 11))  # the groups and dilation, too
    given: Options = {
        "input": drawn(2, 4, 9, 11, low=-1), "offset": drawn(2, 18 * step, height, width, seed=1, low=-2, high=2),
        "mask": drawn(2, 9 * step, height, width, seed=2), "weight": drawn(6, 4 // step, 3, 3, seed=3, low=-1),
        "bias": None if again else drawn(6, seed=4), "stride": step, "padding": 1, "dilation": step, "groups": step,
        "deform_groups": step,
    }  # fmt: skip
    return [given[name] for name in order]


def adaptive(kind: str, again: bool = False) -> Arguments:
    """The arguments of AdaCoF, of the deformable separable convolution, or of the separable one."""
    taps, step = (3, 1) if again else (5, 2)
    size = 9 + (taps - 1) * (step if kind == "adacof" else 1)
    image = drawn(2, 3, size, size + 2, low=-1, high=2)
    of_taps = [drawn(2, taps, 9, 11, seed=n, low=-1) for n in (1, 2)]
    of_pairs = [drawn(2, taps * taps, 9, 11, seed=n, low=-2, high=2) for n in (3, 4)]
    weights = drawn(2, taps * taps, 9, 11, seed=5)
    if kind == "adacof":
        return [image, weights, *of_pairs, step]
    return [image, *of_taps, *([*of_pairs, weights] if kind == "dsepconv" else [])]


@dataclass(frozen=True)
class Kernel:
    """A function of ours: `pattern` of names, the arguments it is tried with (and others)."""

    pattern: str
    by: str
    arguments: Callable[[bool], Arguments]


MODULATED = ("input", "offset", "mask", "weight", "bias", "stride", "padding", "dilation", "groups", "deform_groups")
TORCHVISION = ("input", "offset", "weight", "bias", "stride", "padding", "dilation", "mask")
KERNELS = (
    Kernel("splat", "compat.softsplat.softsplat_func.apply", pictures),
    Kernel("correlation|cost_?vol", "compat.softsplat.FunctionCorrelation", maps),
    Kernel(
        "modulated_?deform",
        "compat.mmcv.modulated_deform_conv2d",
        lambda again: deformed(*MODULATED, again=again),
    ),
    Kernel("adacof", "compat.adacof.FunctionAdaCoF.apply", functools.partial(adaptive, "adacof")),
    Kernel("dsepconv", "compat.dsepconv.FunctionDSepconv", functools.partial(adaptive, "dsepconv")),
    Kernel("(?<!d)sepconv", "compat.sepconv.FunctionSepconv", functools.partial(adaptive, "sepconv")),
    Kernel("deform_?conv", "compat.torchvision.deform_conv2d", lambda again: deformed(*TORCHVISION, again=again)),
)


def parameters_of(function: Function) -> list[str]:
    """Without a first ctx or self."""
    names = list(inspect.signature(function).parameters)
    return names[1:] if names[:1] in (["ctx"], ["self"]) else names


def is_not_implemented(function: Function) -> bool:
    """Whether a function does nothing but raise NotImplementedError: no call of it can be told from another."""
    code = getattr(function, "__code__", None)
    if code is None or code.co_names != ("NotImplementedError",):
        return False
    done = {i.opname for i in dis.get_instructions(code)}
    return "RAISE_VARARGS" in done and not any("JUMP" in name or name.startswith("STORE") for name in done)


@functools.cache
def role_of(kernel: type) -> Ours:
    """Which function of ours an autograd function is. Where its kernel cannot run, only what it returns tells: how
    many tensors, of which shapes and types."""
    forward: Function = kernel.forward  # type: ignore[attr-defined]
    names = parameters_of(forward)
    for known in KERNELS:
        arguments = known.arguments(False)
        if not re.search(known.pattern, kernel.__name__, re.IGNORECASE) or len(names) != len(arguments):
            continue
        if is_not_implemented(forward):
            return Ours(known.by, NOT_IMPLEMENTED)
        out, launched = run(kernel.apply, arguments, kernel)  # type: ignore[attr-defined]
        if launched and known.arguments is maps and _emulation.Launched.texts:
            return cost_volume_of(out, arguments)
        if launched and "vol" in kernel.__name__.lower():
            raise Differs("the text of its kernel, which says what it sums, is not known")
        expect_close(out, _trials.outcome(KNOWN[known.by], arguments)[0], only_alike=launched)
        return Ours(known.by, ALIKE if launched else SAME)
    raise Differs(f"the autograd function {kernel.__name__} is not known")


def cost_volume_of(out: object, arguments: Arguments) -> Ours:
    """A cost volume whose kernel was launched: its shape tells the radius, the kernel's text the cost and whether it is
    divided by the number of channels."""
    text, channels = "\n".join(_emulation.Launched.texts), arguments[0].shape[1]
    radius = radius_of(out)
    divided = rf"/\s*(\(\s*float\s*\)\s*)?({channels}\b|SIZE_1\b|sumelems|\{{\{{intChans)"
    cost = "l1" if re.search(r"\bf?absf?\s*\(", text) else "dot"
    options = (("radius", radius), ("normalize", re.search(divided, text) is not None), ("cost", cost))
    ours = with_options("vk.correlation", f"{ALIKE}, its text says the formula", options)
    expect_close(out, _trials.outcome(ours.function, arguments)[0], only_alike=True)
    return ours


def with_options(by: str, reason: str, options: tuple[tuple[str, object], ...]) -> Ours:
    return Ours(by, f"{reason}: {', '.join(f'{name}={value!r}' for name, value in options)}", options)


def radius_of(out: object) -> int:
    """Of a cost volume (B, (2 r + 1)^2, H, W)."""
    side = math.isqrt(out.shape[1]) if isinstance(out, Tensor) and out.dim() == 4 else 0
    if side % 2 == 0 or not isinstance(out, Tensor) or side * side != out.shape[1]:
        raise Differs(f"it returns {described(out)}, expected costs of a square of displacements")
    return side // 2


def run(function: Function, arguments: Arguments, source: Foreign) -> tuple[object, bool]:
    """What a function returns, on a GPU that is the CPU if it does not run else; and whether it launched a kernel of
    CuPy, which did nothing."""
    _emulation.Launched.count, _emulation.Launched.texts = 0, []
    try:
        out = _trials.outcome(function, arguments, source=source)[0]
    except _trials.Misbehaves:
        raise
    except CannotRun:
        out = _trials.outcome(function, arguments, source=source, emulated=True)[0]
    return out, _emulation.Launched.count > 0


def expect_close(theirs: object, ours: object, only_alike: bool = False) -> None:
    if not like(theirs, ours):
        raise Differs(f"it returns {described(theirs)}, ours {described(ours)}")
    if not only_alike and not close(theirs, ours):
        raise Differs("it computes something else")


def described(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"{len(value)} values" if isinstance(value, (tuple, list)) else type(value).__name__


def like(theirs: object, ours: object) -> bool:
    both = isinstance(theirs, Tensor) and isinstance(ours, Tensor)
    return both and theirs.shape == ours.shape and theirs.dtype == ours.dtype  # type: ignore[attr-defined]


def close(theirs: Foreign, ours: Foreign) -> bool:
    return like(theirs, ours) and bool((theirs - ours).abs().max() <= TOLERANCE * ours.abs().max())


def kernels_in(function: Function) -> list[type]:
    """The autograd functions that a function names, itself or in those that it calls."""
    found: dict[int, type] = {}
    for layer in _state.called_by(function):
        cells = [cell.cell_contents for cell in _state.filled(layer)]
        for value in [*(layer.__globals__.get(name) for name in _state.names_in(layer.__code__)), *cells]:
            kernel = getattr(value, "__self__", value)
            if isinstance(kernel, type) and issubclass(kernel, torch.autograd.Function):
                found[id(kernel)] = kernel
    return list(found.values())


@contextlib.contextmanager
def with_ours(kernels: Sequence[Foreign]) -> Iterator[None]:
    """Inside, `apply` of these autograd functions is ours; Differs if one of them is nothing of ours."""
    for kernel in kernels:
        kernel.apply = staticmethod(role_of(kernel).function)
    try:
        yield
    finally:
        for kernel in kernels:
            del kernel.apply


def called(
    function: Function, arguments: Arguments, leaves: tuple[Tensor, ...] = ()
) -> tuple[object, list[Tensor | None]]:
    """What a function gives: as it is, or, where a kernel cannot run, with ours in place of the kernel."""
    _emulation.Launched.count = 0
    try:
        result = _trials.outcome(function, arguments, leaves)
        if not _emulation.Launched.count:
            return result
    except _trials.Misbehaves:
        raise
    except CannotRun:
        if not kernels_in(function):
            return _trials.outcome(function, arguments, leaves, emulated=True)
    # What was patched before is ours already.
    with with_ours([kernel for kernel in kernels_in(function) if "apply" not in vars(kernel)]):
        return _trials.outcome(function, arguments, leaves, emulated=True)
