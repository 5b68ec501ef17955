"""After compat.patch: other objects than the one that was tried, calls that go another way, caches."""

import copy
import gc
import sys
import weakref

import pytest
import torch
from compat.test_guard import CONFIG, FLOW, IMAGE
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


BRANCHES = {
    "4 channels": "if img.shape[1] == 4: flow = flow * 2",
    "more than 6 channels": "if img.size(1) > 6: flow = flow * 2",
    "one channel": "if img.shape[1] == 1: flow = flow * 2",
    "batch of 1": "if len(img) == 1: flow = flow * 2",
    "batch of 5": "if img.shape[0] in (5, 6): flow = flow * 2",
    "no grad": "if not torch.is_grad_enabled(): flow = flow * 2",
    "no gradient wanted": "if not flow.requires_grad: flow = flow * 2",
    "gradient of the image": "if img.requires_grad: flow = flow * 1\n  else: flow = flow * 2",
    "gradient of the flow alone": "if flow.requires_grad and not img.requires_grad: flow = flow * 2",
    "50 rows": "if flow.shape[2] == 50: flow = flow * 2",
    "channels last": "if not img.is_contiguous(): flow = flow * 2",
    "by a table": "flow = flow * {3: 1, 2: 1, 5: 1, 1: 1}.get(img.shape[1], 2)",
    "gradient of a multiple": "if img.shape[1] == 4: flow = flow.detach()",
}


@pytest.mark.parametrize("kind", BRANCHES)
def test_a_function_that_goes_another_way_stays(kind):
    module = module_of(f"def warp(img, flow):\n  {BRANCHES[kind]}\n  return warped(img, flow)")
    report = compat.patch(module)
    assert replaced(report) == {"made_up.warped"} and len(report.left) == 1, str(report)


LARGE = {
    "rows": "img.shape[2] > 1080",
    "both sides": "img.shape[2] > 300 and img.shape[3] > 299",
    "product": "img.shape[2] * img.shape[3] >= 300 * 300",
    "elements": "img.numel() > 150_000",
    "in a variable": "max(img.shape[2], LARGEST) > LARGEST and img.shape[3] > LARGEST",
    "tuple": "img.shape[2:] == (301, 302)",
    "attribute": "min(img.shape[2:]) > Limits.largest",
}


@pytest.mark.parametrize("kind", LARGE)
def test_pictures_larger_than_those_tried_are_the_original_s(kind):
    code = "LARGEST = 300\nclass Limits: largest = 300\ndef warp(img, flow):\n"
    module = module_of(f"{code}  if {LARGE[kind]}: flow = flow * 2\n  return warped(img, flow)")
    theirs = module.warp
    report = compat.patch(module)
    image, flow = torch.rand(1, 3, 301, 302), torch.rand(1, 2, 301, 302) * 4
    assert torch.equal(module.warp(image, flow), theirs(image, flow))
    if "made_up.warp" in replaced(report):
        assert torch.equal(module.warp(IMAGE, FLOW), compat.rife.warp(IMAGE, FLOW))


CACHES = {
    "global": ("grid = None\ndef warp(img, flow):\n  global grid\n  if grid is None: grid = torch.zeros(1)\n"
               "  return warped(img, flow + grid)", "m.grid += 3"),
    "global by size": ("grids = {}\ndef warp(img, flow):\n  key = str(flow.shape)\n"
                       "  if key not in grids: grids[key] = torch.zeros(1)\n  return warped(img, flow + grids[key])",
                       "for key in m.grids: m.grids[key] = torch.ones(1) * 3"),
    "in place": ("grids = {}\ndef warp(img, flow):\n  key = str(flow.shape)\n"
                 "  if key not in grids: grids[key] = torch.zeros(100)\n"
                 "  return warped(img, flow + grids[key].mean())", "[grid.add_(3) for grid in m.grids.values()]"),
    "of a class": ("class Cache: grid = None\ndef warp(img, flow):\n  Cache.grid = Cache.grid or 1.0\n"
                   "  return warped(img, flow * Cache.grid)", "m.Cache.grid = 3.0"),
    "counter": ("count = 0\ndef warp(img, flow):\n  global count\n  count += 1\n"
                "  return warped(img, flow * (1 if count < 1000 else 3))", "m.count = 2000"),
}  # fmt: skip


