"""Compiles the library with ninja: which sources, with which flags. setup.py lists the variables that choose.

A source is picked up by its name; a new op needs no change here:
    csrc/**/*_simd.cpp  once per instruction set       csrc/**/*_cuda.cu   by nvcc, when CUDA is wanted
    csrc/**/*.cpp       once                           csrc/testing/*.cpp  only into vfi_kernels_testing
    csrc/testing/ptx/*.cpp: the simulator of the GPU, by simulator_build.py
    csrc/testing/player/*.cpp: the ops without torch, for another kind of processor, by player_build.py
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from ninja_file import NinjaFile, argument, escaped, write_if_changed
from setuptools import Extension
from setuptools.command.build_ext import build_ext
from toolkit import choose_cuda, cuda_archs, gencode_flags
from vfi_build import MINIMUM_TORCH

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"
TORCH_VERSION = "{:#04x}{:02x}000000000000".format(*MINIMUM_TORCH)
STABLE_ABI = f"-DTORCH_STABLE_ONLY -DTORCH_TARGET_VERSION={TORCH_VERSION}"  # loads in every torch from that one on
LIMITED_API = "-DPy_LIMITED_API=0x030a0000"  # loads in every Python >= 3.10
DEFAULT_CXX = "g++" if sys.platform == "linux" else "clang++"
WINDOWS_RUNTIME = "-fms-runtime-lib=dll"  # the C runtime that Python and torch use
# Never -ffast-math: NaN, infinities and exact zeros have a defined meaning in every op. Nothing is fused that does not
# say fma(): two texts of one sum agree to the last bit, whatever the compiler's level.
SHARED_FLAGS = WINDOWS_RUNTIME if sys.platform == "win32" else "-fPIC -fvisibility=hidden"
CXX_FLAGS = f"-std=c++20 -O3 {SHARED_FLAGS} -fno-math-errno -fno-trapping-math -ffp-contract=off -Wall -Wextra"
# Kernels throw only what operator new does, and hold nothing then: no code for it, which would leave weak symbols.
# GCC 12 warns about its own AVX-512 header, and of arrays of which no more elements are read than were written.
SIMD_FLAGS = f"{CXX_FLAGS} -fno-exceptions -Wno-uninitialized -Wno-maybe-uninitialized"
AVX2_FLAGS = "-mavx2 -mfma -mf16c"
AVX512_FLAGS = f"{AVX2_FLAGS} -mavx512f -mavx512bw -mavx512vl -mavx512dq"
NEON_BF16_FLAGS = "-march=armv8.2-a+bf16"
# Processor -> instruction set -> flags, of csrc/**/*_simd.cpp. csrc/cpu/cpu_dispatch.h has the same names.
CPU_LEVELS = {
    "x86_64": {"baseline": "", "avx2": AVX2_FLAGS, "avx512": AVX512_FLAGS},  # level amx runs the avx512 kernels
    "aarch64": {"baseline": "", "neon": "", "neon_bf16": NEON_BF16_FLAGS},
    "other": {"baseline": ""},
}
PROCESSORS = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64", "ARM64": "aarch64"}
SANITIZE, _, SANITIZED = os.environ.get("VFI_KERNELS_SANITIZE", "").partition(":")  # SANITIZED: objects of such names
TESTING = SANITIZE == "1" or os.environ.get("VFI_KERNELS_TESTING") == "1"
# float-cast-overflow: a NaN or huge position must never become an integer. pointer-overflow: the address of a corner
# outside the image is formed, never read.
SANITIZERS = (
    "-fsanitize=address,undefined,float-cast-overflow -fno-sanitize=pointer-overflow -fno-sanitize-recover=all "
    "-fno-omit-frame-pointer -O1 -g1"
)


# 1, for debuggers: slow, with the standard library's checks. profile: as fast as ever, with the lines of the sources.
DEBUG_FLAGS = {
    "0": "",
    "1": "-O1 -g -fno-omit-frame-pointer -D_GLIBCXX_ASSERTIONS",
    "profile": "-g1 -fno-omit-frame-pointer",
}
NVCC_DEBUG_FLAGS = {"0": "", "1": "-lineinfo -Xcompiler -g", "profile": "-lineinfo"}
DEBUG = os.environ.get("VFI_KERNELS_DEBUG", "0")
# On Windows, where this was never run, nvcc takes Microsoft's compiler alone: /MD is its name for WINDOWS_RUNTIME.
NVCC_HOST_FLAGS = "-Xcompiler /MD" if sys.platform == "win32" else "-Xcompiler -fPIC,-fvisibility=hidden"


def cpu_levels(machine: str | None = None) -> dict[str, str]:
    """Instruction set -> compiler flags, on this machine or one of another kind (as platform.machine() says)."""
    return CPU_LEVELS[PROCESSORS.get(machine or platform.machine(), "other")]


def link_flags() -> str:
    if sys.platform == "darwin":
        return "-bundle -undefined dynamic_lookup"  # Python's functions are those of the process
    if sys.platform == "win32":  # compiler-rt holds what __builtin_cpu_supports calls, libs Python's import library
        return f"-shared {WINDOWS_RUNTIME} -rtlib=compiler-rt {argument(f'-L{sys.base_prefix}/libs')}"
    return "-shared"


def torch_libraries() -> str:
    """libtorch.so must stay among the needed libraries: it brings libtorch_cuda.so, where the symbols live that are
    weak here (torch/cuda_symbols.h). A CPU build's exports nothing, and Debian's linker drops what nothing is taken
    from."""
    if sys.platform == "linux":
        return "-Wl,--push-state,--no-as-needed -ltorch -Wl,--pop-state -ltorch_cpu"
    return "-ltorch -ltorch_cpu"


def cuda_libraries(home: Path) -> str:
    """The CUDA runtime, and on Windows torch's CUDA functions, which are weak elsewhere."""
    if sys.platform == "win32":
        return f"{argument(f'-L{home}/lib/x64')} -lcudart_static -ltorch_cuda"
    return f"-L{home}/lib64 -L{home}/lib -lcudart_static -lrt -ldl -lpthread"


