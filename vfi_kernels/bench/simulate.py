"""`vfi-kernels bench --simulate`: what the CUDA kernels of a call do, counted, and how fast a GPU could be at best.

A model, no measurement (docs/gpu.md). A call is run at a small size; what it costs for each pixel there is taken for
every size."""

import contextlib
import datetime
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

import torch

from vfi_kernels._types import Facts
from vfi_kernels.bench import simulator
from vfi_kernels.bench.gpus import GPUS, SECTOR, Gpu, bounds, occupancy
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
from vfi_kernels.testing import OpCase, load_cases

SCHEMA = 1
SMALL = 64  # rows and columns, at most, of what is run


def small_size(size: Sequence[int]) -> tuple[int, ...]:
    """One of the batch and a part of the image; all channels."""
    _, channels, height, width = size
    return 1, channels, min(height, SMALL), min(width, SMALL)


def scale_of(job: Job) -> float:
    """How many times larger the job is than what is run of it."""
    b, _, h, w = job.size
    _, _, small_h, small_w = small_size(job.size)
    return b * h * w / (small_h * small_w)


def count(job: Job, arch: str, ops: Sequence[str], deterministic: bool) -> tuple[list[Facts], Facts]:
    """The kernels of one call, counted at the small size, and what the size means: pixels and the least bytes."""
    case = load_cases()[job.case]
    small = replace(job, size=small_size(job.size))
    arguments = make_arguments(case, small, job.dtype)
    nbytes = bytes_of(case, arguments, job.mode)
    flops = products_of(case, arguments) if job.mode == "forward" else None
    way = deterministically(contextlib.nullcontext) if deterministic else contextlib.nullcontext()
    with way, simulator.simulated(arch, ops, races=False) as counts:
        entrant = contender(case.call, arguments, small, contextlib.nullcontext)
        counts.forget()  # a backward needs a forward first
        entrant.run()
        kernels = counts.kernels()
    return kernels, {"pixels": small.size[0] * small.size[2] * small.size[3], "bytes": nbytes, "flops": flops}


def roof(facts: Facts, job: Job, gpu: Gpu, scale: float) -> float | None:
    """Microseconds that the least bytes, or the products, take."""
    if facts["bytes"] is None:
        return None
    seconds: float = scale * facts["bytes"] / (gpu.bandwidth * 1e9)
    if facts["flops"] and job.dtype in ("float16", "bfloat16"):
        seconds = max(seconds, scale * facts["flops"] / (gpu.tensor["half"] * 1e12))
    return 1e6 * seconds


def rows_of(job: Job, gpus: Sequence[Gpu], ops: Sequence[str], deterministic: bool) -> list[Facts]:
    """A row for each kernel of the job's call, and one for all of them, named "all"."""
    rows: dict[str, Facts] = {}
    scale = scale_of(job)
    for arch in dict.fromkeys(gpu.arch for gpu in gpus):
        kernels, facts = count(job, arch, ops, deterministic)
        for kernel in [*kernels, total(kernels)]:
            row = rows.setdefault(kernel["name"], row_of(kernel, job, facts, deterministic))
            for gpu in (gpu for gpu in gpus if gpu.arch == arch):
                parts = [bounds(k, gpu) for k in (kernels if kernel["name"] == "all" else [kernel])]
                row["bound_us"][gpu.name] = scale * sum(max(part.values()) for part in parts)
                kinds = {kind: sum(part.get(kind, 0) for part in parts) for part in parts for kind in part}
                row["bound_by"][gpu.name] = max(kinds, key=lambda kind: kinds[kind])
                best = roof(facts, job, gpu, scale)
                row["over_roof"][gpu.name] = None if best is None else row["bound_us"][gpu.name] / best
                row["occupancy"][gpu.name] = occupancy(kernel, gpu) if kernel.get("registers") else None
    return list(rows.values())


def total(kernels: Sequence[Facts]) -> Facts:
    """The sums of a call."""
    names = ("launches", "sectors_read", "sectors_written", "sectors_added", "lanes", "issued", "requests", "sectors",
             "wavefronts", "least_wavefronts")  # fmt: skip
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
        "instructions_per_pixel": kernel.get("lanes", 0) / facts["pixels"],
        "issued_per_pixel": 32 * kernel.get("issued", 0) / facts["pixels"],
        "bytes_ratio": moved / facts["bytes"] if facts["bytes"] else None,
        "sectors": {way: kernel[f"sectors_{way}"] / facts["pixels"] for way in ("read", "written", "added")},
        "sectors_per_request": kernel["sectors"] / kernel["requests"] if kernel.get("requests") else None,
        "conflicts": kernel["wavefronts"] / kernel["least_wavefronts"] if kernel.get("least_wavefronts") else None,
        "registers": kernel.get("registers"),
        "spilled_bytes": kernel.get("spilled_bytes"),
        "shared_bytes": kernel.get("shared_bytes"),
        "occupancy": {},
        "bound_us": {},
        "bound_by": {},
        "over_roof": {},
    }


def folders(case: OpCase) -> list[str]:
    """The sources that the op's kernels may come from: its own, and those that several ops share."""
    return ["all"]


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
            yield from rows_of(job, gpus, folders(case), deterministic)


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
