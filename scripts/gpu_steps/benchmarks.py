"""Quick benchmarks of every op in both directions, and what the profiler counts of the heaviest kernels."""

import json
import re
from pathlib import Path

from gpu_steps import predicted
from gpu_steps.process import Outcome, Run, Step, last_lines, python
from gpu_steps.sanitizer import find_tool

MORE_SHAPES = ("features-448", "features-256", "2k-64", "576p-8", "text")  # than the first of each case
KERNELS = "deform_kernel|deform_grad_columns|scatter_kernel|^correlation_kernel|routed_conv_kernel"
SECTIONS = ("SpeedOfLight", "Occupancy", "MemoryWorkloadAnalysis", "WarpStateStats")


def bench_step(name: str, limit_s: float, *options: str, backend: str = "cuda") -> Step:
    def command(folder: Path) -> list[str]:
        measure = ("-m", "vfi_kernels._cli", "bench", "--device", "cuda", "--quick", "--backend", backend)
        return python(*measure, *options, "--json", str(folder / "bench.json"))

    def judge(run: Run, folder: Path) -> Outcome:
        file = folder / "bench.json"
        if not file.exists():
            missing = "No module named" in run.text
            return Outcome(name, "missing" if missing else "refused", last_lines(run.text))
        report = json.loads(file.read_text())
        rows, refused = len(report.get("rows", ())), report.get("refused")
        beside = predicted.beside(report.get("rows", ()), predicted.device_of(report), predicted.bounds())
        facts = {"options": list(options), "rows": rows, **contenders(report), "predicted": beside, "report": report}
        if rows and (run.code == 0 or run.timed_out) and not refused:
            cut = f"{rows} of {planned(run.text, rows)} rows, then the time was over" if run.timed_out else ""
            return Outcome(name, "passed", cut, facts=facts)
        reason = f"{rows} rows; refused: {refused or 'none'}; {last_lines(run.text, 1)}"
        return Outcome(name, "refused" if refused and not run.timed_out else "failed", reason, facts=facts)

    return Step(name, limit_s, command, judge, needs=backend)


def contenders(report: dict) -> dict[str, object]:
    """Who ran beside ours in how many rows, and the peers that could not, each with its reasons."""
    beside: dict[str, int] = {}
    absent: dict[str, list[str]] = {}
    for row in report.get("rows", ()):
        for name in row["timings"]:
            beside[name] = beside.get(name, 0) + 1
        for name, reason in row["absent"].items():
            absent[name] = sorted({*absent.get(name, ()), reason})
    return {"beside": beside, "absent": absent}


def planned(text: str, least: int) -> int:
    """How many rows there were to be, by the last line that counts them."""
    return int((re.findall(r"^\[\d+/(\d+)\]", text, re.MULTILINE) or [least])[-1])


def timing_steps() -> list[Step]:
    """In the order of worth: the time may be over before the last. Every case at its first shape, both ways, in float32
    planes and in bfloat16 with channels last; beside ours run its peers, and its deterministic way."""
    first, backward = ("--shape", "first"), ("--mode", "backward")
    half = ("--dtype", "bfloat16", "--layout", "channels_last")
    return [
        bench_step("bench forward", 30, *first),
        bench_step("bench backward", 30, *first, *backward),
        bench_step("bench forward bf16", 30, *first, *half),
        Step("ncu", 60, profile_command, judge_profile, needs="cuda"),
        bench_step("bench backward bf16", 30, *first, *half, *backward),
        bench_step("bench triton", 20, *first, "--dtype", "bfloat16", backend="triton"),
        bench_step("bench more", 30, "--shape", *MORE_SHAPES, "--dtype", "float32", "bfloat16"),
    ]


def profile_command(folder: Path) -> list[str] | Outcome:
    tool = find_tool("ncu")
    if tool is None:
        return Outcome("ncu", "missing", "no ncu on PATH or in CUDA_HOME")
    sections = [word for section in SECTIONS for word in ("--section", section)]
    chosen = ("--clock-control", "none", "--kernel-name", f"regex:{KERNELS}", "--csv", *sections)
    return [tool, *chosen, *python(str(Path(__file__).with_name("profiled.py")))]


def judge_profile(run: Run, folder: Path) -> Outcome:
    """The table is kept as it is; ncu prints it when the program has ended, the program each op as it is done."""
    table = [line for line in run.text.splitlines() if line.startswith('"')]
    done = [line for line in run.text.splitlines() if line.startswith("profiled: ")]
    facts = {"table": table, "ops": done}
    if run.code == 0 and len(table) > 1:
        return Outcome("ncu", "passed", facts=facts)
    return Outcome("ncu", "refused", last_lines(run.text), facts=facts)