def object_name(source: Path, label: str = "") -> str:
    return f"{source.relative_to(CSRC).with_suffix('').as_posix()}{label}.o"


class NinjaBuild(build_ext):
    """Compiles in build/ninja-<tag>, which outlives editable and in-place builds: every rebuild is incremental."""

    machine: str | None = None  # that is compiled for, where it is of another kind than this one

    def run(self) -> None:
        self.configure()
        write_if_changed(self.folder / "build_info.h", self.build_info())
        self.ninja_file().run()
        super().run()

    def configure(self) -> None:
        """What this build is: torch, compilers, folder."""
        import torch

        if DEBUG not in DEBUG_FLAGS:
            sys.exit(f"vfi_kernels: expected VFI_KERNELS_DEBUG to be 0, 1 or profile, got {DEBUG}")
        if tuple(int(n) for n in torch.__version__.split(".")[:2]) < MINIMUM_TORCH:
            least = ".".join(map(str, MINIMUM_TORCH))
            sys.exit(f"vfi_kernels: expected torch >= {least}, got {torch.__version__}")
        torch_folder = Path(torch.__file__).parent
        self.cxx = os.environ.get("CXX", DEFAULT_CXX)
        if shutil.which(shlex.split(self.cxx)[0]) is None:
            sys.exit(f"vfi_kernels: expected a C++20 compiler, found no {self.cxx}; install one, or set CXX to one")
        self.cuda = choose_cuda(torch.version.cuda, torch_folder)
        self.torch_lib = f"{argument(f'-L{torch_folder}/lib')} {torch_libraries()}"
        tag = f"torch{torch.__version__}-{'cuda' + self.cuda.version if self.cuda.version else 'nocuda'}"
        tag += f"-debug-{DEBUG}" if DEBUG != "0" else ""
        self.folder = ROOT / "build" / f"ninja-{tag}"
        self.usual_folder = self.folder
        if SANITIZE:
            self.folder = ROOT / "build" / f"ninja-{tag}-sanitize{'-cpu' if SANITIZE != '1' else ''}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.includes = " ".join(
            [argument(f"-I{CSRC}"), argument(f"-I{self.folder}"), "-isystem", argument(f"{torch_folder}/include")]
        )
        yes = "yes" if self.cuda.home else "no"
        print(f"vfi_kernels: torch {torch.__version__}; CUDA kernels: {yes} ({self.cuda.reason})", flush=True)

    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        # Copied under another name first: a running process keeps its mapping of the old file.
        part = target.with_suffix(".part")
        shutil.copy(self.folder / f"{ext.name}.so", part)
        part.replace(target)

    def build_info(self) -> str:
        """A header with what the op build_info() returns."""
        import torch

        version = subprocess.run([*shlex.split(self.cxx), "--version"], capture_output=True, text=True, check=True)
        info: dict[str, Any] = {
            "torch": torch.__version__,
            "compiler": version.stdout.splitlines()[0] + (f" {DEBUG_FLAGS[DEBUG]}" if DEBUG != "0" else ""),
            "cpu_levels": list(cpu_levels(self.machine)),
            "cuda": self.cuda.version,
            "cuda_reason": self.cuda.reason,
            "cuda_archs": cuda_archs() if self.cuda.home else [],
        }
        return f'#pragma once\n#define VFI_BUILD_INFO R"json({json.dumps(info)})json"\n'

    def ninja_file(self) -> NinjaFile:
        """Everything that this configuration needs."""
        host = "cl" if sys.platform == "win32" else shlex.split(self.cxx)[-1]
        nvcc = f"{argument(f'{self.cuda.home}/bin/nvcc')} -ccbin {host}"
        ninja = NinjaFile(self.cxx, nvcc, link_flags(), self.folder)
        if SANITIZE != "1":
            self.add_library(ninja)
        if TESTING:
            self.add_testing(ninja)
        return ninja

    def add_library(self, ninja: NinjaFile) -> None:
        """vfi_kernels._C."""
        objects = self.add_cpu_units(ninja)
        libraries = f"{SANITIZERS} {self.torch_lib}" if SANITIZE else self.torch_lib
        if self.cuda.home and not SANITIZE:
            # The sums of a GPU have no twins that must agree to the last bit, so nvcc may fuse.
            flags = f"-std=c++20 -O3 --fmad=true --expt-relaxed-constexpr {gencode_flags()}"
            flags += f" {NVCC_DEBUG_FLAGS[DEBUG]} {NVCC_HOST_FLAGS}"
            for source in sorted(CSRC.rglob("*_cuda.cu")):
                name = object_name(source)
                objects.append(ninja.add("nvcc", source, name, f"{flags} -DUSE_CUDA {STABLE_ABI} {self.includes}"))
            libraries += f" {cuda_libraries(self.cuda.home)}"
        ninja.link("vfi_kernels._C.so", objects, libraries)

    def add_cpu_units(self, ninja: NinjaFile) -> list[str]:
        """The objects of the library's C++ sources; its kernels once per level."""
        debug, objects = DEBUG_FLAGS[DEBUG], []
        ninja.precompile("glue", "torch/checks.h", self.glue_flags())
        # No torch in these, and no flag of another level.
        simd = f"{SIMD_FLAGS} {debug} {argument(f'-I{CSRC}')}"
        levels = {n: f"{simd} -DVFI_LEVEL={n} {f}" for n, f in cpu_levels(self.machine).items()}
        for level, flags in levels.items():
            ninja.precompile(level, "simd/simd.h", flags)
        for source in sorted(CSRC.rglob("*.cpp")):
            if source.relative_to(CSRC).parts[0] == "testing":
                continue
            if source.stem.endswith("_simd"):
                objects += [self.add_unit(ninja, source, flags, level, f".{level}") for level, flags in levels.items()]
            else:
                objects.append(self.add_unit(ninja, source, self.glue_flags(), "glue"))
        return objects

    def glue_flags(self) -> str:
        """Of what registers the ops with torch."""
        python = f"-isystem {argument(sysconfig.get_paths()['include'])}"
        return f"{CXX_FLAGS} {DEBUG_FLAGS[DEBUG]} {STABLE_ABI} {LIMITED_API} {python} {self.includes}"

    def add_unit(self, ninja: NinjaFile, source: Path, flags: str, header: str, label: str = "") -> str:
        """The object of a C++ source of the library: with sanitizers, or the usual one, where some are asked for."""
        name = object_name(source, label)
        if not SANITIZE:
            return ninja.add("cxx", source, name, flags, header)
        if re.search(SANITIZED, name):
            return ninja.add("cxx", source, name, f"{flags} {SANITIZERS}")
        return escaped(self.usual_folder / name)

    def add_testing(self, ninja: NinjaFile) -> None:
        """vfi_kernels_testing: the CUDA sources compiled as C++ against the emulation, and what tests call directly."""
        import pybind11

        checks = SANITIZERS if SANITIZE else "-O1"  # the tests are small: less time in the compiler
        python = " ".join(f"-isystem {argument(p)}" for p in (sysconfig.get_paths()["include"], pybind11.get_include()))
        flags = f"{CXX_FLAGS} -Wno-unknown-pragmas {checks} {STABLE_ABI} {python} {self.includes}"
        objects = [ninja.add("cxx", s, object_name(s), flags) for s in sorted(CSRC.glob("testing/*.cpp"))]
        ninja.precompile("emulated", "testing/cuda_emulation.h", flags)
        for source in sorted(CSRC.rglob("*_cuda.cu")):
            name = object_name(source, ".emulated")
            if re.search(SANITIZED, name):
                objects.append(ninja.add("cxx", source, name, f"{flags} -x c++", "emulated"))
            else:
                objects.append(escaped(self.usual_folder / name))
        ninja.link("vfi_kernels_testing.so", objects, f"{checks} {self.torch_lib}")


class CompileCommands(NinjaBuild):
    """`python setup.py compile_commands`: writes compile_commands.json, by which editors read the sources; compiles
    nothing."""

    description = "write compile_commands.json"

    def run(self) -> None:
        self.configure()
        if not (self.folder / "build_info.h").exists():  # the next build's own, if there was one, stays as it is
            write_if_changed(self.folder / "build_info.h", self.build_info())
        write_if_changed(ROOT / "compile_commands.json", self.ninja_file().compile_commands())
