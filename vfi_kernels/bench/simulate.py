"""`vfi-kernels bench --simulate`: what the CUDA kernels of a call do, counted, and how fast a GPU could be at best.

A model, no measurement (docs/gpu.md). A call is run at three small sizes, from which its counts are continued."""

import contextlib
import datetime
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

import numpy
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
from vfi_kernels.testing import load_cases, tensors

SCHEMA = 1
SIDES = (32, 128)  # rows and columns of what is run, at most
SAMPLED = 64  # blocks of a launch


def small_sizes(size: Sequence[int], features: bool = False) -> list[tuple[int, ...]]:
    """What is run: the size itself where it is small; else three parts of one image, with all channels. features: the
    last dimension holds them, and is kept."""
    _, channels, height, width = size
    if features:
        return [(1, channels, min(rows, height), width) for rows in (32, 64, 128)]
    if pixels(size) <= SIDES[1] ** 2 or min(height, width) <= SIDES[0]:
        return [tuple(size)]
    (low, left), (high, right) = ((min(side, height), min(side, width)) for side in SIDES)
    return [(1, channels, low, left), (1, channels, low, right), (1, channels, high, right)]


def pixels(size: Sequence[int]) -> int:
    return size[0] * size[2] * size[3]


def grown(values: Sequence[float], sizes: Sequence[Sequence[int]], to: Sequence[int]) -> float:
    """What is a part that does not grow, one that grows with the borders and one with the pixels, at the size `to`."""
    if len(sizes) == 1:
        return values[-1]

    def parts(size: Sequence[int]) -> list[int]:
        return [1, size[0] * (size[2] + size[3]), pixels(size)]

    of_sizes = numpy.linalg.lstsq([parts(size) for size in sizes], values, rcond=None)[0]
    return max(0.0, float(of_sizes @ parts(to)))


COUNTS = ("lanes", "issued", "requests", "sectors", "wavefronts", "least_wavefronts", "blocks", "threads",
          "sectors_read", "sectors_written", "sectors_added")  # fmt: skip
COUNTS_BY_CLASS = ("issued_by_class", "lanes_by_class", "requests_by_class", "sectors_by_class",
                   "tensor_multiplications")  # fmt: skip


def extrapolated(runs: Sequence[Sequence[Facts]], sizes: Sequence[Sequence[int]], to: Sequence[int]) -> list[Facts]:
    """The kernels of the last run with their counts at the size `to`. One that another run lacks grows with pixels."""
    named = [{kernel["name"]: kernel for kernel in kernels} for kernels in runs]
    found = []
    for last in runs[-1]:
        group = [kernels.get(last["name"]) for kernels in named]
        shares = [1.0 if all(group) else pixels(size) / pixels(sizes[-1]) for size in sizes]
        same = [kernel if kernel and all(group) else last for kernel in group]
        new = dict(last)
        for name in (n for n in COUNTS if n in last):
            new[name] = grown([share * kernel[name] for share, kernel in zip(shares, same)], sizes, to)
        for name in (n for n in COUNTS_BY_CLASS if n in last):
            parts = {part: [s * k[name].get(part, 0) for s, k in zip(shares, same)] for part in last[name]}
            new[name] = {part: grown(values, sizes, to) for part, values in parts.items()}
        found.append(new)
    return found


@contextlib.contextmanager
def in_any_order() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def run(job: Job, arch: str, deterministic: bool, sample: int = 0) -> tuple[list[Facts], int | None, int | None]:
    """The kernels of one call, its least bytes, and its products."""
    case = load_cases()[job.case]
    arguments = make_arguments(case, job, job.dtype)
    nbytes = bytes_of(case, arguments, job.mode)
    flops = products_of(case, arguments) if job.mode == "forward" else None
    way = deterministically(contextlib.nullcontext) if deterministic else in_any_order()
    with way, simulator.simulated(arch, races=False, sample=sample) as counts:
        entrant = contender(case.call, arguments, job, contextlib.nullcontext)
        counts.forget()  # a backward needs a forward first
        entrant.run()
        return counts.kernels(), nbytes, flops


def takes_a_list(job: Job) -> bool:
    """Of places, whose share of the image a part of it has not. What such an op does depends on no other value."""
    arguments = make_arguments(load_cases()[job.case], replace(job, size=(1, *job.size[1:])), job.dtype)
    return any(t.dtype in (torch.int32, torch.int64, torch.bool) for t in tensors(arguments))


def holds_features(job: Job) -> bool:
    """Whether the last dimension of the op's tensors holds features."""
    cases = load_cases()
    return any(case.local == "features" for case in cases.values() if case.op == cases[job.case].op)


def count(job: Job, arch: str, deterministic: bool) -> tuple[list[Facts], Facts]:
    """The kernels of one call and what it must do at least: from runs at small sizes, or of some blocks."""
    sample = SAMPLED if takes_a_list(job) else 0
    sizes = [job.size] if sample else small_sizes(job.size, holds_features(job))
    runs, nbytes, flops = zip(*(run(replace(job, size=size), arch, deterministic, sample) for size in sizes))

    def known(values: Sequence[int | None]) -> float | None:
        numbers = [value for value in values if value is not None]
        return grown(numbers, sizes, job.size) if len(numbers) == len(sizes) else None

    facts = {"pixels": pixels(job.size), "bytes": known(nbytes), "flops": known(flops)}
    return extrapolated(runs, sizes, job.size), facts


def roof(facts: Facts, job: Job, gpu: Gpu) -> float | None:
    """Microseconds that the least bytes, or the products, take."""
    if facts["bytes"] is None:
        return None
    seconds: float = facts["bytes"] / (gpu.bandwidth * 1e9)
    if facts["flops"] and job.dtype in ("float16", "bfloat16"):
        seconds = max(seconds, facts["flops"] / (gpu.tensor["half"] * 1e12))
    return 1e6 * seconds


def rows_of(job: Job, gpus: Sequence[Gpu], deterministic: bool) -> list[Facts]:
    """A row for each kernel of the job's call, and one for all of them, named "all"."""
    rows: dict[str, Facts] = {}
    for arch in dict.fromkeys(gpu.arch for gpu in gpus):
        kernels, facts = count(job, arch, deterministic)
        for kernel in [*kernels, total(kernels)]:
            row = rows.setdefault(kernel["name"], row_of(kernel, job, facts, deterministic))
            for gpu in (gpu for gpu in gpus if gpu.arch == arch):
                parts = [bounds(k, gpu) for k in (kernels if kernel["name"] == "all" else [kernel])]
                row["bound_us"][gpu.name] = sum(max(part.values()) for part in parts)
                kinds = {kind: sum(part.get(kind, 0) for part in parts) for part in parts for kind in part}
                row["bound_by"][gpu.name] = max(kinds, key=lambda kind: kinds[kind])
                best = roof(facts, job, gpu)
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
            yield from rows_of(job, gpus, deterministic)


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
