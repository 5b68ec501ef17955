"""Random calls of every op: shapes down to nothing, dtypes, strides, values that are not finite or huge, options.

`random_call(op, rng)` makes one. What a case gives is varied; options are drawn from OPTIONS by their names in
the public function's signature; BY_HAND has what no case can vary (indices, segments, the geometry of convolutions)."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from random import Random
from typing import Any

import guard_pages
import torch
from torch import Tensor

import vfi_kernels as vk
import vfi_kernels.testing as cases
from vfi_kernels.testing import map_tensors

CASES = cases.load_cases()
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
REFUSED = (torch.int32, torch.bool, torch.complex64)
FLOWS = ("noise", "integer", "smooth", "zoom-out", "zero", "point")
SPECIAL = (torch.nan, torch.inf, -torch.inf, 1e30, -1e30, 2.0**63, -(2.0**31), 3e9, 65504.0, 1e-30, -1e-40, -0.0, 1.0)
HUGE = (1e30, 1e15, 3e4)
# Values of options, by name. None: given by the case, or drawn in BY_HAND, since shapes depend on it.
OPTIONS: dict[str, Any] = {
    "padding_mode": ("border", "zeros"),
    "mode": ("sum", "average", "linear", "softmax"),
    "holes": ("zero", "add", "clip"),
    "return_weight": (False, True),
    "return_validity": (False, True),
    "boundary": ("keys", "linear", "replicate"),
    "a": (-0.5, -0.75, 0.0, 2.5),
    "extrapolate": (False, True),
    "derivative": (False, True),
    "knots": None,
    "edge": ("torchvision", "mmcv"),
    "radius": (1, 2, 4, 9),
    **dict.fromkeys(
        ("stride", "dilation", "groups", "offset_groups", "transposed", "segments", "halo", "memory_format")
    ),
    **dict.fromkeys(
        ("activation", "activation_weight", "negative_slope", "base", "capacity", "return_count", "padding")
    ),
}


@dataclasses.dataclass(frozen=True)
class Call:
    """function(*arguments), and what its results are compared by."""

    name: str
    function: Callable[..., Any]
    arguments: tuple
    slack: float = 1.0
    differentiable: bool = True  # a call with gradients can be compared


class Draw:
    """Choices from `rng`, values of tensors from a generator that it seeds."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.generator = torch.Generator().manual_seed(rng.randrange(2**32))

    def one_of(self, values: Any) -> Any:
        return self.rng.choice(list(values))

    def rarely(self, often: float = 0.1) -> bool:
        return self.rng.random() < often

    def size(self, *usual: int, empty: float = 0.03) -> int:
        return 0 if self.rarely(empty) else self.one_of(usual)

    def shape(self) -> tuple[int, int, int, int]:
        """(B, C, H, W): mostly small, rows sometimes around the width of a block."""
        w = self.one_of((63, 64, 65, 127, 128, 129)) if self.rarely(0.05) else self.size(1, 2, 3, 7, 9, 16, 17, 33)
        c = self.one_of((16, 17, 33)) if self.rarely(0.05) else self.size(1, 2, 3, 5)
        return self.size(1, 1, 2, 3), c, self.size(1, 2, 3, 5, 9), w

    def dtype(self, usual: torch.dtype) -> torch.dtype:
        if self.rarely(0.01):
            return self.one_of(REFUSED)
        return self.one_of(FLOATS) if self.rarely(0.15) else usual

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=self.generator)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high + 1, shape, generator=self.generator)

    def values(self, t: Tensor, huge: bool = True) -> Tensor:
        """t, now and then with other values: a few that are special, all whole, huge (if wanted) or tiny."""
        kind = self.rng.random()
        if kind < 0.6 or t.numel() == 0 or not t.is_floating_point():
            return t
        if kind < 0.85:
            t = t.clone()
            for _ in range(self.one_of((1, 2, 5))):
                t.view(-1)[self.rng.randrange(t.numel())] = self.one_of(SPECIAL if huge else SPECIAL[:3])
            return t
        return t.round() if kind < 0.92 else t * self.one_of((1e-30, 0.0, -1.0) + (HUGE if huge else ()))

    def strides(self, shape: tuple[int, ...], shared: bool = True) -> tuple[int, ...]:
        """Dense in any order of axes, or with steps; if `shared` also expanded, or of elements that overlap."""
        order = list(range(len(shape)))
        if self.rarely(0.3):
            self.rng.shuffle(order)
        elif self.rarely(0.3) and len(shape) == 4:
            order = [0, 2, 3, 1]  # channels_last
        strides, stride = [0] * len(shape), 2 if self.rarely() else 1
        for axis in reversed(order):
            strides[axis] = stride
            stride *= max(shape[axis], 1) + (1 if self.rarely(0.05) else 0)
        if shape and shared and self.rarely():
            axis = self.rng.randrange(len(shape))
            strides[axis] = 0 if self.rarely(0.5) else max(1, strides[axis] - 1)
        return tuple(strides)


