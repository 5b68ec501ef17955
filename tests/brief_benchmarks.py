"""What the tests of the benchmarks measure with: one small shape, a few microseconds."""

import pytest

from vfi_kernels.bench import jobs, measure, report, timing
from vfi_kernels.bench.peers import load_peers
from vfi_kernels.bench.session import Session
from vfi_kernels.testing import load_cases

SHAPE = "1x3x6x8"
BRIEF = timing.Budget(seconds=0.01, rounds=(2, 2), sample=1e-6)
CASES = [case for case in load_cases().values() if case.large]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture(autouse=True)
def same_threads(threads):
    """measure() sets the number of threads."""


def rows_of(**choices):
    rows = []
    for job in jobs.plan(**{"shape": [SHAPE], "threads": [1], **choices}):
        peers = [p for p in load_peers()[load_cases()[job.case].op] if not p.compiles]
        rows.append(measure.measure(job, peers, BRIEF, lambda step: None))
    return rows


def make_document(tmp_path, name, factor=1.0, spread=0.0, copy=1.0):
    """A file with one row whose own time is multiplied by `factor`, with quartiles `spread` of it away."""
    session = Session("off", quick=True)
    (row,) = rows_of(op=["backward_warp-border"])
    times = {"ours": 2.0 * factor, "RIFE": 6.0, "copy": copy}
    row["timings"] = {
        n: {"median_ms": t, "low_ms": t * (1 - spread), "high_ms": t * (1 + spread)} for n, t in times.items()
    }
    session.document["rows"] = [row | measure.ratios(row["timings"])]
    report.write_json(tmp_path / name, session.document)
    return tmp_path / name
