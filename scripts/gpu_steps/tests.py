"""tests/gpu in parallel, in the order of worth; a line of JSON for each test as soon as it is done."""

import importlib.util
import os
from pathlib import Path

from gpu_steps.process import Outcome, Run, Step, last_lines, parse_line, python

WORKERS = 12
LINES = "tests.jsonl"  # written by tests/gpu/conftest.py


def tests_command(folder: Path) -> list[str]:
    """With pytest-xdist and pytest-timeout where they are, which tests in one process without a limit do without."""
    options = ["-q", "-rfE", "--no-header", "--tb=short", "-p", "no:cacheprovider"]
    if importlib.util.find_spec("xdist"):
        workers = min(WORKERS, len(os.sched_getaffinity(0)))
        options += ["-n", str(workers), "--dist", "loadgroup", "--max-worker-restart", "100"]
    if importlib.util.find_spec("pytest_timeout"):
        options += ["--timeout", "60"]
    return ["env", f"VFI_GPU_TESTS={folder / LINES}", *python("-m", "pytest", "tests/gpu", *options)]


def judge_tests(run: Run, folder: Path) -> Outcome:
    """By the lines, which are there however the run ended."""
    file = folder / LINES
    lines = file.read_text().splitlines() if file.exists() else []
    outcomes: dict[str, dict] = {}
    for line in map(parse_line, lines):
        if line and outcomes.get(line["test"], {}).get("outcome") != "failed":
            outcomes[line["test"]] = line
    counts = {word: sum(t["outcome"] == word for t in outcomes.values()) for word in ("passed", "failed", "skipped")}
    failed = {name: t["reason"] for name, t in outcomes.items() if t["outcome"] == "failed"}
    skips = sorted({t["reason"] for t in outcomes.values() if t["outcome"] == "skipped"})
    slowest = sorted(((t["seconds"], name) for name, t in outcomes.items()), reverse=True)[:10]
    facts = {"counts": counts, "failed": failed, "skipped": skips, "slowest": slowest}
    if run.code == 0 and counts["passed"]:
        return Outcome("tests", "passed", facts=facts)
    reason = ", ".join(f"{n} {word}" for word, n in counts.items()) + f"; {last_lines(run.text, 1)}"
    return Outcome("tests", "failed", reason, facts=facts)


def tests_step(limit_s: float) -> Step:
    return Step("tests", limit_s, tests_command, judge_tests)
