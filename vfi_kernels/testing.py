"""What tests/ and benchmarks/ need to know of an op: how to make its inputs, and how large they get."""

import contextlib
import importlib
import pkgutil
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypedDict, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from typing_extensions import Required, Unpack  # which torch needs, too

from vfi_kernels._options import Boundary
from vfi_kernels._types import Function
from vfi_kernels.ops._shared.reference_math.keys_cubic import Curve, flows

T = TypeVar("T")


class Place(TypedDict, total=False):
    """What a random tensor is made of; `device` is the CPU unless told otherwise."""

    dtype: Required[torch.dtype]
    device: str | torch.device
    generator: torch.Generator | None


class Line(TypedDict, total=False):
    """The options of a curve through keyframes."""

    a: float
    boundary: Boundary
    extrapolate: bool


Inputs: TypeAlias = tuple[Any, ...]  # of a call: tensors, and lists of them
CURVE: Line = {"a": -0.5, "boundary": "keys", "extrapolate": False}  # what sample_trajectory does unless told otherwise


@dataclass(frozen=True)
class OpCase:
    """One way to call a public function; the oracle is the same call on float64 inputs with the reference backend."""

    name: str
    op: str  # the schema's name
    call: Function  # the public function with its options bound
    make_inputs: Callable[..., Inputs]  # (*shape, dtype=, device=, generator=, flow=) -> arguments of call
    small: tuple[tuple[int, ...], ...]  # shapes for tests: one pixel, odd sizes, wider than one block
    large: dict[str, tuple[int, ...]] = field(default_factory=dict)  # shapes for benchmarks, by name
    bytes_moved: Callable[..., int] | None = None  # (*arguments) -> the least bytes read and written
    smooth: bool = True  # finite differences agree with the gradient of every argument
    linear: bool = False  # in all arguments together: the second derivative is 0
    autocast: bool = False  # casts inside torch.autocast, as conv2d does
    library: bool = False  # of torch's own products, whose last bits may depend on the number of threads
    # "planes", "features" (which the last dimension holds): nn.RoutedBlock takes it, of single pixels or a convolution.
    local: str | None = None
    slack: float = 1.0  # how many times the usual rounding results may have: sums whose terms cancel
    # False: so many displacements that generic tests would take minutes. They run others of the op; benchmarks, their
    # tests and those of the op alone run this.
    generic: bool = True
    flow: int | None = 1  # which argument is the flow; those before it are images. None: there is none


CASES: dict[str, OpCase] = {}
_large: ContextVar[bool] = ContextVar("large", default=False)


def register(case: OpCase) -> OpCase:
    CASES[case.name] = case
    return case


@contextlib.contextmanager
def made_large() -> Iterator[None]:
    """Inside, inputs of small images have as many taps and taus as those of benchmarks."""
    token = _large.set(True)
    try:
        yield
    finally:
        _large.reset(token)


def is_large(h: int, w: int, least: int) -> bool:
    """Whether an image is one of a benchmark, of `least` pixels, or stands for one."""
    return _large.get() or h * w >= least


def generic_cases() -> dict[str, OpCase]:
    """Those that generic tests run."""
    return {name: case for name, case in load_cases().items() if case.generic}


def load_cases() -> dict[str, OpCase]:
    """Imports every vfi_kernels/ops/*/cases.py and returns what they registered."""
    import vfi_kernels.ops

    for module in pkgutil.iter_modules(vfi_kernels.ops.__path__):
        if module.ispkg and not module.name.startswith("_"):
            importlib.import_module(f"vfi_kernels.ops.{module.name}.cases")
    return CASES


def make_flow(
    kind: str, b: int, h: int, w: int, *, dtype: torch.dtype, device: str | torch.device = "cpu",
    generator: torch.Generator | None = None,
) -> Tensor:  # fmt: skip
    """(B, 2, H, W) flow in pixels: "noise" (sigma 3), "smooth" (up to 20), "zoom-out" (halves the image), "zero",
    "point" (everything lands on the centre) or "integer"."""
    options: Place = {"dtype": torch.float64, "generator": generator}
    ys, xs = torch.meshgrid(torch.arange(h).double(), torch.arange(w).double(), indexing="ij")
    if kind == "noise":
        # Odd sixteenths: never an integer, where there is no derivative, and no bilinear weight below 1/256, by which
        # the gradient of a quotient would be divided.
        flow = (torch.randn(b, 2, h, w, **options).mul(24).floor() + 0.5) / 8
    elif kind == "integer":
        flow = torch.randn(b, 2, h, w, **options).mul(3).round()
    elif kind == "zero":
        flow = torch.zeros(b, 2, h, w, dtype=torch.float64)
    elif kind == "smooth":
        amount = 10 * torch.rand(b, 2, 2, 1, 1, **options) + 5
        waves = torch.stack([torch.sin(xs / 97 + ys / 61), torch.cos(xs / 83 - ys / 71)])
        flow = (amount * waves).sum(2)
    else:
        towards = torch.stack([(w - 1) / 2 - xs, (h - 1) / 2 - ys])
        flow = (towards / 2 if kind == "zoom-out" else towards).expand(b, 2, h, w)
    return flow.to(dtype).to(device).contiguous()


