"""compat.patch on the signatures in use: a radius among the parameters, methods, further parameters without defaults;
and what is left has a reason that is its own."""

import sys
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from compat.transcriptions import grid_warp

import vfi_kernels as vk
from vfi_kernels import compat


def volume(one, two, radius):
    height, width = one.shape[2:]
    near = F.pad(two, (radius,) * 4)
    windows = [near[:, :, y : y + height, x : x + width] for y in range(2 * radius + 1) for x in range(2 * radius + 1)]
    return torch.stack([(one * w).mean(1) for w in windows], 1)


def module_of(code, monkeypatch):
    module = ModuleType("client")
    monkeypatch.setitem(sys.modules, "client", module)
    vars(module).update(volume=volume, grid_warp=grid_warp, torch=torch, nn=torch.nn)
    volume.__module__, grid_warp.__module__ = "torch", "torch"  # not looked at themselves
    exec(code, vars(module))
    return module


def maps():
    return torch.randn(2, 2, 5, 9, 11)


VOLUMES = {
    "a radius with a default": ("def cost_volume(a, b, max_displacement=4): return volume(a, b, max_displacement)",
                                {"max_displacement": 2}),
    "a radius without one": ("def cost_volume(a, b, md): return volume(a, b, md)", {"md": 3}),
    "a side": ("def costvol(a, b, size): return volume(a, b, size // 2)", {"size": 7}),
    "a side with a default": ("def correlation(a, b, size=9): return volume(a, b, size // 2)", {"size": 3}),
    "a number that means something else": ("def correlation(a, b, scale=3): return volume(a, b, 2) * (scale / 3)",
                                           {"scale": 5}),
    "a word": ("def correlation(a, b, mode='mean'): return volume(a, b, 2) * (1 if mode == 'mean' else 5)",
               {"mode": "sum"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", VOLUMES)
def test_a_cost_volume_of_more_parameters(monkeypatch, kind):
    code, more = VOLUMES[kind]
    module = module_of(code, monkeypatch)
    (name,) = (n for n in vars(module) if n in code and n not in ("volume", "torch", "nn"))
    theirs = vars(module)[name]
    (replaced,) = compat.patch(module).replaced
    ours, (one, two) = vars(module)[name], maps()
    if "without" not in kind and kind != "a side":
        assert torch.equal(ours(one, two), ours(one, b=two))
        torch.testing.assert_close(ours(one, two), theirs(one, two), rtol=0, atol=1e-5)
    torch.testing.assert_close(ours(one, two, **more), theirs(one, two, **more), rtol=0, atol=1e-5)
    torch.testing.assert_close(ours(one, two, *more.values()), theirs(one, two, *more.values()), rtol=0, atol=1e-5)
    assert replaced.by in ("vk.correlation", "compat.softsplat.FunctionCorrelation")


METHODS = """
class CostVolume(nn.Module):
    def __init__(self, radius=4, gain=1.0):
        super().__init__()
        self.radius, self.gain = radius, gain
    def forward(self, one, two):
        return volume(one, two, self.radius) * self.gain

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.costs, self.other, self.md = CostVolume(), CostVolume(2), 3
    def correlation(self, one, two):
        return volume(one, two, self.md)
    def forward(self, one, two):
        return self.costs(one, two), self.other(one, two), self.correlation(one, two)
"""


def test_methods_are_replaced_for_objects_like_the_one_that_was_tried(monkeypatch):
    module = module_of(METHODS, monkeypatch)
    net, (one, two) = module.Net(), maps()
    before = net(one, two)
    report = compat.patch(net)
    assert {r.place for r in report.replaced} == {"client.CostVolume.forward", "client.Net.correlation"}, str(report)
    assert torch.equal(net.costs(one, two), vk.correlation(one, two))
    for found, expected in zip(net(one, two), before):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    net.md, net.costs.gain = 1, 0.5
    assert torch.equal(net.correlation(one, two), volume(one, two, 1))
    assert torch.equal(net.costs(one, two), volume(one, two, 4) * 0.5)


def test_a_method_that_computes_something_else_is_in_the_report(monkeypatch):
    code = METHODS.replace("* self.gain", "* self.gain * 0.9").replace("one, two, self.md)", "one, two, self.unknown)")
    report = compat.patch(module_of(code, monkeypatch))
    reasons = {item.place: item.reason for item in report.left}
    assert not report.replaced and reasons.keys() == {"client.CostVolume.forward", "client.Net.correlation"}
    assert reasons["client.CostVolume.forward"] == "it computes something else"
    assert reasons["client.Net.correlation"].startswith(("it needs its object: patch a model", "it does not run here"))


def test_a_warp_with_a_border_without_a_default(monkeypatch):
    module = module_of("def warp(x, flow, padding): return grid_warp(x, flow, padding)", monkeypatch)
    theirs = module.warp
    (replaced,) = compat.patch(module).replaced
    image, flow = torch.rand(2, 3, 9, 11), torch.randn(2, 2, 9, 11) * 5
    for padding in ("zeros", "border", "reflection"):
        found, expected = module.warp(image, flow, padding), theirs(image, flow, padding=padding)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
        assert torch.equal(found, vk.backward_warp(image, flow, padding_mode=padding)), replaced
    with pytest.raises(ValueError, match="padding_mode"):
        module.warp(image, flow, "other")


def test_a_warp_with_a_switch_without_a_default(monkeypatch):
    code = "def warp(x, flow, use_mask): return grid_warp(x, flow, 'zeros') * (0.5 if use_mask else 1)"
    module = module_of(code, monkeypatch)
    theirs = module.warp
    assert len(compat.patch(module).replaced) == 1
    image, flow = torch.rand(2, 3, 9, 11), torch.randn(2, 2, 9, 11) * 5
    for value in (True, False, 1, None):
        torch.testing.assert_close(module.warp(image, flow, value), theirs(image, flow, value), rtol=0, atol=1e-4)


REASONS = {
    "def warp(x, flow, strength): return grid_warp(x, flow * strength.abs(), 'zeros')":
        "for no value of strength that we know it is a warp of ours: it does not run with any",
    "def warp(x, flow, strength, weight): return x":
        "its parameters are (x, flow, strength, weight), expected an image and a flow",
    "def correlation(a, b): return a.new_zeros(2, 80, 9, 11)":
        "it returns a tensor of shape (2, 80, 9, 11), expected costs of a square of displacements",
    "def correlation(a, b): raise ValueError('no')":
        "it does not run here, so what it computes is not known (ValueError: no)",
}  # fmt: skip


@pytest.mark.parametrize("code", REASONS)
def test_what_is_left_has_a_reason_of_its_own(monkeypatch, code):
    (left,) = compat.patch(module_of(code, monkeypatch)).left
    assert left.reason == REASONS[code]


@pytest.mark.parametrize("size", [(1, 9), (9, 1), (1, 1), (2, 9)])
@pytest.mark.parametrize("divisor", ["max(n - 1, 1)", "n - 1", "n"])
def test_one_row_or_column_is_the_original(monkeypatch, divisor, size):
    code = f"""
import torch.nn.functional as F
def warp(x, flow):
    planes = []
    for axis, n in enumerate((x.shape[3], x.shape[2])):
        at = torch.arange(n).view((1, -1) if axis == 0 else (-1, 1)) + flow[:, axis]
        planes.append(2 * at / ({divisor}) - 1)
    return F.grid_sample(x, torch.stack(planes, 3), align_corners={divisor != "n"})
"""
    module = module_of(code, monkeypatch)
    theirs = module.warp
    assert len(compat.patch(module).replaced) == 1
    image, flow = torch.rand(2, 3, *size), torch.randn(2, 2, *size) * 3
    torch.testing.assert_close(module.warp(image, flow), theirs(image, flow), rtol=0, atol=1e-5, equal_nan=True)
