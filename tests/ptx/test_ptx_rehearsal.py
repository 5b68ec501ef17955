"""tests/gpu and gpu_check.py, rehearsed: a CPU stands in for the GPU, and the simulator runs the CUDA kernels."""

import json
import os
import subprocess
import sys

import pytest
from gpu_check_stand_ins import ROOT, gpu_check
from gpu_steps import process
from gpu_steps import tests as gpu_tests

TESTS = ROOT / "tests"
PATHS = os.pathsep.join(map(str, (TESTS / "rehearsal", TESTS, ROOT, ROOT / "python")))
REHEARSAL = {"VFI_GPU_REHEARSAL": "1", "PYTHONPATH": PATHS}
ALONE = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | REHEARSAL
BY_DAY = "patches or two_to_the_31 or side_stream and backward_warp or graph_capture and splat"


def run_tests(tmp_path, chosen):
    """Their counts, by the lines that they leave."""
    command = [sys.executable, "-m", "pytest", "tests/gpu", "-q", "--tb=short", "-p", "no:cacheprovider", *chosen]
    lines = {"VFI_GPU_TESTS": str(tmp_path / gpu_tests.LINES)}
    done = subprocess.run(command, cwd=ROOT, env=ALONE | lines, capture_output=True, text=True)
    facts = gpu_tests.judge_tests(process.Run(done.returncode, done.stdout, False), tmp_path).facts
    assert done.returncode == 0, facts["failed"] or done.stdout[-2000:] + done.stderr[-2000:]
    assert facts["counts"]["failed"] == 0
    return facts["counts"]["passed"]


@pytest.mark.nightly
def test_a_slice_of_the_tests(tmp_path):
    assert run_tests(tmp_path, ["-k", BY_DAY]) >= 5


@pytest.mark.nightly
def test_every_test_once_for_each_op(tmp_path):
    assert run_tests(tmp_path, []) > 150


def rehearsed(step):
    """The step on small images of two ops; the build is there, ncu and the sanitizers are not."""
    small = {"first": "1x8x16x24", "tests/gpu": "tests/gpu/test_gpu_patches.py"}

    def command(folder):
        if step.name == "build":
            return process.python("-c", "print('built')")
        words = step.command(folder)
        if isinstance(words, process.Outcome):
            return words
        if step.name == "bench more":
            words = [word for word in words if not (word.endswith(("448", "256", "64", "8")) or word == "text")]
            words.insert(words.index("--shape") + 1, "first")
        bench = ["--op", "backward_warp-border", "splat-sum"] if step.name.startswith("bench") else []
        return [*(small.get(word, word) for word in words), *bench]

    return process.Step(step.name, 400, command, step.judge, {**step.environment, **REHEARSAL}, step.needs, step.gate)


@pytest.mark.nightly
def test_the_whole_check(tmp_path, capsys):
    stages = [[[rehearsed(step) for step in lane] for lane in stage] for stage in gpu_check.plan()]
    gpu_check.Check(stages, tmp_path, total_s=3000.0).run()
    report = json.loads((tmp_path / "gpu_check.json").read_text())
    states = {step["name"]: step["status"] for step in report["steps"]}
    assert states["tests"] == "passed"
    assert {states[name] for name in states if name.startswith("bench ") and name != "bench triton"} == {"passed"}
    assert {step["facts"]["rows"] for step in report["steps"] if step["name"] == "bench forward"} == {2}
    assert "predicted us" in capsys.readouterr().out
