"""What the CUDA kernels do on the simulator, counted, for docs/benchmarks.md: a model (docs/gpu.md).

    python benchmarks/kernel_counts.py               benchmarks/results/simulated.json, and its part of the page
    python benchmarks/kernel_counts.py --only splat  a trial: only calls whose text has this word, printed, not written
    python benchmarks/kernel_counts.py --if-possible without nvcc: says so, and leaves all as it is
    python benchmarks/kernel_counts.py --journal F   what is counted stands in F at once; what stands there, counted
                                                     of the same sources by a run that was cut off, is not counted again

It needs nvcc and no GPU. A process for each core.
"""

import argparse
import contextlib
import datetime
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import kernel_goals
import kernel_page
import torch
from kernel_goals import Call

from vfi_kernels.bench import simulate, simulator, triton_simulator
from vfi_kernels.bench.gpus import GPUS
from vfi_kernels.bench.jobs import UsageError

FILE = Path(__file__).resolve().parent / "results" / "simulated.json"
TRITON_ARCH = "8.0"
Rows = list[dict[str, Any]]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def prepare() -> None:
    """A worker: one thread, and the cases of the table."""
    torch.set_num_threads(1)
    kernel_goals.register_more()


@contextlib.contextmanager
def precision(tf32: bool) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def count(arch: str, call: Call) -> tuple[Rows, float]:
    """The rows of a call with bounds for the GPUs of one architecture, and the seconds that took."""
    begin = time.perf_counter()
    with precision(call.tf32):
        rows = simulate.rows_of(call.job, arch, simulate.by_arch(list(GPUS.values()))[arch], call.deterministic)
    return [{**row, "tf32": call.tf32} for row in rows], time.perf_counter() - begin


class Journal:
    """What was counted, a line for each task."""

    def __init__(self, file: Path | None) -> None:
        self.file, self.known = file, dict[str, Any]()
        if file is not None and file.exists():
            for line in file.read_text().splitlines():
                entry = json.loads(line)
                self.known[entry["task"]] = entry["found"]

    def add(self, task: str, found: Any) -> None:
        self.known[task] = found
        if self.file is not None:
            with self.file.open("a") as out:
                out.write(json.dumps({"task": task, "found": found}) + "\n")


def counted(run: Callable[..., tuple[Any, float]], tasks: Mapping[str, tuple[Any, ...]], journal: Journal) -> list[Any]:
    """What `run` finds of each task's arguments, in the order of the tasks."""
    left = {task: arguments for task, arguments in tasks.items() if task not in journal.known}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), spawn, prepare) as pool:
        for n, (task, (found, seconds)) in enumerate(zip(left, pool.map(run, *zip(*left.values()))), 1):
            say(f"[{n}/{len(left)}] {task}: {seconds:.0f} s")
            journal.add(task, found)
    return [journal.known[task] for task in tasks]


def count_all(calls: Sequence[Call], shown: Container[Call], journal: Journal) -> dict[Call, Rows]:
    """Architecture by architecture: a process loads the kernels of each once. What the page does not show, the rest of
    gpu_check's rows, is counted for the newest alone."""
    archs = list(simulate.by_arch(list(GPUS.values())))
    for arch in archs:
        say(f"compiling for {arch}")
        simulator.build(arch, sorted({simulator.folder_of(kernel_goals.op_of(call.job)) for call in calls}))
    tasks = [(arch, call) for arch in archs for call in calls if arch == archs[0] or call in shown]
    results = counted(count, {f"{arch} {call}": (arch, call) for arch, call in tasks}, journal)
    found: dict[Call, list[Rows]] = {call: [] for call in calls}
    for (_, call), rows in zip(tasks, results, strict=True):
        found[call].append(rows)
    return {call: simulate.merged(rows) for call, rows in found.items()}


def count_triton(call: Call) -> tuple[float | str, float]:
    """Instructions for a pixel of the Triton kernels, or why there are none; and the seconds that took."""
    begin = time.perf_counter()
    try:
        with precision(call.tf32):
            rows = simulate.rows_of(call.job, TRITON_ARCH, [], call.deterministic, triton_simulator.simulated)
        found: float | str = rows[-1]["instructions_per_pixel"]
    except Exception as error:  # what Triton cannot compile, or the simulator does not know, is told
        found = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return found, time.perf_counter() - begin


def count_all_triton(calls: Sequence[Call], journal: Journal) -> dict[Call, float | str]:
    """In processes that compile: TRITON_INTERPRET=1 would keep them from it."""
    simulator.build(TRITON_ARCH, ())
    os.environ["TRITON_INTERPRET"] = "0"
    results = counted(count_triton, {f"Triton, {call}": (call,) for call in calls}, journal)
    return dict(zip(calls, results, strict=True))


def document(
    goals: Sequence[kernel_goals.Goal], rows: dict[Call, Rows], triton: dict[Call, float | str]
) -> dict[str, Any]:
    """What the file holds. `calls`: how many rows each call has; `first`: which calls the table of all ops shows."""
    calls = list(rows)
    names = {kernel: simulate.plain(kernel) for found in rows.values() for kernel in {r["kernel"] for r in found}}
    return {
        **simulate.document([row for found in rows.values() for row in found]),
        "date": datetime.date.today().isoformat(),
        "names": names,
        "calls": [len(rows[call]) for call in calls],
        "triton": [triton.get(call) for call in calls],
        "first": [n for n, call in enumerate(calls) if kernel_goals.is_first(call)],
        "goals": [
            {**{name: getattr(goal, name) for name in ("text", "most", "unit", "before")},
             "call": calls.index(goal.call), **goal.judge(rows[goal.call])} for goal in goals
        ],
    }  # fmt: skip


def write(made: dict[str, Any], file: Path = FILE) -> None:
    """A line for each row."""
    parts = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in made.items() if name != "rows"]
    rows = ",\n".join(f"  {json.dumps(row)}" for row in made["rows"])
    file.write_text("{\n" + ",\n".join([*parts, f' "rows": [\n{rows}\n ]']) + "\n}\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="WORD", help="only calls whose text has this word")
    parser.add_argument("--if-possible", action="store_true", help="where nothing can be simulated, that is no error")
    parser.add_argument("--journal", type=Path, metavar="FILE", help="of what is counted already (default: none)")
    options = parser.parse_args()
    reason = simulator.unavailable()
    if reason is not None:
        print(f"kernel_counts: nothing was simulated: {reason}", file=sys.stderr)
        return 0 if options.if_possible else 2
    prepare()
    goals, every = kernel_goals.goals(), kernel_goals.rows_of_gpu_check()
    if options.only:
        goals = [goal for goal in goals if options.only in f"{goal.text} {goal.call}"]
        every = [call for call in every if options.only in str(call)]
    calls = list(dict.fromkeys([*(goal.call for goal in goals), *every]))
    if not calls:
        raise UsageError(f"expected --only to be in the text of a call, got {options.only}")
    asked = {goal.call for goal in goals}
    shown = [call for call in calls if call in asked or kernel_goals.is_first(call)]
    journal = Journal(options.journal)
    rows = count_all(calls, shown, journal)
    triton = [call for call in shown if call in asked or not call.deterministic]
    made = document(goals, rows, count_all_triton(triton, journal))
    if options.only:
        print(kernel_page.section(made))
        return 0
    write(made)
    kernel_page.renew()
    return 0


if __name__ == "__main__":
    sys.exit(main())
