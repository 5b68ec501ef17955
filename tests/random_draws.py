"""What random calls are made of: choices, tensors with values that are not finite or huge, strides, memory."""

import dataclasses
from collections.abc import Callable
from random import Random
from typing import Any

import guard_pages
import torch
from torch import Tensor

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
REFUSED = (torch.int32, torch.bool, torch.complex64)
SPECIAL = (torch.nan, torch.inf, -torch.inf, 1e30, -1e30, 2.0**63, -(2.0**31), 3e9, 65504.0, 1e-30, -1e-40, -0.0, 1.0)
HUGE = (1e30, 1e15, 3e4)


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