@dataclasses.dataclass(frozen=True)
class Placed:
    """A tensor's values and where they shall lie; a leaf of the tree of arguments until `tensor` makes it."""

    values: Tensor
    strides: tuple[int, ...]
    behind: bool
    gap: int

    def tensor(self, guard: bool) -> Tensor:
        count = guard_pages.span(tuple(self.values.shape), self.strides)
        if guard:
            flat = guard_pages.guarded(count, self.values.dtype, behind=self.behind, gap=self.gap)
        else:
            flat = torch.zeros(count, dtype=self.values.dtype)
        return guard_pages.spread(self.values, self.strides, flat)


def placed(draw: Draw, t: Tensor) -> Placed:
    strides = draw.strides(tuple(t.shape), shared=t.is_floating_point())  # no row of a list of patches comes twice
    return Placed(t, strides, draw.rarely(0.7), draw.one_of((0, 0, 1, 3)))


def random_call(op: str, rng: Random) -> Call:
    """A call of `op`; its arguments are trees with Placed in place of tensors."""
    draw = Draw(rng)
    by_hand = BY_HAND.get(op)
    if by_hand is not None and (op not in {c.op for c in CASES.values()} or draw.rarely(0.5)):
        return by_hand(draw)
    case = draw.one_of([c for c in CASES.values() if c.op == op])
    return _from_case(draw, case)


def _from_case(draw: Draw, case: cases.OpCase) -> Call:
    usual = draw.one_of(FLOATS)
    flow = {} if case.flow is None else {"flow": draw.one_of(FLOWS)}
    arguments = case.make_inputs(*draw.shape(), dtype=torch.float64, generator=draw.generator, **flow)
    options = _options(draw, case)
    call = functools.partial(case.call, **options)
    # Far beyond the knots a flow is rounded to many pixels: it may land anywhere.
    limited = "taus" if case.flow is not None else None

    def place(name: str) -> Callable[[Tensor], Any]:
        return lambda t: placed(draw, draw.values(t, huge=name != limited).to(draw.dtype(usual)))

    names = inspect.signature(getattr(vk, case.op)).parameters
    found = tuple(map_tensors(place(name), argument) for name, argument in zip(names, arguments))
    return Call(f"{case.name} {options}", call, found, case.slack)


def options_of(case: cases.OpCase) -> set[str]:
    """Keywords of the public function that the case's call passes on."""
    inner = case.call.func if isinstance(case.call, functools.partial) else case.call
    public = getattr(vk, case.op)
    parameters = inspect.signature(inner).parameters.values()
    passes = inner is public or any(p.kind is p.VAR_KEYWORD for p in parameters)
    if not passes:
        return set()
    optional = [p for p in inspect.signature(public).parameters.values() if p.default is not p.empty]
    return {p.name for p in optional} - {"metric", "bias", "out"}


def _options(draw: Draw, case: cases.OpCase) -> dict[str, Any]:
    found = {}
    for name in sorted(options_of(case)):
        choices = OPTIONS[name]
        if name == "mode" or choices is None or draw.rarely(0.5):
            continue
        found[name] = draw.one_of(choices)
    return found


def _beside(draw: Draw, activation: str | None, t: Tensor, usual: torch.dtype) -> Placed:
    """Finite beside an activation: relu makes 0 of -inf and NaN of NaN, and which of them comes is not said."""
    return placed(draw, (draw.values(t) if activation is None else t).to(draw.dtype(usual)))


