"""After compat.patch: calls that go another way, caches, defaults, and functions that read what cannot be told."""

import pytest
import torch
from compat.test_guard import CONFIG, FLOW, IMAGE
from compat.test_guard_objects import EXPECTED, NET
from compat.test_patch_trials import module_of, replaced
from compat.transcriptions import grid_warp

from vfi_kernels import compat
from vfi_kernels.compat import _warp_objects

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
    compat.unpatch()
    module = module_of("def warp(img, flow, *, padding='border'): return warped(img, flow, padding)")
    compat.patch(module)
    module.warp.__kwdefaults__ = {"padding": "zeros"}
    assert torch.equal(module.warp(IMAGE, FLOW), module.warp.__wrapped__(IMAGE, FLOW, padding="zeros"))
    compat.unpatch()
    module = module_of("def warp(img, flow, padding='border'): return warped(img, flow, padding)")
    compat.patch(module)
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


def compiled(function):
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend="eager")


def test_in_a_graph():
    """Numbers are read by the original, whose graph changes with them; functions that were replaced are seen."""
    code = NET + "factor = 1.0\ndef warp(img, flow): return warped(img, flow * factor)\n"
    module = module_of(code + "class Plain(Module):\n  def warp(self, img, flow): return warped(img, flow)")
    net, plain, by_hand = module.Net(), module.Plain(), module.warped
    compat.patch(torch.nn.Sequential(net, plain))
    for function in (net.warp, plain.warp, module.warp, module.warped):
        torch.testing.assert_close(compiled(function)(IMAGE, FLOW), EXPECTED, rtol=0, atol=1e-5)
    graph = compiled(module.warp)
    graph(IMAGE, FLOW)
    module.factor = 2.0
    torch.testing.assert_close(graph(IMAGE, FLOW), grid_warp(IMAGE, FLOW * 2, "border"), rtol=0, atol=1e-4)
    module.warped = lambda img, flow: img * 0
    assert not compiled(plain.warp)(IMAGE, FLOW).any()
    module.warped = by_hand
    torch.testing.assert_close(compiled(plain.warp)(IMAGE, FLOW), EXPECTED, rtol=0, atol=1e-5)


GIVEN_GRID = """
def warp(image, flow, div, grid):
    return F.grid_sample(image, (grid + flow / div.view(1, 2, 1, 1)).permute(0, 2, 3, 1), align_corners=True)
"""


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_grids_that_change_in_place_or_are_made_anew(mode):
    """Tensors of inference mode do not count their changes; what is freed leaves its id to the next."""
    module = module_of(GIVEN_GRID)
    theirs = module.warp
    assert "made_up.warp" in replaced(compat.patch(module))
    with mode():
        div, grid = _warp_objects.grid_arguments(IMAGE, FLOW)
        before = module.warp(IMAGE, FLOW, div, grid)
        assert not torch.equal(before, theirs(IMAGE, FLOW, div, grid)), "ours was called"
        for factor in (1.0, 2.0, 3.0, 1.0):
            given = div * factor, grid
            torch.testing.assert_close(module.warp(IMAGE, FLOW, *given), theirs(IMAGE, FLOW, *given), rtol=0, atol=1e-4)
            del given
        grid.mul_(0.5)
        assert torch.equal(module.warp(IMAGE, FLOW, div, grid), theirs(IMAGE, FLOW, div, grid))
