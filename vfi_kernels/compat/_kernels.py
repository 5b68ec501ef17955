"""Functions of ours that take the place of autograd functions, of functions around them, and of what others write in
plain torch: with what each is tried."""

import dis
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vfi_kernels._types import Arguments, Foreign, Function, Options
from vfi_kernels.compat import adacof, dsepconv, ebme, mmcv, sepconv, softsplat, torchvision
from vfi_kernels.compat._limits import EVERY, Limits
from vfi_kernels.compat._situations import FIRST, Situation, drawn, leading
from vfi_kernels.compat._stand_ins import applied, same_value
from vfi_kernels.compat._stand_ins import as_scriptable as as_scriptable
from vfi_kernels.ops.correlation.op import correlation

SAME = "it computes the same"
ALIKE = "what its kernel returns has the shape and type of ours"
NOT_IMPLEMENTED = "it is not implemented there: by its name and parameters"


@dataclass(frozen=True)
class Ours:
    """A function of ours, by its name in vfi_kernels, for calls with the same arguments in the same order; `options`:
    what is given to it besides; `dtypes`: of the first tensor; `first`: how many arguments ours takes, where theirs has
    more, which are at their defaults then; `sized`: the third is a radius, or 2 radius + 1 pixels of a side; `limits`:
    which calls are theirs."""

    by: str
    reason: str
    options: tuple[tuple[str, object], ...] = ()
    dtypes: tuple[torch.dtype, ...] = ()
    first: int = 0
    sized: Literal["", "radius", "side"] = ""
    takes_self: bool = False
    limits: Limits = EVERY

    def __str__(self) -> str:
        return ", ".join([self.by, *(f"{name}={value!r}" for name, value in self.options)])

    @property
    def function(self) -> Function:
        return functools.partial(KNOWN[self.by], **dict(self.options)) if self.options else KNOWN[self.by]

    @property
    def answer(self) -> Function:
        """Ours, for the arguments of theirs."""

        def sized(one: Tensor, two: Tensor, number: int) -> object:
            return self.function(one, two, radius=number // 2 if self.sized == "side" else number)

        return sized if self.sized else self.function

    def build(self, original: Foreign) -> Function:
        """Ours; for calls of another dtype, or of anything but tensors (proxies of torch.fx), theirs."""
        if original is None:
            return self.answer
        of_kernel = isinstance(original, type)  # an autograd function
        theirs = applied(original) if of_kernel else original
        skipped = int(self.takes_self)
        parameters = [] if of_kernel else list(inspect.signature(original).parameters.values())[skipped:]
        names = [p.name for p in parameters]
        defaults = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
        ours, dtypes, first, sized = self.answer, self.dtypes, self.first or len(names), self.sized
        limits = self.limits

        def answer(values: list[Foreign], args: Arguments, kwargs: Options) -> Foreign:
            known = bool(values) and isinstance(values[0], Tensor) and (not dtypes or values[0].dtype in dtypes)
            if "orrelation" in self.by:  # theirs may spread one map over the batch of the other
                known = known and isinstance(values[1], Tensor) and values[1].shape == values[0].shape
            if sized:
                known = (
                    known and type(values[2]) is int and values[2] >= 0 and (sized == "radius" or values[2] % 2 == 1)
                )
            if not known or not limits.allow(values):
                return theirs(*args, **kwargs)
            found = ours(*values)
            return found if limits.passes(values, found) else theirs(*args, **kwargs)

        def of_tensors(*args: Foreign) -> Foreign:
            return answer(list(args), args, {})

        def call(*args: Foreign, **kwargs: Foreign) -> Foreign:
            given = {**defaults, **dict(zip(names, args[skipped:])), **kwargs}
            whole = len(args) - skipped <= len(names) == len(given)
            whole = whole and all(same_value(given[name], defaults[name]) for name in names[first:])
            return answer([given[name] for name in names[:first]] if whole else [], args, kwargs)

        return of_tensors if of_kernel else as_scriptable(call, original)


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


def pictures(s: Situation) -> list[Tensor]:
    """An image, and a flow that leaves holes."""
    low, high = (0.0, 1.0) if s.variant == 0 else (-1.0, 3.0)
    image = drawn(s.batch, s.channels, *s.size, low=low, high=high)
    flow = drawn(s.batch, 2, *s.size, seed=1, low=-s.reach, high=s.reach)
    return [image, leading(flow, s)]


def maps(s: Situation) -> list[Tensor]:
    most = 3 if s.variant else 1
    channels = 7 if s.channels == FIRST.channels else s.channels
    size = (s.batch, channels, *s.size)
    return [drawn(*size, low=-most, high=most), drawn(*size, seed=1, low=-most, high=most)]


def deformed(*order: str, s: Situation = FIRST) -> Arguments:
    """The arguments of a deformable convolution, in this order."""
    step = 2 if s.variant else 1  # stride, groups and dilation
    channels = s.channels * step
    height, width = ((n + 1 - 2 * step) // step + 1 for n in s.size)  # of a 3 x 3 kernel and a padding of 1
    offset = drawn(s.batch, 18 * step, height, width, seed=1, low=-s.reach / 2, high=s.reach / 2)
    given: Options = {
        "input": drawn(s.batch, channels, *s.size, low=-1),
        "offset": offset.round() if s.whole else offset,
        "mask": drawn(s.batch, 9 * step, height, width, seed=2),
        "weight": drawn(6, channels // step, 3, 3, seed=3, low=-1),
        "bias": None if s.variant else drawn(6, seed=4), "stride": step, "padding": 1, "dilation": step, "groups": step,
        "deform_groups": step,
    }  # fmt: skip
    return [given[name] for name in order]


def adaptive(kind: str, s: Situation = FIRST) -> Arguments:
    """The arguments of AdaCoF, of the deformable separable convolution, or of the separable one."""
    taps, step = (3, 1) if s.variant else (5, 2)
    height, width = s.size
    border = (taps - 1) * (step if kind == "adacof" else 1)
    image = drawn(s.batch, s.channels, height + border, width + border, low=-1, high=2)
    of_taps = [drawn(s.batch, taps, height, width, seed=n, low=-1) for n in (1, 2)]
    reach = s.reach * 0.4
    of_pairs = [drawn(s.batch, taps * taps, height, width, seed=n, low=-reach, high=reach) for n in (3, 4)]
    of_pairs = [pair.round() if s.whole else pair for pair in of_pairs]
    weights = drawn(s.batch, taps * taps, height, width, seed=5)
    if kind == "adacof":
        return [image, weights, *of_pairs, step]
    return [image, *of_taps, *([*of_pairs, weights] if kind == "dsepconv" else [])]


@dataclass(frozen=True)
class Kernel:
    """A function of ours: `pattern` of names, the arguments it is tried with, and whether shape and type have to do
    where a kernel's text is not understood."""

    pattern: str
    by: str
    arguments: Callable[[Situation], Arguments]
    by_shape: bool = True


MODULATED = ("input", "offset", "mask", "weight", "bias", "stride", "padding", "dilation", "groups", "deform_groups")
TORCHVISION = ("input", "offset", "weight", "bias", "stride", "padding", "dilation", "mask")
CORRELATION = "corr(?!ect|upt|espond)|cost_?vol"
KERNELS = (
    Kernel("splat", "compat.softsplat.softsplat_func.apply", pictures),
    Kernel(CORRELATION, "compat.softsplat.FunctionCorrelation", maps, by_shape=False),
    Kernel(
        "modulated_?deform",
        "compat.mmcv.modulated_deform_conv2d",
        lambda s: deformed(*MODULATED, s=s),
    ),
    Kernel("adacof", "compat.adacof.FunctionAdaCoF.apply", functools.partial(adaptive, "adacof")),
    Kernel("dsepconv", "compat.dsepconv.FunctionDSepconv", functools.partial(adaptive, "dsepconv")),
    Kernel("(?<!d)sepconv", "compat.sepconv.FunctionSepconv", functools.partial(adaptive, "sepconv")),
    Kernel("deform_?conv", "compat.torchvision.deform_conv2d", lambda s: deformed(*TORCHVISION, s=s)),
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
