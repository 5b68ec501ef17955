"""How kernels would go on a machine with more threads than this one: from the parts that their schedulers make.

python benchmarks/threads.py [--op splat ...] [--write]     a table by op and shape; --write: into docs/benchmarks.md

An op's parts for 2, 4, 8 and 16 threads run one after another on one thread, each timed. A machine of as many would
take the longest part of each step, and all that is not divided. What threads take from each other, memory and caches,
is left out.
"""

import argparse
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vfi.files.allocator import keep_blocks
from vfi_kernels.bench.jobs import Job
from vfi_kernels.bench.machine import cpu
from vfi_kernels.bench.measure import contender, make_arguments
from vfi_kernels.bench.report import between_marks, markdown_table, text_table
from vfi_kernels.testing import OpCase, load_cases

PAGE = Path(__file__).resolve().parents[1] / "docs/benchmarks.md"
MARKS = "<!-- threads: written by benchmarks/threads.py -->\n", "<!-- end of the threads -->\n"
COUNTS = (1, 2, 4, 8, 16)
ROUNDS = 5


@dataclass(frozen=True)
class Row:
    """Of one op at one shape: seconds by the number of threads, and how much of it torch's own ops take on one."""

    name: str
    shape: str
    mode: str
    seconds: dict[int, float]
    undivided: float  # seconds outside of the steps that are divided
    units: int  # of the longest step

    def cells(self) -> list[str]:
        one = self.seconds[1]
        faster = [f"{one / self.seconds[n]:.1f}" for n in COUNTS[1:]]
        return [self.name, self.shape, self.mode, str(self.units), *faster, f"{self.undivided / one:.1%}"]


HEAD = ["op", "shape", "", "units", *(f"{n} threads" for n in COUNTS[1:]), "not divided"]


def regions_of(call: Callable[[], object], threads: int) -> tuple[float, Tensor]:
    """Seconds of a call as so many threads would divide it, one part after another, and its steps: (regions, 4), units,
    parts, seconds of the longest part, seconds of all."""
    ops = torch.ops.vfi_kernels
    ops.simulate_threads(threads)
    try:
        begin = time.perf_counter()
        call()
        return time.perf_counter() - begin, ops.simulated_regions()
    finally:
        ops.simulate_threads(0)


def simulated(call: Callable[[], object], rounds: int = ROUNDS) -> tuple[dict[int, float], float, int]:
    """Seconds by the number of threads, what of them is not divided, and the units of the longest step; of the fastest
    of some rounds, for whatever disturbs one makes it longer."""
    call()
    seconds, apart, units = dict.fromkeys(COUNTS, float("inf")), float("inf"), 0
    for _ in range(rounds):
        for n in COUNTS:
            took, regions = regions_of(call, n)
            outside = took - float(regions[:, 3].sum())
            seconds[n] = min(seconds[n], outside + float(regions[:, 2].sum()))
            if n == 1:
                apart = min(apart, outside)
                units = int(regions[regions[:, 3].argmax(), 0]) if len(regions) else 0
    return seconds, apart, units


def rows(cases: list[OpCase], rounds: int = ROUNDS, size: tuple[int, ...] | None = None) -> Iterator[Row]:
    """Of the first of a case's shapes for benchmarks, forward and backward."""
    torch.set_num_threads(1)  # what torch does itself is not divided
    for case in cases:
        shape, given = ("given", size) if size else next(iter(case.large.items()))
        for mode in ("forward", "backward"):
            recording = "inference_mode" if mode == "forward" else "grad"
            job = Job(case.name, shape, given, "float32", mode=mode, recording=recording, threads=1)
            run = contender(case.call, make_arguments(case, job, "float32"), job, contextlib.nullcontext)
            with run.around():
                yield Row(case.name, "x".join(map(str, given)), mode, *simulated(run.run, rounds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--op", nargs="+", help="only these (default: all)")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md (default: no)")
    options = parser.parse_args()
    cases = [c for c in load_cases().values() if c.large and (options.op is None or c.op in options.op)]
    keep_blocks()  # in fresh memory the first part pays for pages that all of them share
    table = []
    for row in rows(cases):
        table.append(row.cells())
        print(*table[-1], sep="  ", flush=True)
    print(text_table(HEAD, table))
    if options.write:
        facts = cpu()
        told = f"{facts['model']}, level {facts['level']}, one thread.\n\n"
        PAGE.write_text(between_marks(PAGE.read_text(), MARKS, told + markdown_table(HEAD, table) + "\n"))


if __name__ == "__main__":
    main()
