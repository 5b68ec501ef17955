"""compat.patch on small repositories of the structure of real ones (repositories/) and on modules made here."""

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from compat.transcriptions import masked_warp

import vfi_kernels as vk
from vfi_kernels import compat
from vfi_kernels.compat import _stubs, _warp_trials

NONE = _warp_trials.NONE
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
    row = next(row for row in report.rows() if row["place"] == "model.ifnet.warp")
    assert row["reason"] == "it computes the same: samples at x + flow, border outside"
    assert row in json.loads(report.json())
    assert all(cell in str(report) for cell in row.values())
    with torch.no_grad():
        torch.testing.assert_close(net(*images), before, rtol=0, atol=1e-5)
        net(*(image[..., :12] for image in images))
    assert len(warplayer.backwarp_tenGrid) == 1, "ours was called, which has no grids"
    assert compat.unpatch() == 2
    with torch.no_grad():
        assert torch.equal(net(*images), before)
        net(*(image[..., :12] for image in images))
    assert len(warplayer.backwarp_tenGrid) == 2


def test_dry_run_changes_nothing(repository):
    package, ifnet, warplayer = repository("rife", "model", "model.ifnet", "model.warplayer")
    theirs = warplayer.warp
    report = compat.patch(package, dry_run=True)
    assert places(report.replaced) == {"model.ifnet.warp", "model.warplayer.warp"}
    assert ifnet.warp is warplayer.warp is theirs
    assert warplayer.backwarp_tenGrid == {}, "the trial call left nothing behind"
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
    assert reasons["warp"] == NONE
    assert reasons["flow_warp"].startswith("it does not run here, so what it computes is not known (RuntimeError")
    assert reasons["backwarp"] == "its parameters are (image, flow, mask, strength), expected an image and a flow"
    assert reasons["bwarp"] == NONE and reasons["softsplat"] == "it computes something else"
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
    with pytest.raises(TypeError, match=r"bwarp\(\) missing 1 required positional argument: 'flo'"):
        net.bwarp(image)
    with pytest.raises(TypeError, match=r"bwarp\(\) got an unexpected keyword argument 'y'"):
        net.bwarp(image, flow, y=1)


def test_kernels_of_cupy_are_launched_as_nothing(repository, monkeypatch):
    cupy = _stubs.cupy_stubs()["cupy"]
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    softsplat, correlation = repository("splatting", "softsplat", "correlation")
    values, flow = torch.rand(1, 3, 6, 7), torch.randn(1, 2, 6, 7)
    module = softsplat.ModuleSoftsplat("average")  # its class stays, the function that it calls does not
    report = compat.patch(softsplat)
    report.replaced += compat.patch(correlation).replaced
    assert {(r.place, r.by) for r in report.replaced} == {
        ("softsplat.softsplat", "compat.softsplat.softsplat"),
        ("softsplat.softsplat_func", "compat.softsplat.softsplat_func.apply"),
        ("softsplat.FunctionSoftsplat", "compat.ebme.FunctionSoftsplat"),
        ("correlation._FunctionCorrelation", "compat.softsplat.FunctionCorrelation"),
        ("correlation.FunctionCorrelation", "compat.ebme.FunctionCorrelation"),
    }
    expected = vk.splat(values, flow, mode="sum")
    assert torch.equal(softsplat.softsplat(values, flow, None, "sum"), expected)
    assert torch.equal(softsplat.softsplat_func.apply(values, flow), expected)
    assert torch.equal(module(values, flow, None), vk.splat(values, flow, mode="average"))
    assert torch.equal(correlation.FunctionCorrelation(values, values), vk.correlation(values, values))
    assert torch.equal(correlation.ModuleCorrelation()(values, tenTwo=values), vk.correlation(values, values))
    assert compat.unpatch() == 5
    with pytest.raises(RuntimeError, match="no CUDA here"):
        softsplat.softsplat_func.apply(values, flow)


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
    code = "import compat.transcriptions as t\ndef softsplat(tenIn, tenFlow, tenMetric=None, strMode='avg'):\n"
    exec(code + "    return t.softsplat(tenIn, tenFlow, tenMetric, strMode)", vars(module))
    theirs = module.softsplat
    report = compat.patch(module)
    values, flow = torch.rand(1, 3, 6, 7), torch.randn(1, 2, 6, 7)
    assert places(report.replaced) == {"copy_of_softsplat.softsplat"}
    expected = compat.softsplat.softsplat(values, flow, None, "avg")
    assert torch.equal(module.softsplat(values, flow), expected)
    assert torch.equal(module.softsplat(tenFlow=flow, tenIn=values, tenMetric=None), expected)
    compiled = torch.compile(module.softsplat, fullgraph=True, backend="eager")
    assert torch.equal(compiled(values, tenFlow=flow), expected)
    compat.unpatch()
    assert module.softsplat is theirs


def test_our_own_modules_are_left_alone():
    report = compat.patch(compat.softsplat)
    assert not report.replaced and not report.left
    assert str(report) == "nothing to replace was found"


def test_a_wrong_target_gets_one_sentence():
    with pytest.raises(TypeError, match=r"patch: expected a module, a package or an nn\.Module, got str"):
        compat.patch("model")


def test_changes_made_since_are_kept():
    module = ModuleType("changed")
    exec("def FunctionCorrelation(tenFirst, tenSecond): raise NotImplementedError()", vars(module))
    assert len(compat.patch(module).replaced) == 1
    module.FunctionCorrelation = mine = lambda a, b: a
    assert compat.unpatch() == 0 and module.FunctionCorrelation is mine
