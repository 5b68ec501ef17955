"""What the build promises: which symbols the library's objects export, and how it refuses what it cannot do."""

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import toolkit
from levels import LEVELS
from processes import warm_python

import vfi_kernels  # noqa: F401  (loads the compiled library)
from vfi_kernels import backends

ROOT = Path(__file__).resolve().parents[1]


def newest_build() -> Path:
    """The ninja folder of the library that was used last."""
    logs = (ROOT / "build").glob("ninja-*/.ninja_log")
    logs = [log for log in logs if not re.search("-sanitize|-debug", log.parent.name)]
    folders = [log.parent for log in sorted(logs, key=lambda log: log.stat().st_mtime)]
    assert folders, "build in place first: python setup.py build_ext --inplace"
    return folders[-1]


def weak_symbols(path: Path) -> list[str]:
    """Demangled names of the symbols for which the linker may pick another object's definition."""
    text = subprocess.run(["nm", "-C", "--defined-only", path], capture_output=True, text=True, check=True).stdout
    return [match[2] for match in re.finditer(r"^[0-9a-f]+ ([WVu]) (.+)$", text, re.MULTILINE)]


@pytest.mark.parametrize("level", LEVELS)
def test_no_instruction_set_leaks_into_shared_symbols(level):
    """A std:: template compiled with AVX-512 could be the copy that the linker keeps for every CPU."""
    objects = sorted(newest_build().rglob(f"*_simd.{level}.o"))
    assert len(objects) >= 4
    for path in objects:
        leaked = [name for name in weak_symbols(path) if f"vfi::{level}::" not in name]
        assert not leaked, f"{path.name}: {leaked[:3]}"


@pytest.mark.slow
@pytest.mark.xdist_group("builds")
def test_no_unit_takes_long_to_compile():
    """By ninja's log of the build; on a busy machine a unit that stands out there is compiled again, and its own time
    on the processor counts."""
    folder, limit_s = newest_build(), 12
    log = {}
    for line in (folder / ".ninja_log").read_text().splitlines()[1:]:
        begin, end, _, name, _ = line.split("\t")
        log[name] = (int(end) - int(begin)) / 1000
    targets = [sys.executable, "-m", "ninja", "-C", folder, "-t", "targets", "all"]
    units = {line.rsplit(":", 1)[0] for line in subprocess.check_output(targets, text=True).splitlines()}
    own = [
        n for n in log if n in units and n.endswith(".o") and not re.search("_cuda|emulated|testing", n)
    ]  # the CPU's
    assert len(own) > 40
    for name in [n for n in own if log[n] > limit_s]:
        ninja = [sys.executable, "-m", "ninja", "-C", folder, "-t", "commands", "-s", name]
        command = subprocess.run(ninja, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command.replace(f"-o {name}", "-o /dev/null"), shell=True, cwd=folder, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert after.ru_utime - before.ru_utime <= limit_s, f"{name}: {log[name]:.1f} s"


def test_the_library_needs_no_second_openmp_runtime():
    """Threads are torch's own: a library linked to another libgomp would start a second pool of threads."""
    text = subprocess.run(["readelf", "-d", ROOT / "vfi_kernels/_C.abi3.so"], capture_output=True, text=True).stdout
    needed = re.findall(r"NEEDED.*\[(.+)\]", text)
    assert "libtorch_cpu.so" in needed and "libtorch.so" in needed  # which brings libtorch_cuda.so where there is one
    assert not [name for name in needed if "omp" in name or "python" in name]


def run(code: str, **environment: str) -> subprocess.CompletedProcess:
    search = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [*warm_python(), "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": search, **environment},
    )


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_can_be_forced(level):
    done = run("from vfi_kernels import backends; print(backends.cpu_level())", VFI_KERNELS_CPU=level)
    assert done.stdout.strip() == level or "this CPU's best level is" in done.stderr


def test_a_level_of_another_processor_says_what_this_one_has():
    other, own = ("avx2", "neon|neon_bf16") if "neon" in LEVELS else ("neon", "baseline|avx2|avx512|amx")
    done = run("from vfi_kernels import backends; backends.cpu_level()", VFI_KERNELS_CPU=other)
    assert re.search(f"VFI_KERNELS_CPU={other}, but this CPU's best level is ({own})$", done.stderr, re.MULTILINE)


