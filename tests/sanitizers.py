"""Builds with the address and undefined-behaviour sanitizers, and runs Python with them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def build(what: str, folder: Path) -> None:
    """VFI_KERNELS_SANITIZE=what (see setup.py) into `folder`, beside a copy of the package's Python."""
    shutil.copytree(ROOT / "vfi_kernels", folder / "vfi_kernels", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    env = {**os.environ, "VFI_KERNELS_SANITIZE": what}
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--build-lib", str(folder)]
    subprocess.run(command, cwd=ROOT, env=env, check=True)
    assert list((folder / "vfi_kernels").glob("_C*.so"))


def run(folder: Path, program: str, **environment: str) -> subprocess.CompletedProcess:
    """`program` with the library in `folder`; a report of a sanitizer ends it."""
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT / "tests")]),
        "LD_PRELOAD": f"{_runtime('libasan.so')} {_runtime('libubsan.so')}",
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
        "UBSAN_OPTIONS": "print_stacktrace=1",
        **environment,
    }
    return subprocess.run([sys.executable, "-c", program], cwd=folder, env=env, capture_output=True, text=True)


def _runtime(name: str) -> str:
    return subprocess.check_output(["g++", f"-print-file-name={name}"], text=True).strip()
