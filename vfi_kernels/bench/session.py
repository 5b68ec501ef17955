"""One run of the benchmark: the gate, the jobs, and a file that is complete after every row."""

import datetime
import fnmatch
import sys
from collections.abc import Sequence
from pathlib import Path

from vfi_kernels._types import Facts
from vfi_kernels.bench import gate, machine, report
from vfi_kernels.bench.jobs import Job, UsageError
from vfi_kernels.bench.measure import measure
from vfi_kernels.bench.overhead import import_seconds
from vfi_kernels.bench.peers import Peer, load_peers
from vfi_kernels.bench.timing import QUICK, Budget
from vfi_kernels.testing import load_cases


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def check_peer_names(names: Sequence[str] | None) -> None:
    peer_names = sorted({p.name for peers in load_peers().values() for p in peers})
    for name in names or ():
        if not fnmatch.filter(peer_names, name):
            raise UsageError(f"expected --peer to be one of {', '.join(peer_names)}, got {name}")


class Session:
    """Collects rows in `document`, which is what a benchmark file holds."""

    def __init__(self, gate_level: str = "tests", quick: bool = False, json_file: Path | None = None) -> None:
        self.gate_level, self.quick, self.json_file = gate_level, quick, json_file
        self.document: Facts = {
            "schema": report.SCHEMA,
            "date": datetime.date.today().isoformat(),
            "machine": {**machine.facts(), "slug": machine.slug()},
            "gate": gate_level,
            "refused": {},
            "rows": [],
            "imports": None,
            "interrupted": False,
        }

    def pass_gate(self, jobs: Sequence[Job]) -> None:
        """Refuses the ops of `jobs` that are wrong: measure() leaves them out."""
        if self.gate_level == "off":
            say("the gate is off: nothing says that these ops are right")
            return
        refused = gate.refusals(jobs, self.gate_level == "tests", say)
        for op, reason in refused.items():
            say(f"{op}: not measured, because {reason}")
        self.document["refused"] |= refused

    def measure(self, jobs: Sequence[Job], peers: Sequence[str] | None = None) -> None:
        """Adds a row per job; `peers`: only those with these names (* matches)."""
        cases = load_cases()
        jobs = [job for job in jobs if cases[job.case].op not in self.document["refused"]]
        budget = QUICK if self.quick else Budget()
        for n, job in enumerate(jobs, 1):
            say(f"[{n}/{len(jobs)}] {job}")
            try:
                row = measure(job, self._peers(cases[job.case].op, peers), budget, lambda step: say(f"    {step}"))
                self.document["rows"].append({**row, "gate": self.gate_level})
            except RuntimeError as error:  # too little memory, say: the other rows are measured all the same
                self.document["refused"][str(job)] = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            self.save()

    def _peers(self, op: str, names: Sequence[str] | None) -> list[Peer]:
        """The peers of `op`; a quick run has none that compile."""
        peers = load_peers()[op]
        if names is not None:
            peers = [p for p in peers if any(fnmatch.fnmatch(p.name, name) for name in names)]
        return [p for p in peers if not (self.quick and p.compiles)]

    def measure_imports(self) -> None:
        self.document["imports"] = import_seconds(2 if self.quick else 7, say)
        self.save()

    def interrupt(self) -> None:
        """After Ctrl-C: what was measured is kept and marked."""
        self.document["interrupted"] = True
        say(f"interrupted: {len(self.document['rows'])} rows are kept")
        self.save()

    def save(self) -> None:
        if self.json_file is not None:
            report.write_json(self.json_file, self.document)
