"""Facts about this machine and this build: for `vfi-kernels info` and for the head of every benchmark file."""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import torch

import vfi_kernels
from vfi_kernels import backends
from vfi_kernels._autograd import NAMESPACE
from vfi_kernels._types import Facts

SOURCE_TREE = Path(vfi_kernels.__file__).resolve().parents[1]  # site-packages where a wheel is installed


def facts() -> Facts:
    """Versions, backends with the reason why one cannot run, CPU, GPUs, threads and build options."""
    reasons = {name: backends.unavailable(name) for name in backends.BACKENDS}
    return {
        "versions": {
            "vfi_kernels": vfi_kernels.__version__,
            "commit": commit(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "triton": installed("triton"),
            "torch_cuda": torch.version.cuda,
        },
        "backends": {name: {"available": reason is None, "reason": reason} for name, reason in reasons.items()},
        "cpu": cpu(),
        "gpus": gpus(),
        "threads": torch.get_num_threads(),
        "build": backends.build_info(),
    }


def installed(package: str) -> str | None:
    """The version of an installed package, which is not imported; None without it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def cpu() -> Facts:
    """Model, number of cores, and the instruction set that the CPU kernels use out of those compiled."""
    fields = _cpuinfo()
    return {
        "model": fields.get("model name") or platform.processor() or platform.machine(),
        "family": fields.get("cpu family"),
        "model_number": fields.get("model"),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "level": backends.cpu_level(),
        "levels_compiled": backends.build_info()["cpu_levels"],
        "level_forced": os.environ.get("VFI_KERNELS_CPU"),
        "level_note": backends.cpu_level_note(),
    }


def _cpuinfo() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; empty where there is none."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().split("\n\n")[0].splitlines() if path.exists() else []
    pairs = (line.partition(":") for line in lines)
    return {key.strip(): value.strip() for key, _, value in pairs}


def gpus() -> list[Facts]:
    if not torch.cuda.is_available():
        return []
    driver = _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    listed_gpus = []
    for n in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(n)
        listed_gpus.append(
            {
                "name": properties.name,
                "capability": f"{properties.major}.{properties.minor}",
                "memory_gib": round(properties.total_memory / 2**30, 1),
                "driver": driver.splitlines()[0] if driver else None,
            }
        )
    return listed_gpus


def commit() -> str | None:
    """The commit of the source tree that this package runs from, with "+" if files differ; None in a wheel."""
    if not (SOURCE_TREE / ".git").exists():
        return None
    revision = _output("git", "-C", str(SOURCE_TREE), "rev-parse", "--short=12", "HEAD")
    changed = _output("git", "-C", str(SOURCE_TREE), "status", "--porcelain", "--untracked-files=no")
    return f"{revision}+" if revision and changed else revision


def _output(*command: str) -> str | None:
    """What a program prints; None if it is missing or fails."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def slug(device: str = "cpu") -> str:
    """A folder name for this machine: "amd-epyc-2-cores", "nvidia-h200"."""
    name = f"{cpu()['model']} {cpu()['cores']} cores" if device == "cpu" else gpus()[0]["name"]
    name = re.sub(r"\((R|TM)\)|\bCPU\b|@.*GHz", "", name)
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def running_backend(op: str, device: str) -> str:
    """The backend that serves `op` on `device` when none is chosen explicitly."""
    key = device.upper()
    if not torch._C._dispatch_has_kernel_for_dispatch_key(f"{NAMESPACE}::{op}", key):
        return "reference"
    if device == "cpu":
        return "cpp"
    return "cuda" if backends.unavailable("cuda") is None else "triton"
