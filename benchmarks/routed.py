"""A block of convolutions on active patches only, against how many are active.

python benchmarks/routed.py     prints the table; benchmarks/run.py takes the same figures on the record

The block is the refine block of APR-VFI: 96 channels to 32 at full resolution, 64 at a half and a quarter of it, back
through two transposed convolutions, with skips. Dense is the faster of torch's two memory formats.
"""

import functools
from typing import Any

import torch
from torch import Tensor, nn

import vfi_kernels as vk
from vfi.models.apr_vfi import RefineBlock
from vfi_kernels.bench.timing import Budget, Contender, CpuClock, interleave

SIZE, PATCH = (1088, 2048), 64
KEEPS = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0)
BUDGET, QUICK = Budget(seconds=60, rounds=(5, 9)), Budget(seconds=1, rounds=(2, 2))
DENSE, DENSE_LAST, ROUTED, INDEXED = "dense", "dense, channels_last", "RoutedBlock", "index, block, index_put"
APART, CLONE = "RoutedBlock, base kept", "clone of its base"


def route(keep: float) -> Tensor:
    """(1, rows, columns) bool with the share `keep` of the patches."""
    rows, columns = SIZE[0] // PATCH, SIZE[1] // PATCH
    chosen = torch.zeros(rows * columns, dtype=torch.bool)
    order = torch.randperm(rows * columns, generator=torch.Generator().manual_seed(0))
    chosen[order[: round(keep * rows * columns)]] = True
    return chosen.view(1, rows, columns)


def by_index(block: nn.Module, x: Tensor, base: Tensor, active: Tensor) -> Tensor:
    """What is written without a library: patches by indexing a view, the block on all of them, patches back."""

    def patches(t: Tensor) -> Tensor:
        c = t.shape[1]
        return t.view(1, c, SIZE[0] // PATCH, PATCH, SIZE[1] // PATCH, PATCH).permute(0, 2, 4, 1, 3, 5)

    places = active.nonzero(as_tuple=True)
    patches(base).index_put_(places, block(patches(x)[places]))
    return base


def measure(threads: int = 2, quick: bool = False) -> dict[str, Any]:
    """Milliseconds: {"dense": .., "dense, channels_last": .., "keep": {share: {"RoutedBlock": .., ...}}}."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    block, x = RefineBlock().eval(), torch.randn(1, 96, *SIZE)
    last = torch.channels_last
    block_last, x_last = RefineBlock().eval().to(memory_format=last), x.contiguous(memory_format=last)
    base = torch.zeros(1, 32, *SIZE)
    base_last, routed = base.contiguous(memory_format=last), vk.nn.RoutedBlock(block_last, PATCH)
    calls = {DENSE: functools.partial(block, x), DENSE_LAST: functools.partial(block_last, x_last)}
    calls[CLONE] = base_last.clone
    for keep in KEEPS[3:5] if quick else KEEPS:
        indices, active = vk.patch_indices(route(keep)), route(keep)
        calls[f"{ROUTED} {keep}"] = functools.partial(routed, x_last, indices, base_last, inplace=True)
        calls[f"{APART} {keep}"] = functools.partial(routed, x_last, indices, base_last)
        calls[f"{INDEXED} {keep}"] = functools.partial(by_index, block, x, base, active)
    contenders = {name: Contender(call, torch.inference_mode) for name, call in calls.items()}
    medians = {n: t["median_ms"] for n, t in interleave(contenders, CpuClock(), QUICK if quick else BUDGET).items()}
    keeps = {}
    for keep in KEEPS:
        if f"{ROUTED} {keep}" in medians:
            keeps[str(keep)] = {name: medians[f"{name} {keep}"] for name in (ROUTED, APART, INDEXED)}
    whole = {name: medians[name] for name in (DENSE, DENSE_LAST, CLONE)}
    return {"threads": threads, **whole, "keep": keeps}


def efficiency(document: dict[str, Any], keep: float, name: str = ROUTED) -> float | None:
    """Time over keep times the dense time; None where it was not measured."""
    dense = min(document[DENSE], document[DENSE_LAST])
    timings = document["keep"].get(str(keep))
    return None if timings is None else timings[name] / (keep * dense)


def cells(document: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table."""
    dense = min(document[DENSE], document[DENSE_LAST])
    head = ["active", f"{ROUTED}, ms", "over dense", "over active x dense", f"{INDEXED}, ms", "over dense"]
    rows = []
    for keep, timings in document["keep"].items():
        ours, theirs = timings[ROUTED], timings[INDEXED]
        figures = [f"{ours:.0f}", f"{ours / dense:.2f}", f"{ours / dense / float(keep):.2f}"]
        rows.append([f"{float(keep):.0%}", *figures, f"{theirs:.0f}", f"{theirs / dense:.2f}"])
    return head, rows


if __name__ == "__main__":
    from vfi_kernels.bench.report import text_table

    result = measure()
    print(f"refine block of APR-VFI, {SIZE[0]}x{SIZE[1]} in patches of {PATCH}, float32, {result['threads']} threads")
    print(f"dense: {result[DENSE]:.0f} ms, in channels_last {result[DENSE_LAST]:.0f} ms")
    print(text_table(*cells(result)))
    print(f"without inplace, beside {result[CLONE]:.0f} ms for a clone of the base:")
    for share, timings in result["keep"].items():
        print(f"  {float(share):.0%}: {timings[APART]:.0f} ms, {timings[APART] - timings[ROUTED]:+.0f} ms")
