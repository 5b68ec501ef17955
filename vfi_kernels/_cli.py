"""`vfi-kernels info | bench`: what this installation can run, and how fast it is."""

import argparse
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from vfi_kernels._types import Facts
from vfi_kernels.bench import machine
from vfi_kernels.bench.jobs import DEVICES, DTYPES, FLOWS, LAYOUTS, MODES, Job, UsageError, plan

INTERRUPTED = 130  # what a shell reports after Ctrl-C


class Parser(argparse.ArgumentParser):
    """Errors are one sentence."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code: 2 for a wrong one, 1 if an op was refused."""
    try:
        options = parser().parse_args(arguments)
        code: int = options.run(options)
        return code
    except UsageError as error:
        print(f"vfi-kernels: {error}", file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    top = Parser(prog="vfi-kernels", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="info | bench")
    info = commands.add_parser("info", help="versions, backends, CPU level, GPUs, build options")
    info.add_argument("--json", action="store_true", help="the same as JSON")
    info.set_defaults(run=run_info)
    bench = commands.add_parser("bench", help="our ops against their peers and against a copy of as many bytes")
    bench.set_defaults(run=run_bench)
    what = bench.add_argument_group("what is measured; every combination is one row")
    what.add_argument("--op", nargs="+", metavar="NAME", help="ops or cases, * matches (default: all)")
    what.add_argument(
        "--shape", nargs="+", metavar="NAME", help="by name, like 1x3x480x640, or first (default: all of the case)"
    )
    what.add_argument(
        "--dtype", nargs="+", default=["float32"], metavar="NAME", help=f"{', '.join(DTYPES)} (default: float32)"
    )
    what.add_argument(
        "--layout", nargs="+", default=["nchw"], metavar="NAME", help=f"{', '.join(LAYOUTS)} (default: nchw)"
    )
    what.add_argument(
        "--mode", nargs="+", default=["forward"], metavar="NAME", help=f"{', '.join(MODES)} (default: forward)"
    )
    what.add_argument(
        "--flow", nargs="+", default=["smooth"], metavar="NAME", help=f"{', '.join(FLOWS)} (default: smooth)"
    )
    what.add_argument("--threads", nargs="+", type=int, metavar="N", help="CPU threads (default: torch's)")
    what.add_argument("--device", default="cpu", metavar="NAME", help=f"{', '.join(DEVICES)} (default: cpu)")
    what.add_argument("--backend", metavar="NAME", help="run ours with this backend (default: the device's)")
    what.add_argument("--peer", nargs="+", metavar="NAME", help="only these peers, * matches (default: all)")
    what.add_argument(
        "--overhead", action="store_true", help="instead: cost of a call on 4x4 images, and of the import"
    )
    what.add_argument(
        "--simulate", action="store_true", help="instead: CUDA kernels executed on the CPU and counted (docs/gpu.md)"
    )
    what.add_argument("--gpu", nargs="+", metavar="NAME", help="bounds for these in --simulate (default: all known)")
    how = bench.add_argument_group("how, and where to")
    how.add_argument("--quick", action="store_true", help="few rounds, no peers that compile, no tests/")
    how.add_argument(
        "--gate", choices=("tests", "check"), help="what must pass: the tests (default), or a small check only"
    )
    how.add_argument("--no-gate", dest="gate", action="store_const", const="off", help="no check; the report says so")
    how.add_argument("--json", type=Path, metavar="FILE", help="write the results with facts about the machine")
    how.add_argument("--plot", type=Path, metavar="FILE.png", help="write a bar chart")
    how.add_argument(
        "--compare", type=Path, nargs=2, metavar=("A.json", "B.json"), help="measure nothing: what changed"
    )
    return top


def run_info(options: argparse.Namespace) -> int:
    try:
        facts = machine.facts()
    except RuntimeError as error:  # VFI_KERNELS_CPU names a level that this CPU lacks
        raise UsageError(str(error).splitlines()[0]) from None
    print(json.dumps(facts, indent=1) if options.json else describe(facts))
    return 0


def describe(facts: Facts) -> str:
    """The facts in a few aligned lines."""
    versions, cpu, build = facts["versions"], facts["cpu"], facts["build"]
    lines = [(name, value or "none") for name, value in versions.items()]
    for name, state in facts["backends"].items():
        lines.append((f"backend {name}", "yes" if state["available"] else f"no: {state['reason']}"))
    forced = " (VFI_KERNELS_CPU)" if cpu["level_forced"] else ""
    levels = ", ".join(cpu["levels_compiled"]) + (f"; {cpu['level_note']}" if cpu["level_note"] else "")
    lines.append(("cpu", f"{cpu['model']}, {cpu['cores']} cores, level {cpu['level']}{forced} of {levels}"))
    lines.append(("threads", str(facts["threads"])))
    for gpu in facts["gpus"]:
        text = f"{gpu['name']}, capability {gpu['capability']}, {gpu['memory_gib']} GiB, driver {gpu['driver']}"
        lines.append(("gpu", text))
    if not facts["gpus"]:
        lines.append(("gpu", "none"))
    cuda = f"{build['cuda']} for {', '.join(build['cuda_archs'])}" if build["cuda"] else f"no ({build['cuda_reason']})"
    lines.append(("built", f"against torch {build['torch']} with {build['compiler']}; CUDA kernels: {cuda}"))
    return "\n".join(f"{name.replace('_', ' '):18} {value}" for name, value in lines)


def run_bench(options: argparse.Namespace) -> int:
    from vfi_kernels.bench import overhead, report, session

    if options.compare:
        print(report.compare(*options.compare))
        return 0
    session.check_peer_names(options.peer)
    for path in filter(None, (options.json, options.plot)):
        if not path.resolve().parent.is_dir():
            raise UsageError(f"expected {path} to be in a folder that exists, got none")
    if options.plot and importlib.util.find_spec("matplotlib") is None:
        raise UsageError('--plot needs matplotlib, which is not installed: pip install "vfi-kernels[bench]"')
    names = ("op", "dtype", "layout", "mode", "shape", "flow", "threads", "device", "backend")
    if options.simulate:
        return run_simulation(plan(**{name: getattr(options, name) for name in names}), options)
    if options.overhead:
        jobs = overhead.overhead_jobs(options.op)
    else:
        jobs = plan(**{name: getattr(options, name) for name in names})
    run = session.Session(options.gate or ("check" if options.quick else "tests"), options.quick, options.json)
    try:
        run.pass_gate(jobs)
        run.measure(jobs, options.peer)
        if options.overhead:
            run.measure_imports()
    except KeyboardInterrupt:
        run.interrupt()
    document = run.document
    print(report.everything(document))
    if options.plot and document["rows"]:
        report.plot(options.plot, document["rows"])
    return INTERRUPTED if document["interrupted"] else 1 if document["refused"] else 0


def run_simulation(jobs: Sequence[Job], options: argparse.Namespace) -> int:
    from vfi_kernels.bench import report, simulate
    from vfi_kernels.bench.gpus import GPUS

    rows = []
    for row in simulate.simulate(jobs, options.gpu):
        rows.append(row)
        if options.json:
            report.write_json(options.json, simulate.document(rows))
    for gpu in options.gpu or GPUS:
        print(simulate.table(rows, gpu), end="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
