"""Measures everything that the documentation reports, and prints what was required next to what was reached.

    python benchmarks/run.py                  benchmarks/results/<cpu>/<date>.json, about half an hour
    python benchmarks/run.py --device cuda    benchmarks/results/<gpu>/<date>.json
    python benchmarks/run.py --quick          a trial: few rounds, no peers that compile, no tests

`vfi-kernels bench` measures anything else. benchmarks/report.py then renews docs/benchmarks.md and its figures.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import goals
import memory
import routed
import torch
from groups import CPU, CUDA, LIGHT, Group

from vfi_kernels.bench import machine, overhead, report
from vfi_kernels.bench.jobs import plan
from vfi_kernels.bench.session import Session, say
from vfi_kernels.bench.timing import QUICK, Budget, Contender, clock, interleave
from vfi_kernels.testing import load_cases

RESULTS = Path(__file__).resolve().parent / "results"


def measure_level(session: Session, group: Group) -> None:
    """Runs a group in a process that is forced to one instruction set, and takes over its rows."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "level.json"
        command = [sys.executable, "-m", "vfi_kernels._cli", "bench", "--json", str(file)]
        for name, values in {**group.choices, "peer": group.peers}.items():
            command += [f"--{name}", *map(str, values)]
        command += ["--quick"] if session.quick else []
        command += ["--no-gate"] if session.gate_level == "off" else ["--gate", "check"]
        environment = {**os.environ, "VFI_KERNELS_CPU": group.cpu_level}
        done = subprocess.run(command, stdout=subprocess.DEVNULL, env=environment)
        if not file.exists():
            say(f"forced to {group.cpu_level}: nothing measured (exit code {done.returncode})")
            return
        part = json.loads(file.read_text())
        refused = {f"{op} at level {group.cpu_level}": reason for op, reason in part["refused"].items()}
        session.document["rows"] += part["rows"]
        session.document["refused"] |= refused
        session.save()


def measure_all(session: Session, groups: Sequence[Group], device: str) -> None:
    """The gate for all ops first, then group by group."""
    here = [(plan(**g.choices), g.peers) for g in groups if g.cpu_level is None]
    session.pass_gate([job for jobs, _ in here for job in jobs])
    for n, (jobs, peers) in enumerate(here, 1):
        say(f"group {n} of {len(groups)}")
        session.measure(jobs, peers)
    if device != "cpu":
        return
    for group in groups:
        if group.cpu_level is not None:
            say(f"forced to {group.cpu_level}")
            measure_level(session, group)
    cases = load_cases()
    named = {g.choices["op"][0] for g in groups}  # cases, or ops for all of theirs
    ops = sorted({cases[name].op if name in cases else name for name in named})
    session.measure(overhead.overhead_jobs(ops), [*LIGHT, "index_add*"])
    session.measure_imports()


def measure_model(session: Session) -> None:
    """The model without weights, where its package and its data are."""
    if importlib.util.find_spec("vfi") is None:
        return
    import models

    say("flow-splat on Middlebury")
    session.document["flow-splat"] = models.middlebury("flow-splat", machine.cpu()["cores"])
    session.save()


def measure_products(session: Session, device: str) -> None:
    """The roof of the roofline: operations a second in the product of two float32 matrices."""
    torch.set_num_threads(memory.THREADS)
    side = 1024 if device == "cpu" else 8192
    first, second = torch.rand(2, side, side, device=device)
    out = torch.empty_like(first)
    contenders = {"product": Contender(lambda: torch.mm(first, second, out=out))}
    timings = interleave(contenders, clock(device), QUICK if session.quick else Budget())
    session.document["flops_per_second"] = 2 * side**3 / (timings["product"]["median_ms"] / 1000)
    session.save()


def measure_memory(session: Session) -> None:
    say("peak memory")
    session.document["memory"] = memory.table(say)
    session.save()


def measure_block(session: Session) -> None:
    say("a block on active patches")
    session.document["routed_block"] = routed.measure(quick=session.quick)
    session.save()


def measure_networks(session: Session) -> None:
    """RIFE and the adapters of SG-RIFE, where the package is."""
    if importlib.util.find_spec("vfi") is None:
        return
    import networks

    say("whole networks")
    torch.set_num_threads(machine.cpu()["cores"])
    session.document["networks"] = networks.measure(quick=session.quick)
    session.save()


def print_goals(goals: Sequence[dict[str, Any]]) -> None:
    words = {True: "reached", False: "MISSED", None: "not measured"}
    cells = [[g["text"], g["required"], value_of(g), words[g["met"]]] for g in goals]
    print(report.text_table(["goal", "required", "reached", ""], cells))


def value_of(goal: dict[str, Any]) -> str:
    """What was reached, with its unit."""
    return "-" if goal["reached"] is None else f"{goal['reached']:.2f}{goal['unit']}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="what to measure (default: %(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="a trial; its figures are not for the record")
    parser.add_argument("--only", metavar="WORD", help="only groups whose case contains this word")
    parser.add_argument("--no-gate", action="store_true", help="measure also ops that fail their tests")
    parser.add_argument(
        "--json", type=Path, help="where to write (default: benchmarks/results/<cpu or gpu>/<date>.json)"
    )
    options = parser.parse_args()
    groups = CPU if options.device == "cpu" else CUDA
    groups = [g for g in groups if options.only is None or options.only in g.choices["op"][0]]
    gate = "off" if options.no_gate else "check" if options.quick else "tests"
    session = Session(gate, options.quick)
    file = options.json or RESULTS / machine.slug(options.device) / f"{session.document['date']}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    session.json_file = file
    try:
        measure_all(session, groups, options.device)
        measure_products(session, options.device)
        if options.device == "cpu" and options.only is None:
            measure_model(session)
            measure_memory(session)
            measure_block(session)
            measure_networks(session)
    except KeyboardInterrupt:
        session.interrupt()
    print(report.everything(session.document))
    if options.device == "cpu":
        session.document["goals"] = goals.judge_all(session.document)
        session.save()
        print()
        print_goals(session.document["goals"])
    print(f"\nwritten: {os.path.relpath(file)}")
    return 1 if session.document["refused"] or session.document["interrupted"] else 0


if __name__ == "__main__":
    sys.exit(main())
