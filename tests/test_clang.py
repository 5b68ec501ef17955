"""clang, macOS' own compiler, takes every C++ source: kernels for every instruction set, also of the other processor.

Sources are only checked, which takes a tenth of the time of compiling them.
"""

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "build_backend"))
from ninja_build import CPU_LEVELS, CSRC, LIMITED_API, STABLE_ABI  # noqa: E402
from test_build import newest_build  # noqa: E402

ARM = Path("/usr/aarch64-linux-gnu/include")  # of Debian's g++ for aarch64
TARGETS = {
    "x86_64": ["--target=x86_64-linux-gnu"],
    "aarch64": [
        "--target=aarch64-linux-gnu",
        *(f"-isystem{ARM}{part}" for part in ("", "/c++/12", "/c++/12/aarch64-linux-gnu")),
    ],
}
LEVELS = [
    pytest.param(processor, level, marks=() if level == [*CPU_LEVELS[processor]][-1] else pytest.mark.nightly)
    for processor in TARGETS
    for level in CPU_LEVELS[processor]
]
KERNELS = sorted(CSRC.rglob("*_simd.cpp"))
OTHERS = sorted(path for path in CSRC.rglob("*.cpp") if path not in KERNELS and "testing" not in path.parts)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("clang++") is None, reason="no clang++ (Debian: apt-get install clang)"),
]


def complaints(sources: list[Path], *flags: str) -> list[str]:
    found = []
    for source in sources:
        command = ["clang++", "-std=c++20", "-fsyntax-only", "-w", f"-I{CSRC}", *flags, str(source)]
        done = subprocess.run(command, capture_output=True, text=True)
        found += [line for line in done.stderr.splitlines() if "error" in line] if done.returncode else []
    return found


@pytest.mark.parametrize(("processor", "level"), LEVELS, ids=lambda name: name)
def test_kernels(processor, level):
    if processor == "aarch64" and not ARM.exists():
        pytest.skip("no headers for aarch64 (Debian: apt-get install g++-aarch64-linux-gnu)")
    flags = [*TARGETS[processor], f"-DVFI_LEVEL={level}", "-fno-exceptions", *CPU_LEVELS[processor][level].split()]
    assert len(KERNELS) > 20 and complaints(KERNELS, *flags) == []


def test_no_special_value_is_defined_twice():
    """GCC gives a variable of `template <>` to its file alone, clang to all, unless it says inline: then they link."""
    texts = {path.name: path.read_text() for path in CSRC.rglob("*.*") if path.suffix in (".h", ".cpp", ".cuh", ".cu")}
    assert [
        name for name, text in texts.items() if re.search(r"^template <>\s+(static )?const", text, re.MULTILINE)
    ] == []


def test_what_registers_them():
    includes = [f"-I{newest_build()}", "-isystem", f"{Path(torch.__file__).parent}/include"]
    python = ["-isystem", sysconfig.get_paths()["include"]]
    assert len(OTHERS) > 15 and complaints(OTHERS, *STABLE_ABI.split(), LIMITED_API, *includes, *python) == []
