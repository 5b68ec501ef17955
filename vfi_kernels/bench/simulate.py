"""`vfi-kernels bench --simulate`: what the CUDA kernels of a call do, counted, and how fast a GPU could be at best.

A model, no measurement (docs/gpu.md). A call is run at small sizes, from which its counts are continued."""

import contextlib
import datetime
import math
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

import torch
from torch.autograd.profiler_legacy import profile

from vfi_kernels._types import Facts, Function
from vfi_kernels.bench import simulator
from vfi_kernels.bench.gpus import GPUS, SECTOR, Gpu, bounds, occupancy
from vfi_kernels.bench.growth import extrapolated, grown, pixels, small_sizes
from vfi_kernels.bench.jobs import Job, UsageError
from vfi_kernels.bench.measure import (
    bytes_of,
    contender,
    deterministic_way,
    deterministically,
    make_arguments,
    products_of,
)
from vfi_kernels.bench.report import duration, text_table
from vfi_kernels.testing import load_cases, made_large

Event: TypeAlias = Any  # a FunctionEvent of torch's profiler, of which the type checker knows nothing
SCHEMA = 1
STEP = 32 * 32 * 16  # multiplications of a step over 16 terms of the sums in a tile of 32 x 32
# Of torch, what makes no kernel by itself.
VIEWS = {
    "_reshape_alias", "_to_copy", "_unsafe_view", "alias", "as_strided", "contiguous", "detach", "empty",
    "empty_like", "empty_strided", "expand", "expand_as", "flatten", "lift_fresh", "movedim", "narrow", "new_empty",
    "new_empty_strided", "permute", "reshape", "resize_", "resolve_conj", "resolve_neg", "select", "set_", "slice",
    "split", "squeeze", "t", "to", "transpose", "unbind", "unflatten", "unsqueeze", "view", "view_as",
}  # fmt: skip


@dataclass(frozen=True)
class Counted:
    """One simulated call."""

    kernels: list[Facts]
    nbytes: int | None  # that it must move at least
    flops: int | None  # of its products
    torch_ops: list[str]  # that run kernels of torch, which are not counted


@contextlib.contextmanager
def in_any_order() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def run(job: Job, arch: str, deterministic: bool, simulated: Function) -> Counted:
    """One call at the job's size. The forward of a backward runs as always."""
    case = load_cases()[job.case]
    with made_large():
        arguments = make_arguments(case, job, job.dtype)
    way = deterministically(contextlib.nullcontext) if deterministic else in_any_order()
    with way:
        entrant = contender(case.call, arguments, job, contextlib.nullcontext)
        with simulated(arch, races=False) as counts, profile() as profiled:
            entrant.run()
            kernels = [{**kernel, **facts_of_lines(counts, kernel)} for kernel in counts.kernels()]
        flops = products_of(case, arguments) if job.mode == "forward" else products_of_call(entrant.run)
    return Counted(kernels, bytes_of(case, arguments, job.mode), flops, torch_ops(profiled.function_events))


def products_of_call(call: Function) -> int | None:
    from torch.utils.flop_counter import FlopCounterMode  # imports Triton

    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() or None


def torch_ops(events: Iterable[Event]) -> list[str]:
    """The outermost of torch's own ops that run kernels, by name."""

    def counts(event: Event) -> bool:
        return event.name.startswith("aten::") and event.name.removeprefix("aten::") not in VIEWS

    def inside(event: Event) -> bool:
        parent = event.cpu_parent
        return parent is not None and (counts(parent) or inside(parent))

    return sorted({e.name.removeprefix("aten::") for e in events if counts(e) and not inside(e)})


def facts_of_lines(counts: simulator.Counts, kernel: Facts) -> Facts:
    """Divisions of 64-bit numbers, by threads; and what warps issue for a STEP of the innermost loop with products."""
    if "lanes" not in kernel:
        return {}
    lines = counts.of_kernel(kernel["name"])
    divisions = sum(lanes for _, text, _, lanes, *_ in lines if re.search(r"\b(div|rem)\.[su]64", text))
    products = [(issued, text) for _, text, issued, *_ in lines if re.search(r"\bw?mma\.(sync|mma)", text)]
    most = max((issued for issued, _ in products), default=0)
    if most == 0:
        return {"divisions": divisions}
    once = sum(math.prod(map(int, re.findall(r"m(\d+)n(\d+)k(\d+)", text)[0])) for n, text in products if n == most)
    costs = sum(n == most and not re.match(r"(@!?%p\d+ )?(mov|ld\.param)\b", text) for _, text, n, *_ in lines)
    return {"divisions": divisions, "step_instructions": costs * STEP / once}


