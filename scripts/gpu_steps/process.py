"""One step: its command, how it is run within a limit, and what becomes of it."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
GRACE_S = 8.0  # after an interrupt, for a step to save what it has
NOT_REACHED, RUNNING, CUT_OFF = "not reached", "running", "cut off"
BAD = ("failed", "timed out", RUNNING, CUT_OFF)


@dataclass
class Outcome:
    """What became of a step: passed, failed, missing, refused, timed out, skipped, cut off or not reached."""

    name: str
    status: str
    reason: str = ""
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def bad(self) -> bool:
        return self.status in BAD


@dataclass
class Run:
    """A process: finished, or with code None as far as it is."""

    code: int | None
    text: str
    timed_out: bool


@dataclass
class Step:
    name: str
    limit_s: float
    command: Callable[[Path], Sequence[str] | Outcome]  # given a scratch folder; an Outcome says why there is none
    judge: Callable[[Run, Path], Outcome]  # also while it runs: what there is so far
    environment: dict[str, str] = field(default_factory=dict)
    needs: str | None = None  # the backend without which it makes no sense
    gate: bool = False  # nothing else makes sense without it


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def last_lines(text: str, count: int = 3) -> str:
    return " | ".join(line.strip() for line in text.strip().splitlines()[-count:])


def parse_line(line: str) -> dict[str, Any] | None:
    """A line of JSON; None for the last one of a run that was killed while it wrote, and for any other text."""
    try:
        return json.loads(line) if line.startswith("{") else None
    except ValueError:
        return None


def die_with_the_parent() -> None:
    """Linux: a step ends when gpu_check is killed. What a shell starts in the background ignores SIGINT, and so would
    all its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Running:
    """A step at work: its output so far can be judged at any time."""

    def __init__(self, step: Step, folder: Path) -> None:
        self.step, self.folder, self.started = step, folder, time.monotonic()
        self.output, self.process = folder / "output", None

    def text(self) -> str:
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def so_far(self, status: str, reason: str) -> Outcome:
        """What the step has found up to now."""
        try:
            facts = self.step.judge(Run(None, self.text(), False), self.folder).facts
        except (OSError, ValueError):  # its file is half written; or it ends at this moment, and its folder is gone
            facts = {}
        seconds = round(time.monotonic() - self.started, 1)
        return Outcome(self.step.name, status, reason, seconds, facts)

    def end(self, sent: int = signal.SIGKILL) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, sent)

    def run(self, command: Sequence[str], limit_s: float, environment: dict[str, str]) -> Run:
        """Runs `command` in a session of its own; at the limit it is interrupted, then killed with its children."""
        paths = [str(ROOT), str(ROOT / "python"), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": os.pathsep.join(paths), **environment}
        env.pop("TRITON_INTERPRET", None)
        with open(self.output, "w") as output:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                preexec_fn=die_with_the_parent,
            )  # fmt: skip
        timed_out = False
        for sent, wait_s in ((signal.SIGINT, limit_s), (signal.SIGKILL, GRACE_S), (None, GRACE_S)):
            try:
                self.process.wait(wait_s)
                break
            except subprocess.TimeoutExpired:
                timed_out = True
                if sent is not None:
                    self.end(sent)
        return Run(self.process.returncode if self.process.returncode is not None else -1, self.text(), timed_out)


def perform(
    step: Step, left_s: float, log: Any, environment: dict[str, str], watch: Callable[[Running], None] = lambda r: None
) -> Outcome:
    """Runs a step within its limit and what is left of the whole; `watch` is told of it as soon as it runs."""
    limit = min(step.limit_s, left_s - 2 * GRACE_S)
    if limit <= 0:
        return Outcome(step.name, "skipped", "no time was left")
    with tempfile.TemporaryDirectory() as name:
        running = Running(step, Path(name))
        watch(running)
        command: Sequence[str] | Outcome = ()
        try:
            command = step.command(running.folder)
            if isinstance(command, Outcome):
                return command
            run = running.run(command, limit, {**environment, **step.environment})
            outcome = step.judge(run, running.folder)
            if run.timed_out and outcome.status != "passed":
                outcome = Outcome(step.name, "timed out", f"after {limit:.0f} s; {outcome.reason}", facts=outcome.facts)
            elif run.code < 0 and outcome.status != "passed":
                outcome.reason = f"ended by signal {-run.code}; {outcome.reason}"
        except OSError as error:
            return Outcome(step.name, "refused", f"could not be started: {error}")
        with log_lock:
            code = f"exit code {run.code}{' (time limit)' if run.timed_out else ''}"
            log.write(f"$ {' '.join(command)}\n{run.text}\n{code}\n\n")
            log.flush()
        outcome.seconds = round(time.monotonic() - running.started, 1)
    return outcome


log_lock = threading.Lock()
