"""What a warp of someone else's returns, and which warps of the family that may be."""

from collections.abc import Iterator

import torch
from torch import Tensor

from vfi_kernels._options import PaddingMode
from vfi_kernels.compat import _warp_pictures as pictures
from vfi_kernels.compat._warp_pictures import HIDDEN, MARGINS, Given
from vfi_kernels.compat._warps import FORMS, Grid, Mask, Warp


class Differs(Exception):
    """It computes something else; the text says where."""


def parts(result: object) -> tuple[Tensor, Tensor | None]:
    """What is returned: a picture, or one and a mask."""
    if isinstance(result, Tensor):
        return result, None
    if isinstance(result, (tuple, list)) and len(result) == 2 and all(isinstance(part, Tensor) for part in result):
        return result[0], result[1]
    raise Differs(f"it returns {type(result).__name__}, expected a picture, or one and its mask")


def matching(result: object, last: bool, dtype: torch.dtype) -> Iterator[Warp]:
    """The warps that give the first result, judged by it alone."""
    out, mask = parts(result)
    given = pictures.first()
    if out.shape != (*given.image.shape[:2], *given.size) or out.dtype != dtype:
        return
    for grid, outside in FORMS:
        plain = parts(pictures.ours("first", (), Warp(grid, outside, last=last), dtype)[0])[0]
        same = given.near(out, plain).all(1)
        if mask is None and same.all():
            yield Warp(grid, outside, last=last)
        elif dtype == torch.float32 and (same | (out == 0).all(1)).all():
            yield from masked(out, mask, same, grid, outside, last)


def masked(
    out: Tensor, mask: Tensor | None, same: Tensor, grid: Grid, outside: PaddingMode, last: bool
) -> Iterator[Warp]:
    """The warps of a grid whose mask hides what `out` hides, and shows what it shows."""
    hidden, shown = ~same, (out != 0).any(1)
    returned, applied = "no", True
    if mask is not None:
        if mask.dtype != out.dtype or not ((mask == 0) | (mask == 1)).all():
            return
        if mask.dim() != 4 or mask.shape[2:] != out.shape[2:] or mask.shape[1] not in (1, out.shape[1]):
            return
        if (mask != mask[:, :1]).any():
            return
        returned = "plane" if mask.shape[1] == 1 else "image"
        applied = bool((out[(mask == 0).expand_as(out)] == 0).all())
        hidden, shown = mask[:, 0] == 0, mask[:, 0] == 1
    inside = pictures.coverage(grid)
    low, high = inside[hidden].max().item() if hidden.any() else 0.0, inside[shown].min().item()
    for threshold in MARGINS:
        if low - HIDDEN < threshold <= high + HIDDEN:
            kind = Mask(threshold, applied, returned)  # type: ignore[arg-type]
            yield Warp(grid, outside, kind, last=last)


def same_parts(result: object, given: Given, kind: Warp, dtype: torch.dtype) -> bool:
    """Whether a picture, and its mask, are ours; in half precision some masks hide what they should show."""
    for n, (a, b) in enumerate(zip(parts(result), parts(pictures.ours(given.name, given.key, kind, dtype)[0]))):
        if a is None or b is None:
            if a is not b:
                return False
        elif a.shape != b.shape:
            return False
        else:
            same = given.near(a, b)
            hidden = dtype in pictures.HALVES and kind.mask is not None
            if not (same | (a == 0) if hidden and n == 0 else same).all():
                return False
    return True


def equal(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b or (a is not None and b is not None and a.shape == b.shape and a.equal(b))
