"""The CPU kernels under AddressSanitizer and UndefinedBehaviorSanitizer."""

import re

import pytest
import sanitizers
from levels import every_level

from vfi_kernels import backends

SLICE = ["backward_warp", "splat", "sample_trajectory", "patch_gather", "correlation"]  # one op of each kind
UNITS = "^ops/(backward_warp|splat|sample_trajectory|patches|correlation)/.*_simd"
builds = pytest.mark.xdist_group("builds")  # one after another: they share folders


def check(folder, level: str, *arguments: str) -> None:
    """Runs sanitized_calls at the level; skips where the build or this CPU has none."""
    if level not in backends.build_info()["cpu_levels"]:
        pytest.skip(f"this machine's build has no level {level}")
    program = f"import sanitized_calls; sanitized_calls.run({', '.join(arguments)})"
    done = sanitizers.run(folder, program, VFI_KERNELS_CPU=level)
    if "this CPU's best level is" in done.stderr:
        pytest.skip(f"this CPU has no {level}")
    assert done.returncode == 0, done.stderr[:5000]
    assert re.fullmatch(rf"\d{{3,}} calls, {level}\n", done.stdout)


@pytest.fixture(scope="module")
def sliced(tmp_path_factory):
    """One level of these ops with sanitizers, everything else as it is built in place."""
    folder = tmp_path_factory.mktemp("sliced")
    level = "avx2" if "avx2" in backends.build_info()["cpu_levels"] else "baseline"
    sanitizers.build(rf"cpu:{UNITS}\.{level}", folder)
    return folder, level


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    sanitizers.build("cpu", folder)
    return folder


@pytest.mark.slow
@builds
def test_one_op_of_each_kind_is_clean(sliced):
    folder, level = sliced
    check(folder, level, repr(SLICE), "widths=(1, 9, 127, 128, 129)", "seeds=50")


@pytest.mark.slow
@builds
@pytest.mark.parametrize("missing", [0, 1])
def test_a_read_beyond_the_end_is_found(sliced, missing):
    """A flow of which the last number is not in its memory."""
    folder, level = sliced
    program = f"""
import ctypes, torch, vfi_kernels as vk
count = 2 * 8 * 40
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
memory = (ctypes.c_float * count).from_address(libc.malloc(4 * (count - {missing})))
flow = torch.frombuffer(memory, dtype=torch.float32).view(1, 2, 8, 40)
flow.view(-1)[:-1].fill_(0.5)
vk.backward_warp(torch.rand(1, 2, 8, 40), flow)
"""
    done = sanitizers.run(folder, program, VFI_KERNELS_CPU=level)
    reported = "ERROR: AddressSanitizer" in done.stderr
    assert (reported, done.returncode != 0) == (bool(missing), bool(missing)), done.stderr[:3000]


@pytest.mark.nightly
@builds
@every_level
def test_every_op_is_clean(whole, level):
    check(whole, level)
