"""The steps of scripts/gpu_check.py one by one: how each is run and judged."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from gpu_check_stand_ins import BENCH, CHECKED, PROBE, ROOT, ROW, TEST, gpu_check, judge_code, perform, run_of
from gpu_steps import predicted, process
from gpu_steps import tests as gpu_tests
from gpu_steps.benchmarks import timing_steps
from gpu_steps.build import judge_probe
from gpu_steps.sanitizer import judge_sanitizer, sanitizer_steps


def test_a_step_that_hangs_is_killed_with_its_children(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "GRACE_S", 1.0)
    stubborn = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
time.sleep(100)
"""
    step = process.Step("step", 2, lambda folder: [sys.executable, "-c", stubborn], judge_code)
    outcome = perform(step, tmp_path)
    assert outcome.status == "timed out" and outcome.bad and outcome.seconds < 60


def test_a_file_that_is_half_written_is_no_result_yet(tmp_path):
    """Or a folder that is gone: the step ends at this moment."""
    for step in [step for stage in gpu_check.plan() for lane in stage for step in lane]:
        for text in ("", '{"rows": [', "\xff"):
            for name in ("bench.json", gpu_tests.LINES, "output"):
                (tmp_path / name).write_text(text, "latin-1")
            assert process.Running(step, tmp_path).so_far("running", "").status == "running"
        assert process.Running(step, tmp_path / "gone").so_far("running", "").status == "running"


def test_no_time_left_and_a_tool_that_cannot_be_started(tmp_path):
    step = process.Step("step", 5, lambda folder: ["/nonexistent/tool"], judge_code)
    assert perform(step, tmp_path, 1).status == "skipped"
    outcome = perform(step, tmp_path)
    assert outcome.status == "refused" and "could not be started" in outcome.reason and not outcome.bad


def test_a_crash_that_global_symbols_mend_is_told_and_the_rest_runs_with_them(tmp_path):
    text = PROBE.replace('"reason": "", "rtld_global": false', '"reason": "died of signal 11", "rtld_global": true', 1)
    outcome = judge_probe(run_of(text), tmp_path)
    assert outcome.status == "failed" and "cuda: died of signal 11" in outcome.reason
    check = gpu_check.Check([], tmp_path)
    check.pass_gate(outcome)
    assert check.environment == {"TORCH_USE_RTLD_GLOBAL": "1"} and not check.closed
    check.pass_gate(judge_probe(run_of(PROBE.replace('"works": true', '"works": false', 1)), tmp_path))
    skipped = [s.name for stage in gpu_check.plan() for lane in stage for s in lane if check.reason_to_skip(s)]
    assert "memcheck" in skipped and "bench forward" in skipped and "bench triton" not in skipped


def test_tests_are_judged_by_the_lines_that_they_left(tmp_path):
    failed = {**TEST, "test": "x::y", "outcome": "failed", "reason": "illegal access"}
    lines = [json.dumps(line) for line in (TEST, failed, {**failed, "reason": "worker crashed"})]
    (tmp_path / gpu_tests.LINES).write_text("\n".join([*lines, '{"test": "cut']))
    outcome = gpu_tests.judge_tests(run_of("killed", None), tmp_path)
    assert outcome.status == "failed" and outcome.facts["counts"] == {"passed": 1, "failed": 1, "skipped": 0}
    assert outcome.facts["failed"] == {"x::y": "illegal access"}
    (tmp_path / gpu_tests.LINES).write_text(json.dumps({**TEST, "outcome": "skipped"}))
    assert gpu_tests.judge_tests(run_of("1 skipped"), tmp_path).status == "failed"


BROKEN = """
torch.cuda.is_available, torch.cuda.device_count = lambda: True, lambda: 0


def synchronize():
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


torch.cuda.synchronize = synchronize
"""


