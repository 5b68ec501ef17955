"""The library, built on this machine with its own nvcc for its own GPU; then one small op per backend."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from gpu_steps.process import ROOT, Outcome, Run, Step, last_lines, parse_line, python

CAPABILITY = "import torch; print(*torch.cuda.get_device_capability(), sep='.')"


def build_command(folder: Path) -> list[str] | Outcome:
    probe = subprocess.run([sys.executable, "-c", CAPABILITY], capture_output=True, text=True, timeout=60)
    if probe.returncode != 0:
        reason = last_lines(probe.stderr, 1)
        if "No module named 'torch'" in reason:
            return Outcome("build", "failed", f"{sys.executable} has no torch: call make with PYTHON= one that has")
        return Outcome("build", "failed", f"torch finds no GPU: {reason}")
    cores = len(os.sched_getaffinity(0))
    settings = (f"TORCH_CUDA_ARCH_LIST={probe.stdout.strip()}", "VFI_KERNELS_CUDA=1", f"MAX_JOBS={cores}")
    return ["env", *settings, *python("setup.py", "build_ext", "--inplace")]


def judge_build(run: Run, folder: Path) -> Outcome:
    facts = {"last": last_lines(run.text, 1)}
    if run.code == 0:
        return Outcome("build", "passed", facts=facts)
    return Outcome("build", "failed", last_lines(run.text), facts=facts)


def judge_probe(run: Run, folder: Path) -> Outcome:
    """Which GPU, torch and build, and which backends survive an op: one that does not is left out from then on."""
    facts: dict = {"backends": {}}
    for line in filter(None, map(parse_line, run.text.splitlines())):
        if "backend" in line:
            facts["backends"][line.pop("backend")] = line
        else:
            facts |= line
    facts["works"] = [name for name, line in facts["backends"].items() if line["works"]]
    wrong = [f"{name}: {line['reason']}" for name, line in facts["backends"].items() if line["reason"]]
    whole = run.code == 0 and len(facts["works"]) == 2 and not wrong
    return Outcome("probe", "passed" if whole else "failed", "; ".join(wrong) or last_lines(run.text), facts=facts)


def build_steps() -> list[Step]:
    program = str(Path(__file__).with_name("probe.py"))
    return [
        Step("build", 130, build_command, judge_build, gate=True),
        Step("probe", 60, lambda folder: python(program), judge_probe, gate=True),
    ]


def needed(library: Path) -> list[str]:
    """The libraries that `library` asks for, as readelf tells; empty without readelf."""
    if shutil.which("readelf") is None:
        return []
    text = subprocess.run(["readelf", "-d", str(library)], capture_output=True, text=True, cwd=ROOT).stdout
    return [line.split("[")[1].rstrip("]") for line in text.splitlines() if "(NEEDED)" in line]