def count(job: Job, arch: str, deterministic: bool, simulated: Function) -> tuple[list[Facts], Facts]:
    """The kernels of one call and what it must do at least, continued from small sizes."""
    sizes = small_sizes(job)
    runs = [run(replace(job, size=size), arch, deterministic, simulated) for size in sizes]

    def known(values: Sequence[int | None]) -> float | None:
        numbers = [value for value in values if value is not None]
        return grown(numbers, sizes, job.size) if len(numbers) == len(sizes) else None

    facts = {
        "pixels": pixels(job.size),
        "bytes": known([one.nbytes for one in runs]),
        "flops": known([one.flops for one in runs]),
        "torch": runs[-1].torch_ops,
    }
    return extrapolated([one.kernels for one in runs], sizes, job.size), facts


def roof(facts: Facts, job: Job, gpu: Gpu) -> float | None:
    """Microseconds that the least bytes, or the products, take."""
    if facts["bytes"] is None:
        return None
    seconds: float = facts["bytes"] / (gpu.bandwidth * 1e9)
    if facts["flops"] and job.dtype in ("float16", "bfloat16"):
        seconds = max(seconds, facts["flops"] / (gpu.tensor["half"] * 1e12))
    return 1e6 * seconds


def rows_of(
    job: Job, arch: str, gpus: Sequence[Gpu], deterministic: bool, simulated: Function = simulator.simulated
) -> list[Facts]:
    """A row for each kernel of the job's call, and one for all of them, named "all"; bounds for GPUs of that arch.
    simulated: what makes ops run CUDA kernels, or others, simulated."""
    kernels, facts = count(job, arch, deterministic, simulated)
    rows = []
    for kernel in [*kernels, total(kernels)]:
        row = row_of(kernel, job, facts, deterministic)
        for gpu in gpus:
            together = [bounds(k, gpu) for k in (kernels if kernel["name"] == "all" else [kernel])]
            row["bound_us"][gpu.name] = sum(max(part.values()) for part in together)
            kinds = {kind: sum(part.get(kind, 0) for part in together) for part in together for kind in part}
            row["bound_by"][gpu.name] = max(kinds, key=lambda kind: kinds[kind])
            best = roof(facts, job, gpu)
            row["over_roof"][gpu.name] = None if best is None else row["bound_us"][gpu.name] / best
            row["occupancy"][gpu.name] = occupancy(kernel, gpu) if kernel.get("registers") else None
        rows.append(row)
    return rows


def by_arch(gpus: Sequence[Gpu]) -> dict[str, list[Gpu]]:
    """The newest first, whose counts a row has."""
    archs = sorted({gpu.arch for gpu in gpus}, reverse=True)
    return {arch: [gpu for gpu in gpus if gpu.arch == arch] for arch in archs}


def merged(of_archs: Iterable[Sequence[Facts]]) -> list[Facts]:
    """One call's rows for several architectures as one list; counts are those of the first that has the kernel."""
    rows: dict[str, Facts] = {}
    for found in of_archs:
        for row in found:
            first = rows.setdefault(row["kernel"], row)
            for name in ("occupancy", "bound_us", "bound_by", "over_roof"):
                first[name] |= row[name]
    return list(rows.values())


def total(kernels: Sequence[Facts]) -> Facts:
    """The sums of a call."""
    names = ("launches", "sectors_read", "sectors_written", "sectors_added", "lanes", "issued", "requests", "sectors",
             "wavefronts", "least_wavefronts", "divisions")  # fmt: skip
    return {"name": "all", **{name: sum(kernel.get(name, 0) for kernel in kernels) for name in names}}


