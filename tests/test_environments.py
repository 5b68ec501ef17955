"""The library as it was compiled here, in other versions and builds of torch; and beside torchvision's own operator."""

import environments
import pytest
from vfi_build import MINIMUM_TORCH

pytestmark = pytest.mark.nightly
TESTS = environments.ROOT / "tests"
OLDEST = ".".join(map(str, MINIMUM_TORCH))


@pytest.mark.parametrize(("name", "version"), [(f"torch-{OLDEST}", f"{OLDEST}."), ("torch-cuda", "2.")])
def test_it_loads_and_runs(name, version):
    """Both are CUDA builds: import without a GPU, and forward and gradient of every op on the CPU."""
    program = """
import sanitized_calls as calls, torch, vfi_kernels
calls.run(widths=(9,), seeds=0)
print(torch.__version__, torch.version.cuda)
"""
    done = environments.run(name, "-c", program)
    assert done.returncode == 0, done.stderr[-3000:]
    calls, torch_version = done.stdout.splitlines()
    assert " calls, " in calls and torch_version.startswith(version)


@pytest.mark.parametrize("file", ["test_every_op.py", "test_every_op_in_torch.py", "test_random_calls.py", "ops"])
def test_the_ops_with_the_oldest_torch(file):
    options = ["-q", "-n", "auto", "-p", "no:cacheprovider", "-m", "not slow and not gpu and not nightly"]
    done = environments.run(f"torch-{OLDEST}", "-m", "pytest", *options, str(TESTS / file), OMP_WAIT_POLICY="passive")
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def test_torchvisions_own_operator_agrees():
    program = """
import torch, torchvision
from vfi_kernels import compat
torch.manual_seed(0)
for groups in (1, 2):
    x, mask = torch.randn(2, 8, 9, 11).double(), torch.rand(2, 18, 9, 11).double()
    offset, weight = 2 * torch.randn(2, 36, 9, 11).double(), torch.randn(6, 8 // groups, 3, 3).double()
    given = [t.requires_grad_() for t in (x, offset, weight, mask)]
    found = []
    for library in (torchvision.ops, compat.torchvision):
        out = library.deform_conv2d(*given[:3], None, 1, 1, 1, given[3])
        found.append([out, *torch.autograd.grad(out.square().sum(), given)])
    for ours, theirs in zip(*found):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
print("agrees")
"""
    done = environments.run("torch-cuda", "-c", program)
    assert done.stdout == "agrees\n", done.stderr[-3000:]
