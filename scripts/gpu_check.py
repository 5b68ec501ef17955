"""Everything that needs a GPU, in one go of at most eight minutes: tests, compute-sanitizer, benchmarks.

    python3 scripts/gpu_check.py --results DIR        writes DIR/gpu_check.json and DIR/gpu_check.log

Runs with this python3's own torch, triton and pytest: no virtual environment, no network. vfi_kernels has to be built
beforehand in this folder (`python setup.py build_ext --inplace`). Each step has its own time limit, within what is left
of the whole. A tool that is missing or refuses to run here is recorded with its reason and is no failure; failing
tests, errors that a sanitizer finds and a missing library are.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TOTAL_S = 470.0  # of the 480 allowed; the rest is for starting and writing
GRACE_S = 8.0  # after an interrupt, for a step to save what it has
SANITIZER = "compute-sanitizer"

# What a sanitizer says when it cannot work on a machine, as opposed to what it says of a program.
REFUSALS = (
    "not supported", "unable to", "could not", "cannot", "permission", "failed to", "before first instrumented",
    "no attachable process", "internal sanitizer error", "device not", "target application returned an error",
)  # fmt: skip


@dataclass
class Outcome:
    """What became of a step: passed, failed, missing, refused, timed out or skipped."""

    name: str
    status: str
    reason: str = ""
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def bad(self) -> bool:
        return self.status in ("failed", "timed out")


@dataclass
class Run:
    """One finished process."""

    code: int
    text: str
    timed_out: bool


@dataclass
class Step:
    name: str
    limit_s: float
    command: Callable[[Path], Sequence[str] | Outcome]  # given a scratch folder; an Outcome says why there is none
    judge: Callable[[Run, Path], Outcome]
    environment: dict[str, str] = field(default_factory=dict)


def run_process(command: Sequence[str], limit_s: float, environment: dict[str, str], log: Any) -> Run:
    """Runs `command` in a session of its own; at the limit it is interrupted, then killed with its children."""
    env = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
    env.pop("TRITON_INTERPRET", None)
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            preexec_fn=hear_interrupts,
        )  # fmt: skip
        timed_out = False
        for sent, wait_s in ((signal.SIGINT, limit_s), (signal.SIGKILL, GRACE_S), (None, GRACE_S)):
            try:
                process.wait(wait_s)
                break
            except subprocess.TimeoutExpired:
                timed_out = True
                if sent is not None:
                    os.killpg(process.pid, sent)
        output.seek(0)
        text = output.read()
    log.write(
        f"$ {' '.join(command)}\n{text}\nexit code {process.returncode}{' (time limit)' if timed_out else ''}\n\n"
    )
    log.flush()
    return Run(process.returncode if process.returncode is not None else -1, text, timed_out)


def hear_interrupts() -> None:
    """What a shell starts in the background ignores SIGINT, and so do all its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def perform(step: Step, left_s: float, log: Any) -> Outcome:
    """Runs a step within its limit and what is left of the whole."""
    limit = min(step.limit_s, left_s - 2 * GRACE_S)
    if limit <= 0:
        return Outcome(step.name, "skipped", "no time was left")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            command = step.command(Path(folder))
            if isinstance(command, Outcome):
                return command
            run = run_process(command, limit, step.environment, log)
            outcome = step.judge(run, Path(folder))
        except OSError as error:
            outcome = Outcome(step.name, "refused", f"could not be started: {error}")
        else:
            if run.timed_out and outcome.status != "passed":
                outcome = Outcome(step.name, "timed out", f"after {limit:.0f} s; {outcome.reason}", facts=outcome.facts)
    outcome.seconds = round(time.monotonic() - started, 1)
    return outcome


def last_lines(text: str, count: int = 3) -> str:
    return " | ".join(line.strip() for line in text.strip().splitlines()[-count:])


# The steps.


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


MACHINE_PROGRAM = """
import json, torch
import vfi_kernels
from vfi_kernels import backends
gpus = [dict(name=p.name, memory_gib=round(p.total_memory / 2**30, 1), capability=f"{p.major}.{p.minor}",
             multiprocessors=p.multi_processor_count)
        for p in map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))]
print(json.dumps(dict(
    torch=torch.__version__, torch_cuda=torch.version.cuda, gpus=gpus, build=backends.build_info(),
    backends={b: backends.unavailable(b) or "yes" for b in backends.BACKENDS})))
"""


def judge_machine(run: Run, folder: Path) -> Outcome:
    """Which GPU, torch and build; without a GPU or a library with CUDA kernels nothing else makes sense."""
    lines = [line for line in run.text.splitlines() if line.startswith("{")]
    if run.code != 0 or not lines:
        return Outcome("machine", "failed", last_lines(run.text))
    facts = json.loads(lines[-1])
    if not facts["gpus"]:
        return Outcome("machine", "failed", "torch finds no GPU", facts=facts)
    reason = facts["backends"]["cuda"]
    return Outcome("machine", "passed" if reason == "yes" else "failed", "" if reason == "yes" else reason, facts=facts)


def tests_step(backend: str, limit_s: float) -> Step:
    """The tests of one backend: Triton compiles its kernels as it goes, which must not take the other's time."""
    options = ("-q", "-rfEs", "--no-header", "-p", "no:cacheprovider", "--maxfail=50")
    selection = "triton" if backend == "triton" else "not triton"
    command = python("-m", "pytest", "tests/gpu", *options, "-k", selection)
    name = f"tests {backend}"
    return Step(name, limit_s, lambda folder: command, lambda run, folder: judge_tests(name, run))


