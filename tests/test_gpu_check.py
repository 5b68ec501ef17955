"""scripts/gpu_check.py, with stand-ins for the tools that need a GPU."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
import gpu_check  # noqa: E402
from gpu_steps import process  # noqa: E402
from gpu_steps import tests as gpu_tests  # noqa: E402
from gpu_steps.benchmarks import timing_steps  # noqa: E402
from gpu_steps.build import judge_probe  # noqa: E402
from gpu_steps.sanitizer import judge_sanitizer, sanitizer_steps  # noqa: E402

from vfi_kernels.testing import load_cases  # noqa: E402

# What each step says where all is well; the files that a step leaves are written by its stand-in.
PROBE = "\n".join(
    json.dumps({"backend": b, "works": True, "reason": "", "rtld_global": False}) for b in ("cuda", "triton")
)
TEXTS = {"build": "built", "probe": PROBE, "ncu": '"Kernel","ns"\n"scatter_kernel","1"\nprofiled: splat'}
CHECKED = "small set case: splat float32\nsmall set: 4 calls\n========= ERROR SUMMARY: 0 errors"
BENCH = {"rows": [{"timings": {"ours": {}, "ours deterministic": {}}, "absent": {"torchvision": "not installed"}}]}
TEST = {"test": "tests/gpu/a.py::test_b", "outcome": "passed", "seconds": 0.1, "reason": ""}
NAMES = [step.name for stage in gpu_check.plan() for lane in stage for step in lane]

# A whole run of gpu_check.py, whose steps are stand-ins: `broken` ends its own process or hangs.
STAND_IN = """
import os, signal, sys, time
sys.path[:0] = [{scripts!r}, {tests!r}]
import gpu_check, test_gpu_check
gpu_check.BEAT_S = 0.1
sys.exit(gpu_check.Check(test_gpu_check.stand_ins({broken!r}, {how!r}), test_gpu_check.Path({results!r})).run())
"""


def stand_in(step, broken, how):
    text = TEXTS.get(step.name, CHECKED)
    end = {"kill": "os.kill(os.getpid(), 9)", "hang": "time.sleep(60)"}[how] if step.name == broken else ""
    file, content = ("bench.json", BENCH) if step.name.startswith("bench") else (gpu_tests.LINES, TEST)

    def command(folder):
        write = f"open({str(folder / file)!r}, 'w').write({json.dumps(content)!r})"
        return [sys.executable, "-S", "-c", f"import os, time; {write}; print({text!r}, flush=True); {end}"]

    return process.Step(step.name, step.limit_s, command, step.judge, {}, step.needs, step.gate)


def stand_ins(broken, how):
    return [[[stand_in(step, broken, how) for step in lane] for lane in stage] for stage in gpu_check.plan()]


def start(tmp_path, broken, how):
    names = {"scripts": str(ROOT / "scripts"), "tests": str(ROOT / "tests"), "results": str(tmp_path)}
    program = STAND_IN.format(broken=broken, how=how, **names)
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)


def read(tmp_path):
    report = json.loads((tmp_path / "gpu_check.json").read_text())
    assert [s["name"] for s in report["steps"]] == NAMES
    return report, {s["name"]: s["status"] for s in report["steps"]}


def test_a_whole_run_of_stand_ins(tmp_path):
    done = start(tmp_path, "", "hang")
    assert "passed in" in done.communicate(timeout=120)[0] and done.returncode == 0
    report, states = read(tmp_path)
    assert set(states.values()) == {"passed"} and report["passed"] and report["not_reached"] == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["gpu_check.json", "gpu_check.log"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_step_is_killed(tmp_path, name):
    """Only what stands behind a gate is not reached; the rest goes on."""
    done = start(tmp_path, name, "kill")
    done.communicate(timeout=120)
    report, states = read(tmp_path)
    # A sanitizer, ncu or benchmark that has said all before it dies is judged by that.
    assert states[name] in ("failed", "refused") and (done.returncode == 1) == (states[name] == "failed")
    behind = NAMES[1:] if name == "build" else []
    assert report["not_reached"] == behind and all(states[n] == "passed" for n in NAMES if n not in (name, *behind))
    reason = next(s["reason"] for s in report["steps"] if s["name"] == name)
    assert "signal 9" in reason


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
@pytest.mark.parametrize("name", NAMES)
def test_the_check_itself_is_killed(tmp_path, name, number):
    run = start(tmp_path, name, "hang")
    until = time.monotonic() + 100
    while time.monotonic() < until:
        if (tmp_path / "gpu_check.json").exists():
            step = next(s for s in read(tmp_path)[0]["steps"] if s["name"] == name)
            if step["status"] == "running" and step["seconds"] > 1:  # a beat later: what it said is in the report
                break
        time.sleep(0.05)
    run.send_signal(number)
    run.communicate(timeout=60)
    report, states = read(tmp_path)
    assert states[name] == ("cut off" if number == signal.SIGTERM else "running") and not report["passed"]
    after = NAMES[NAMES.index(name) + 1 :]
    beside = NAMES[3:6] if name == "tests" else []
    assert report["not_reached"] == [n for n in after if n not in beside]
    if name == "tests":
        assert next(s for s in report["steps"] if s["name"] == name)["facts"]["counts"]["passed"] == 1


def run_of(text="", code=0, timed_out=False):
    return process.Run(code, text, timed_out)


def perform(step, tmp_path, left_s=400.0):
    with open(tmp_path / "log", "w") as log:
        return process.perform(step, left_s, log, {})


def judge_code(run, folder):
    return process.Outcome("step", "passed" if run.code == 0 else "failed", process.last_lines(run.text))


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
    found = judge_sanitizer("racecheck")(run_of("small set case: splat float32\n", -9, True), Path())
    assert found.status == "passed" and "1 cases" in found.reason and "splat float32" in found.reason


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


def test_every_case_is_timed_both_ways_with_bf16_and_channels_last(monkeypatch):
    """By the options of the steps themselves: nothing keeps a new op out."""
    from vfi_kernels import _cli as cli
    from vfi_kernels.bench import jobs

    monkeypatch.setattr(jobs, "_can_run", lambda device, backend: None)
    seen = set()
    for step in timing_steps():
        if not step.name.startswith("bench"):
            continue
        command = step.command(Path())
        options = cli.parser().parse_args(command[command.index("bench") :])
        assert options.quick and options.peer is None  # all peers but those that compile
        names = ("op", "dtype", "layout", "mode", "shape", "device", "backend")
        seen |= {(j.case, j.mode, j.dtype, j.layout) for j in jobs.plan(**{n: getattr(options, n) for n in names})}
    ways = (("float32", "nchw"), ("bfloat16", "channels_last"))
    cases = [case.name for case in load_cases().values() if case.large]
    assert seen >= {(c, mode, *way) for c in cases for mode in ("forward", "backward") for way in ways}


def test_all_limits_fit_into_eight_minutes():
    assert gpu_check.TOTAL_S + process.GRACE_S <= 480
    stages = [max(sum(step.limit_s for step in lane) for lane in stage) for stage in gpu_check.plan()]
    assert sum(stages[:2]) + 100 <= gpu_check.TOTAL_S  # the build and the tests get their full limits, timings the rest


def test_what_the_profiler_watches_runs_on_small_images():
    from gpu_steps import profiled

    assert profiled.run_all("cpu", scale=16) == len(profiled.OPS)


@pytest.mark.slow
def test_the_small_set_runs_in_the_emulation():
    pytest.importorskip("vfi_kernels_testing")
    from emulation import emulated_cuda

    sys.path.insert(0, str(ROOT / "tests/gpu"))
    import small_set

    with emulated_cuda():
        assert small_set.run_all("cpu") > 50
