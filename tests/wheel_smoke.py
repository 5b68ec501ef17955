"""Whether an installed wheel works by itself: `python -I wheel_smoke.py`, with the Python of a clean environment."""

import subprocess
import sys
import sysconfig
from importlib import metadata, util
from pathlib import Path

import torch

import vfi_kernels as vk


def check_files() -> None:
    """Both packages lie in this environment, whole, and with nothing of the source tree beside them."""
    site = Path(sysconfig.get_path("platlib")).resolve()
    for name in ("vfi_kernels", "vfi"):
        spec = util.find_spec(name)
        assert spec and spec.origin and Path(spec.origin).resolve().parent == site / name, spec
        assert (site / name / "py.typed").exists()
    assert metadata.version("vfi-kernels") == vk.__version__
    tops = {Path(f).parts[0] for f in metadata.files("vfi-kernels") or [] if not str(f).startswith("..")}
    assert {top for top in tops if not top.endswith(".dist-info")} <= {"vfi_kernels", "vfi"}, tops


def check_ops() -> None:
    """Forward and backward of a gather and a scatter, compiled against plain PyTorch."""
    image = torch.rand(1, 3, 17, 33, requires_grad=True)
    flow = torch.randn(1, 2, 17, 33, requires_grad=True)
    metric = torch.randn(1, 1, 17, 33)

    def results() -> list[torch.Tensor]:
        outs = [vk.backward_warp(image, flow), vk.splat(image, flow, metric, mode="softmax")]
        return [*outs, *torch.autograd.grad(sum(out.square().sum() for out in outs), (image, flow))]

    with vk.use_backend("reference"):
        expected = results()
    with vk.use_backend("cpp"):
        results_here = results()
    for ours, theirs in zip(results_here, expected):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


def check_commands() -> None:
    program = Path(sysconfig.get_path("scripts")) / ("vfi-kernels.exe" if sys.platform == "win32" else "vfi-kernels")
    for command in ([program, "info"], [sys.executable, "-I", "-m", "vfi_kernels._cli", "info"]):
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert f"vfi kernels        {vk.__version__}" in text and "backend cpp        yes" in text, text


check_files()
check_ops()
check_commands()
print(f"the wheel works: {vk.__file__}")
