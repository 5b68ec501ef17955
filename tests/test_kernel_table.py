"""benchmarks/kernel_counts.py: what is asked of kernels, how it is judged, and the part of the page that it writes."""

import json
import sys

import pytest
from gpu_check_stand_ins import ROOT

from vfi_kernels import testing
from vfi_kernels.bench.gpus import GPUS
from vfi_kernels.testing import load_cases

sys.path.insert(0, str(ROOT / "benchmarks"))
import kernel_counts
import kernel_goals
import kernel_page

BOUNDS = {name: 10.0 for name in GPUS}


@pytest.fixture
def goals(monkeypatch):
    """With the cases of the table, for a while."""
    monkeypatch.setattr(testing, "CASES", dict(load_cases()))
    kernel_goals.register_more()
    return kernel_goals.goals()


def row(kernel, instructions, **more):
    common = {
        "op": "splat", "case": "splat-sum", "shape": "1080p", "dtype": "float32", "layout": "nchw", "mode": "forward",
        "flow": "smooth", "deterministic": False, "tf32": False, "pixels": 1000, "bytes_ratio": 1.2, "torch": [],
        "products_per_pixel": 10.0, "divisions_per_pixel": 0.0, "step_instructions": None, "spilled_bytes": 0,
        "sectors_per_request": 4.0, "conflicts": None, "registers": 40, "occupancy": dict.fromkeys(GPUS, 0.5),
        "bound_us": BOUNDS, "bound_by": dict.fromkeys(GPUS, "issue"), "over_roof": dict.fromkeys(GPUS, 1.5),
        "sectors": {"read": 1.0, "written": 1.0, "added": 0.0},
    }  # fmt: skip
    return {**common, "kernel": kernel, "instructions_per_pixel": instructions, **more}


def judged(rows, most, unit=kernel_goals.INSTRUCTIONS, **more):
    call = kernel_goals.call("splat-sum", "1080p", *kernel_goals.PLANES)
    return kernel_goals.Goal("a kernel", call, most, unit, **more).judge([*rows, row("all", 30.0)])


def test_a_goal_is_judged_by_its_own_kernels():
    rows = [row("scatter", 20.0), row("finish", 10.0)]
    assert judged(rows, 30)["counted"] == 30.0 and judged(rows, 30)["met"]
    assert judged(rows, 15, kernels="scat")["met"] is False and judged(rows, 15, without="scat")["counted"] == 10.0
    assert judged(rows, 15, per=2)["counted"] == 15.0
    nothing = {"counted": None, "met": False, "as_derived": False, "kernels": []}
    assert judged(rows, 3, kernels="nothing", derived=9) == nothing
    assert judged(rows, 15, derived=30)["as_derived"] and not judged(rows, 15, derived=29)["as_derived"]
    assert not judged(rows, 15)["as_derived"]
    sorted_rows = [*rows, row("all", 30.0, torch=["sort"])]
    assert not kernel_goals.Goal("a", None, 30, sorts=False).judge(sorted_rows)["met"]


def test_other_figures():
    assert judged([row("a", 1.0)], 3, kernel_goals.BYTES_TIME)["counted"] == pytest.approx(10 / (64000 / 3.35e6))
    assert judged([row("a", 1.0, step_instructions=25.0)], 26, kernel_goals.STEP)["met"]
    assert judged([row("a", 1.0)], 26, kernel_goals.STEP)["met"] is False  # no products at all
    assert judged([row("a", 1.0, divisions_per_pixel=2.0)], 0.1, kernel_goals.DIVISIONS)["met"] is False
    assert judged([row("a", 1.0)], 1.3, kernel_goals.TRAFFIC)["counted"] == 1.2


def test_instructions_beside_the_arithmetic():
    """Of the kernels that ran: 25 taps of 3 channels, forward."""
    call = kernel_goals.call("adacof-5", "vimeo", *kernel_goals.PLANES)
    total = row("all", 0.0, case="adacof-5", shape="vimeo")
    rows = [row("adacof_kernel<float>", 1800.0), row("adacof_pack_kernel", 0.0), total]
    assert kernel_goals.Goal("a", call, 3, kernel_goals.ARITHMETIC).judge(rows)["counted"] == 1800 / (25 * 36)
    assert kernel_goals.Goal("a", call, 3, kernel_goals.ARITHMETIC).judge(rows[1:])["counted"] == float("inf")


def test_half_of_a_dense_convolution():
    """Twice its products, or its bytes: on each GPU the larger; the worst GPU counts."""
    case = {"case": "routed_conv2d-64", "shape": "2k-64", "pixels": 1088 * 2048, "products_per_pixel": 64 * 64 * 9 / 2}
    total = row("all", 1.0, **case, bound_us={name: 100.0 for name in GPUS})
    bytes_us = 2 * 2 * 64 * 1088 * 2048 / 3.35e6
    products_us = 2 * 64 * 64 * 9 * 1088 * 2048 / 989.4e6
    only = {"H100": GPUS["H100"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel_goals, "GPUS", only)
        assert kernel_goals.dense([], [total]) == pytest.approx(100 / max(bytes_us, products_us))
    assert kernel_goals.dense([], [total]) > 100 / max(bytes_us, products_us)  # of an H200


def test_every_call_can_be_made(goals):
    assert len(goals) > 25 and {goal.call.job.case for goal in goals} <= load_cases().keys()
    rows = kernel_goals.rows_of_gpu_check()
    ops = {case.op for case in load_cases().values() if case.large}
    shown = {(kernel_goals.op_of(c.job), c.job.mode) for c in rows if kernel_goals.is_first(c)}
    assert shown == {(op, mode) for op in ops for mode in ("forward", "backward")}


def document(goals):
    calls = list(dict.fromkeys(goal.call for goal in goals))
    rows = {
        call: [row("_Z7scatterPf", 10.0), row("all", 30.0, registers=None, case=call.job.case, shape=call.job.shape)]
        for call in calls
    }
    return kernel_counts.document(goals, rows, {calls[0]: 12.5, calls[1]: "RuntimeError: unknown"})


def test_the_file_is_read_again(goals, tmp_path):
    made = document(goals)
    kernel_counts.write(made, tmp_path / "simulated.json")
    assert json.loads((tmp_path / "simulated.json").read_text()) == json.loads(json.dumps(made))


def test_the_page_says_that_it_is_a_model(goals):
    text = kernel_page.section(document(goals))
    assert text.strip().startswith("# A model") and "Nothing here was measured" in text
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(lines) == 2 + len(goals) + 2 + len(document(goals)["first"])  # two heads
    assert "| scatter |" in text and "10.0 us, issue, 1.5x" in text


def test_the_page_shows_the_committed_counts():
    page = kernel_page.PAGE.read_text()
    assert kernel_page.updated(page, kernel_page.text()) == page, "run python benchmarks/kernel_page.py"


def test_what_a_journal_knows_is_not_counted_again(tmp_path):
    file = tmp_path / "journal"
    kernel_counts.Journal(file).add("9.0 one", [{"kernel": "a"}])
    kernel_counts.Journal(file).add("9.0 two", 12.5)

    def never(*arguments):
        raise AssertionError(arguments)

    known = kernel_counts.Journal(file)
    assert kernel_counts.counted(never, {"9.0 two": (2,), "9.0 one": (1,)}, known) == [12.5, [{"kernel": "a"}]]
    assert kernel_counts.counted(never, {}, kernel_counts.Journal(None)) == []
