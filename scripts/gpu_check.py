"""Everything that needs a GPU, in one go of at most eight minutes: build, tests, compute-sanitizer, benchmarks, ncu.

    python3 scripts/gpu_check.py --results DIR        writes DIR/gpu_check.json and DIR/gpu_check.log

Runs with this python3's own torch, triton and pytest: no virtual environment, no network. The library is built here,
by this machine's nvcc for this machine's GPU. The JSON names every step from the start and is written anew every two
seconds, so that a run which is cut off, in whatever way, still says what it found and what it did not reach. A tool
that is missing or refuses to run here is recorded with its reason and is no failure; failing tests, errors that a
sanitizer finds and a library that does not work are.
"""

import argparse
import json
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpu_steps import predicted
from gpu_steps.benchmarks import timing_steps
from gpu_steps.build import build_steps
from gpu_steps.process import CUT_OFF, NOT_REACHED, ROOT, RUNNING, Outcome, Running, Step, perform
from gpu_steps.sanitizer import sanitizer_steps
from gpu_steps.tests import tests_step

TOTAL_S = 470.0  # of the 480 allowed; the rest is for starting and writing
BEAT_S = 2.0

# Stages one after another; the lanes of a stage side by side; the steps of a lane one after another.
Stage = Sequence[Sequence[Step]]


def plan() -> list[Stage]:
    """The sanitizers run beside the tests, on cores that these leave idle; timings are taken with nothing beside."""
    return [[build_steps()], [[tests_step(150)], sanitizer_steps(50)], [timing_steps()]]


class Report:
    """DIR/gpu_check.json, whole at any time: written under another name and renamed."""

    def __init__(self, steps: Sequence[Step], results: Path) -> None:
        results.mkdir(parents=True, exist_ok=True)
        self.file, self.started, self.lock = results / "gpu_check.json", time.monotonic(), threading.RLock()
        self.head = {
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "python": platform.python_version(),
        }
        self.outcomes = {step.name: Outcome(step.name, NOT_REACHED) for step in steps}
        self.running: dict[str, Running] = {}
        self.write()

    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def watch(self, running: Running) -> None:
        with self.lock:
            self.running[running.step.name] = running
            self.outcomes[running.step.name] = Outcome(running.step.name, RUNNING)
            self.write()

    def add(self, outcome: Outcome) -> None:
        with self.lock:
            self.running.pop(outcome.name, None)
            self.outcomes[outcome.name] = outcome
            self.write()
        print(f"{outcome.name:20} {outcome.status:10} {outcome.seconds:6.1f} s  {outcome.reason}", flush=True)

    def beat(self) -> None:
        """What the running steps have found so far."""
        with self.lock:
            for name, running in self.running.items():
                self.outcomes[name] = running.so_far(RUNNING, "")
            self.write()

    def cut_off(self, reason: str) -> None:
        """gpu_check itself is ended: so are its steps."""
        with self.lock:
            for running in list(self.running.values()):
                outcome = running.so_far(CUT_OFF, reason)
                running.end()
                self.add(outcome)

    @property
    def passed(self) -> bool:
        return not any(o.bad or o.status == NOT_REACHED for o in self.outcomes.values())

    def write(self) -> None:
        outcomes = self.outcomes.values()
        document: dict[str, Any] = {
            **self.head,
            "seconds": round(self.elapsed(), 1),
            "passed": self.passed,
            "not_reached": [o.name for o in outcomes if o.status in (NOT_REACHED, "skipped")],
            "steps": [asdict(o) for o in outcomes],
        }
        part = self.file.with_name("gpu_check.json.part")
        part.write_text(json.dumps(document, indent=1) + "\n")
        os.replace(part, self.file)


class Check:
    """Runs a plan. Behind a gate that failed nothing runs, and what needs a backend that does not work is skipped."""

    def __init__(self, stages: Sequence[Stage], results: Path, total_s: float = TOTAL_S) -> None:
        self.stages, self.total_s = stages, total_s
        self.report = Report([step for stage in stages for lane in stage for step in lane], results)
        self.log = open(results / "gpu_check.log", "w")  # noqa: SIM115 - as long as the run
        self.environment: dict[str, str] = {}
        self.works: list[str] | None = None
        self.closed = ""  # why nothing else runs

    def reason_to_skip(self, step: Step) -> str:
        if step.needs and self.works is not None and step.needs not in self.works:
            return f"the backend {step.needs} does not work here"
        return self.closed

    def pass_gate(self, outcome: Outcome) -> None:
        """A probe that finds one backend at work opens the rest for it."""
        if "works" in outcome.facts:
            self.works = outcome.facts["works"]
            if any(backend["rtld_global"] for backend in outcome.facts["backends"].values()):
                self.environment["TORCH_USE_RTLD_GLOBAL"] = "1"
        if outcome.status != "passed" and not self.works and not self.closed:
            self.closed = f"{outcome.name}: {outcome.reason}"

    def perform(self, step: Step) -> Outcome:
        left = self.total_s - self.report.elapsed()
        try:
            return perform(step, left, self.log, self.environment, self.report.watch)
        except Exception as error:  # what a step says may be of no known form; the rest goes on
            return Outcome(step.name, "failed", f"{type(error).__name__}: {error}")

    def run_lane(self, lane: Sequence[Step]) -> None:
        for step in lane:
            reason = self.reason_to_skip(step)
            outcome = Outcome(step.name, "skipped", reason) if reason else self.perform(step)
            if step.gate:
                self.pass_gate(outcome)
            self.report.add(outcome)

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.end)
        for stage in self.stages:
            threads = [threading.Thread(target=self.run_lane, args=(lane,), daemon=True) for lane in stage]
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                for thread in threads:
                    thread.join(BEAT_S / len(threads))
                self.report.beat()
        self.print_predictions()
        passed, seconds = self.report.passed, self.report.elapsed()
        print(f"{'passed' if passed else 'FAILED'} in {seconds:.0f} s; {self.report.file}")
        return 0 if passed else 1

    def print_predictions(self) -> None:
        """Every row that was measured with CUDA kernels, beside the bound that the simulator's counts give."""
        outcomes = [o for o in self.report.outcomes.values() if o.name != "bench triton"]
        rows = [row for outcome in outcomes for row in outcome.facts.get("predicted", ())]
        if rows:
            print(f"\n{predicted.table(rows)}\n")

    def end(self, number: int, frame: Any) -> None:
        self.report.cut_off(f"gpu_check was ended by signal {number}")
        self.log.flush()
        os._exit(1)  # the threads wait for steps that are gone


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = "folder for the JSON and the log (default: %(default)s)"
    parser.add_argument("--results", type=Path, default=ROOT / "out/gpu-check", help=what)
    return Check(plan(), parser.parse_args().results).run()


if __name__ == "__main__":
    sys.exit(main())
