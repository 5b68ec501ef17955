"""scripts/gpu_check.py, with stand-ins for the tools that need a GPU."""

import importlib.util
import json
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
spec = importlib.util.spec_from_file_location("gpu_check", ROOT / "scripts/gpu_check.py")
gpu_check = importlib.util.module_from_spec(spec)
sys.modules["gpu_check"] = gpu_check
spec.loader.exec_module(gpu_check)


@pytest.fixture
def log(tmp_path):
    with open(tmp_path / "log", "w") as file:
        yield file


def program(text: str):
    return lambda folder: [sys.executable, "-c", text]


def judge_code(run, folder):
    return gpu_check.Outcome("step", "passed" if run.code == 0 else "failed", gpu_check.last_lines(run.text))


def step(text: str, limit_s: float = 20, judge=judge_code):
    return gpu_check.Step("step", limit_s, program(text), judge)


def judge_tests(text, code=0):
    return gpu_check.judge_tests("tests", gpu_check.Run(code, text, False))


def judge_text(judge, text: str, code: int = 0, folder: Path = Path()):
    return judge(gpu_check.Run(code, text, False), folder)


def test_one_json_and_one_log(tmp_path, capsys):
    assert gpu_check.check([step("print('hello')"), step("raise SystemExit(3)")], tmp_path / "r") == 1
    report = json.loads((tmp_path / "r/gpu_check.json").read_text())
    assert [s["status"] for s in report["steps"]] == ["passed", "failed"] and not report["passed"]
    assert "hello" in (tmp_path / "r/gpu_check.log").read_text()
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == ["gpu_check.json", "gpu_check.log"]
    assert "FAILED" in capsys.readouterr().out


def test_without_a_gpu_nothing_else_runs(tmp_path):
    marker = tmp_path / "ran"
    steps = [step("raise SystemExit(1)"), step(f"open({str(marker)!r}, 'w')")]
    assert gpu_check.check(steps, tmp_path / "r") == 1
    report = json.loads((tmp_path / "r/gpu_check.json").read_text())
    assert report["steps"][1]["status"] == "skipped" and not marker.exists()


def test_a_step_that_hangs_is_interrupted_and_may_save(tmp_path, log, monkeypatch):
    monkeypatch.setattr(gpu_check, "GRACE_S", 5.0)
    saves = """
import time
try:
    time.sleep(100)
except KeyboardInterrupt:
    print("saved what there was")
    raise SystemExit(130)
"""
    started = time.monotonic()
    outcome = gpu_check.perform(step(saves, limit_s=2), 400, log)
    assert outcome.status == "timed out" and "saved what there was" in outcome.reason and outcome.bad
    assert time.monotonic() - started < 60


def test_a_step_that_ignores_the_interrupt_is_killed_with_its_children(log, monkeypatch):
    monkeypatch.setattr(gpu_check, "GRACE_S", 1.0)
    stubborn = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
