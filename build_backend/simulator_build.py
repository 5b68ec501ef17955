"""Builds vfi_kernels_ptx, which executes the CUDA kernels on the CPU from nvcc's PTX (csrc/testing/ptx), and that PTX.

    python setup.py build_simulator --arch 9.0 --ops splat,correlation

It needs nvcc and no GPU, and writes into build/simulator-torch<version>: the module, ptx-9.0/<source>.ptx and beside it
what nvcc says (.ptx.said), and ptxas -v of that (.log). Only what has changed is compiled again.
vfi_kernels.bench.simulator calls it by itself.
"""

from __future__ import annotations

import json
import sys
import sysconfig
from pathlib import Path
from typing import ClassVar

from ninja_build import CSRC, CXX_FLAGS, NVCC_HOST_FLAGS, ROOT, STABLE_ABI, NinjaBuild, object_name
from ninja_file import NinjaFile, argument, compiling, escaped
from toolkit import find_toolkit

MODULE = "vfi_kernels_ptx"
FAST = "-march=native -O3"  # run where it was built
# Kernels are found by the names of their symbols; their bodies never run here.
HOST_FLAGS = "-std=c++20 -O0 -fPIC -fno-semantic-interposition -Wno-unknown-pragmas -w"


def sources(ops: list[str]) -> list[Path]:
    """The CUDA sources of these ops, by their folders, or of "all"."""
    found = [s for s in sorted(CSRC.rglob("*_cuda.cu")) if ops == ["all"] or s.parent.name in ops]
    unknown = set(ops) - {s.parent.name for s in found} - {"all"}
    if unknown:
        sys.exit(f"vfi_kernels: expected --ops of csrc/ops, got {', '.join(sorted(unknown))}")
    return found


class SimulatorBuild(NinjaBuild):
    """The command; its last line of output is JSON: the module, and pairs of PTX and ptxas' log."""

    description = "build the simulator of the CUDA kernels"
    user_options: ClassVar[list[tuple[str, str | None, str]]] = [
        *NinjaBuild.user_options,
        ("arch=", None, "compute capability, as 9.0"),
        ("ops=", None, "folders of csrc/ops, with commas between, or all (default)"),
    ]

    def initialize_options(self) -> None:
        super().initialize_options()
        self.arch, self.ops = "9.0", "all"

    def run(self) -> None:
        import torch

        self.configure()
        torch_folder = Path(torch.__file__).parent
        self.home, version = find_toolkit(torch_folder)
        if self.home is None:
            sys.exit(
                "vfi_kernels: expected a CUDA toolkit (bin/nvcc and include/cuda_runtime.h), got none; set CUDA_HOME"
            )
        self.folder = ROOT / "build" / f"simulator-torch{torch.__version__}-cuda{version}"
        self.folder.mkdir(parents=True, exist_ok=True)
        ninja = NinjaFile(self.cxx, "", "-shared", self.folder)
        self.add_module(ninja, torch_folder)
        kernels = self.add_kernels(ninja)
        ninja.run([f"{MODULE}.so", *(f"{stem}.log" for stem in kernels)])
        made = [[str(self.folder / f"{stem}.{suffix}") for suffix in ("ptx", "log")] for stem in kernels]
        print(json.dumps({"module": str(self.folder / f"{MODULE}.so"), "kernels": made}))

    def add_module(self, ninja: NinjaFile, torch_folder: Path) -> None:
        """The simulator, and the host code of the kernels compiled against it."""
        import pybind11

        python = " ".join(f"-isystem {argument(p)}" for p in (sysconfig.get_paths()["include"], pybind11.get_include()))
        flags = f"{CXX_FLAGS} {python} {self.includes}"
        objects = []
        for source in sorted(CSRC.glob("testing/ptx/*.cpp")):
            fast = "-O1" if source.stem == "module" else FAST  # what Python calls: pybind11 is long to optimise
            objects.append(ninja.add("cxx", source, object_name(source), f"{flags} {fast}"))
        emulation = CSRC / "testing" / "cuda_emulation.cpp"  # what kernels' bodies name
        objects.append(ninja.add("cxx", emulation, object_name(emulation), f"{flags} -O1"))
        host = f"{HOST_FLAGS} {STABLE_ABI} {self.includes}"
        ninja.precompile("simulated", "testing/ptx/cuda_simulation.h", host)
        for source in sources(["all"]):
            name = object_name(source, ".simulated")
            objects.append(ninja.add("cxx", source, name, f"{host} -x c++", "simulated"))
        ninja.link(f"{MODULE}.so", objects, f"{self.torch_lib} -lc10 -ldl")

    def add_kernels(self, ninja: NinjaFile) -> list[str]:
        """The PTX of each source and ptxas' log of it; returns their names without suffix."""
        number = self.arch.replace(".", "")
        nvcc, ptxas = (argument(f"{self.home}/bin/{program}") for program in ("nvcc", "ptxas"))
        ninja.lines += [
            f"{compiling('ptx')}  command = {nvcc} -ccbin {self.cxx} -MD -MF $out.d -ptx $flags $in -o $out "
            "2> $out.said; code=$$?; cat $out.said >&2; exit $$code",
            f"rule ptxas\n  description = $out\n  command = {ptxas} -v -arch=sm_{number} $in -o $out.cubin > $out 2>&1",
        ]
        # As the library is compiled, but for one architecture.
        flags = f"-std=c++20 -O3 --fmad=true --expt-relaxed-constexpr -arch=sm_{number} {NVCC_HOST_FLAGS}"
        flags += f" -DUSE_CUDA {STABLE_ABI} {self.includes}"
        stems = []
        for source in sources([op for op in self.ops.split(",") if op]):
            stem = f"ptx-{self.arch}/{source.stem}"
            ninja.add("ptx", source, f"{stem}.ptx", flags)
            ninja.lines.append(f"build {stem}.log: ptxas {escaped(f'{stem}.ptx')}")
            stems.append(stem)
        return stems
