"""Every CUDA source compiled by the real nvcc, for every architecture that the wheel holds; no GPU needed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import vfi_kernels  # noqa: F401  (registers the ops)
from vfi_kernels import backends
from vfi_kernels.bench import simulator

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "csrc").glob("**/*_cuda.cu"))
ELSEWHERE = {"splat_grad_cuda", "trajectory_splat_cuda"}  # their forward kernels are compiled in splat_cuda
ALONE = r"deform_warps_kernelI.*BFloat16.*Li128"  # one block of it is on a multiprocessor, as its WarpForward says
ARCHS = {"8.0": "sm_80", "9.0": "sm_90", "10.0": "sm_100"}
OPS = [op for op, composed in backends.ops().items() if not composed]

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("builds")]  # one after another: they share folders


CUDA_TORCH = Path(
    os.environ.get("VFI_KERNELS_CUDA_TORCH_PYTHON", ROOT / ".environments" / "torch-cuda" / "bin" / "python")
)


def nvcc() -> Path | None:
    home = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"))
    return home / "bin/nvcc" if (home / "include/cuda_runtime.h").exists() else None


needs_nvcc = pytest.mark.skipif(nvcc() is None, reason="no CUDA toolkit (CUDA_HOME or /usr/local/cuda)")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Gives what ptxas says of the kernels of a source: {kernel: (registers, bytes spilled)}, each compiled once."""
    folder, lines_of_kernel = tmp_path_factory.mktemp("ptxas"), {}

    def compile_one(source: Path, arch: str) -> dict[str, tuple[int, int]]:
        if (source, arch) not in lines_of_kernel:
            lines_of_kernel[source, arch] = parse(run_nvcc(source, arch, folder / f"{source.stem}.{arch}.o"))
        return lines_of_kernel[source, arch]

    return compile_one


def run_nvcc(source: Path, arch: str, target: Path, *how: str) -> str:
    """The compiler's log; warnings are errors. how: to machine code with all that ptxas says, or otherwise."""
    include = Path(torch.__file__).parent / "include"
    number = arch.replace(".", "")
    gencode = f"-gencode=arch=compute_{number},code=sm_{number}"
    command = [
        nvcc(), "-std=c++20", "--expt-relaxed-constexpr", "-Werror=all-warnings", "-DUSE_CUDA",
        "-DTORCH_STABLE_ONLY", "-DTORCH_TARGET_VERSION=0x020b000000000000", gencode,
        f"-I{ROOT / 'csrc'}", "-isystem", include, *(how or ("-O3", "-Xptxas=-v", "-c")), source, "-o", target,
    ]  # fmt: skip
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stderr


def parse(log: str) -> dict[str, tuple[int, int]]:
    kernels, name, spilled = {}, None, 0
    for line in log.splitlines():
        if match := re.search(r"Compiling entry function '(\w+)'", line):
            name = match.group(1)
        elif match := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            spilled = int(match.group(1)) + int(match.group(2))
        elif (match := re.search(r"Used (\d+) registers", line)) and name:
            kernels[name], name = (int(match.group(1)), spilled), None
    return kernels


def sources_and_archs():
    """One with its host code in the slow run, every source and arch at night."""
    for source in SOURCES:
        for arch in ARCHS:
            by_day = (source.stem, arch) == ("sample_trajectory_cuda", "9.0")
            yield pytest.param(source, arch, id=f"{source.stem}-{arch}", marks=() if by_day else pytest.mark.nightly)


@needs_nvcc
@pytest.mark.parametrize(("source", "arch"), list(sources_and_archs()))
def test_source_compiles(source, arch, report):
    check_registers(source, arch, report(source, arch))


@needs_nvcc
def test_every_source_is_valid(tmp_path):
    """By day without optimisation, in which most of the time goes."""
    for source in SOURCES:
        run_nvcc(source, "9.0", tmp_path / "out.ptx", "-ptx", "-Xcicc", "-O0")


@needs_nvcc
@pytest.mark.nightly
def test_every_source_compiles_without_a_warning():
    """To the PTX that the tests of the simulator run."""
    files = {Path(ptx).stem: (Path(ptx), Path(log)) for ptx, log in simulator.build("9.0")["kernels"]}
    for source in SOURCES:
        ptx, log = files[source.stem]
        assert ptx.with_suffix(".ptx.said").read_text() == ""
        check_registers(source, "9.0", parse(log.read_text()))


