"""Builds vfi_kernels/_C.abi3.so: the schemas, the CPU kernels and, where wanted, the CUDA kernels.

VFI_KERNELS_CUDA=auto (default)  CUDA kernels if this torch has CUDA and a toolkit of its major version is found: a CPU
                                 build of torch can never run them, and they take eight minutes of two cores.
VFI_KERNELS_CUDA=1 | 0           always (an error without a toolkit; with a CPU build of torch they are linked, and run
                                 in any CUDA build that the library is loaded into) | never.
VFI_KERNELS_TESTING=1            also builds vfi_kernels_testing: the CUDA kernel bodies run on the CPU, for the tests.
VFI_KERNELS_SANITIZE=1           builds vfi_kernels_testing only, with the address and undefined-behaviour sanitizers.
VFI_KERNELS_SANITIZE=cpu         builds vfi_kernels._C with them; cpu:PATTERN only its objects of such a name, as in
                                 "cpu:(splat|scatter).*avx2", and takes the others from the usual build in place.
CUDA_HOME, TORCH_CUDA_ARCH_LIST, CXX and MAX_JOBS have their usual meaning.

The kernels are written with the vector types of GCC and clang. Linux: g++, or clang with CXX. macOS and Windows (CPU
only): clang++, on Windows that of LLVM, which finds Microsoft's headers and libraries by itself.

A source is picked up by its name; a new op needs no change here:
    csrc/*/*_simd.cpp   once per instruction set       csrc/*/*_cuda.cu    by nvcc, when CUDA is wanted
    csrc/*/*.cpp        once                           csrc/testing/*.cpp  only into vfi_kernels_testing
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
CSRC = ROOT / "csrc"
STABLE_ABI = "-DTORCH_STABLE_ONLY -DTORCH_TARGET_VERSION=0x020b000000000000"  # loads in every torch >= 2.11
LIMITED_API = "-DPy_LIMITED_API=0x030a0000"  # loads in every Python >= 3.10
DEFAULT_ARCHS = "8.0;9.0;10.0+PTX"  # never narrowed to the local GPU
DEFAULT_CXX = "g++" if sys.platform == "linux" else "clang++"
WINDOWS_RUNTIME = "-fms-runtime-lib=dll"  # the C runtime that Python and torch use
# Never -ffast-math: NaN, infinities and exact zeros have a defined meaning in every op. Nothing is fused that does not
# say fma(): two texts of one sum agree to the last bit, whatever the compiler's level.
SHARED_FLAGS = WINDOWS_RUNTIME if sys.platform == "win32" else "-fPIC -fvisibility=hidden"
CXX_FLAGS = f"-std=c++20 -O3 {SHARED_FLAGS} -fno-math-errno -fno-trapping-math -ffp-contract=off -Wall -Wextra"
# GCC 12 warns about its own AVX-512 header, and of arrays of which no more elements are read than were written.
SIMD_FLAGS = f"{CXX_FLAGS} -Wno-uninitialized -Wno-maybe-uninitialized"
AVX2_FLAGS = "-mavx2 -mfma -mf16c"
AVX512_FLAGS = f"{AVX2_FLAGS} -mavx512f -mavx512bw -mavx512vl -mavx512dq"
X86_LEVELS = {"baseline": "", "avx2": AVX2_FLAGS, "avx512": AVX512_FLAGS}  # level amx runs the avx512 kernels
SANITIZE = os.environ.get("VFI_KERNELS_SANITIZE", "")
TESTING = SANITIZE == "1" or os.environ.get("VFI_KERNELS_TESTING") == "1"
# float-cast-overflow: a NaN or huge position must never become an integer. pointer-overflow: the address of a corner
# outside the image is formed, never read.
SANITIZERS = (
    "-fsanitize=address,undefined,float-cast-overflow -fno-sanitize=pointer-overflow -fno-sanitize-recover=all "
    "-fno-omit-frame-pointer -O1 -g1"
)


@dataclass
class Cuda:
    """The CUDA side of this build: `home` is None where there are no CUDA kernels, and `reason` says why."""

    home: Path | None
    version: str | None
    reason: str


def find_toolkit(torch_folder: Path) -> tuple[Path | None, str | None]:
    """The first CUDA toolkit with nvcc and headers, and its version (an nvcc on PATH may be a bare wrapper script)."""
    chosen = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    on_path = shutil.which("nvcc")
    candidates = [Path("/usr/local/cuda"), *sorted(torch_folder.parent.glob("nvidia/cu[0-9]*"))]
    if on_path:
        candidates.append(Path(on_path).resolve().parent.parent)
    for home in [Path(chosen)] if chosen else candidates:
        nvcc = home / "bin" / "nvcc"
        if nvcc.exists() and (home / "include" / "cuda_runtime.h").exists():
            text = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
            release = re.search(r"release (\d+\.\d+)", text)
            return home, release.group(1) if release else "0.0"
    return None, None


def choose_cuda(torch_cuda: str | None, torch_folder: Path) -> Cuda:
    """Applies VFI_KERNELS_CUDA to what this machine has."""
    want = os.environ.get("VFI_KERNELS_CUDA", "auto")
    if want not in ("auto", "0", "1"):
        sys.exit(f"vfi_kernels: expected VFI_KERNELS_CUDA to be auto, 0 or 1, got {want}")
    if want == "0":
        return Cuda(None, None, "VFI_KERNELS_CUDA=0")
    if sys.platform != "linux":
        if want == "1":
            sys.exit("vfi_kernels: VFI_KERNELS_CUDA=1, but the CUDA kernels are built on Linux only")
        return Cuda(None, None, "the CUDA kernels are built on Linux only")
    if want == "auto" and torch_cuda is None:
        return Cuda(None, None, "this torch is a CPU build; VFI_KERNELS_CUDA=1 builds them all the same")
    home, version = find_toolkit(torch_folder)
    if home is None or version is None:
        if want == "1":
            sys.exit(
                "vfi_kernels: VFI_KERNELS_CUDA=1, but no CUDA toolkit (bin/nvcc and include/cuda_runtime.h) was found; "
                "set CUDA_HOME to one, or build with VFI_KERNELS_CUDA=0"
            )
        return Cuda(None, None, "no CUDA toolkit found")
    major = int(version.split(".")[0])
    if want == "auto" and torch_cuda is not None and major != int(torch_cuda.split(".")[0]):
        return Cuda(None, None, f"the toolkit is {version}, this torch was built with CUDA {torch_cuda}")
    return Cuda(home, version, f"nvcc {version}")


def cuda_archs() -> list[str]:
    """TORCH_CUDA_ARCH_LIST or the default, as ["8.0", "9.0", "10.0+PTX"]."""
    archs = re.split(r"[;,\s]+", (os.environ.get("TORCH_CUDA_ARCH_LIST") or DEFAULT_ARCHS).strip())
    for arch in archs:
        if not re.fullmatch(r"\d+\.\d[af]?(\+PTX)?", arch):
            sys.exit(f"vfi_kernels: expected TORCH_CUDA_ARCH_LIST like {DEFAULT_ARCHS}, got {arch}")
    return archs


def gencode_flags() -> str:
    flags = []
    for arch in cuda_archs():
        number = arch.removesuffix("+PTX").replace(".", "")
        flags.append(f"-gencode=arch=compute_{number},code=sm_{number}")
        if arch.endswith("+PTX"):
            flags.append(f"-gencode=arch=compute_{number},code=compute_{number}")
    return " ".join(flags)


def cpu_levels() -> dict[str, str]:
    """Instruction set -> compiler flags."""
    return X86_LEVELS if platform.machine() in ("x86_64", "AMD64") else {"baseline": ""}


def argument(text: str) -> str:
    """One argument of a command line that ninja passes on: quoted where the shell, or Windows, would split it."""
    return (subprocess.list2cmdline([text]) if sys.platform == "win32" else shlex.quote(text)).replace("$", "$$")


def escaped(path: Path | str) -> str:
    """A path as a word of ninja's own language."""
    return re.sub(r"[$: ]", lambda found: f"${found[0]}", str(path))