time.sleep(100)
"""
    outcome = gpu_check.perform(step(stubborn, limit_s=2), 400, log)
    assert outcome.status == "timed out" and outcome.seconds < 60


def test_no_time_left(log):
    outcome = gpu_check.perform(step("print()"), 1, log)
    assert (outcome.status, outcome.bad) == ("skipped", False)


def test_a_tool_that_cannot_be_started_is_recorded(log):
    broken = gpu_check.Step("x", 5, lambda folder: ["/nonexistent/tool"], judge_code)
    outcome = gpu_check.perform(broken, 400, log)
    assert outcome.status == "refused" and "could not be started" in outcome.reason and not outcome.bad


def test_tests_are_judged_by_their_last_line():
    passed = judge_tests("....\nSKIPPED [2] tests/gpu/x.py:3: needs two GPUs\n10 passed, 2 skipped in 3.1s")
    assert passed.status == "passed"
    assert passed.facts["counts"] == {"passed": 10, "skipped": 2}
    assert passed.facts["skipped"] == ["2 x tests/gpu/x.py:3: needs two GPUs"]
    failed = judge_tests("FAILED tests/gpu/a.py::test_b - boom\n1 failed, 9 passed in 3s", code=1)
    assert failed.status == "failed" and failed.facts["failed"] == ["tests/gpu/a.py::test_b"]
    everything_skipped = judge_tests("12 skipped in 1s")
    assert everything_skipped.status == "failed"


@pytest.mark.parametrize(
    "text, code, status",
    [
        ("small set: 9 calls\n========= ERROR SUMMARY: 0 errors", 0, "passed"),
        ("small set: 9 calls\n========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)", 0, "passed"),
        ("small set: 9 calls\n========= ERROR SUMMARY: 3 errors", 86, "failed"),
        ("========= RACECHECK SUMMARY: 2 hazards displayed (2 errors, 0 warnings)", 86, "failed"),
        ("========= Error: Device not supported. Please refer to the documentation", 255, "refused"),
        ("========= Target application terminated before first instrumented API call", 0, "refused"),
        ("========= ERROR SUMMARY: 0 errors", 0, "failed"),  # the small set did not finish
        ("Traceback\nRuntimeError: boom\n========= ERROR SUMMARY: 0 errors", 1, "failed"),
    ],
)
def test_a_sanitizer_is_judged_by_its_summary(text, code, status):
    assert judge_text(gpu_check.judge_sanitizer("memcheck"), text, code).status == status


def test_a_missing_sanitizer_is_recorded(monkeypatch, tmp_path, log):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    steps = {s.name: s for s in gpu_check.all_steps()}
    outcome = gpu_check.perform(steps["memcheck"], 400, log)
    assert outcome.status == "missing" and not outcome.bad


def test_a_sanitizer_is_found_and_run(monkeypatch, tmp_path, log):
    tool = tmp_path / "compute-sanitizer"
    tool.write_text('#!/bin/sh\necho "$@"\necho "small set: 4 calls"\necho "========= ERROR SUMMARY: 0 errors"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    steps = {s.name: s for s in gpu_check.all_steps()}
    outcome = gpu_check.perform(steps["racecheck"], 400, log)
    assert outcome.status == "passed" and outcome.facts["calls"] == 4
    log.flush()
    assert "--tool racecheck --error-exitcode 86" in Path(log.name).read_text()


def test_benchmarks_are_kept_even_if_cut_short(tmp_path):
    bench = gpu_check.bench_step("bench", 5, "--op", "splat")
    command = bench.command(tmp_path)
    assert command[1:4] == ["-m", "vfi_kernels.cli", "bench"] and command[-2:] == [
        "--json",
        str(tmp_path / "bench.json"),
    ]
    missing = judge_text(bench.judge, "/usr/bin/python3: No module named vfi_kernels.cli", 1, tmp_path)
    assert (missing.status, missing.bad) == ("missing", False)
    (tmp_path / "bench.json").write_text(json.dumps({"rows": [1, 2], "refused": {}}))
    assert judge_text(bench.judge, "", 0, tmp_path).facts["rows"] == 2
    refused = {"rows": [], "refused": {"splat": "wrong result"}}
    (tmp_path / "bench.json").write_text(json.dumps(refused))
    assert judge_text(bench.judge, "", 1, tmp_path).status == "refused"


def test_all_limits_fit_into_eight_minutes():
    steps = gpu_check.all_steps()
    assert [s.name for s in steps][:3] == ["machine", "tests cuda", "tests triton"]
    assert gpu_check.TOTAL_S + gpu_check.GRACE_S <= 480
    # The tests and both sanitizers get their full limits; the benchmarks share what is left.
    assert sum(s.limit_s for s in steps if not s.name.startswith("bench")) <= gpu_check.TOTAL_S - 90


def test_the_small_set_runs_in_the_emulation():
    pytest.importorskip("vfi_kernels_testing")
    from emulation import emulated_cuda

    sys.path.insert(0, str(ROOT / "tests/gpu"))
    import small_set

    with emulated_cuda():
        assert small_set.run_all("cpu") > 50