def check_registers(source: Path, arch: str, kernels: dict[str, tuple[int, int]]) -> None:
    assert kernels or source.stem in ELSEWHERE
    # Forward kernels are what runs in production, in float32 or less: none of them may keep registers in memory.
    forward = {
        name: use
        for name, use in kernels.items()
        if "grad" not in name and not re.search(r"kernelI(d|(f|NS_\d+\w+?E)d)", name)
    }
    assert forward or source.stem in ELSEWHERE
    assert {name: spilled for name, (_, spilled) in forward.items() if spilled} == {}
    several = [registers for name, (registers, _) in forward.items() if not re.search(ALONE, name)]
    assert max(several, default=0) <= 128  # of 65536 for 256 threads: two blocks
    if arch == "9.0":  # what kernels are tuned for
        assert {name: spilled for name, (_, spilled) in kernels.items() if spilled} == {}


def test_every_op_has_a_source():
    folders = {re.sub(r"_(grad)?$", "", re.sub("^patch_.*", "patches", op)) for op in OPS}
    assert {p.parent.name for p in SOURCES} >= folders


EVERY_ARCH = "8.0;9.0;10.0+PTX"


@pytest.fixture(scope="module", params=[pytest.param(a, marks=pytest.mark.nightly) for a in ("9.0", EVERY_ARCH)])
def archs(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def built(tmp_path_factory, archs) -> Path:
    """The library with CUDA kernels, built against this torch."""
    folder = tmp_path_factory.mktemp("cuda")
    env = {**os.environ, "VFI_KERNELS_CUDA": "1", "TORCH_CUDA_ARCH_LIST": archs}
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--build-lib", folder]
    subprocess.run(command, cwd=ROOT, env=env, check=True)
    (library,) = folder.glob("vfi_kernels/_C*.so")
    return library


CUDA_KERNEL = """
import torch
torch.ops.load_library({library!r})
keys = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)
try:
    torch.ops.vfi_kernels.backward_warp.default.redispatch(keys, torch.ones(1, 1, 2, 2), torch.zeros(1, 2, 2, 2), 0)
except RuntimeError as error:
    print(error)
"""


def say(python: Path | str, library: Path) -> str:
    """What a call of a CUDA kernel says in an interpreter without a GPU."""
    program = CUDA_KERNEL.format(library=str(library))
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, cwd=library.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout


UNBOUND = "vfi_kernels: expected torch's CUDA functions (libtorch_cuda.so), got none"


@needs_nvcc
@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch has CUDA's functions")
def test_a_cuda_kernel_in_a_cpu_build_of_torch_is_one_sentence(built):
    assert UNBOUND in say(sys.executable, built)


@needs_nvcc
@pytest.mark.nightly
@pytest.mark.skipif(not CUDA_TORCH.exists(), reason=f"no CUDA build of torch at {CUDA_TORCH} (make environments)")
@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU it would run")
def test_a_library_built_against_a_cpu_torch_finds_the_functions_of_a_cuda_torch(built):
    said = say(CUDA_TORCH, built)
    assert UNBOUND not in said and "driver" in said.lower()  # it came as far as to look for a GPU


@needs_nvcc
def test_library_with_cuda_kernels_loads_without_a_gpu(built, archs, tmp_path):
    """One library for machines with and without a GPU: its CUDA symbols are weak, its kernels registered but idle."""
    program = f"""
import json, torch
torch.ops.load_library({str(built)!r})
info = json.loads(bytes(torch.ops.vfi_kernels.build_info().tolist()))
assert info["cuda"] and info["cuda_archs"], info
for op in {OPS!r}:
    assert torch._C._dispatch_has_kernel_for_dispatch_key("vfi_kernels::" + op, "CUDA"), op
out = torch.ops.vfi_kernels.backward_warp(torch.ones(1, 1, 2, 2), torch.zeros(1, 2, 2, 2), 0)
assert out.sum() == 4
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    dynamic = subprocess.run(["readelf", "-d", built], capture_output=True, text=True, check=True).stdout
    assert "[libtorch.so]" in dynamic
    embedded = built.read_bytes()
    for name in ARCHS.values() if archs == EVERY_ARCH else ["sm_90"]:
        assert f"-arch {name}".encode() in embedded or name.encode() in embedded