@pytest.mark.parametrize("kind", CACHES)
def test_a_cache_that_someone_changed_is_used_by_the_original(kind):
    code, change = CACHES[kind]
    module = module_of(code)
    theirs, ours = module.warp, compat.rife.warp(IMAGE, FLOW)
    assert "made_up.warp" in replaced(compat.patch(module))
    assert torch.equal(module.warp(IMAGE, FLOW), ours)
    theirs(IMAGE, FLOW)  # fills it
    torch.testing.assert_close(module.warp(IMAGE, FLOW), ours, rtol=0, atol=1e-5)
    assert torch.equal(module.warp(IMAGE, FLOW), ours), "what it filled by itself is as good as nothing"
    exec(change, {"m": module, "torch": torch})
    expected = theirs(IMAGE, FLOW)
    assert (expected - ours).abs().max() > 1e-2
    for _ in range(2):
        assert torch.equal(module.warp(IMAGE, FLOW), expected)


def test_defaults_that_are_changed_count():
    module = module_of("def warp(img, flow, padding='border'): return warped(img, flow, padding)")
    compat.patch(module)
    ours = module.warp(IMAGE, FLOW)
    module.warp.__defaults__ = ("zeros",)
    assert torch.equal(module.warp(IMAGE, FLOW), module.warp.__wrapped__(IMAGE, FLOW, "zeros"))
    assert (module.warp(IMAGE, FLOW) - ours).abs().max() > 1e-2
    module.warp.__wrapped__.__defaults__ = ("reflection",)
    assert torch.equal(module.warp(IMAGE, FLOW), module.warp.__wrapped__(IMAGE, FLOW, "reflection"))


UNTOLD = {
    "by a name that is made": "return warped(img, flow * getattr(config, f'{config.kind}_s'))",
    "all variables": "return warped(img, flow * globals()['s'])",
    "code that is made": "return warped(img, flow * eval('s'))",
    "an array": "return warped(img, flow * float(array[0]))",
    "very much": "return warped(img, flow * many[0])",
}


@pytest.mark.parametrize("kind", UNTOLD)
def test_what_reads_more_than_can_be_told_stays(kind):
    code = (
        CONFIG + "import numpy\ns, array, many = 1.0, numpy.ones(1), [1.0] * 1000\nconfig = Config(kind='a', a_s=1.0)\n"
    )
    module = module_of(f"{code}def warp(img, flow):\n  {UNTOLD[kind]}")
    report = compat.patch(module)
    assert replaced(report) == {"made_up.warped"}, str(report)
    reason = report.left[0].reason
    assert reason.startswith(("what it reads is not known, as it uses", "it reads ")), reason


OTHERS = {
    "correlation": ("import compat.transcriptions as t\nEPS = 0.0\ndef FunctionCorrelation(tenFirst, tenSecond):\n"
                    "  return t.cost_volume(tenFirst, tenSecond) + EPS", "FunctionCorrelation",
                    (torch.rand(1, 4, 12, 14), torch.rand(1, 4, 12, 14))),
    "splat": ("import compat.transcriptions as t\nEPS = 0.0\ndef softsplat(tenIn, tenFlow, tenMetric, strMode):\n"
              "  return t.softsplat(tenIn, tenFlow, tenMetric, strMode) + EPS", "softsplat",
              (IMAGE, FLOW, None, "sum")),
}  # fmt: skip


@pytest.mark.parametrize("kind", OTHERS)
def test_splats_and_correlations_are_watched_too(kind):
    code, name, given = OTHERS[kind]
    module = module_of(code)
    before = getattr(module, name)(*given)
    assert f"made_up.{name}" in replaced(compat.patch(module))
    ours = getattr(module, name)(*given)
    assert not torch.equal(ours, before)
    module.EPS = 1.0
    torch.testing.assert_close(getattr(module, name)(*given), before + 1, rtol=0, atol=1e-5)
    module.EPS = 0.0
    assert torch.equal(getattr(module, name)(*given), ours)


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