def test_an_unknown_level_is_an_error():
    done = run(
        "import torch, vfi_kernels as vk; vk.backward_warp(torch.rand(1, 3, 4, 4), torch.rand(1, 2, 4, 4))",
        VFI_KERNELS_CPU="sse9",
    )
    assert "expected VFI_KERNELS_CPU to be baseline, avx2, avx512, amx, neon or neon_bf16, got sse9" in done.stderr


def test_cuda_without_a_toolkit_is_one_sentence(tmp_path):
    done = subprocess.run(
        [*warm_python(), "setup.py", "build_ext", "--build-lib", tmp_path],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "VFI_KERNELS_CUDA": "1", "CUDA_HOME": str(tmp_path)},
    )
    assert done.returncode != 0
    assert "VFI_KERNELS_CUDA=1, but no CUDA toolkit" in done.stderr and "Traceback" not in done.stderr


def test_cuda_on_windows_is_asked_for_and_needs_torchs(tmp_path, monkeypatch):
    """Nothing of it was ever run there; this holds what is refused, and where the toolkit is looked for."""
    monkeypatch.setattr(toolkit.sys, "platform", "win32")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.delenv("VFI_KERNELS_CUDA", raising=False)
    assert toolkit.choose_cuda("13.0", tmp_path).home is None
    monkeypatch.setenv("VFI_KERNELS_CUDA", "1")
    with pytest.raises(SystemExit, match="needs a CUDA build of torch on Windows"):
        toolkit.choose_cuda(None, tmp_path)
    with pytest.raises(SystemExit, match="no CUDA toolkit"):
        toolkit.choose_cuda("13.0", tmp_path)
    for name, text in {"bin/nvcc.exe": "#!/bin/sh\necho release 13.0\n", "include/cuda_runtime.h": ""}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    assert toolkit.choose_cuda("13.0", tmp_path) == toolkit.Cuda(tmp_path, "13.0", "nvcc 13.0")


def test_a_missing_compiler_is_one_sentence(tmp_path):
    done = subprocess.run(
        [*warm_python(), "setup.py", "build_ext", "--build-lib", tmp_path],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "CXX": "no-such-compiler"},
    )
    assert done.returncode != 0
    assert "found no no-such-compiler" in done.stderr and "Traceback" not in done.stderr


COMPILE_COMMANDS = """
import sys
sys.path.insert(0, "build_backend")
from setuptools import Distribution
from ninja_build import CompileCommands
command = CompileCommands(Distribution())
command.configure()
print(command.ninja_file().compile_commands())
"""


@pytest.mark.parametrize(
    ("debug", "flags"),
    [("0", ""), ("1", " -O1 -g -fno-omit-frame-pointer -D_GLIBCXX_ASSERTIONS "), ("profile", " -g1 ")],
)
def test_compile_commands_name_every_source_and_its_flags(debug, flags):
    done = run(COMPILE_COMMANDS, VFI_KERNELS_DEBUG=debug, VFI_KERNELS_CUDA="0")
    listed = json.loads(done.stdout[done.stdout.index("[") :])
    sources = {Path(entry["file"]) for entry in listed}
    testing = set((ROOT / "csrc" / "testing").rglob("*.cpp"))
    assert sources >= set((ROOT / "csrc").rglob("*.cpp")) - testing
    for entry in listed:
        assert flags in entry["command"] and " -O3 " in entry["command"]
        assert debug != "0" or " -g" not in entry["command"]


def test_an_unknown_debug_is_one_sentence():
    done = run(COMPILE_COMMANDS, VFI_KERNELS_DEBUG="yes")
    assert done.returncode == 1
    assert done.stderr == "vfi_kernels: expected VFI_KERNELS_DEBUG to be 0, 1 or profile, got yes\n"


def test_build_info_names_what_was_built():
    info = backends.build_info()
    assert info["torch"] and info["compiler"] and info["cpu_levels"][0] == "baseline"
    assert bool(info["cuda"]) == bool(info["cuda_archs"])
    assert backends.cpu_level() in (*info["cpu_levels"], "amx")


def test_an_empty_choice_is_none(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.setenv("VFI_KERNELS_CUDA", "")
    empty = toolkit.choose_cuda(None, tmp_path)
    monkeypatch.delenv("VFI_KERNELS_CUDA")
    assert empty == toolkit.choose_cuda(None, tmp_path)
