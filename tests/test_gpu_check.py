"""scripts/gpu_check.py: whole runs, with stand-ins for the tools that need a GPU, and whether its steps fit."""

import signal
import sys
import time
from pathlib import Path

import pytest
from gpu_check_stand_ins import BENCHES, NAMES, ROOT, gpu_check, read, start
from gpu_steps import process
from gpu_steps.benchmarks import timing_steps

from vfi_kernels.testing import load_cases


def test_a_whole_run_of_stand_ins(tmp_path):
    done = start(tmp_path, "", "hang")
    said = done.communicate(timeout=120)[0]
    assert "passed in" in said and done.returncode == 0
    (table,) = (part for part in said.split("\n\n") if part.startswith("case  "))
    header, *rows = table.splitlines()
    assert "measured us" in header and "predicted us" in header
    assert [row.split()[0] for row in rows] == ["splat-average"] * len(rows) and len(rows) == 2 * BENCHES
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
    after = NAMES[NAMES.index(name) + 1 :]
    beside = NAMES[3:6] if name == "tests" else []
    not_reached = [n for n in after if n not in beside]
    until = time.monotonic() + 100
    while time.monotonic() < until:
        if (tmp_path / "gpu_check.json").exists():
            report, states = read(tmp_path)
            said = name != "tests" or passed_of(report)
            if states[name] == "running" and report["not_reached"] == not_reached and said:
                break
        time.sleep(0.05)
    run.send_signal(number)
    run.communicate(timeout=60)
    report, states = read(tmp_path)
    assert states[name] == ("cut off" if number == signal.SIGTERM else "running") and not report["passed"]
    assert report["not_reached"] == not_reached
    if name == "tests":
        assert passed_of(report) == 1


def passed_of(report):
    """How many tests had passed by what the step has left."""
    facts = next(s for s in report["steps"] if s["name"] == "tests")["facts"]
    return facts.get("counts", {}).get("passed")


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