def every_other_patch(x: Tensor, patch: int) -> Tensor:
    """(P + 1, 3) int32: a list of half the patches of `x`, and one row that names none."""
    b, rows, columns = x.shape[0], x.shape[2] // patch, x.shape[3] // patch
    cells = torch.arange(b * rows * columns, device=x.device)[::2]
    sample, row = cells // max(rows * columns, 1), cells // max(columns, 1)
    listed = torch.stack([sample, row - sample * rows, cells - row * columns], 1)
    return torch.cat([listed[:1] * 0 - 1, listed]).int()


def make_keyframes(kind: str, b: int, count: int, h: int, w: int, **options: Unpack[Place]) -> Tensor:
    """(B, 2 count, H, W): flows of one kind at times in equal steps, growing with time by no round factor.

    All but those of "zero" are odd sixteenths. Between 2 ** n + 1 of them, at the taus of make_taus, flows then have
    few bits and are exact in float32: a quotient's weights are those of the oracle, and so is the side of an integer
    on which a position lies."""
    keyframes = torch.cat([make_flow(kind, b, h, w, **options) * (0.9871 * (k + 1) / count) for k in range(count)], 1)
    return keyframes if kind == "zero" else (keyframes.mul(8).floor() + 0.5) / 8


def make_taus(
    b: int, t: int, h: int, w: int, *, dtype: torch.dtype, device: str | torch.device = "cpu",
    generator: torch.Generator | None = None, per_pixel: bool,
) -> Tensor:  # fmt: skip
    """(B, T, 1, 1) or (B, T, H, W), from -0.2 to 1.2: odd 64ths, which are no knots and exact in every dtype."""
    shape = (b, t, h, w) if per_pixel else (b, t, 1, 1)
    steps = torch.randint(-7, 38, shape, generator=generator)
    return ((2 * steps + 1).double() / 64).to(dtype).to(device)


def make_trajectory(
    kind: str,
    b: int,
    t: int,
    count: int,
    h: int,
    w: int,
    *,
    coarse: int = 1,
    per_pixel: bool = False,
    curve: Line | None = None,
    **options: Unpack[Place],
) -> tuple[Tensor, Tensor]:
    """make_keyframes for an image of (h, w), `coarse` times as coarse as it, and make_taus. Resized flows are not exact
    in float32: on the small images of tests those of the `curve`, an op's options, are kept clear of integers."""
    taus = make_taus(b, t, h, w, per_pixel=per_pixel, **options)
    keyframes = make_keyframes(kind, b, count, -(-h // coarse), -(-w // coarse), **options)
    if coarse == 1 or kind == "zero" or is_large(h, w, 1 << 16):
        return keyframes, taus
    line: Line = {**CURVE, **(curve or {})}
    through = Curve(0.0, 1 / max(count - 1, 1), line["a"], line["boundary"], line["extrapolate"])

    def flows_of(planes: Tensor) -> Tensor:
        return flows(through, planes.double().unflatten(1, (-1, 2)), taus.double(), (h, w))

    return clear_of_integers(keyframes, flows_of), taus


def clear_of_integers(keyframes: Tensor, flows_of: Callable[[Tensor], Tensor]) -> Tensor:
    """`keyframes` (B, 2 K, h, w), some nudged until no flow (B, T, 2, H, W) of theirs is within 2 ** -15 of an integer,
    on whose other side a float32 kernel may see it."""
    nudge = max(2**-10, 2 * torch.finfo(keyframes.dtype).eps)
    while True:
        sampled_flows = flows_of(keyframes)
        near = ((sampled_flows - sampled_flows.round()).abs() < 2**-15).any(1)
        if not near.any():
            return keyframes
        blamed = torch.nn.functional.adaptive_max_pool2d(near.double(), keyframes.shape[2:]) > 0
        blamed = blamed.repeat(1, keyframes.shape[1] // 2, 1, 1)
        keyframes = torch.where(blamed, keyframes + nudge * keyframes.abs(), keyframes)


def random(
    shape: tuple[int, ...], *, dtype: torch.dtype, device: str | torch.device = "cpu",
    generator: torch.Generator | None = None,
) -> Tensor:  # fmt: skip
    """Normal values, the same for every dtype up to its rounding."""
    return torch.randn(shape, dtype=torch.float64, generator=generator).to(dtype).to(device)


def map_tensors(function: Callable[[Tensor], Tensor], arguments: T) -> T:
    """`arguments` with `function` applied to every tensor, also inside lists."""
    result: T = pytree.tree_map_only(Tensor, function, arguments)
    return result


def tensors(arguments: object) -> list[Tensor]:
    """Every tensor in `arguments`, also inside lists."""
    return [a for a in pytree.tree_leaves(arguments) if isinstance(a, Tensor)]
