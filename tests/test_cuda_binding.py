"""torch's CUDA functions, which are weak in this library, bind where torch has them; else one sentence says so."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_build import ROOT

sys.path.insert(0, str(ROOT))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("builds"),
    pytest.mark.skipif(sys.platform != "linux" or shutil.which("g++") is None, reason="needs g++ on Linux"),
]
TORCH = Path(torch.__file__).parent
STUB = """
int aoti_torch_get_current_cuda_stream(int device, void** stream) { *stream = (void*)42; return device != 3; }
int torch_c10_cuda_check_msg(void) { return 0; }
void torch_c10_cuda_free_error_msg(char* text) {}
int aoti_torch_cuda_addmm_out(void) { return 0; }
"""


def torch_libraries() -> str:
    """How the build links."""
    code = "from ninja_build import torch_libraries; print(torch_libraries())"
    folder = ROOT / "build_backend"
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True).stdout


def compile_shared(folder: Path, name: str, source: Path, *options: str) -> Path:
    target = folder / name
    compiler = "gcc" if source.suffix == ".c" else "g++"
    command = [compiler, "-shared", "-fPIC", "-w", str(source), "-o", str(target), f"-Wl,-soname,{name}", *options]
    subprocess.run(command, check=True)
    return target


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    flags = ["-std=c++20", "-DUSE_CUDA", "-DTORCH_STABLE_ONLY", "-DTORCH_TARGET_VERSION=0x020b000000000000"]
    paths = [f"-I{ROOT}/csrc", "-isystem", f"{TORCH}/include", f"-L{TORCH}/lib"]
    source, folder = Path(__file__).parent / "cuda_binding.cpp", tmp_path_factory.mktemp("binding")
    return compile_shared(folder, "binding.so", source, *flags, *paths, *torch_libraries().split())


def answer(library: Path, *folders: Path) -> str:
    """Of a process in which the libraries of `folders` stand for torch's."""
    search = os.pathsep.join(map(str, (*folders, TORCH / "lib")))
    code = f"import ctypes; f = ctypes.CDLL({str(library)!r}).stream_or_error; f.restype = ctypes.c_char_p; print(f())"
    env = {**os.environ, "LD_LIBRARY_PATH": search}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout


def test_they_bind_where_libtorch_brings_them(library, tmp_path):
    """A CUDA build's libtorch.so needs libtorch_cuda.so, which has the functions."""
    (tmp_path / "cuda.c").write_text(STUB)
    (tmp_path / "empty.c").write_text("")
    compile_shared(tmp_path, "libtorch_cuda.so", tmp_path / "cuda.c")
    needs = [f"-L{tmp_path}", "-Wl,--no-as-needed", "-ltorch_cuda"]
    compile_shared(tmp_path, "libtorch.so", tmp_path / "empty.c", *needs)
    assert answer(library, tmp_path).strip() == "b'bound'"


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch has them")
def test_without_them_one_sentence_says_so(library):
    assert "vfi_kernels: expected torch's CUDA functions (libtorch_cuda.so), got none" in answer(library)
