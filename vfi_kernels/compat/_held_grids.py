"""Grids that are given to a warp, or that its object holds: whether they are the ones that ours computes."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.compiler import is_compiling

from vfi_kernels._types import Foreign
from vfi_kernels.compat._guards import version


@dataclass(frozen=True)
class Seen:
    """Tensors that were looked at, what they were then, and what was found."""

    tensors: tuple[Callable[[], object], ...]
    state: tuple[object, ...]
    right: bool


known_grids: dict[int, Seen] = {}


def looked_at(tensors: tuple[Tensor, ...], shapes: tuple[object, ...], right: Callable[[], bool]) -> bool:
    """Whether tensors are what `right` says: looked at once, which is a wait on a GPU, and never in a graph."""
    if is_compiling():
        return False
    key = id(tensors[0])
    seen, state = known_grids.get(key), (*map(count, tensors), *shapes)
    if seen is not None and seen.state == state:
        for ref, t in zip(seen.tensors, tensors):
            if ref() is not t:
                break
        else:
            return seen.right
    refs = [weakref.ref(t, lambda _: known_grids.pop(key, None)) for t in tensors]
    known_grids[key] = Seen(tuple(refs), state, right())
    return known_grids[key].right


def count(t: Tensor) -> object:
    """Of the changes of a tensor."""
    try:
        return t._version, t.data_ptr()
    except RuntimeError:  # of inference mode
        return version(t)


def of_standard_grid(image: Foreign, flow: Foreign, divisors: Foreign, grid: Foreign) -> bool:
    """Whether these are the divisors and the grid that vs-rife makes for an image and a flow."""
    for t in (image, flow, divisors, grid):
        if not isinstance(t, Tensor):
            return False

    def right() -> bool:
        size, wanted = flow.shape[2:], image.shape[2:]
        if grid.dim() != 4 or grid.shape[1] != 2 or grid.shape[2:] != size or divisors.numel() != 2:
            return False
        axes = [torch.linspace(-1, 1, n, dtype=torch.float32, device=grid.device) for n in size]
        expected = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1])
        half = [(n - 1) / 2 for n in wanted[::-1]]
        rounding = 1e-5 if grid.dtype in (torch.float32, torch.float64) else 1e-2
        return bool((grid.float() - expected).abs().max() <= rounding) and all(
            abs(a - b) <= rounding * b for a, b in zip(divisors.flatten().tolist(), half)
        )

    return looked_at((grid, divisors), (image.shape, flow.shape), right)


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

    return grid.shape[0] in (1, flow.shape[0]) and looked_at((grid,), (), right)
