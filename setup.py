"""Builds vfi_kernels/_C.abi3.so: the schemas, the CPU kernels and, where wanted, the CUDA kernels.

VFI_KERNELS_CUDA=auto (default)  CUDA kernels if this torch has CUDA and a toolkit of its major version is found: a CPU
                                 build of torch can never run them, and they take eight minutes of two cores.
VFI_KERNELS_CUDA=1 | 0           always (an error without a toolkit; with a CPU build of torch they are linked, and run
                                 in any CUDA build that the library is loaded into) | never.
VFI_KERNELS_TESTING=1            also builds vfi_kernels_testing: the CUDA kernel bodies run on the CPU, for the tests.
VFI_KERNELS_SANITIZE=1           builds vfi_kernels_testing only, with the address and undefined-behaviour sanitizers.
VFI_KERNELS_SANITIZE=cpu         builds vfi_kernels._C with them. cpu:PATTERN, or 1:PATTERN: only the
                                 objects (of ops) of such a name, as in "cpu:(splat|scatter).*avx2"; it takes the others
                                 from the usual build in place.
VFI_KERNELS_DEBUG=1              for a debugger: hardly optimised, with the standard library's own checks.
VFI_KERNELS_DEBUG=profile        for a profiler: optimised as ever, with the lines of the sources (nvcc: -lineinfo).
CUDA_HOME, TORCH_CUDA_ARCH_LIST, CXX and MAX_JOBS have their usual meaning.

`python setup.py build_simulator`: the CUDA kernels executed on the CPU from nvcc's PTX (simulator_build.py).
`python setup.py build_player`: the ops without torch, for ARM (player_build.py).

The kernels are written with the vector types of GCC and clang. Linux: g++, or clang with CXX. macOS and Windows (CPU
only): clang++, on Windows that of LLVM, which finds Microsoft's headers and libraries by itself.
"""

import sys
from pathlib import Path

from setuptools import Extension, setup

sys.path.insert(0, str(Path(__file__).resolve().parent / "build_backend"))  # where no PEP 517 frontend does it
from ninja_build import SANITIZE, TESTING, CompileCommands, NinjaBuild
from player_build import PlayerBuild
from simulator_build import SimulatorBuild

extensions = [] if SANITIZE == "1" else [Extension("vfi_kernels._C", [], py_limited_api=True)]
if TESTING:
    extensions.append(Extension("vfi_kernels_testing", []))
setup(
    ext_modules=extensions,
    cmdclass={
        "build_ext": NinjaBuild,
        "compile_commands": CompileCommands,
        "build_simulator": SimulatorBuild,
        "build_player": PlayerBuild,
    },
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
