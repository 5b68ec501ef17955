"""Stand-ins for the steps of scripts/gpu_check.py, and what their tools would say."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
import gpu_check  # noqa: E402
from gpu_steps import process  # noqa: E402
from gpu_steps import tests as gpu_tests  # noqa: E402

# What each step says where all is well; the files that a step leaves are written by its stand-in.
PROBE = "\n".join(
    json.dumps({"backend": b, "works": True, "reason": "", "rtld_global": False}) for b in ("cuda", "triton")
)
TEXTS = {"build": "built", "probe": PROBE, "ncu": '"Kernel","ns"\n"scatter_kernel","1"\nprofiled: splat'}
CHECKED = "small set case: splat float32\nsmall set: 4 calls\n========= ERROR SUMMARY: 0 errors"
ROW = {
    "case": "splat-average",
    "shape": "1080p",
    "dtype": "float32",
    "layout": "nchw",
    "mode": "forward",
    "flow": "smooth",
}
TIMES = {"ours": {"median_ms": 0.05}, "ours deterministic": {"median_ms": 0.1}}
GPU = {"gpus": [{"name": "NVIDIA H200"}]}
BENCH = {"rows": [{**ROW, "timings": TIMES, "absent": {"torchvision": "not installed"}}], "machine": GPU}
TEST = {"test": "tests/gpu/a.py::test_b", "outcome": "passed", "seconds": 0.1, "reason": ""}
NAMES = [step.name for stage in gpu_check.plan() for lane in stage for step in lane]
BENCHES = sum(name.startswith("bench") and name != "bench triton" for name in NAMES)

# A whole run of gpu_check.py, whose steps are stand-ins: `broken` ends its own process or hangs.
STAND_IN = """
import os, signal, sys, time
sys.path[:0] = [{scripts!r}, {tests!r}]
import pathlib, gpu_check, gpu_check_stand_ins
gpu_check.BEAT_S = 0.1
stages = gpu_check_stand_ins.stand_ins({broken!r}, {how!r})
sys.exit(gpu_check.Check(stages, pathlib.Path({results!r})).run())
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


def run_of(text="", code=0, timed_out=False):
    return process.Run(code, text, timed_out)


def perform(step, tmp_path, left_s=400.0):
    with open(tmp_path / "log", "w") as log:
        return process.perform(step, left_s, log, {})


def judge_code(run, folder):
    return process.Outcome("step", "passed" if run.code == 0 else "failed", process.last_lines(run.text))