def alone() -> dict[str, str]:
    """The environment of a pytest that is no worker of this one."""
    return {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")} | {"PYTHONPATH": str(ROOT)}


@pytest.mark.slow
def test_after_an_illegal_access_another_worker_does_the_rest(tmp_path):
    conftest = (ROOT / "tests/gpu/conftest.py").read_text()
    (tmp_path / "conftest.py").write_text(conftest + BROKEN)
    (tmp_path / "test_it.py").write_text("def test_a():\n    assert False\n\n\ndef test_b():\n    pass\n")
    command = [sys.executable, "-m", "pytest", "-n", "1", "-q", str(tmp_path), "--rootdir", str(tmp_path)]
    environment = {**alone(), "VFI_GPU_TESTS": str(tmp_path / gpu_tests.LINES)}
    subprocess.run(command, cwd=tmp_path, env=environment)
    facts = gpu_tests.judge_tests(run_of("", 1), tmp_path).facts
    assert facts["counts"] == {"passed": 1, "failed": 1, "skipped": 0}
    assert "illegal memory access" in facts["failed"]["test_it.py::test_a"]


@pytest.mark.slow
def test_a_line_for_each_test_as_it_is_done(tmp_path):
    """tests/gpu themselves, without a GPU: all are skipped, and each leaves a line."""
    command = gpu_tests.tests_command(tmp_path)
    assert "--timeout" in command or "-n" in command
    subprocess.run([*command, "-k", "test_wrong_device_is_refused"], cwd=ROOT, env=alone())
    outcome = gpu_tests.judge_tests(run_of(), tmp_path)
    assert outcome.facts["counts"] == {"passed": 0, "failed": 0, "skipped": 2}
    assert "torch finds no GPU" in outcome.facts["skipped"][0]


@pytest.mark.parametrize(
    "text, code, status",
    [
        (CHECKED, 0, "passed"),
        ("small set: 9 calls\n========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)", 0, "passed"),
        ("small set: 9 calls\n========= ERROR SUMMARY: 3 errors", 86, "failed"),
        ("========= RACECHECK SUMMARY: 2 hazards displayed (2 errors, 0 warnings)", 86, "failed"),
        ("========= Error: Device not supported. Please refer to the documentation", 255, "refused"),
        ("========= Target application terminated before first instrumented API call", 0, "refused"),
        ("========= ERROR SUMMARY: 0 errors", 0, "failed"),  # the small set did not finish
        ("small set case: splat float32\n========= Invalid __global__ read of size 4 bytes", None, "failed"),
        ("Traceback\nRuntimeError: boom\n========= ERROR SUMMARY: 0 errors", 1, "failed"),
    ],
)
def test_a_sanitizer_is_judged_by_its_summary(text, code, status):
    assert judge_sanitizer("memcheck")(run_of(text, code), Path()).status == status


def test_a_sanitizer_that_ran_out_of_time_says_how_far_it_came():
    outcome = judge_sanitizer("racecheck")(run_of("small set case: splat float32\n", -9, True), Path())
    assert outcome.status == "passed" and "1 cases" in outcome.reason and "splat float32" in outcome.reason


def test_a_sanitizer_is_found_and_run_or_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert perform(sanitizer_steps(9)[0], tmp_path).status == "missing"
    tool = tmp_path / "compute-sanitizer"
    tool.write_text(f'#!/bin/sh\necho "$@"\necho "{CHECKED}"\n')
    tool.chmod(0o755)
    outcome = perform(sanitizer_steps(9)[1], tmp_path)
    assert outcome.status == "passed" and outcome.facts["calls"] == 4
    assert "--tool racecheck --kernel-regex kns=vfi" in (tmp_path / "log").read_text()


def test_every_row_stands_beside_what_the_model_says(tmp_path):
    """Of the call and the GPU: what the model does not know is measured all the same."""
    model = {**ROW, "deterministic": False, "tf32": False, "kernel": "all", "bound_us": {"H100": 30.0, "H200": 20.0}}
    model["bound_by"] = {"H100": "issue", "H200": "memory"}
    (tmp_path / "model.json").write_text(json.dumps({"rows": [{**model, "kernel": "a"}, model]}))
    bounds = predicted.bounds(tmp_path / "model.json")
    plain, ordered = predicted.beside(BENCH["rows"], predicted.device_of(BENCH), bounds)
    assert (plain["measured_us"], plain["predicted_us"], plain["ratio"], plain["by"]) == (50.0, 20.0, 2.5, "memory")
    assert (ordered["measured_us"], ordered["predicted_us"], ordered["ratio"]) == (100.0, None, None)
    assert predicted.beside(BENCH["rows"], "NVIDIA T4", bounds)[0]["predicted_us"] is None
    assert predicted.bounds(tmp_path / "nothing.json") == {}
    lines = [" ".join(line.split()) for line in predicted.table([plain, ordered]).splitlines()]
    assert lines[1] == "splat-average 1080p float32 nchw forward 50.0 20.0 memory 2.50"
    assert lines[2] == "splat-average 1080p float32 nchw forward deterministic 100.0 - - -"


def test_benchmarks_are_kept_even_if_cut_short(tmp_path):
    bench = timing_steps()[0]
    missing = bench.judge(run_of("/usr/bin/python3: No module named vfi_kernels._cli", 1), tmp_path)
    assert (missing.status, missing.bad) == ("missing", False)
    (tmp_path / "bench.json").write_text(json.dumps({"rows": BENCH["rows"] * 2, "refused": {}}))
    facts = bench.judge(run_of(), tmp_path).facts
    assert facts["rows"] == 2 and facts["beside"] == {"ours": 2, "ours deterministic": 2}
    assert facts["absent"] == {"torchvision": ["not installed"]}
    cut = bench.judge(run_of("[1/19] splat\n[2/19] splat\n", -9, True), tmp_path)
    assert cut.status == "passed" and "2 of 19 rows" in cut.reason
    (tmp_path / "bench.json").write_text(json.dumps({"rows": [], "refused": {"splat": "wrong result"}}))
    assert bench.judge(run_of("", 1), tmp_path).status == "refused"
