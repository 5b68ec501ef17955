"""The warps of the field: one family, all of them vk.backward_warp of an affine change of the flow.

A grid in [-1, 1] of the flow's size, plus the flow over half a number, is read by grid_sample. In pixels of the image,
along an axis on which the image has n of them, the position of pixel x with flow f is A x + D f + C; m and k are the
numbers that the grid and the flow are divided by:

    grid                    starts at           flow over    read              A            D            C
    corners                 linspace(-1, 1)     (k - 1) / 2  pixel centres     (n-1)/(m-1)  (n-1)/(k-1)  0
    centres                 that, half in       (k - 1) / 2  edges of pixels   n/m          n/(k-1)      (n/m - 1) / 2
    corners as centres      linspace(-1, 1)     (k - 1) / 2  edges of pixels   n/(m-1)      n/(k-1)      -1/2
    half a pixel off        2 x / m - 1         k / 2        edges of pixels   n/m          n/k          -1/2

With image and flow of one size m = k = n, and the first is x + f. Reflection belongs to the first only: the others,
which are read at edges of pixels, reflect there, half a pixel outside; vk.backward_warp reflects at centres.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vfi_kernels._options import PaddingMode
from vfi_kernels._results import accumulator
from vfi_kernels._tracing import of_the_size_of, of_this_size
from vfi_kernels._types import Function
from vfi_kernels.compat._grids import as_under_autocast
from vfi_kernels.ops.backward_warp.op import backward_warp

Grid = Literal["corners", "centres", "corners as centres", "half a pixel off"]
Sizes = Literal["image", "flow", "pixels"]  # of a flow of another size: what the grid and the flow are divided by
GRIDS: tuple[Grid, ...] = ("corners", "centres", "corners as centres", "half a pixel off")
OUTSIDE: tuple[PaddingMode, ...] = ("zeros", "border", "reflection")
FORMS: tuple[tuple[Grid, PaddingMode], ...] = tuple(
    (grid, outside) for grid in GRIDS for outside in OUTSIDE if grid == "corners" or outside != "reflection"
)
SIZES: tuple[Sizes, ...] = ("image", "flow", "pixels")
WORDS: dict[Grid, str] = {
    "corners": "x + flow",
    "centres": "x + flow n / (n - 1)",
    "corners as centres": "(x + flow) n / (n - 1) - 1/2",
    "half a pixel off": "x + flow - 1/2",
}


@dataclass(frozen=True)
class Mask:
    """1 where the bilinear weights inside the image add up to `threshold` or more, else 0."""

    threshold: float
    applied: bool = True  # the result is multiplied with it
    returned: Literal["no", "plane", "image"] = "no"  # with the result: (B, 1, H, W), or of the image's channels


@dataclass(frozen=True)
class Warp:
    """One of the family. `sizes` None: image and flow have one size. `last`: the flow is (B, H, W, 2)."""

    grid: Grid = "corners"
    outside: PaddingMode = "border"
    mask: Mask | None = None
    sizes: Sizes | None = None
    last: bool = False

    def __str__(self) -> str:
        text = f"samples at {WORDS[self.grid]}, {self.outside} outside"
        if self.mask is not None:
            done = [*["0"] * self.mask.applied, *["returned"] * (self.mask.returned != "no")]
            text += f", mask at {self.mask.threshold:g} ({' and '.join(done)})"
        return text + ", flow (B, H, W, 2)" * self.last


def affine(grid: Grid, n: int, m: int, k: int) -> tuple[float, float, float]:
    """A, D and C of the table above."""
    wide, tall = max(m - 1, 1), max(k - 1, 1)
    if grid == "corners":
        return (n - 1) / wide, (n - 1) / tall, 0.0
    if grid == "centres":
        return n / m, n / tall, (n / m - 1) / 2
    return (n / wide, n / tall, -0.5) if grid == "corners as centres" else (n / m, n / k, -0.5)


def moved(image: Tensor, flow: Tensor, kind: Warp) -> tuple[Tensor, Tensor]:
    """The image, and the flow in pixels of it: such that its pixel x samples at x + flow."""
    equal = flow.shape[2:] == image.shape[2:]
    if kind.grid == "corners" and (equal or kind.sizes == "pixels"):
        return image, of_the_size_of(image, flow, 2, 3) if equal else flow
    image, flow = of_this_size(image, 2, 3), of_this_size(flow.to(accumulator(flow)), 2, 3)
    planes: list[Tensor] = []
    for channel, axis in ((0, 3), (1, 2)):
        n, size = image.shape[axis], flow.shape[axis]
        a, d, c = affine(kind.grid, n, n if kind.sizes == "pixels" else size, size if kind.sizes == "flow" else n)
        if a == d == 1 and c == -0.5:
            return image, flow - 0.5  # along both axes: it does not depend on the size
        plane = flow[:, channel : channel + 1]
        if a == 1:
            planes.append(plane * d)
            continue
        start = torch.linspace(c, c + (a - 1) * (size - 1), size, dtype=flow.dtype, device=flow.device)
        planes.append(torch.add(start if axis == 3 else start[:, None], plane, alpha=d))
    return image, torch.cat(planes, 1)


def warped(image: Tensor, flow: Tensor, kind: Warp) -> Tensor | tuple[Tensor, Tensor]:
    """(B, C, Hi, Wi) and (B, 2, H, W), or as `kind` says -> (B, C, H, W), and what it says of a mask."""
    image, flow = moved(image, flow.permute(0, 3, 1, 2) if kind.last else flow, kind)
    out = backward_warp(as_under_autocast(image), flow, padding_mode=kind.outside)
    if kind.mask is None:
        return out
    ones = torch.ones((image.shape[0], 1, *image.shape[2:]), dtype=accumulator(image), device=image.device)
    mask = backward_warp(ones, flow.detach(), padding_mode="zeros") >= kind.mask.threshold
    if kind.mask.applied:
        out = out * mask
    if kind.mask.returned == "no":
        return out
    mask = mask.to(out.dtype)
    return out, mask if kind.mask.returned == "plane" else mask.expand(-1, out.shape[1], -1, -1).contiguous()


def picture(image: Tensor, flow: Tensor, kind: Warp) -> Tensor:
    """`warped` of a kind that returns no mask."""
    out = warped(image, flow, kind)
    assert isinstance(out, Tensor)
    return out


def of_kind(kind: Warp) -> Function:
    """The function of an image and a flow that `kind` says."""

    def warp(image: Tensor, flow: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return warped(image, flow, kind)

    return warp