def judge_tests(name: str, run: Run) -> Outcome:
    counts = {
        word: int(n)
        for n, word in re.findall(r"(\d+) (passed|failed|skipped|errors?|xfailed)", last_lines(run.text, 1))
    }
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", run.text, re.MULTILINE)
    skips = re.findall(r"^SKIPPED \[(\d+)\] (.*)", run.text, re.MULTILINE)
    facts = {"counts": counts, "failed": failed[:50], "skipped": [f"{n} x {why}" for n, why in skips]}
    if run.code == 0 and counts.get("passed"):
        return Outcome(name, "passed", facts=facts)
    return Outcome(name, "failed", last_lines(run.text, 1), facts=facts)


def find_sanitizer() -> str | None:
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    return shutil.which(SANITIZER) or shutil.which(SANITIZER, path=f"{home}/bin:{home}/compute-sanitizer")


def sanitizer_command(tool: str) -> Callable[[Path], Sequence[str] | Outcome]:
    def command(folder: Path) -> Sequence[str] | Outcome:
        found = find_sanitizer()
        if found is None:
            return Outcome(tool, "missing", f"no {SANITIZER} on PATH or in CUDA_HOME")
        return [found, "--tool", tool, "--error-exitcode", "86", *python("tests/gpu/small_set.py")]

    return command


def judge_sanitizer(tool: str) -> Callable[[Run, Path], Outcome]:
    def judge(run: Run, folder: Path) -> Outcome:
        summary = re.search(r"(?:ERROR|RACECHECK) SUMMARY: (\d+) (?:error|hazard)", run.text)
        done = re.search(r"small set: (\d+) calls", run.text)
        facts = {"calls": int(done.group(1)) if done else 0}
        if summary and int(summary.group(1)) > 0:
            return Outcome(tool, "failed", f"{summary.group(0)}; see the log", facts=facts)
        if summary and done and run.code == 0:
            return Outcome(tool, "passed", facts=facts)
        if any(word in run.text.lower() for word in REFUSALS) and not done:
            return Outcome(tool, "refused", last_lines(run.text), facts=facts)
        return Outcome(tool, "failed", last_lines(run.text), facts=facts)

    return judge


def bench_step(name: str, limit_s: float, *options: str) -> Step:
    def command(folder: Path) -> Sequence[str]:
        measure = ("-m", "vfi_kernels.cli", "bench", "--device", "cuda", "--gate", "check", *options)
        return python(*measure, "--json", str(folder / "bench.json"))

    def judge(run: Run, folder: Path) -> Outcome:
        file = folder / "bench.json"
        if not file.exists():
            missing = "No module named" in run.text
            return Outcome(name, "missing" if missing else "refused", last_lines(run.text))
        report = json.loads(file.read_text())
        rows = len(report.get("rows", ()))
        facts = {"options": list(options), "rows": rows, "report": report}
        if run.code == 0 and rows:
            return Outcome(name, "passed", facts=facts)
        reason = f"{rows} rows; refused: {report.get('refused') or 'none'}; {last_lines(run.text, 1)}"
        return Outcome(
            name, "refused" if report.get("refused") and not run.timed_out else "failed", reason, facts=facts
        )

    return Step(name, limit_s, command, judge)


def all_steps() -> list[Step]:
    uncached = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}  # so that memcheck knows where a tensor ends
    halves = ("--dtype", "float32", "float16")
    return [
        Step("machine", 40, lambda folder: python("-c", MACHINE_PROGRAM), judge_machine),
        tests_step("cuda", 130),
        tests_step("triton", 130),
        Step("memcheck", 40, sanitizer_command("memcheck"), judge_sanitizer("memcheck"), uncached),
        Step("racecheck", 40, sanitizer_command("racecheck"), judge_sanitizer("racecheck"), uncached),
        bench_step("bench warps", 60, "--op", "backward_warp", "warp_blend", *halves),
        bench_step("bench splats", 60, "--op", "splat", *halves),
        bench_step(
            "bench convolutions", 60, "--op", "correlation", "modulated_deform_conv2d", "routed_conv2d", *halves
        ),
        bench_step("bench gradients", 60, "--op", "backward_warp", "splat", "--mode", "backward"),
        bench_step("bench triton", 60, "--op", "backward_warp", "splat", "--backend", "triton"),
    ]


def check(steps: Sequence[Step], results: Path, total_s: float = TOTAL_S) -> int:
    """Runs the steps, writes the JSON after each, and returns the exit code. Without a GPU only the first one runs."""
    results.mkdir(parents=True, exist_ok=True)
    started, outcomes = time.monotonic(), []
    report: dict[str, Any] = {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "steps": [],
    }
    with open(results / "gpu_check.log", "w") as log:
        for n, step in enumerate(steps):
            if n and outcomes[0].bad:
                outcomes.append(Outcome(step.name, "skipped", f"{outcomes[0].name}: {outcomes[0].reason}"))
            else:
                outcomes.append(perform(step, total_s - (time.monotonic() - started), log))
            report["steps"] = [asdict(o) for o in outcomes]
            report["seconds"] = round(time.monotonic() - started, 1)
            report["passed"] = not any(o.bad for o in outcomes)
            (results / "gpu_check.json").write_text(json.dumps(report, indent=1) + "\n")
            last = outcomes[-1]
            print(f"{last.name:16} {last.status:10} {last.seconds:6.1f} s  {last.reason}", flush=True)
    verdict = "passed" if report["passed"] else "FAILED"
    print(f"{verdict} in {report['seconds']} s; {results}/gpu_check.json, gpu_check.log")
    return 0 if report["passed"] else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "out/gpu-check", help="folder for the JSON and the log")
    return check(all_steps(), parser.parse_args().results)


if __name__ == "__main__":
    sys.exit(main())