def link_flags() -> str:
    if sys.platform == "darwin":
        return "-bundle -undefined dynamic_lookup"  # Python's functions are those of the process
    if sys.platform == "win32":  # compiler-rt holds what __builtin_cpu_supports calls, libs Python's import library
        return f"-shared {WINDOWS_RUNTIME} -rtlib=compiler-rt {argument(f'-L{sys.base_prefix}/libs')}"
    return "-shared"


def torch_libraries() -> str:
    """libtorch.so must stay among the needed libraries: it brings libtorch_cuda.so, where the symbols live that are
    weak here (common/cuda_symbols.h). A CPU build's exports nothing, and Debian's linker drops what nothing is taken
    from."""
    if sys.platform == "linux":
        return "-Wl,--push-state,--no-as-needed -ltorch -Wl,--pop-state -ltorch_cpu"
    return "-ltorch -ltorch_cpu"


def compiling(rule: str) -> str:
    """The head of a rule; ninja prints one name for each step, and the whole command where one fails."""
    return f"rule {rule}\n  description = $out\n  depfile = $out.d\n  deps = gcc\n"


class NinjaFile:
    """Collects the build edges of one ninja file."""

    def __init__(self, cxx: str, cuda: Cuda, folder: Path) -> None:
        self.folder = folder
        nvcc = f"{cuda.home}/bin/nvcc -ccbin {shlex.split(cxx)[-1]}"
        self.lines = [
            f"{compiling('cxx')}  command = {cxx} -MMD -MF $out.d $flags -c $in -o $out",
            f"{compiling('pch')}  command = {cxx} -MMD -MF $out.d $flags -x c++-header $in -o $out",
            f"{compiling('nvcc')}  command = {nvcc} -MD -MF $out.d $flags -c $in -o $out",
            f"rule link\n  description = $out\n  command = {cxx} {link_flags()} $in -o $out $flags",
        ]

    def precompile(self, name: str, header: str, flags: str) -> None:
        """An edge that reads `header` once for all units of `flags` that are added with before=name. GCC and clang take
        the .gch beside an included file in its place."""
        write_if_changed(self.folder / f"{name}.h", f'#include "{header}"\n')
        self.lines.append(f"build {name}.h.gch: pch {name}.h\n  flags = {flags}")

    def add(self, rule: str, source: Path, flags: str, label: str = "", before: str = "") -> str:
        """An edge that compiles `source`, with the precompiled header `before`; returns its object file."""
        name = object_name(source, label)
        needs, flags = (f" | {before}.h.gch", f"-include {before}.h {flags}") if before else ("", flags)
        self.lines.append(f"build {name}: {rule} {escaped(source)}{needs}\n  flags = {flags}")
        return name

    def link(self, name: str, objects: list[str], flags: str) -> None:
        self.lines.append(f"build {name}: link {' '.join(objects)}\n  flags = {flags}\ndefault {name}")

    def run(self) -> None:
        write_if_changed(self.folder / "build.ninja", "\n".join(self.lines) + "\n")
        jobs = os.environ.get("MAX_JOBS")
        # Asked of Python first: in an isolated build the program is not on PATH.
        found = subprocess.run([sys.executable, "-m", "ninja", "--version"], capture_output=True).returncode == 0
        ninja = [sys.executable, "-m", "ninja"] if found else ["ninja"]
        subprocess.check_call([*ninja, "-C", str(self.folder), *(["-j", jobs] if jobs else [])])


