"""compat.patch on small repositories of the structure of real ones (repositories/)."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from compat.transcriptions import masked_warp

import vfi_kernels as vk
from vfi_kernels import compat
from vfi_kernels.compat import _stubs

REPOSITORIES = Path(__file__).parent / "repositories"


@pytest.fixture
def repository(monkeypatch):
    """Imports modules of a repository; afterwards nothing of it is left."""
    before = dict(sys.modules)

    def load(name, *modules):
        monkeypatch.syspath_prepend(str(REPOSITORIES / name))
        return [importlib.import_module(module) for module in modules]

    yield load
    compat.unpatch()
    for name in set(sys.modules) - set(before):
        del sys.modules[name]


def places(entries):
    return {entry.place for entry in entries}


def test_a_package_is_patched_wherever_it_uses_the_function(repository):
    package, ifnet, warplayer = repository("rife", "model", "model.ifnet", "model.warplayer")
    net = ifnet.IFNet()
    images = torch.rand(2, 2, 3, 16, 20)
    with torch.no_grad():
        before = net(*images)
    report = compat.patch(package)
    assert places(report.replaced) == {"model.ifnet.warp", "model.warplayer.warp"}
    assert {r.by for r in report.replaced} == {"compat.rife.warp"}
    assert places(report.left) == {"model.other"}, "a module that is not imported is reported"
    assert "replaced model.ifnet.warp by compat.rife.warp: it computes the same" in str(report)
    calls = warplayer.calls
    with torch.no_grad():
        torch.testing.assert_close(net(*images), before, rtol=0, atol=1e-5)
    assert warplayer.calls == calls and ifnet.warp is compat.rife.warp
    assert compat.unpatch() == 2
    with torch.no_grad():
        assert torch.equal(net(*images), before)
    assert warplayer.calls == calls + 1


def test_dry_run_changes_nothing(repository):
    package, ifnet, warplayer = repository("rife", "model", "model.ifnet", "model.warplayer")
    theirs = warplayer.warp
    report = compat.patch(package, dry_run=True)
    assert places(report.replaced) == {"model.ifnet.warp", "model.warplayer.warp"}
    assert ifnet.warp is warplayer.warp is theirs
    assert warplayer.backwarp_tenGrid == {} and warplayer.calls == 0, "the trial call left nothing behind"
    assert compat.unpatch() == 0


def test_a_model_stands_for_the_modules_of_its_classes(repository):
    (ifnet,) = repository("rife", "model.ifnet")
    model = torch.nn.Sequential(ifnet.IFNet(), torch.nn.Conv2d(3, 3, 1))
    report = compat.patch(model)
    assert places(report.replaced) == {"model.ifnet.warp", "model.warplayer.warp"} and not report.left
    assert torch.nn.Conv2d.forward.__module__ == "torch.nn.modules.conv"


def test_what_computes_something_else_is_left_with_the_reason(repository):
    (other,) = repository("rife", "model.other")
    theirs = dict(vars(other))
    report = compat.patch(other)
    assert not report.replaced
    reasons = {entry.place.removeprefix("model.other."): entry.reason for entry in report.left}
    assert reasons.keys() == {"warp", "flow_warp", "backwarp", "bwarp", "softsplat"}
    for name in ("warp", "bwarp"):
        assert reasons[name].startswith("none of our warps computes the same"), name
    assert reasons["flow_warp"].startswith("it does not run here, so what it computes is not known (RuntimeError")
    assert reasons["backwarp"] == "its parameters are (image, flow, mask, strength), expected an image and a flow"
    assert reasons["softsplat"].startswith("its parameters are (image, flow), expected (tenIn, tenFlow, tenMetric")
    assert other.grid_of_one_size is None, "a grid of the trial's size would break the next call"
    assert {k: vars(other)[k] for k in theirs if not k.startswith("__")} == {
        k: v for k, v in theirs.items() if not k.startswith("__")
    }


def test_methods_lose_their_self(repository):
    (network,) = repository("xvfi", "network")
    net, image, flow = network.Network(), torch.rand(1, 3, 9, 11), torch.randn(1, 2, 9, 11) * 4
    before = net(image, flow)
    report = compat.patch(net)
    assert {(r.place, r.by) for r in report.replaced} == {
        ("network.Network.bwarp", "compat.xvfi.bwarp"),
        ("network.Network.warp", "compat.ifrnet.warp"),
    }
    torch.testing.assert_close(net(image, flow), before, rtol=0, atol=1e-5)
    torch.testing.assert_close(net.bwarp(x=image, flo=flow), masked_warp(image, flow), rtol=0, atol=1e-5)
    with pytest.raises(TypeError, match="bwarp: expected the arguments self, x, flo, got self, x"):
        net.bwarp(image)
    with pytest.raises(TypeError, match="bwarp: expected the arguments self, x, flo, got self, x, flo, y"):
        net.bwarp(image, flow, y=1)


def test_cupy_kernels_are_not_run(repository, monkeypatch):
    cupy = _stubs.cupy_stubs()["cupy"]
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    softsplat, correlation = repository("splatting", "softsplat", "correlation")
    values, flow = torch.rand(1, 3, 6, 7), torch.randn(1, 2, 6, 7)
    with pytest.raises(RuntimeError, match="a kernel of CuPy was launched"):
        softsplat.softsplat(values, flow, None, "sum")
    with pytest.raises(RuntimeError, match="a kernel of CuPy was launched"):
        correlation.FunctionCorrelation(values, values)
    module = softsplat.ModuleSoftsplat("average")  # made before: its class stays, the function that it calls does not
    report = compat.patch(softsplat)
    report.replaced += compat.patch(correlation).replaced
    assert {(r.place, r.by) for r in report.replaced} == {
        ("softsplat.softsplat", "compat.softsplat.softsplat"),
        ("softsplat.softsplat_func", "compat.softsplat.softsplat_func"),
        ("softsplat.FunctionSoftsplat", "compat.ebme.FunctionSoftsplat"),
        ("softsplat.ModuleSoftsplat", "compat.ebme.ModuleSoftsplat"),
        ("correlation.FunctionCorrelation", "compat.ebme.FunctionCorrelation"),
    }
    expected = vk.splat(values, flow, mode="sum")
    assert torch.equal(softsplat.softsplat(values, flow, None, "sum"), expected)
    assert torch.equal(softsplat.softsplat_func.apply(values, flow), expected)
    assert torch.equal(module(values, flow, None), vk.splat(values, flow, mode="average"))
    assert torch.equal(correlation.FunctionCorrelation(values, values), vk.correlation(values, values))


def library(name, **values):
    """A module of a library that is not installed, whose classes say that they are of it."""
    module = ModuleType(name)
    for key, value in values.items():
        value.__module__ = name
        setattr(module, key, value)
    return module


def test_layers_of_torchvision_and_mmcv_become_ours():
    """By their class: the parameters stay where they are."""

    class DeformConv2d(vk.compat.torchvision.DeformConv2d):
        def forward(self, input, offset, mask=None):
            raise AssertionError("torchvision ran")

    class ModulatedDeformConv2dPack(vk.nn.ModulatedDeformConv2dPack):
        def forward(self, x):
            raise AssertionError("mmcv ran")

    library("torchvision.ops.deform_conv", DeformConv2d=DeformConv2d)
    library("mmcv.ops.modulated_deform_conv", ModulatedDeformConv2dPack=ModulatedDeformConv2dPack)
    model = torch.nn.ModuleDict({"a": DeformConv2d(4, 4, 3), "b": ModulatedDeformConv2dPack(4, 4, 3)})
    parameters = [p.data_ptr() for p in model.parameters()]
    report = compat.patch(model)
    assert {(r.place, r.by) for r in report.replaced} == {
        ("ModuleDict.a", "compat.torchvision.DeformConv2d"),
        ("ModuleDict.b", "compat.mmcv.ModulatedDeformConv2dPack"),
    }
    x = torch.rand(1, 4, 8, 8)
    assert model["a"](x, torch.zeros(1, 18, 6, 6)).shape == model["b"](x).shape == (1, 4, 6, 6)
    assert [p.data_ptr() for p in model.parameters()] == parameters
    assert compat.unpatch() == 2
    with pytest.raises(AssertionError, match="mmcv ran"):
        model["b"](x)


def test_defaults_and_names_of_the_replaced_function_stay():
    """GMFSS-like copies have defaults of their own."""
    module = ModuleType("copy_of_softsplat")
    code = "def softsplat(tenIn, tenFlow, tenMetric=None, strMode='avg'): raise AssertionError('theirs ran')"
    exec(code, vars(module))
    report = compat.patch(module)
    values, flow = torch.rand(1, 3, 6, 7), torch.randn(1, 2, 6, 7)
    assert places(report.replaced) == {"copy_of_softsplat.softsplat"}
    expected = compat.softsplat.softsplat(values, flow, None, "avg")
    assert torch.equal(module.softsplat(values, flow), expected)
    assert torch.equal(module.softsplat(tenFlow=flow, tenIn=values, tenMetric=None), expected)
    compiled = torch.compile(module.softsplat, fullgraph=True, backend="eager")
    assert torch.equal(compiled(values, tenFlow=flow), expected)
    compat.unpatch()
    with pytest.raises(AssertionError, match="theirs ran"):
        module.softsplat(values, flow)


def test_our_own_modules_are_left_alone():
    report = compat.patch(compat.softsplat)
    assert not report.replaced and not report.left
    assert str(report) == "nothing to replace was found"


def test_a_wrong_target_gets_one_sentence():
    with pytest.raises(TypeError, match=r"patch: expected a module, a package or an nn\.Module, got str"):
        compat.patch("model")


def test_changes_made_since_are_kept():
    module = ModuleType("changed")
    exec("def warp(tenInput, tenFlow): return tenInput.cuda()[tenFlow]", vars(module))
    assert len(compat.patch(module).replaced) == 1
    module.warp = mine = lambda a, b: a
    assert compat.unpatch() == 0 and module.warp is mine


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


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    compat.unpatch()
    sys.modules.pop("made_up", None)


OTHERS = {
    "needs its object": "class Net(Module):\n  def warp(self, img, flow): return warped(img, flow * self.s)",
    "calls its parent": "class Net(Module):\n  def warp(self, img, flow): return super().warp(img, flow * 2)",
    "wants multiples of 16": "def warp(img, flow):\n  assert img.shape[2] % 16 == 0\n  return warped(img, -flow)",
    "uses what comes later": "def warp(img, flow): return later(img, flow)",
    "has no gradient for the flow": "def warp(img, flow): return warped(img, flow.detach())",
    "has no gradient": "warp = torch.no_grad()(warped)\nwarp.__name__ = 'warp'",
    "clamps to [0, 1]": "def warp(img, flow): return warped(img, flow).clamp(0, 1)",
    "clamps the flow": "def warp(img, flow): return warped(img, flow.clamp(-64, 64), 'zeros')",
    "masks from 0.99 on": "def bwarp(x, flo):\n  mask = warped(torch.ones_like(x), flo, 'zeros') >= 0.99\n"
    "  return warped(x, flo, 'zeros') * mask",
    "masks off by default": "def bwarp(x, flo, withmask=False): return warped(x, flo, 'zeros')",
    "takes anything more": "def warp(img, flow, *args, **kwargs): return warped(img, flow)",
    "takes no flow": "def warp(video, folder): raise SystemExit('ran')",
    "leaves the process": "def warp(img, flow): raise SystemExit(3)",
    "returns another dtype": "def warp(img, flow): return warped(img, flow).half()",
    "has a radius of 3": "def FunctionCorrelation(tenFirst, tenSecond): return tenFirst.repeat(1, 20, 1, 1)[:, :49]",
    "adds no 1e-7": "def softsplat(tenIn, tenFlow, tenMetric, strMode): return tenIn",
    "is made of more": "class ModuleSoftsplat(Module):\n  def __init__(self, strType, eps): super().__init__()\n"
    "  def forward(self, tenInput, tenFlow, tenMetric): return tenInput",
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_not_sure_to_be_the_same_stays(kind, capfd):
    module = module_of(OTHERS[kind])
    report = compat.patch(module)
    assert not report.replaced and len(report.left) == 1, str(report)
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
    assert len(compat.patch(module.Net(1.0)).replaced) == 1
    compat.unpatch()
    assert not compat.patch(module.Net(20.0)).replaced


CACHES = {
    "variable": "grid = None\ndef warp(img, flow):\n  global grid\n  grid = flow.shape if grid is None else grid\n"
    "  assert grid == flow.shape\n  return warped(img, flow)",
    "class": "class Cache: grid = None\ndef warp(img, flow):\n  Cache.grid = Cache.grid or flow.shape\n"
    "  assert Cache.grid == flow.shape\n  return warped(img, flow)",
    "list": "grids = []\ndef warp(img, flow):\n  grids.append(flow.shape)\n  assert grids[0] == flow.shape\n"
    "  return warped(img, flow)",
    "closure": "def make():\n  grids = {}\n  def warp(img, flow):\n"
    "    assert grids.setdefault(0, flow.shape) == flow.shape\n    return warped(img, flow)\n  return warp\n"
    "warp = make()",
    "attribute": "def warp(img, flow):\n  warp.grid = getattr(warp, 'grid', flow.shape)\n"
    "  assert warp.grid == flow.shape\n  return warped(img, flow)",
    "random": "def warp(img, flow):\n  torch.rand(3)\n  __import__('random').random()\n  print('seen')\n"
    "  return warped(img, flow)",
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
    assert kind in ("variable", "class", "list", "closure", "attribute") or len(report.replaced) == 1


def test_half_as_default_dtype_changes_nothing():
    """Practical-RIFE sets it before it imports its warp."""
    module = module_of("def warp(tenInput, tenFlow): return warped(tenInput, tenFlow)")
    torch.set_default_dtype(torch.float16)
    try:
        assert len(compat.patch(module).replaced) == 1
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
    assert {r.place for r in report.replaced} == {"made_up.softsplat", "made_up.FunctionCorrelation"}
    assert {r.reason for r in report.replaced} == {"it computes the same"}


def test_a_function_of_the_module_under_a_name_of_a_class_is_no_method():
    module = module_of("def warp(img, flow): return warped(img, flow)\nclass Net(Module):\n  other = warp")
    assert {r.place for r in compat.patch(module).replaced} == {"made_up.warp"}
