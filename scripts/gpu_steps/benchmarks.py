"""Quick benchmarks of every op in both directions, and what the profiler counts of the heaviest kernels."""

import json
from pathlib import Path

from gpu_steps.process import Outcome, Run, Step, last_lines, python
from gpu_steps.sanitizer import find_tool

# One or two shapes for each case: those of video, and of features.
SHAPES = ("1080p", "features-448", "features-256", "features-112", "2k", "2k-64", "576p", "576p-8", "attention")
KERNELS = "deform_kernel|deform_grad_columns|scatter_kernel|^correlation_kernel|routed_conv_kernel"
SECTIONS = ("SpeedOfLight", "Occupancy", "MemoryWorkloadAnalysis", "WarpStateStats")


def bench_step(name: str, limit_s: float, *options: str, backend: str = "cuda") -> Step:
    def command(folder: Path) -> list[str]:
        measure = ("-m", "vfi_kernels.cli", "bench", "--device", "cuda", "--quick", "--backend", backend)
        return python(*measure, *options, "--json", str(folder / "bench.json"))

    def judge(run: Run, folder: Path) -> Outcome:
        file = folder / "bench.json"
        if not file.exists():
            missing = "No module named" in run.text
            return Outcome(name, "missing" if missing else "refused", last_lines(run.text))
        report = json.loads(file.read_text())
        rows, refused = len(report.get("rows", ())), report.get("refused")
        facts = {"options": list(options), "rows": rows, "report": report}
        if rows and (run.code == 0 or run.timed_out) and not refused:
            return Outcome(name, "passed", f"{rows} rows, then the time was over" if run.timed_out else "", facts=facts)
        reason = f"{rows} rows; refused: {refused or 'none'}; {last_lines(run.text, 1)}"
        return Outcome(name, "refused" if refused and not run.timed_out else "failed", reason, facts=facts)

    return Step(name, limit_s, command, judge, needs=backend)


def timing_steps() -> list[Step]:
    """In the order of worth: the time may be over before the last."""
    shapes = ("--shape", *SHAPES)
    last = ("--dtype", "bfloat16", "--layout", "channels_last")
    return [
        bench_step("bench forward", 30, *shapes, "--dtype", "bfloat16", "float32"),
        bench_step("bench backward", 30, *shapes, "--mode", "backward"),
        Step("ncu", 60, profile_command, judge_profile, needs="cuda"),
        bench_step("bench channels_last", 30, *shapes, *last, "--mode", "forward", "backward"),
        bench_step("bench triton", 20, *shapes, "--dtype", "bfloat16", backend="triton"),
    ]


def profile_command(folder: Path) -> list[str] | Outcome:
    found = find_tool("ncu")
    if found is None:
        return Outcome("ncu", "missing", "no ncu on PATH or in CUDA_HOME")
    sections = [word for section in SECTIONS for word in ("--section", section)]
    chosen = ("--clock-control", "none", "--kernel-name", f"regex:{KERNELS}", "--csv", *sections)
    return [found, *chosen, *python(str(Path(__file__).with_name("profiled.py")))]


def judge_profile(run: Run, folder: Path) -> Outcome:
    """The table is kept as it is; ncu prints it when the program has ended, the program each op as it is done."""
    table = [line for line in run.text.splitlines() if line.startswith('"')]
    done = [line for line in run.text.splitlines() if line.startswith("profiled: ")]
    facts = {"table": table, "ops": done}
    if run.code == 0 and len(table) > 1:
        return Outcome("ncu", "passed", facts=facts)
    return Outcome("ncu", "refused", last_lines(run.text), facts=facts)
