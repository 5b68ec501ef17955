"""Runs one random call with a backend and with the reference, and says where they differ.

Both get the same numbers in the same dtypes. What they must agree on:

- a refusal: the sentence;
- shape and dtype of every result; its elements within the rounding of compare.py, and not finite in the same places
  (which of infinity and NaN is not said: docs/conventions.md).

Where they do not, the definition is asked again, in float64, and an element is let go

- where it is past the range or the precision of the dtypes: the reference itself is off, or near the end of the range;
- where it is a matter of rounding: the difference is at most NOISE times what changes when every operation of the
  reference rounds its result at random (Monte Carlo arithmetic), or finite results then are not;
- in gradients, and in products of matrices (PRODUCTS), where the factor of a value that is not finite is 0: the
  result is the same whether 0 or 1 stands for it, and 0 times it is 0 or NaN.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from compare import ROUNDING
from random_draws import Call, Draw, Placed, placed
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from vfi_kernels import backends, use_backend
from vfi_kernels._autograd import NAMESPACE
from vfi_kernels.testing import map_tensors, tensors

PRODUCTS = {"mixture_lora", "modulated_deform_conv2d", "routed_conv2d", "routed_conv2d_"}
NOISE = 16
STEP = {torch.float32: 2.0**-22, torch.float64: 2.0**-50}  # four times a rounding of the sums
ARITHMETIC = ("add", "sub", "rsub", "mul", "div", "reciprocal", "exp", "log", "sigmoid", "erf", "sum", "scatter_add")
ARITHMETIC += ("index_add", "matmul", "mm", "bmm", "convolution", "convolution_backward")


class RandomRounding(TorchDispatchMode):
    """Arithmetic whose results are off by up to `step`; whole numbers, which are exact, below a million are not."""

    def __init__(self, step: float, seed: int) -> None:
        super().__init__()
        self.step, self.generator = step, torch.Generator().manual_seed(seed)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func.namespace == NAMESPACE:
            with self:  # inside the op too
                return backends._references[func._opname](*args)
        out = func(*args, **(kwargs or {}))
        return map_tensors(self.rounded, out) if func._opname in ARITHMETIC else out

    def rounded(self, t: Tensor) -> Tensor:
        if not t.is_floating_point():
            return t
        noise = 2 * torch.rand(t.shape, generator=self.generator, dtype=t.dtype) - 1
        return torch.where((t == t.round()) & (t.abs() < 1e6), t, t + self.step * noise * t)


class Trial:
    """A call, which gradients are wanted of it, and the cotangents, which the first run draws."""

    def __init__(self, op: str, call: Call, rng: Random) -> None:
        self.op, self.call, self.draw = op, call, Draw(rng)
        leaves = pytree.tree_leaves(call.arguments, is_leaf=lambda a: isinstance(a, Placed))
        self.dtypes = [p.values.dtype for p in leaves if isinstance(p, Placed) and p.values.is_floating_point()]
        wanted = call.differentiable and self.draw.rarely(0.5)
        self.wanted = [wanted and self.draw.rarely(0.8) for _ in self.dtypes]
        self.cotangents: list[Placed] = []

    def run(self, backend: str, *, guard: bool = False, change: Any = None) -> list[Tensor | None] | str:
        """Results and gradients, or the sentence of the refusal. `change` maps every tensor of floats."""

        def made(p: Placed) -> Tensor:
            t = p.tensor(guard)
            return t if change is None or not t.is_floating_point() else change(t)

        arguments = pytree.tree_map_only(Placed, made, self.call.arguments)
        floats = [t for t in tensors(arguments) if t.is_floating_point()]
        leaves = [t.requires_grad_() for t, wanted in zip(floats, self.wanted) if wanted]
        try:
            with use_backend(backend):
                outs = tensors(self.call.function(*arguments))
                moving = [o for o in outs if o.requires_grad]
                grads = (
                    torch.autograd.grad(moving, leaves, self._given(moving, made), allow_unused=True) if moving else ()
                )
        except RuntimeError as refusal:
            return str(refusal)
        self.results = len(outs)
        return [None if t is None else t.detach() for t in (*outs, *grads)]

    def _given(self, outs: list[Tensor], made: Any) -> list[Tensor]:
        if not self.cotangents:
            for out in outs:
                values = self.draw.normal(*out.shape).mul(8).round() / 8
                values = self.draw.values(values) if self.draw.rarely(0.2) else values
                self.cotangents.append(placed(self.draw, values.to(out.dtype)))
        return [made(p).to(out.dtype) for p, out in zip(self.cotangents, outs)]

    def step(self, acc: torch.dtype) -> float:
        """A rounding of sums, four times; mixture_lora rounds some to its own dtype."""
        return 2 * ROUNDING[self.dtypes[0]] if self.op == "mixture_lora" else STEP[acc]

    def bound(self, n: int, result: Tensor) -> float:
        """The rounding of result n, as in every_op.py."""
        if n < self.results or not self.dtypes:
            return ROUNDING[result.dtype] * self.call.slack
        coarsest = max(self.dtypes, key=ROUNDING.__getitem__)
        channels = 8 if "splat" in self.op else 0
        return ROUNDING[coarsest] * (4 + channels) * self.call.slack


@dataclass(frozen=True)
class Difference:
    """Result n (gradients after results) at the elements `where`."""

    n: int
    where: Tensor
    got: Tensor
    expected: Tensor

    def __str__(self) -> str:
        at = self.where.nonzero()[:4].tolist()
        pairs = [(tuple(i), self.got[tuple(i)].item(), self.expected[tuple(i)].item()) for i in at]
        return f"result {self.n}, {int(self.where.sum())} of {self.where.numel()}: (index, got, expected) {pairs}"


def differences(trial: Trial, backend: str) -> list[str]:
    """What is wrong with the call; nothing if the backend does as the reference."""
    got, expected = trial.run(backend, guard=True), trial.run("reference")
    if isinstance(got, str) or isinstance(expected, str):
        said = [t if isinstance(t, str) else "ran" for t in (got, expected)]
        return [] if said[0] == said[1] else [f"got: {said[0]}; expected: {said[1]}"]
    wrong, listed = [], []
    for n, (a, b) in enumerate(zip(got, expected)):
        if a is None or b is None or (a.shape, a.dtype) != (b.shape, b.dtype):
            if a is not None or b is not None:
                wrong.append(f"result {n}: got {_kind(a)}, expected {_kind(b)}")
        elif not a.is_floating_point():
            if not torch.equal(a, b):
                wrong.append(f"result {n}: got {a.tolist()}, expected {b.tolist()}")
        elif (where := _apart(a, b, trial.bound(n, a))).any():
            listed.append(Difference(n, where, a.double(), b.double()))
    if listed:
        listed = _counted(trial, listed, expected)
    return wrong + [str(d) for d in listed]


def _kind(t: Tensor | None) -> str:
    return "nothing" if t is None else f"{tuple(t.shape)} {t.dtype}"


def _apart(a: Tensor, b: Tensor, bound: float) -> Tensor:
    """Where two results differ: by more than the rounding, or in being finite."""
    a, b = a.double(), b.double()
    both = a.isfinite() & b.isfinite()
    scale = 1 + (b[both].abs().max().item() if both.any() else 0)
    far = (a - b).abs() > bound * (scale + b.abs())
    return torch.where(both, far, a.isfinite() != b.isfinite())


def _counted(trial: Trial, candidates: list[Difference], expected: list) -> list[Difference]:
    """Those differences that count, by the rules above."""
    acc = torch.float64 if set(trial.dtypes) == {torch.float64} else torch.float32  # weights do not decide it

    def doubled(t: Tensor) -> Tensor:
        return t.detach().double()

    exact = trial.run("reference", change=doubled)
    noisy = []
    for seed in range(8):
        with RandomRounding(trial.step(acc), seed):
            noisy.append(trial.run("reference", change=doubled))
    without = list(_twins(trial))
    counted = []
    for d in candidates:
        dtype = expected[d.n].dtype
        w = exact[d.n].to(dtype).double()
        free = (w.abs() > 1e-3 * torch.finfo(acc).max) | (
            w.isfinite() & _apart(d.expected, w, trial.bound(d.n, expected[d.n]))
        )
        for other in noisy:
            m = other[d.n].to(dtype).double()
            free |= m.isfinite() != w.isfinite()
            free |= NOISE * (m - w).abs() >= (d.got - d.expected).abs()
        if trial.op in PRODUCTS or d.n >= trial.results:
            for pair in without:
                zero, one = (t[d.n].double() for t in pair)
                free |= (zero == one) & (d.got.isfinite() != d.expected.isfinite())
        where = d.where & ~free
        if where.any():
            counted.append(Difference(d.n, where, d.got, d.expected))
    return counted


def _twins(trial: Trial) -> Iterator[list[Any]]:
    """The results with 0 and with 1 in place of what is not finite, in all tensors and in each by itself."""
    count = len(trial.dtypes) + len(trial.cotangents)
    for chosen in (range(count), *([n] for n in range(count))):

        def twin(value: float, chosen: Any = chosen) -> Callable[[Tensor], Tensor]:
            order = itertools.count()
            return lambda t: torch.where(t.isfinite(), t, value) if next(order) in chosen else t

        yield [trial.run("reference", change=twin(value)) for value in (0.0, 1.0)]
