"""After compat.patch: other objects than the one that was tried, and what is made of a size."""

import copy
import gc
import sys
import weakref

import pytest
import torch
from compat.test_guard import FLOW, IMAGE
from compat.test_patch_trials import module_of, replaced
from compat.transcriptions import grid_warp

from vfi_kernels import compat

EXPECTED = grid_warp(IMAGE, FLOW, "border")
NET = """
class Net(Module):
    s = 1.0
    def __init__(self, t=1.0):
        super().__init__()
        self.t = t
    def scale(self): return 1.0
    @property
    def more(self): return 1.0
    def warp(self, img, flow):
        return warped(img, flow * (self.s * self.t * self.scale() * self.more))
    def forward(self, img, flow):
        return self.warp(img, flow)
"""
SUBCLASSES = {
    "class attribute": "class Sub(Net):\n  s = 2.0",
    "method": "class Sub(Net):\n  def scale(self): return 2.0",
    "property": "class Sub(Net):\n  more = property(lambda self: 2.0)",
    "method that calls its parent's": "class Sub(Net):\n  def scale(self): return super().scale() * 2",
    "the method itself": "class Sub(Net):\n  def warp(self, img, flow): return super().warp(img, flow * 2)",
    "attribute of the object": "class Sub(Net):\n  def __init__(self):\n    super().__init__(2.0)",
    "every attribute": "class Sub(Net):\n  def __getattribute__(self, name):\n"
    "    return 2.0 if name == 's' else super().__getattribute__(name)",
    "attribute of a class between": "class Between(Net):\n  s = 2.0\nclass Sub(Between): pass",
}


@pytest.mark.parametrize("first", ["net", "sub", "module"])
@pytest.mark.parametrize("kind", SUBCLASSES)
@pytest.mark.in_turn(of=3)
def test_what_a_subclass_overrides_is_the_original(kind, first):
    module = module_of(NET + SUBCLASSES[kind])
    net, sub = module.Net(), module.Sub()
    expected = net(IMAGE, FLOW), sub(IMAGE, FLOW)
    assert (expected[0] - expected[1]).abs().max() > 1e-2
    compat.patch({"net": torch.nn.Sequential(net, sub), "sub": torch.nn.Sequential(sub, net), "module": module}[first])
    for _ in range(2):
        for one, before in zip((net, sub), expected):
            torch.testing.assert_close(one(IMAGE, FLOW), before, rtol=0, atol=1e-4)


def test_a_subclass_that_overrides_nothing_is_ours():
    module = module_of(NET + "class Sub(Net):\n  other = 3\n  def unrelated(self): return self.other")
    assert "made_up.Net.warp" in replaced(compat.patch(module.Net()))
    assert torch.equal(module.Sub()(IMAGE, FLOW), compat.rife.warp(IMAGE, FLOW))


def test_each_of_several_objects_is_looked_at():
    module = module_of(NET)
    nets = [module.Net(t) for t in (1.0, 2.0, 1.0)]
    expected = [net(IMAGE, FLOW) for net in nets]
    compat.patch(torch.nn.ModuleList(nets))
    ours = compat.rife.warp(IMAGE, FLOW)
    for _ in range(2):
        found = [net(IMAGE, FLOW) for net in nets]
        assert [torch.equal(f, ours) for f in found] == [True, False, True]
        torch.testing.assert_close(found[1], expected[1], rtol=0, atol=1e-4)
    nets[0].t, nets[1].t = 2.0, 1.0
    assert [torch.equal(net(IMAGE, FLOW), ours) for net in nets] == [False, True, True]


def test_objects_are_not_kept():
    module = module_of(NET)
    compat.patch(module)
    net = module.Net()
    net(IMAGE, FLOW)
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None


SLOMO = """
class backWarp(Module):
    def __init__(self, W, H, device):
        super().__init__()
        self.W, self.H = W, H
        ys, xs = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
        self.gridX, self.gridY = xs.clone().to(device), ys.clone().to(device)

    def forward(self, img, flow):
        x = self.gridX.unsqueeze(0).expand_as(flow[:, 0]).float() + flow[:, 0]
        y = self.gridY.unsqueeze(0).expand_as(flow[:, 1]).float() + flow[:, 1]
        grid = torch.stack((2 * (x / self.W - 0.5), 2 * (y / self.H - 0.5)), 3)
        return F.grid_sample(img, grid, align_corners=False)
"""
BIG, BIG_FLOW = torch.rand(1, 3, 160, 176), torch.rand(1, 2, 160, 176) * 5
SLOMO_CHANGES = {
    "W": "net.W = 100",
    "H": "net.H += 1",
    "another grid": "net.gridX = net.gridX + 1",
    "grid in place": "net.gridY += 1",
    "grid in place at one pixel": "net.gridX[3, 4] = 90",
    "grid of another dtype": "net.gridX = net.gridX.double() + 0.25",
}


@pytest.mark.parametrize("change", SLOMO_CHANGES)
@pytest.mark.in_turn
def test_an_object_made_of_a_size_is_ours_as_it_is_made(change):
    module = module_of(SLOMO)
    theirs = module.backWarp.forward
    assert "made_up.backWarp.forward" in replaced(compat.patch(module))
    net = module.backWarp(176, 160, "cpu")
    ours = net(BIG, BIG_FLOW)
    assert not torch.equal(ours, theirs(net, BIG, BIG_FLOW)), "ours was called"
    torch.testing.assert_close(ours, theirs(net, BIG, BIG_FLOW), rtol=0, atol=1e-4)
    exec(SLOMO_CHANGES[change], {"net": net})
    expected = theirs(net, BIG, BIG_FLOW)
    assert (expected - ours).abs().max() > 1e-2
    assert torch.equal(net(BIG, BIG_FLOW), expected)


def test_a_copy_is_looked_at_by_itself():
    module = module_of(NET)
    net = module.Net()
    compat.patch(net)
    twin = copy.deepcopy(net)
    twin.t = 2.0
    ours = compat.rife.warp(IMAGE, FLOW)
    assert torch.equal(net(IMAGE, FLOW), ours) and not torch.equal(twin(IMAGE, FLOW), ours)
    torch.testing.assert_close(twin(IMAGE, FLOW), grid_warp(IMAGE, FLOW * 2, "border"), rtol=0, atol=1e-4)
    assert sys.getrefcount(net) < 100