def row_of(kernel: Facts, job: Job, facts: Facts, deterministic: bool) -> Facts:
    case = load_cases()[job.case]
    moved = SECTOR * (kernel["sectors_read"] + kernel["sectors_written"] + kernel["sectors_added"])
    return {
        **{
            name: value
            for name, value in asdict(job).items()
            if name in ("case", "mode", "dtype", "layout", "shape", "flow")
        },
        "op": case.op,
        "deterministic": deterministic,
        "kernel": kernel["name"],
        "launches": kernel["launches"],
        "pixels": facts["pixels"],
        "instructions_per_pixel": kernel.get("lanes", 0) / facts["pixels"],
        "issued_per_pixel": 32 * kernel.get("issued", 0) / facts["pixels"],
        "bytes_ratio": moved / facts["bytes"] if facts["bytes"] else None,
        "sectors": {way: kernel[f"sectors_{way}"] / facts["pixels"] for way in ("read", "written", "added")},
        "sectors_per_request": kernel["sectors"] / kernel["requests"] if kernel.get("requests") else None,
        "conflicts": kernel["wavefronts"] / kernel["least_wavefronts"] if kernel.get("least_wavefronts") else None,
        "products_per_pixel": facts["flops"] and facts["flops"] / 2 / facts["pixels"],
        "divisions_per_pixel": kernel.get("divisions", 0) / facts["pixels"],
        "step_instructions": kernel.get("step_instructions"),
        "torch": facts["torch"],
        "registers": kernel.get("registers"),
        "spilled_bytes": kernel.get("spilled_bytes"),
        "shared_bytes": kernel.get("shared_bytes"),
        "occupancy": {},
        "bound_us": {},
        "bound_by": {},
        "over_roof": {},
    }


def simulate(jobs: Sequence[Job], gpu_names: Sequence[str] | None) -> Iterator[Facts]:
    """The rows of each job: atomic, and deterministic where the op can be."""
    for name in gpu_names or ():
        if name not in GPUS:
            raise UsageError(f"expected --gpu to be one of {', '.join(GPUS)}, got {name}")
    gpus = [GPUS[name] for name in gpu_names or GPUS]
    for job in jobs:
        case = load_cases()[job.case]
        ways = (False, True) if deterministic_way(case.op, job.mode) else (False,)
        for deterministic in ways:
            yield from merged(rows_of(job, arch, own, deterministic) for arch, own in by_arch(gpus).items())


def plain(name: str) -> str:
    """A kernel's name as C++ has it, without namespaces and arguments."""
    with contextlib.suppress(OSError):
        name = subprocess.run(["c++filt", name], capture_output=True, text=True).stdout.strip() or name
    name = name.split("(")[0].removeprefix("void ")
    for space in ("vfi::cuda::", "vfi::"):
        name = name.replace(space, "")
    return name


def cells_of(row: Facts, gpu: str) -> dict[str, str]:
    """A line of the table."""
    names = {"bytes": "bytes_ratio", "sectors/request": "sectors_per_request", "conflicts": "conflicts"}
    ratio = row["over_roof"][gpu]
    return {
        **{name: row[name] for name in ("case", "shape", "dtype", "layout", "mode")},
        "way": "deterministic" if row["deterministic"] else "",
        "kernel": plain(row["kernel"])[:60],
        "instr/px": f"{row['instructions_per_pixel']:.0f}",
        **{short: "-" if row[name] is None else f"{row[name]:.2f}" for short, name in names.items()},
        "registers": str(row["registers"] or "-"),
        f"bound on {gpu}": duration(row["bound_us"][gpu] / 1e3),
        "by": row["bound_by"][gpu],
        "over roof": "-" if ratio is None else f"{ratio:.1f}x",
    }


def table(rows: Sequence[Facts], gpu: str) -> str:
    lines = [cells_of(row, gpu) for row in rows]
    return text_table(list(lines[0]), [list(line.values()) for line in lines])


def document(rows: Sequence[Facts]) -> Facts:
    gpus = {name: asdict(gpu) for name, gpu in GPUS.items()}
    return {
        "schema": SCHEMA,
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
        "gpus": gpus,
        "rows": list(rows),
    }
