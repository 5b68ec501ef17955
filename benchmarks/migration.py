"""The numbers of docs/migrate.md: where results differ from those of the libraries that compat stands in for.

python benchmarks/migration.py    prints the table; tests/test_docs.py holds the page to it
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

import vfi_kernels as vk
from vfi_kernels import compat
from vfi_kernels._arguments import dtype_name
from vfi_kernels.bench.report import markdown_table

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def triangle(at: Tensor) -> Tensor:
    """An image of slope 1 everywhere, whose values stay small: reading it a little off gives a value as much off."""
    return 32 - ((at + 32) % 64 - 32).abs()


def by_a_grid(image: Tensor, flow: Tensor) -> Tensor:
    """RIFE's warp with a grid in the dtype of the flow, read by grid_sample in float32."""
    height, width = flow.shape[2:]
    xs, ys = (torch.linspace(-1, 1, size).to(flow.dtype) for size in (width, height))
    half = [(width - 1.0) / 2.0, (height - 1.0) / 2.0]
    grid = torch.stack((xs + flow[:, 0] / half[0], ys[:, None] + flow[:, 1] / half[1]), -1).float()
    return F.grid_sample(image, grid, padding_mode="border", align_corners=True)


def warp_errors(width: int) -> list[list[str]]:
    """Largest distance from the exact position, flows up to 20 pixels that stay inside."""
    generator = torch.Generator().manual_seed(0)
    start = torch.arange(width, dtype=torch.float64)
    moved = start + torch.rand(1, 1, 64, width, generator=generator, dtype=torch.float64) * 40 - 20
    flow = torch.cat((moved.clamp(20, width - 21) - start, torch.zeros_like(moved)), 1)
    image = triangle(start).float().expand(1, 1, 64, width)
    rows = []
    for dtype in DTYPES:
        rounded_flow = flow.to(dtype)  # what the caller has in this dtype counts as exact
        exact = triangle(start + rounded_flow[:, :1].double())
        errors = [(warp(image, rounded_flow) - exact).abs().max().item() for warp in (by_a_grid, compat.rife.warp)]
        name = dtype_name(dtype)
        text = f"RIFE's warp, {width} wide, {name}: largest error of a position"
        rows.append([text, *(pixels(error) for error in errors)])
    return rows


def pixels(error: float) -> str:
    return f"{error:.2g} px"


def isolated_pixel(metric: float) -> list[str]:
    """A white pixel that lands alone, by softmax-splatting's mode soft, and by vk.splat."""
    weight = math.exp(metric) if metric < 88.7 else math.inf  # float32
    theirs = weight / (weight + 1e-7)
    one, still, m = torch.ones(1, 1, 1, 1), torch.zeros(1, 2, 1, 1), torch.full((1, 1, 1, 1), metric)
    ours = vk.splat(one, still, m, mode="softmax").item()
    shim = compat.softsplat.softsplat(one, still, m, "soft").item()
    text = f"softmax-splatting's soft, metric {metric:g}: what is left of a pixel that lands alone"
    return [text, f"{theirs:.4g}", f"{ours:.4g} (`compat.softsplat`: {shim:.4g})"]


def edge_gradients() -> list[str]:
    """A 3x3 convolution with padding 1 whose offsets are still 0: how many of them have no gradient."""
    shares = []
    for edge in ("mmcv", "torchvision"):
        generator = torch.Generator().manual_seed(0)
        x, weight = torch.rand(1, 8, 64, 112, generator=generator), torch.rand(8, 8, 3, 3, generator=generator)
        offset = torch.zeros(1, 18, 64, 112, requires_grad=True)
        vk.modulated_deform_conv2d(x, offset, None, weight, padding=1, edge=edge).sum().backward()
        shares.append((offset.grad == 0).double().mean().item())
    text = "deformable 3x3 convolution of 64x112, padding 1, offsets 0: share of offsets without a gradient"
    mmcv, torchvision = (f"{share:.2%}" for share in shares)
    return [text, f"mmcv {mmcv}, torchvision {torchvision}", "the same: `compat.mmcv`, `compat.torchvision`"]


def half_offsets(width: int = 2048) -> list[str]:
    """torchvision and mmcv add an offset to its pixel in the dtype of the offset."""
    generator = torch.Generator().manual_seed(0)
    offset = (torch.rand(1, 2, 64, width, generator=generator) * 4 - 2).to(torch.float16)
    offset[:, 0] = 0
    at = torch.arange(width, dtype=torch.float32).expand(1, 1, 64, width)
    positions = at.double() + offset[:, 1:].double()
    inside = (positions >= 0) & (positions <= width - 1)
    theirs = (at.to(torch.float16) + offset[:, 1:]).double() - positions
    ours = vk.modulated_deform_conv2d(triangle(at), offset, None, torch.ones(1, 1, 1, 1)) - triangle(positions)
    text = f"deformable convolution, {width} wide, float16: largest error of a position"
    return [text, *(pixels(error[inside].abs().max().item()) for error in (theirs, ours))]


def table() -> str:
    rows = [*warp_errors(1920), *warp_errors(3840), *(isolated_pixel(m) for m in (0.0, -10.0, -20.0, 90.0))]
    rows += [edge_gradients(), half_offsets()]
    return markdown_table(["", "theirs", "ours"], rows)


if __name__ == "__main__":
    print(table())
