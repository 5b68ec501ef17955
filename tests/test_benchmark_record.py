"""The folder benchmarks/: goals, the page and its figures, memory, the suite for pytest-benchmark."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from brief_benchmarks import make_document, rows_of, same_threads  # noqa: F401
from processes import warm_python

from vfi_kernels.bench import jobs, overhead
from vfi_kernels.bench.peers import load_peers
from vfi_kernels.testing import load_cases

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import figures  # noqa: E402
import goals  # noqa: E402
import groups  # noqa: E402
import memory  # noqa: E402
import report as page  # noqa: E402
import routed_network  # noqa: E402


def test_every_goal_is_measured():
    """A goal names a row that benchmarks/run.py makes, and a peer that takes part in it."""
    planned = [(job, g) for g in groups.CPU for job in jobs.plan(**g.choices)]
    planned += [(job, groups.group(job.case, "")) for job in overhead.overhead_jobs(None)]
    for goal in goals.CPU_GOALS:
        where = dict(goal.where)
        level = where.pop("level_forced")
        measured = [
            g for job, g in planned if g.cpu_level == level and all(getattr(job, k) == v for k, v in where.items())
        ]
        assert measured, goal.text()
        peers = {p.name for p in load_peers()[load_cases()[where["case"]].op]}
        special = {goals.FASTEST, goals.FLOOR, goals.MICROSECONDS, "ours float32"}
        assert goal.against in special or (
            goal.against in peers and all(goal.against in (g.peers or peers) for g in measured)
        )


def test_goals_are_judged():
    row = {**goals.goal(3.0, "RIFE", "c", "s").where, "times_faster": {"RIFE": 3.5, "other": 2.0}}
    row |= {"times_floor": 5.0, "differs": {"RIFE": 0.0, "other": 0.0}}
    assert goals.goal(3.0, "RIFE", "c", "s").judge([row])["met"] is True
    assert goals.goal(3.0, goals.FASTEST, "c", "s").judge([row])["met"] is False
    wrong = {**row, "differs": {"other": 0.5}}
    assert goals.goal(3.0, goals.FASTEST, "c", "s").judge([wrong])["reached"] == 3.5
    another = {**row, "times_faster": {"RIFE": 3.5, "mm of as many products": 0.3}}
    assert goals.goal(3.0, goals.FASTEST, "c", "s").judge([another])["reached"] == 3.5
    assert goals.goal(4.0, goals.FLOOR, "c", "s").judge([row])["met"] is False
    assert goals.goal(3.0, "RIFE", "c", "t").judge([row])["met"] is None
    assert goals.goal(3.0, "RIFE", "c", "s").judge([row, {**row, "times_faster": {"RIFE": 1.0}}])["reached"] == 1.0


def test_the_page_shows_the_committed_results():
    assert page.updated(page.PAGE.read_text(), page.results()) == page.PAGE.read_text(), (
        "run python benchmarks/report.py"
    )


def test_the_page_is_written_from_the_newest_file(tmp_path):
    (tmp_path / "some-machine").mkdir()
    file = make_document(tmp_path / "some-machine", "2026-01-02.json")
    make_document(tmp_path / "some-machine", "2026-01-01.json", 3.0)
    document = json.loads(file.read_text())
    document["goals"] = goals.judge_all(document)
    document["memory"] = [{"case": "c", "shape": "s", "mode": "both", "mib": {"ours": 1.25, "RIFE": 7.0}}]
    file.write_text(json.dumps(document))
    text = page.results(tmp_path)
    assert "## some-machine, 2026-01-02" in text and "| 3.00x |" in text and "not measured" in text
    assert "2026-01-01" not in text
    assert "| c | s | both | 1.2 | RIFE 7 |" in text


def test_what_routing_saves_is_judged_and_shown(tmp_path):
    """Half the multiply-accumulates, and 46 % of the faster static time; then a document without these."""
    (tmp_path / "some-machine").mkdir()
    file = make_document(tmp_path / "some-machine", "2026-01-02.json")
    document = json.loads(file.read_text())
    static, last, routed, finding = (
        getattr(routed_network, name) for name in ("STATIC", "STATIC_LAST", "ROUTED", "ROUTING")
    )
    apr = {
        "size": [1088, 2048], "threads": 2, "keep": [0.1, 0.4, 0.6, 0.9],
        "synthesis": {static: 300.0, last: 200.0, routed: 108.0, finding: 7.0},
        "frame": {static: 400.0, routed: 320.0},
        "macs": {static: 800e9, routed: 400e9},
    }  # fmt: skip
    document["networks"] = {"apr_vfi": apr, "ebme_splat": {"size": [480, 640], "threads": 2, "seconds": 1.25}}
    reached = {g["text"]: (g["reached"], g["met"]) for g in goals.judge_networks(document["networks"])}
    (routing,) = [value for text, value in reached.items() if text.startswith("APR-VFI")]
    assert routing == (pytest.approx(0.92), True)
    assert reached["ebme-splat 640x480, all cores"] == (1.25, True)
    file.write_text(json.dumps(document))
    text = page.results(tmp_path)
    assert "### APR-VFI, 1088x2048, float32, 2 threads, blocks 2 to 5 on 10%, 40%, 60%, 90% of the patches" in text
    assert "| synthesis | 300 ms | 200 ms | 108 ms | 7 ms | 46.0% |" in text
    assert "| whole frame | 400 ms | - | 320 ms | - | 20.0% |" in text
    assert "| synthesis, true multiply-accumulates | 800.0 G | - | 400.0 G | - | 50.0% |" in text
    assert "multiply-accumulates: 0.92." in text and "ebme-splat takes 1.25 s for a frame, 480x640" in text
    assert all(g["met"] is None for g in goals.judge_networks({}))
    document["networks"] = {}
    file.write_text(json.dumps(document))
    assert "APR-VFI, 1088x2048" not in page.results(tmp_path)


def test_figures_are_pictures(tmp_path):
    """The roofline and the curves of a document with the rows that they need; without them nothing is written."""
    rows = rows_of(op=["backward_warp-border", "correlation"], shape=["1x3x6x8", "1x3x8x8", "1x3x8x12"], threads=[2])
    counted = [row for row in rows if row["op"] == "correlation"]
    assert all(row["flops"] == 2 * 81 * 3 * int(row["size"][2]) * int(row["size"][3]) for row in counted)
    document = {"rows": [{**row, "bytes": 64_000_000} for row in rows], "flops_per_second": 1e11}
    figures.draw(document, "here", tmp_path)
    for name in figures.FIGURES:
        assert (tmp_path / f"{name}_here.png").read_bytes().startswith(b"\x89PNG"), name
    figures.draw({"rows": []}, "empty", tmp_path)
    assert len(list(tmp_path.iterdir())) == len(figures.FIGURES)


def test_operations_are_counted():
    """By hand: a 3x3 deformable convolution of 12 into 12 channels, one of half the patches and a row, 81 products, a
    layer of 128 to 69 features."""
    rows = {row["op"]: row for row in rows_of(shape=["1x12x64x128"], op=[
        "modulated_deform_conv2d-4", "routed_conv2d-64", "correlation", "mixture_lora-one", "splat-softmax",
    ])}  # fmt: skip
    pixels = 64 * 128
    assert rows["modulated_deform_conv2d"]["flops"] == pixels * 2 * 12 * 12 * 9
    assert rows["routed_conv2d"]["flops"] == (pixels // 2 + 64 * 64) * 2 * 12 * 14 * 9
    assert rows["correlation"]["flops"] == pixels * 12 * 81 * 2
    assert rows["mixture_lora"]["flops"] == 12 * 64 * 2 * (69 * 128 + 6 * (69 + 128))
    assert rows["splat"]["flops"] is None


def test_memory_of_a_call_in_a_process():
    """Ours splats 1080p without a copy of it; its peers make several."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "memory.py"), "splat-softmax", "1080p", "forward"],
        capture_output=True, text=True, env={**os.environ, **memory.ALLOCATOR},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    mib = json.loads(done.stdout)
    image = 3 * 1080 * 1920 * 4 / memory.MIB
    assert mib["ours"] < image < mib["index_add rows"]
    assert memory.of([{"case": "a", "shape": "b", "mode": "forward", "mib": mib}], "a", "b") == mib["ours"]
    assert memory.of(None, "a", "b") is None


def test_the_suite_for_pytest_benchmark_runs():
    """One round of one op in every mode."""
    command = [*warm_python(), "-m", "pytest", "benchmarks/pytest_ops.py", "-q", "--benchmark-disable"]
    done = subprocess.run([*command, "-k", "warp_blend-1080p"], cwd=ROOT, capture_output=True, text=True)
    assert "3 passed" in done.stdout, done.stdout
