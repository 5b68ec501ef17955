"""Which CUDA toolkit a build uses, if any, and the GPUs that it compiles for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

DEFAULT_ARCHS = "8.0;9.0;10.0+PTX"  # never narrowed to the local GPU


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
    program = "nvcc.exe" if sys.platform == "win32" else "nvcc"
    candidates = [Path("/usr/local/cuda"), *sorted(torch_folder.parent.glob("nvidia/cu[0-9]*"))]
    if on_path:
        candidates.append(Path(on_path).resolve().parent.parent)
    for home in [Path(chosen)] if chosen else candidates:
        nvcc = home / "bin" / program
        if nvcc.exists() and (home / "include" / "cuda_runtime.h").exists():
            text = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
            release = re.search(r"release (\d+\.\d+)", text)
            return home, release.group(1) if release else "0.0"
    return None, None


def choose_cuda(torch_cuda: str | None, torch_folder: Path) -> Cuda:
    """Applies VFI_KERNELS_CUDA to what this machine has."""
    want = os.environ.get("VFI_KERNELS_CUDA") or "auto"
    if want not in ("auto", "0", "1"):
        sys.exit(f"vfi_kernels: expected VFI_KERNELS_CUDA to be auto, 0 or 1, got {want}")
    if want == "0":
        return Cuda(None, None, "VFI_KERNELS_CUDA=0")
    if sys.platform == "win32" and want == "1" and torch_cuda is None:  # its linker knows no weak symbols
        sys.exit("vfi_kernels: VFI_KERNELS_CUDA=1 needs a CUDA build of torch on Windows, this torch is a CPU build")
    if sys.platform != "linux" and not (sys.platform == "win32" and want == "1"):
        if want == "1":
            sys.exit("vfi_kernels: VFI_KERNELS_CUDA=1, but there is no CUDA on this system")
        return Cuda(None, None, "on Linux they are built by default, on Windows with VFI_KERNELS_CUDA=1")
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
