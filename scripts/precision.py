"""Prints the tables of docs/determinism.md: errors against float64 on the CPU, and what splitting a position saves."""

import torch
from torch import Tensor

import vfi_kernels as vk
from vfi_kernels.bench.peers.warp import base_grid
from vfi_kernels.testing import load_cases, make_flow, map_tensors, tensors

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def largest_error(results: list[Tensor], exact: list[Tensor]) -> float:
    """The largest difference, as a share of the largest result."""
    scale = max(float(t.abs().max()) for t in exact)
    return max(float((a.double() - b).abs().max()) for a, b in zip(results, exact)) / scale


def errors_of_ops() -> None:
    print("| op | float32 | float16 | bfloat16 |\n|---|---|---|---|")
    seen = set()
    for case in load_cases().values():
        cells = []
        if case.op in seen:
            continue
        seen.add(case.op)
        for dtype in DTYPES:
            arguments = case.make_inputs(*case.small[-1], dtype=dtype, generator=torch.Generator().manual_seed(0))
            with vk.use_backend("reference"):
                exact = tensors(
                    case.call(*map_tensors(lambda t: t.double() if t.is_floating_point() else t, arguments))
                )
            cells.append(f"{largest_error(tensors(case.call(*arguments)), exact):.0e}")
        print(f"| `{case.op}` | {' | '.join(cells)} |")


def errors_of_positions() -> None:
    """Largest error in pixels of x + flow_x where it goes through a normalised grid of the flow's dtype."""
    print("\n| width | float32 | float16 | bfloat16 |\n|---|---|---|---|")
    for width in (480, 1920, 3840):
        cells = []
        for dtype in DTYPES:
            flow = make_flow("smooth", 1, 64, width, dtype=dtype, generator=torch.Generator().manual_seed(0))
            half = (width - 1) / 2
            grid = base_grid(1, 64, width, "cpu", dtype)[:, :1] + flow[:, :1] / half
            exact = torch.arange(width).double() + flow[:, :1].double()
            cells.append(f"{float(((grid.double() + 1) * half - exact).abs().max()):.0e}")
        print(f"| {width} | {' | '.join(cells)} |")


if __name__ == "__main__":
    errors_of_ops()
    errors_of_positions()