def object_name(source: Path, label: str) -> str:
    return f"{source.relative_to(CSRC).with_suffix('').as_posix()}{label}.o"


def write_if_changed(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


class NinjaBuild(build_ext):
    """Compiles in build/ninja-<tag>, which outlives editable and in-place builds: every rebuild is incremental."""

    def run(self) -> None:
        import torch

        if tuple(int(n) for n in torch.__version__.split(".")[:2]) < (2, 11):
            sys.exit(f"vfi_kernels: expected torch >= 2.11, got {torch.__version__}")
        torch_folder = Path(torch.__file__).parent
        self.cxx = os.environ.get("CXX", DEFAULT_CXX)
        if shutil.which(shlex.split(self.cxx)[0]) is None:
            sys.exit(f"vfi_kernels: expected a C++20 compiler, found no {self.cxx}; install one, or set CXX to one")
        self.cuda = choose_cuda(torch.version.cuda, torch_folder)
        self.torch_lib = f"{argument(f'-L{torch_folder}/lib')} {torch_libraries()}"
        tag = f"torch{torch.__version__}-{'cuda' + self.cuda.version if self.cuda.version else 'nocuda'}"
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
        write_if_changed(self.folder / "build_info.h", self.build_info(torch.__version__))
        self.compile()
        super().run()

    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        # Copied under another name first: a running process keeps its mapping of the old file.
        part = target.with_suffix(".part")
        shutil.copy(self.folder / f"{ext.name}.so", part)
        part.replace(target)

    def build_info(self, torch_version: str) -> str:
        """A header with what the op build_info() returns."""
        version = subprocess.run([*shlex.split(self.cxx), "--version"], capture_output=True, text=True, check=True)
        info: dict[str, Any] = {
            "torch": torch_version,
            "compiler": version.stdout.splitlines()[0],
            "cpu_levels": list(cpu_levels()),
            "cuda": self.cuda.version,
            "cuda_reason": self.cuda.reason,
            "cuda_archs": cuda_archs() if self.cuda.home else [],
        }
        return f'#pragma once\n#define VFI_BUILD_INFO R"json({json.dumps(info)})json"\n'

    def compile(self) -> None:
        """One ninja run for everything that this configuration needs."""
        ninja = NinjaFile(self.cxx, self.cuda, self.folder)
        if SANITIZE != "1":
            self.add_library(ninja)
        if TESTING:
            self.add_testing(ninja)
        ninja.run()

    def add_library(self, ninja: NinjaFile) -> None:
        """vfi_kernels._C."""
        objects = []
        python = f"-isystem {argument(sysconfig.get_paths()['include'])}"
        glue = f"{CXX_FLAGS} {STABLE_ABI} {LIMITED_API} {python} {self.includes}"
        ninja.precompile("glue", "common/checks.h", glue)
        # No torch in these, and no flag of another level.
        levels = {n: f"{SIMD_FLAGS} -DVFI_LEVEL={n} {f} {argument(f'-I{CSRC}')}" for n, f in cpu_levels().items()}
        for level, flags in levels.items():
            ninja.precompile(level, "common/simd.h", flags)
        for source in sorted([*CSRC.glob("*.cpp"), *CSRC.glob("*/*.cpp")]):
            if source.parent.name == "testing":
                continue
            if source.stem.endswith("_simd"):
                objects += [self.add_unit(ninja, source, flags, level, f".{level}") for level, flags in levels.items()]
            else:
                objects.append(self.add_unit(ninja, source, glue, "glue"))
        libraries = f"{SANITIZERS} {self.torch_lib}" if SANITIZE else self.torch_lib
        if self.cuda.home and not SANITIZE:
            # The sums of a GPU have no twins that must agree to the last bit, so nvcc may fuse.
            flags = f"-std=c++20 -O3 --fmad=true --expt-relaxed-constexpr {gencode_flags()}"
            flags += " -Xcompiler -fPIC,-fvisibility=hidden"
            for source in sorted(CSRC.glob("*/*_cuda.cu")):
                objects.append(ninja.add("nvcc", source, f"{flags} -DUSE_CUDA {STABLE_ABI} {self.includes}"))
            home = self.cuda.home
            libraries += f" -L{home}/lib64 -L{home}/lib -lcudart_static -lrt -ldl -lpthread"
        ninja.link("vfi_kernels._C.so", objects, libraries)

    def add_unit(self, ninja: NinjaFile, source: Path, flags: str, header: str, label: str = "") -> str:
        """The object of a C++ source of the library: with sanitizers, or the usual one, where some are asked for."""
        if not SANITIZE:
            return ninja.add("cxx", source, flags, label, header)
        name = object_name(source, label)
        if re.search(SANITIZE.removeprefix("cpu").removeprefix(":"), name):
            return ninja.add("cxx", source, f"{flags} {SANITIZERS}", label)
        return escaped(self.usual_folder / name)

    def add_testing(self, ninja: NinjaFile) -> None:
        """vfi_kernels_testing: the CUDA sources compiled as C++ against the emulation, and what tests call directly."""
        import pybind11

        checks = SANITIZERS if SANITIZE else "-O1"  # the tests are small: less time in the compiler
        python = " ".join(f"-isystem {argument(p)}" for p in (sysconfig.get_paths()["include"], pybind11.get_include()))
        flags = f"{CXX_FLAGS} -Wno-unknown-pragmas {checks} {STABLE_ABI} {python} {self.includes}"
        objects = [ninja.add("cxx", source, flags) for source in sorted(CSRC.glob("testing/*.cpp"))]
        ninja.precompile("emulated", "testing/cuda_emulation.h", flags)
        for source in sorted(CSRC.glob("*/*_cuda.cu")):
            objects.append(ninja.add("cxx", source, f"{flags} -x c++", ".emulated", "emulated"))
        ninja.link("vfi_kernels_testing.so", objects, f"{checks} {self.torch_lib}")


extensions = [] if SANITIZE == "1" else [Extension("vfi_kernels._C", [], py_limited_api=True)]
if TESTING:
    extensions.append(Extension("vfi_kernels_testing", []))
setup(ext_modules=extensions, cmdclass={"build_ext": NinjaBuild}, options={"bdist_wheel": {"py_limited_api": "cp310"}})