def _geometry(draw: Draw) -> Call:
    usual = draw.one_of(FLOATS)
    b, _, h, w = draw.shape()
    kernel, stride, padding, dilation = (
        (draw.one_of(each), draw.one_of(each)) for each in ((1, 2, 3), (1, 2), (0, 1, 2), (1, 2))
    )
    groups, parts = draw.one_of((1, 2)), draw.one_of((1, 2, 3))
    c, c_out = groups * parts * draw.one_of((1, 2)), groups * draw.one_of((1, 2, 5))
    size = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip((h, w), kernel, stride, padding, dilation)]
    size, taps = [max(n, 0) for n in size], kernel[0] * kernel[1]
    mask, bias = draw.normal(b, parts * taps, *size), draw.normal(c_out)
    slopes = draw.normal(draw.one_of((1, c_out)))
    activation = draw.one_of((None, "relu", "prelu"))
    tensors: list[Any] = [draw.normal(b, c, h, w), draw.normal(b, 2 * parts * taps, *size) * 2, mask]
    tensors += [draw.normal(c_out, c // groups, *kernel), bias, slopes if activation == "prelu" else None]
    if draw.rarely(0.3):
        tensors[2] = None
    if draw.rarely(0.5):
        tensors[4] = None
    if draw.rarely(0.4):
        tensors[1] = tensors[1].round()

    def call(input, offset, mask, weight, bias, slopes):
        return vk.modulated_deform_conv2d(
            input, offset, mask, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups,
            offset_groups=parts, activation=activation, activation_weight=slopes, edge=edge,
        )  # fmt: skip

    edge = draw.one_of(OPTIONS["edge"])
    arguments = map_tensors(lambda t: _beside(draw, activation, t, usual), tuple(tensors))
    name = f"modulated_deform_conv2d {stride=} {padding=} {dilation=} {groups=} {parts=} {activation=} {edge=}"
    return Call(name, call, arguments, differentiable=activation is None)


def indices(draw: Draw, b: int, rows: int, columns: int) -> Tensor:
    """Rows without repetition in any order: most name patches, some do not."""
    cells = torch.cartesian_prod(*(torch.arange(n) for n in (b, rows, columns))).view(-1, 3)
    listed = cells[torch.randperm(cells.shape[0], generator=draw.generator)[: draw.size(1, 2, 5, 100)]]
    if draw.rarely(0.5):
        wrong = [[-1, -1, -1], [b, 0, 0], [0, rows, 0], [0, 0, columns], [2**31 - 1, 0, 0], [0, -(2**31), 0]]
        listed = torch.cat([listed, torch.tensor(draw.rng.sample(wrong, 2))])
        listed = listed[torch.randperm(listed.shape[0], generator=draw.generator)]
    return listed.to(torch.int64 if draw.rarely(0.02) else torch.int32)


def _patches(op: str, draw: Draw) -> Call:
    usual, patch, halo = draw.one_of(FLOATS), draw.one_of((1, 2, 3, 4, 8)), draw.one_of((0, 0, 1, 2, 5))
    b, c, rows, columns = draw.size(1, 2), draw.size(1, 2, 3, 17), draw.size(1, 2, 3), draw.size(1, 2, 5)
    listed = indices(draw, b, rows, columns)
    image = draw.values(draw.normal(b, c, rows * patch, columns * patch)).to(draw.dtype(usual))
    if op == "patch_gather":
        order = draw.one_of((torch.preserve_format, torch.contiguous_format, torch.channels_last))
        call = functools.partial(vk.patch_gather, patch=patch, halo=halo, memory_format=order)
        return Call(f"{op} {patch=} {halo=} {order=}", call, (placed(draw, image), placed(draw, listed)))
    patches = draw.values(draw.normal(listed.shape[0], c, patch, patch)).to(draw.dtype(image.dtype))
    arguments = tuple(placed(draw, t) for t in (patches, listed, image))
    return Call(f"{op} {patch=}", getattr(vk, op), arguments, differentiable=op == "patch_scatter")


def _route(draw: Draw) -> Call:
    shape = draw.size(1, 2, 3), draw.size(1, 2, 5), draw.size(1, 2, 9, 70)
    capacity, count = draw.one_of((None, 0, 1, 7, 1000)), draw.one_of((False, True))
    call = functools.partial(vk.patch_indices, capacity=capacity, return_count=count)
    return Call(f"patch_indices {capacity=} {count=}", call, (placed(draw, draw.integers(0, 1, *shape).bool()),))


def _routed(op: str, draw: Draw) -> Call:
    usual, transposed = draw.one_of(FLOATS), draw.rarely(0.3)
    stride = 2 if transposed else draw.one_of((1, 2))
    kernel, patch = 4 if transposed else draw.one_of((1, 3)), draw.one_of((1, 2, 3, 4)) * (1 if transposed else stride)
    b, c, rows, columns = draw.size(1, 2), draw.size(1, 2, 3, 17), draw.size(1, 2, 3), draw.size(1, 2, 5)
    c_out, (h, w) = draw.size(1, 2, 5, 33), (rows * patch, columns * patch)
    size = (2 * h, 2 * w) if transposed else (h // stride, w // stride)
    activation = draw.one_of((None, "relu", "leaky_relu", "prelu", "gelu"))
    padding_mode = draw.one_of(("zeros", "image"))
    weight = draw.normal(*(c, c_out) if transposed else (c_out, c), kernel, kernel)
    tensors: list[Any] = [draw.normal(b, c, h, w), weight, draw.normal(c_out) if draw.rarely(0.5) else None]
    tensors += [draw.normal(draw.one_of((1, c_out))) if activation == "prelu" else None]
    tensors += [draw.normal(b, c_out, *size) if op == "routed_conv2d_" or draw.rarely(0.5) else None]
    listed = placed(draw, indices(draw, b, rows, columns))

    def call(x, weight, bias, slopes, base, listed):
        return getattr(vk, op)(
            x, weight, bias, listed, patch, stride=stride, transposed=transposed, padding_mode=padding_mode,
            activation=activation, activation_weight=slopes, base=base,
        )  # fmt: skip

    arguments = map_tensors(lambda t: _beside(draw, activation, t, usual), tuple(tensors))
    name = f"{op} {patch=} {stride=} {transposed=} {padding_mode=} {activation=}"
    return Call(name, call, (*arguments, listed), differentiable=activation is None and op == "routed_conv2d")


def _mixture(draw: Draw) -> Call:
    usual = draw.one_of(FLOATS)
    shape = [draw.size(1, 2, 5) for _ in range(draw.one_of((0, 1, 2)))]
    tokens = torch.Size(shape).numel()
    size, out, entries, rank = draw.size(1, 3, 17), draw.size(1, 2, 33), draw.one_of((2, 3, 7)), draw.size(1, 3, 16)
    sizes = ((out, size), (out,), (entries, rank, size), (entries, out, rank), (entries, rank), (entries, out))
    tensors = [draw.normal(*shape, size), *(draw.normal(*each) for each in sizes)]
    given: list[Any] = [placed(draw, draw.values(t).to(draw.dtype(usual))) for t in tensors]
    for n in (2, 5, 6):
        if draw.rarely(0.3):
            given[n] = None
    if draw.rarely(0.5):
        expert = draw.one_of((1, entries - 1, entries, 0, -1)) if draw.rarely() else 1
        return Call(f"mixture_lora {expert=}", vk.mixture_lora, (*given, expert))
    count = draw.one_of((1, 2, 5))
    ends = torch.cat([torch.zeros(1, dtype=torch.int64), draw.integers(0, tokens, count - 1).sort().values])
    ends = torch.cat([ends, torch.tensor([tokens])])
    if draw.rarely():
        ends[draw.rng.randrange(count + 1)] = draw.one_of((-1, tokens + 1, 2**62))
    experts = draw.integers(1 if draw.rarely(0.9) else 0, entries - 1, count)
    listed = [placed(draw, t.to(draw.one_of((torch.int64, torch.int32)))) for t in (experts, ends.clamp_max(2**31 - 1))]

    def call(*tensors):
        *others, segments = tensors
        return vk.mixture_lora(*others, segments=segments)

    return Call("mixture_lora segments", call, (*given, *listed))


BY_HAND: dict[str, Callable[[Draw], Call]] = {
    "modulated_deform_conv2d": _geometry,
    "patch_gather": functools.partial(_patches, "patch_gather"),
    "patch_scatter": functools.partial(_patches, "patch_scatter"),
    "patch_scatter_": functools.partial(_patches, "patch_scatter_"),
    "patch_indices": _route,
    "routed_conv2d": functools.partial(_routed, "routed_conv2d"),
    "routed_conv2d_": functools.partial(_routed, "routed_conv2d_"),
    "mixture_lora": _mixture,
}
OPS = sorted({c.op for c in CASES.values()} | set(BY_HAND))
