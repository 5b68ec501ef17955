"""The wheel works without the source tree; wheel and sdist hold what they must and nothing else."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import environments
import pytest
import torch
from scripts_of_the_tree import script
from toolkit import find_toolkit

from vfi_kernels import backends

ROOT = Path(__file__).resolve().parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("builds")]  # one after another: they share folders


def tracked(*folders: str) -> set[str]:
    return set(subprocess.check_output(["git", "ls-files", *folders], cwd=ROOT, text=True).split())


def build_wheel(folder: Path, **environment: str) -> Path:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, "."],
        cwd=ROOT,
        env={**os.environ, **environment},
        check=True,
    )
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """As `make wheel` builds it, with CUDA kernels only if the library here has them: its objects are there already."""
    cuda = "auto" if backends.build_info()["cuda"] else "0"
    return build_wheel(tmp_path_factory.mktemp("dist"), VFI_KERNELS_CUDA=cuda)


def test_the_wheel_holds_the_packages_and_nothing_else(wheel):
    assert "-cp310-abi3-" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    ours = {name.removeprefix("python/") for name in tracked("vfi_kernels", "python/vfi")}  # code, a clip, weights
    (library,) = names - ours
    assert library in ("vfi_kernels/_C.abi3.so", "vfi_kernels/_C.pyd")
    assert names - {library} == ours


def test_it_works_in_a_clean_environment(wheel, tmp_path):
    """torch and numpy are this environment's; nothing else of it is on the path, nor is the source tree."""
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, cwd=tmp_path)
    site = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    ).strip()
    Path(site, "torch.pth").write_text(f"{Path(torch.__file__).parents[1]}\n")  # a path only: its own .pth are not read
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("VFI_", "PYTHON"))}
    done = subprocess.run(
        [python, "-I", ROOT / "tests" / "wheel_smoke.py"], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) in done.stdout


IN_A_CUDA_TORCH = """
import torch, vfi_kernels as vk
from vfi_kernels import backends
image = torch.rand(1, 3, 5, 7)
assert torch.equal(vk.backward_warp(image, torch.zeros(1, 2, 5, 7)), image)
print(vk.__file__, backends.build_info()["cuda"], torch.version.cuda, backends.unavailable("cuda"), sep="\\n")
"""


@pytest.mark.nightly
@pytest.mark.skipif(find_toolkit(Path(torch.__file__).parent)[0] is None, reason="no CUDA toolkit")
@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU it would run")
def test_the_wheel_of_the_index_in_a_cuda_torch(tmp_path):
    """With kernels for every GPU it is small enough for the index, and a CUDA torch lacks only the GPU to run them."""
    wheel = build_wheel(tmp_path, VFI_KERNELS_CUDA="1")
    assert wheel.stat().st_size < script("check_wheel").LIMIT
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", site, wheel]
    subprocess.run(install, check=True, capture_output=True)
    program = tmp_path / "program.py"
    program.write_text(IN_A_CUDA_TORCH)
    done = environments.run("torch-cuda", str(program), PYTHONPATH=str(site))
    assert done.returncode == 0, done.stderr
    file, built, torchs, reason = done.stdout.splitlines()
    assert Path(file).is_relative_to(site) and built.split(".")[0] == torchs.split(".")[0]
    assert reason == "torch finds no GPU"


def test_the_sdist_holds_what_a_build_needs(tmp_path):
    code = "import sys; sys.path.insert(0, 'build_backend'); import vfi_build; vfi_build.build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, check=True, capture_output=True)
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    files = {"setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "constraints.txt"}
    assert tracked("csrc", "build_backend", "vfi_kernels", "python/vfi") | files <= names
    assert not [name for name in names if name.endswith((".so", ".pyc", ".o"))]
