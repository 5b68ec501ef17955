"""Who multiplies tiles of half precision: the matrix unit, if the system lets us, plain C++ for tests, or nobody."""

import sys
from pathlib import Path

import pytest
from test_backends import python
from test_cli import run

from vfi_kernels import backends

FLAGS = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
HAS_AMX = "amx_bf16" in FLAGS and sys.platform == "linux"

# A filter of system calls, in the kernel's own language: arch_prctl(ARCH_REQ_XCOMP_PERM, ..) gives EPERM, others pass.
REFUSE = """
import ctypes, struct
LOAD, EQUAL, RETURN, ALLOW, EPERM = 0x20, 0x15, 0x06, 0x7FFF0000, 0x00050001
steps = [(LOAD, 0, 0, 0), (EQUAL, 0, 3, 158), (LOAD, 0, 0, 16), (EQUAL, 0, 1, 0x1023), (RETURN, 0, 0, EPERM),
         (RETURN, 0, 0, ALLOW)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, program, 0, 0) == 0, ctypes.get_errno()  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
"""
INFO = "import sys; from vfi_kernels import _cli; sys.exit(_cli.main(['info']))"


@pytest.mark.skipif(not HAS_AMX, reason="this CPU has no AMX")
def test_where_the_system_refuses_amx_the_next_level_runs_and_info_says_why():
    assert "AMX is not used" not in run("info").stdout
    refused = python(REFUSE + INFO)
    assert "level avx512 of" in refused.stdout, refused.stderr
    assert "AMX is not used: the operating system does not let this process have it" in refused.stdout
    forced = python(REFUSE + INFO, VFI_KERNELS_CPU="amx")
    assert forced.returncode == 2 and "VFI_KERNELS_CPU=amx, but this CPU's best level is avx512" in forced.stderr


def test_an_unknown_unit_gets_one_sentence():
    code = """
import torch, vfi_kernels as vk
x = torch.ones(1, 32, 4, 4, dtype=torch.bfloat16)
print(vk.correlation(x, x, 1).sum().item())
"""
    if backends.cpu_level() not in ("avx512", "amx"):
        pytest.skip("there are tiles from level avx512 on")
    wrong = python(code, VFI_KERNELS_TILES="abacus")
    assert wrong.returncode == 1
    assert "expected VFI_KERNELS_TILES to be emulated or none, got abacus" in wrong.stderr.splitlines()[-1]
    sums = [python(code, VFI_KERNELS_TILES=unit).stdout for unit in ("", "emulated", "none")]
    assert len(set(sums)) == 1 and sums[0]  # sums of ones are exact
