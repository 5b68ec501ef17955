"""bfloat16 on the CPU's matrix units: our products against torch's dense ones, and against our float32.

python benchmarks/half_precision.py [--threads 2] [--seconds 20]     prints one table; --write: into docs/backends.md

Medians of interleaved runs. Dense is conv2d of the same type in channels_last; routed convolution stands against the
share of active patches times the dense block.
"""

import argparse
import functools
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from routed import PATCH, SIZE, route
from torch import Tensor

import vfi_kernels as vk
from vfi.models.apr_vfi import RefineBlock
from vfi_kernels.bench.machine import cpu
from vfi_kernels.bench.report import between_marks, markdown_table, text_table
from vfi_kernels.bench.timing import Around, Budget, Contender, CpuClock, interleave

PAGE = Path(__file__).resolve().parents[1] / "docs" / "backends.md"
MARKS = "<!-- half precision: written by benchmarks/half_precision.py -->\n", "<!-- end of half precision -->\n"
TYPES = (torch.float32, torch.bfloat16)
DEFORM = ((128, 64, 112, 4), (256, 32, 56, 8), (128, 144, 256, 4), (64, 256, 448, 8))  # channels, rows, columns, groups
CORRELATION = ((64, 256, 448), (32, 256, 448), (128, 64, 112), (196, 32, 56))
ROUTED = ((96, 32), (64, 64))  # input and output channels
KEEP, RADIUS = 0.4, 4
Calls = dict[str, Any]  # of what is run without arguments


def last(t: Tensor, dtype: torch.dtype) -> Tensor:
    return t.to(dtype).contiguous(memory_format=torch.channels_last)


def deform(channels: int, rows: int, columns: int, groups: int, dtype: torch.dtype) -> Calls:
    x, weight = torch.randn(1, channels, rows, columns), torch.randn(channels, channels, 3, 3) / (3 * channels**0.5)
    offset, mask = 2 * torch.randn(1, 18 * groups, rows, columns), torch.rand(1, 9 * groups, rows, columns)
    x, weight, offset, mask = last(x, dtype), last(weight, dtype), offset.to(dtype), mask.to(dtype)
    ours = functools.partial(vk.modulated_deform_conv2d, x, offset, mask, weight, padding=1, offset_groups=groups)
    return {"ours": ours, "dense": functools.partial(F.conv2d, x, weight, padding=1)}


def gradients(make: Callable[[torch.dtype], Calls], first: int, dtype: torch.dtype) -> Calls:
    """Of the calls' arguments from number `first` on."""
    made: Calls = {}
    for name, call in make(dtype).items():
        leaves = [t.requires_grad_() for t in call.args[first:] if isinstance(t, Tensor)]
        out = call()
        made[name] = functools.partial(torch.autograd.grad, out, leaves, torch.randn_like(out), retain_graph=True)
    return made


def routed(dtype: torch.dtype) -> Calls:
    block = RefineBlock().eval().to(dtype).to(memory_format=torch.channels_last)
    x, base = last(torch.randn(1, 96, *SIZE), dtype), last(torch.zeros(1, 32, *SIZE), dtype)
    indices = vk.patch_indices(route(KEEP))
    ours = functools.partial(vk.nn.RoutedBlock(block, PATCH), x, indices, base, inplace=True)
    return {"ours": ours, "dense": functools.partial(block, x)}


def routed_convolution(channels: int, outputs: int, dtype: torch.dtype) -> Calls:
    x, weight = last(torch.randn(1, channels, *SIZE), dtype), last(torch.randn(outputs, channels, 3, 3), dtype)
    listed = {"indices": vk.patch_indices(route(KEEP)), "patch": PATCH, "padding_mode": "image"}
    ours = functools.partial(vk.routed_conv2d, x, weight, bias=None, **listed)
    return {"ours": ours, "dense": functools.partial(F.conv2d, x, weight, padding=1)}


def correlation(channels: int, rows: int, columns: int, dtype: torch.dtype) -> Calls:
    first, second = (torch.randn(1, channels, rows, columns).to(dtype) for _ in range(2))
    return {"ours": functools.partial(vk.correlation, first, second, RADIUS)}


def row(
    name: str,
    make: Callable[[torch.dtype], Calls],
    budget: Budget,
    share: float = 1.0,
    around: Around = torch.inference_mode,
) -> list[str]:
    torch.manual_seed(0)
    calls = {(dtype, who): call for dtype in TYPES for who, call in make(dtype).items()}
    contenders: dict[Any, Contender] = {key: Contender(call, around) for key, call in calls.items()}
    ms = {key: timing["median_ms"] for key, timing in interleave(contenders, CpuClock(), budget).items()}
    wide, half = TYPES
    cells = [name, f"{ms[wide, 'ours']:.2f}", f"{ms[half, 'ours']:.2f}"]
    for dtype in TYPES:
        dense = ms.get((dtype, "dense"))
        cells.append("-" if dense is None else f"{ms[dtype, 'ours'] / dense / share:.2f}")
    return [*cells, f"{ms[half, 'ours'] / ms[wide, 'ours']:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="of the CPU (default: 2)")
    parser.add_argument("--seconds", type=float, default=20, help="for each row (default: 20)")
    parser.add_argument("--write", action="store_true", help="put the table into docs/backends.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    budget = Budget(seconds=options.seconds, rounds=(5, 40))
    rows = [
        row(f"modulated_deform_conv2d {c}@{h}x{w}, {g} offset groups", functools.partial(deform, c, h, w, g), budget)
        for c, h, w, g in DEFORM
    ]
    rows += [
        row(
            f"gradients of {c}@{h}x{w}, {g} offset groups",
            functools.partial(gradients, functools.partial(deform, c, h, w, g), 0),
            budget,
            around=nullcontext,
        )
        for c, h, w, g in DEFORM
    ]
    rows.append(row(f"RoutedBlock {SIZE[0]}x{SIZE[1]}, {KEEP} active, in place", routed, budget, KEEP))
    rows += [
        row(
            f"weight gradient of routed_conv2d {c} to {n}, {SIZE[0]}x{SIZE[1]}, {KEEP} active",
            functools.partial(gradients, functools.partial(routed_convolution, c, n), 1),
            budget,
            KEEP,
            nullcontext,
        )
        for c, n in ROUTED
    ]
    rows += [
        row(f"correlation {c}@{h}x{w}", functools.partial(correlation, c, h, w), budget) for c, h, w in CORRELATION
    ]
    rows += [
        row(
            f"gradients of correlation {c}@{h}x{w}",
            functools.partial(gradients, functools.partial(correlation, c, h, w), 0),
            budget,
            around=nullcontext,
        )
        for c, h, w in CORRELATION
    ]
    facts = cpu()
    machine = f"{facts['model']}, level {facts['level']}, {options.threads} threads"
    head = ["", "float32, ms", "bfloat16, ms", "float32 / dense", "bfloat16 / dense", "bfloat16 / float32"]
    print(machine, text_table(head, rows), sep="\n")
    if options.write:
        table = f"{machine}.\n\n{markdown_table(head, rows)}\n"
        PAGE.write_text(between_marks(PAGE.read_text(), MARKS, table))


if __name__ == "__main__":
    main()
