"""The emulated CUDA kernels under AddressSanitizer and UndefinedBehaviorSanitizer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# By day ops that gather, list patches and multiply matrices; at night all of them.
UNITS = "^ops/(backward_warp|patches|routed_conv2d)/"
# Every kernel of them once, in half precision (its loads are the widest), and what lies at the end of a block.
SLICE = (
    "((agrees_with_the_oracle and float16 and not bfloat16) or wider_than_a_block or in_packs or tf32) and "
    "(backward_warp or patch or routed) or ((only_listed_patches or any_size) and cuda)"
)
# Every kernel in every compute type and layout, both ways to scatter; borders, empty tensors, non-finite positions.
WHOLE = (
    "(thread_order and (7 or noise)) or (empty and atomic) or (huge_positions and 1e) or "
    "(agrees_with_the_oracle and not bfloat16) or in_packs or wider_than_a_block or tf32 or "
    "((patch_kernels or lora_kernels) and cuda)"
)

pytestmark = [pytest.mark.nightly, pytest.mark.xdist_group("builds")]  # one after another: they share folders


def library(name: str) -> str:
    return subprocess.run(
        ["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()


def build(folder: Path, what: str) -> tuple[Path, dict[str, str]]:
    """The sanitized vfi_kernels_testing (VFI_KERNELS_SANITIZE=what, see setup.py) in `folder`, and the environment that
    runs it."""
    env = {**os.environ, "VFI_KERNELS_SANITIZE": what, "VFI_KERNELS_CUDA": "0"}
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--build-lib", str(folder)]
    subprocess.run(command, cwd=ROOT, env=env, check=True)
    assert list(folder.glob("vfi_kernels_testing*.so"))
    return folder, {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT), str(ROOT / "python")]),
        "LD_PRELOAD": f"{library('libasan.so')} {library('libubsan.so')}",
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


@pytest.fixture(scope="module")
def sliced(tmp_path_factory):
    return build(tmp_path_factory.mktemp("sliced"), f"1:{UNITS}")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return build(tmp_path_factory.mktemp("whole"), "1")


def run(sanitized, *arguments):
    # Not in ROOT, whose own vfi_kernels_testing would be found first.
    folder, env = sanitized
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True)


def check(sanitized, selection):
    names = ("cuda_emulation", "cuda_emulation_ops", "patch_kernels", "lora_kernels")
    tests = [ROOT / "tests" / f"test_{name}.py" for name in names]
    command = ["-m", "pytest", "-q", "-x", "-s", "-c", ROOT / "pyproject.toml", "--rootdir", ROOT]
    command += ["-p", "no:cacheprovider", "-k", selection]
    done = run(sanitized, *map(str, [*command, *tests]))
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    assert " passed" in done.stdout


def test_some_kernels_are_clean(sliced):
    check(sliced, SLICE)


def test_every_kernel_is_clean(whole):
    check(whole, WHOLE)


@pytest.mark.parametrize("offset", [40, -8])
def test_a_write_out_of_bounds_is_found(sliced, offset):
    program = "import torch, numpy, vfi_kernels_testing as native; native.out_of_bounds(numpy.zeros(64, 'float32'), {})"
    done = run(sliced, "-c", program.format(offset))
    assert done.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr and "out_of_bounds_kernel" in done.stderr
    assert run(sliced, "-c", program.format(0)).returncode == 0
