"""compute-sanitizer over tests/gpu/small_set.py, which names each case as it is done."""

import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from gpu_steps.process import Outcome, Run, Step, last_lines, python

SANITIZER = "compute-sanitizer"
TOOLS = ("memcheck", "racecheck", "synccheck")

# What a sanitizer says when it cannot work on a machine, as opposed to what it says of a program.
REFUSALS = (
    "not supported", "unable to", "could not", "cannot", "permission", "failed to", "before first instrumented",
    "no attachable process", "internal sanitizer error", "device not", "target application returned an error",
)  # fmt: skip


def find_tool(name: str) -> str | None:
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    return shutil.which(name) or shutil.which(name, path=f"{home}/bin:{home}/compute-sanitizer")


def sanitizer_command(tool: str) -> Callable[[Path], Sequence[str] | Outcome]:
    def command(folder: Path) -> Sequence[str] | Outcome:
        program = find_tool(SANITIZER)
        if program is None:
            return Outcome(tool, "missing", f"no {SANITIZER} on PATH or in CUDA_HOME")
        ours = ("--kernel-regex", "kns=vfi")  # torch's own kernels are not watched
        return [program, "--tool", tool, *ours, "--error-exitcode", "86", *python("tests/gpu/small_set.py")]

    return command


def judge_sanitizer(tool: str) -> Callable[[Run, Path], Outcome]:
    def judge(run: Run, folder: Path) -> Outcome:
        summary = re.search(r"(?:ERROR|RACECHECK) SUMMARY: (\d+) (?:error|hazard)", run.text)
        complaint = re.search(r"^========= (?:(?:Invalid|Error:|Race|Barrier|Program hit).*)", run.text, re.MULTILINE)
        done = re.search(r"small set: (\d+) calls", run.text)
        cases = re.findall(r"^small set case: (.+)$", run.text, re.MULTILINE)
        facts = {"calls": int(done.group(1)) if done else 0, "cases": len(cases), "last": cases[-1] if cases else ""}
        if summary and int(summary.group(1)) > 0:
            return Outcome(tool, "failed", f"{summary.group(0)}; see the log", facts=facts)
        if summary and done and run.code == 0:
            return Outcome(tool, "passed", facts=facts)
        if not done and not cases and any(word in run.text.lower() for word in REFUSALS):
            return Outcome(tool, "refused", last_lines(run.text), facts=facts)
        if complaint:
            return Outcome(tool, "failed", f"{complaint.group(0)}; see the log", facts=facts)
        if run.timed_out and cases:
            return Outcome(tool, "passed", f"{len(cases)} cases without an error, as far as {cases[-1]}", facts=facts)
        return Outcome(tool, "failed", last_lines(run.text), facts=facts)

    return judge


def sanitizer_steps(limit_s: float) -> list[Step]:
    uncached = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}  # so that memcheck knows where a tensor ends
    return [Step(t, limit_s, sanitizer_command(t), judge_sanitizer(t), uncached, needs="cuda") for t in TOOLS]
