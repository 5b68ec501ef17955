"""The trials of compat.patch: what is not sure to compute the same stays, and a trial leaves nothing behind."""

import os
import sys
from types import ModuleType

import pytest
import torch

from vfi_kernels import compat
from vfi_kernels.compat import _children

BASE = """
import torch
import torch.nn.functional as F
from torch.nn import Module

def warped(image, flow, padding="border"):
    height, width = flow.shape[2:]
    ys, xs = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    half = torch.tensor([(image.shape[3] - 1) / 2, (image.shape[2] - 1) / 2]).view(1, 2, 1, 1)
    grid = (torch.stack((xs, ys))[None] + flow / half).permute(0, 2, 3, 1)
    return F.grid_sample(image, grid, padding_mode=padding, align_corners=True)
"""


def module_of(code, name="made_up"):
    """A module of the warp above and of `code`."""
    module = ModuleType(name)
    sys.modules[name] = module
    exec(BASE + code, vars(module))
    return module


def replaced(report):
    return {r.place for r in report.replaced}


OTHERS = {
    "needs its object": "class Net(Module):\n  def warp(self, img, flow): return warped(img, flow * self.s)",
    "calls its parent": "class Net(Module):\n  def warp(self, img, flow): return super().warp(img, flow * 2)",
    "wants multiples of 16": "def warp(img, flow):\n  assert img.shape[2] % 16 == 0\n  return warped(img, -flow)",
    "uses what comes later": "def warp(img, flow): return later(img, flow)",
    "has no gradient for the flow": "def warp(img, flow): return warped(img, flow.detach())",
    # What torch.no_grad wraps is the same, and replaced inside it.
    "has no gradient": "@torch.no_grad()\ndef warp(img, flow): return warped(img, flow)",
    "clamps to [0, 1]": "def warp(img, flow): return warped(img, flow).clamp(0, 1)",
    "clamps the flow": "def warp(img, flow): return warped(img, flow.clamp(-64, 64), 'zeros')",
    "masks from 0.99 on": "def bwarp(x, flo):\n  mask = warped(torch.ones_like(x), flo, 'zeros') >= 0.99\n"
    "  return warped(x, flo, 'zeros') * mask",
    "takes anything more": "def warp(img, flow, *args, **kwargs): return warped(img, flow)",
    "takes no flow": "def warp(video, folder): raise SystemExit('ran')",
    "does something else on a GPU": "def warp(img, flow): return warped(img, -flow if img.is_cuda else flow)",
    "does something else where there is a GPU": "def warp(img, flow):\n"
    "  return warped(img, flow * 2 if torch.cuda.is_available() else flow)",
    "leaves the process": "def warp(img, flow): raise SystemExit(3)",
    "returns another dtype": "def warp(img, flow): return warped(img, flow).half()",
    "has a radius of 3": "def FunctionCorrelation(tenFirst, tenSecond): return tenFirst.repeat(1, 20, 1, 1)[:, :49]",
    "adds no 1e-7": "def softsplat(tenIn, tenFlow, tenMetric, strMode): return tenIn",
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_not_sure_to_be_the_same_stays(kind, capfd):
    module = module_of(OTHERS[kind])
    report = compat.patch(module)
    assert replaced(report) - {"made_up.warp.func"} == {"made_up.warped"} and len(report.left) == 1, str(report)
    assert capfd.readouterr() == ("", "")


def test_a_method_is_tried_on_the_parts_of_the_model():
    code = """
class Net(Module):
    def __init__(self, s):
        super().__init__()
        self.s = s
    def warp(self, tenInput, tenFlow):
        return warped(tenInput, tenFlow * self.s)
"""
    module = module_of(code)
    net, other = module.Net(1.0), module.Net(20.0)
    assert "made_up.Net.warp" in replaced(compat.patch(net))
    image, flow = torch.rand(1, 3, 12, 16), torch.rand(1, 2, 12, 16)
    assert torch.equal(net.warp(image, flow), compat.rife.warp(image, flow))
    torch.testing.assert_close(other.warp(image, flow), compat.rife.warp(image, flow * 20), rtol=0, atol=1e-4)
    compat.unpatch()
    assert "made_up.Net.warp" not in replaced(compat.patch(other))


CACHES = {
    "variable": "grid = None\ndef warp(img, flow):\n  global grid\n  grid = flow.shape if grid is None else grid\n"
    "  assert grid == flow.shape\n  return warped(img, flow)",
    "class": "class Cache: grid = None\ndef warp(img, flow):\n  Cache.grid = Cache.grid or flow.shape\n"
    "  assert Cache.grid == flow.shape\n  return warped(img, flow)",
    "list": "grids = []\ndef warp(img, flow):\n  if not grids: grids.append(flow.shape)\n"
    "  assert grids[0] == flow.shape\n"
    "  return warped(img, flow)",
    "closure": "def make():\n  grids = {}\n  def warp(img, flow):\n"
    "    assert grids.setdefault(0, flow.shape) == flow.shape\n    return warped(img, flow)\n  return warp\n"
    "warp = make()",
    "attribute": "def warp(img, flow):\n  warp.grid = getattr(warp, 'grid', flow.shape)\n"
    "  assert warp.grid == flow.shape\n  return warped(img, flow)",
    "random": "def warp(img, flow):\n  torch.rand(3)\n  __import__('random').random()\n  return warped(img, flow)",
    "cached": "import functools\n@functools.lru_cache(None)\ndef grid(size): return size\n"
    "def warp(img, flow):\n  assert grid(1) and len(grid(flow.shape)) == 4\n  return warped(img, flow)",
}


@pytest.mark.parametrize("kind", CACHES)
def test_a_trial_leaves_nothing_behind(kind, capfd):
    """Grids of the trial's size, random numbers, what is printed."""
    module = module_of(CACHES[kind])
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    with torch.device("meta"):
        report = compat.patch(module, dry_run=True)
    assert capfd.readouterr() == ("", "")
    assert torch.equal(torch.rand(2), expected)
    module.warp(torch.rand(1, 3, 30, 31), torch.zeros(1, 2, 30, 31))
    assert replaced(report) == {"made_up.warped", *(["made_up.warp"] if kind != "random" else [])}


def test_half_as_default_dtype_changes_nothing():
    """Practical-RIFE sets it before it imports its warp."""
    module = module_of("def warp(tenInput, tenFlow): return warped(tenInput, tenFlow)")
    torch.set_default_dtype(torch.float16)
    try:
        assert "made_up.warp" in replaced(compat.patch(module))
        assert torch.get_default_dtype() == torch.float16
    finally:
        torch.set_default_dtype(torch.float32)


def test_plain_torch_that_computes_the_same_is_replaced():
    """GMFSS-like fallbacks."""
    code = """
import compat.transcriptions as t
def softsplat(tenIn, tenFlow, tenMetric, strMode): return t.softsplat(tenIn, tenFlow, tenMetric, strMode)
def FunctionCorrelation(tenFirst, tenSecond): return t.cost_volume(tenFirst, tenSecond)
"""
    report = compat.patch(module_of(code))
    assert replaced(report) == {"made_up.warped", "made_up.softsplat", "made_up.FunctionCorrelation"}
    assert all(r.reason.startswith("it computes the same") for r in report.replaced)


def test_a_function_of_the_module_under_a_name_of_a_class_is_no_method():
    module = module_of("def warp(img, flow): return warped(img, flow)\nclass Net(Module):\n  other = warp")
    assert replaced(compat.patch(module)) == {"made_up.warp", "made_up.warped"}


def test_what_was_patched_is_not_patched_again():
    module = module_of("def warp(img, flow): return warped(img, flow)")
    assert replaced(compat.patch(module)) == {"made_up.warp", "made_up.warped"}
    again = compat.patch(module)
    assert not again.replaced and not again.left
    assert compat.unpatch() == 2


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_patched_inside_a_mode(mode):
    module = module_of("def warp(img, flow): return warped(img, flow)")
    with mode():
        assert replaced(compat.patch(module)) == {"made_up.warp", "made_up.warped"}
    compat.unpatch()
    assert replaced(compat.patch(module)) == {"made_up.warp", "made_up.warped"}


def test_a_process_with_very_many_files():
    """More than `select` takes."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(2000, before[1]) if before[1] != resource.RLIM_INFINITY else 2000
    if wanted < 1200:
        pytest.skip("so many files cannot be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(wanted, before[0]), before[1]))
    files = []
    try:
        files += [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
        assert _children.answers([lambda: 1, lambda: 2], str) == [1, 2]
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
