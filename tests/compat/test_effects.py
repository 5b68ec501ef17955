"""compat.patch: what leaves more behind than its result stays; caches do not count."""

import random

import pytest
import torch
from compat.test_guard import CONFIG, FLOW, IMAGE
from compat.test_patch_trials import module_of, replaced

from vfi_kernels import compat

HEAD = CONFIG + "import warnings, random, contextvars, threading, weakref, logging, itertools\n"
FUNCTION = "def warp(img, flow):\n    {body}\n    return warped(img, flow)\n"
METHOD = """
class Net(Module):
    def __init__(self):
        super().__init__()
        {made}
    def warp(self, img, flow):
        {body}
        return warped(img, flow)
"""
EFFECTS = {  # variables, and what a function does besides
    "a counter": ("n = 0", "global n; n += 1"),
    "a list": ("log = []", "log.append(flow.shape)"),
    "a list of means": ("log = []", "log.append(float(flow.mean()))"),
    "the last flow": ("last = None", "global last; last = flow"),
    "a size that nobody reads": ("size = None", "global size; size = flow.shape"),
    "a dictionary": ("log = {}", "log[len(log)] = 1"),
    "a dictionary that nobody reads": ("log = {}", "log[flow.shape] = 1"),
    "an attribute of an object": ("o = Config(n=0)", "o.n += 1"),
    "an object in an object": ("o = Config(o=Config(n=0))", "o.o.n += 1"),
    "an attribute of a class": ("class C: n = 0", "C.n += 1"),
    "an attribute of a function": ("def f(): pass", "f.size = flow.shape"),
    "an attribute of itself": ("", "warp.n = getattr(warp, 'n', 0) + 1"),
    "a tensor": ("t = torch.zeros(1)", "t.add_(1)"),
    "a large tensor": ("t = torch.zeros(2**17)", "t.add_(1)"),
    "torch's random numbers": ("", "torch.rand(1)"),
    "torch's seed": ("", "torch.manual_seed(0)"),
    "Python's random numbers": ("", "random.random()"),
    "NumPy's random numbers": ("import numpy", "numpy.random.rand()"),
    "a warning": ("", "warnings.warn('something')"),
    "a warning of a size": ("", "if img.shape[3] > 8: warnings.warn('something')"),
    "a cache that another function reads": (
        "size = None\ndef other(): return size", "global size; size = flow.shape if size is None else size"
    ),
    "a cache that a method reads": (
        "size = {}\nclass C:\n  def other(self): return size[0]", "size.setdefault(0, flow.shape)"
    ),
    "a list of a default": ("def f(x, log=[]): log.append(1)", "f(img)"),
    "without gradients only": ("n = 0", "global n; n += not torch.is_grad_enabled()"),
}  # fmt: skip
OF_OBJECTS = {
    "a mask": ("self.valid = None", "self.valid = flow.abs() < 1"),
    "a counter": ("self.n = 0", "self.n += 1"),
    "a list": ("self.log = []", "self.log.append(flow)"),
    "a buffer": ("self.register_buffer('n', torch.zeros(1))", "self.n += 1"),
    "a buffer in place": ("self.register_buffer('n', torch.zeros(100))", "self.n.add_(1)"),
    "a buffer of a part": ("self.part = torch.nn.BatchNorm2d(3)", "self.part(img)"),
    "an object of its own": ("self.o = Config(n=0)", "self.o.n += 1"),
    "a size that nobody reads": ("", "self.size = flow.shape"),
    "only when it is not trained": ("self.n = 0", "self.n += self.training"),
}
CACHES = {
    "a grid": ("grid = None", "global grid; grid = torch.zeros(1) if grid is None else grid; flow = flow + grid"),
    "grids by size": (
        "grids = {}",
        "k = flow.shape\n    if k not in grids: grids[k] = torch.zeros(1)\n    flow = flow + grids[k]",
    ),
    "grids that two functions share": (
        "grids = {}\ndef bwarp(img, flow):\n    k = flow.shape\n    if k not in grids: grids[k] = torch.zeros(1)\n"
        "    return warped(img, flow + grids[k])",
        "k = flow.shape\n    if k not in grids: grids[k] = torch.zeros(1)\n    flow = flow + grids[k]",
    ),
    "in a class": ("class C: grid = None", "C.grid = C.grid if C.grid is not None else 0.0; flow = flow + C.grid"),
    "of a function": ("", "warp.grid = getattr(warp, 'grid', 0.0); flow = flow + warp.grid"),
    "with a key": ("grids = {}", "flow = flow + grids.setdefault(str(flow.device), torch.zeros(1))"),
    "tried": (
        "grids = {}",
        "k = flow.shape\n    try: grid = grids[k]\n    except KeyError: grid = grids[k] = torch.zeros(1)\n"
        "    flow = flow + grid",
    ),
    "a warning of torch": ("", "torch.meshgrid(torch.arange(2), torch.arange(3)); img.max(1)[0]"),
}  # fmt: skip
CACHES_OF_OBJECTS = {
    "a grid": ("self.grid = None", "if self.grid is None: self.grid = torch.zeros(1)\n        flow = flow + self.grid"),
    "a grid of a size": (
        "self.grid = None",
        "b, _, *size = flow.shape\n        grid = self.grid\n"
        "        if grid is None or grid.shape[0] != b or grid.shape[2:] != torch.Size(size):\n"
        "            self.grid = torch.zeros(b, 2, *size)\n        flow = flow + self.grid",
    ),
    "sizes": (
        "self.h = self.w = 0",
        "h, w = flow.shape[2:]\n        if self.h != h or self.w != w:\n            self.h, self.w = h, w\n"
        "            self.grid = torch.zeros(1, 2, h, w)\n        flow = flow + self.grid",
    ),
    "a grid made anew": ("", "self.grid = torch.zeros(flow.shape[2:])\n        flow = flow + self.grid"),
}


def function(made, body):
    return module_of(f"{HEAD}{made}\n" + FUNCTION.format(body=body))


def method(made, body):
    return module_of(HEAD + METHOD.format(made=made or "pass", body=body))


@pytest.mark.parametrize("kind", EFFECTS)
@pytest.mark.in_turn(of=3)
def test_a_function_that_leaves_something_behind_stays(kind):
    module = function(*EFFECTS[kind])
    torch.manual_seed(1)
    random.seed(1)
    states = torch.get_rng_state(), random.getstate()
    report = compat.patch(module)
    assert "made_up.warp" not in replaced(report) and "made_up.warped" in replaced(report), str(report)
    assert any(item.place == "made_up.warp" for item in report.left)
    assert torch.equal(torch.get_rng_state(), states[0]) and random.getstate() == states[1]


@pytest.mark.parametrize("target", ["module", "object"])
@pytest.mark.parametrize("kind", OF_OBJECTS)
@pytest.mark.in_turn(of=3)
def test_a_method_that_leaves_something_behind_stays(kind, target):
    module = method(*OF_OBJECTS[kind])
    report = compat.patch(module if target == "module" else module.Net())
    assert "made_up.Net.warp" not in replaced(report), str(report)


@pytest.mark.filterwarnings("ignore:torch.meshgrid")
@pytest.mark.parametrize("kind", CACHES)
@pytest.mark.in_turn
def test_caches_of_functions_do_not_count(kind):
    module = function(*CACHES[kind])
    theirs = module.warp
    report = compat.patch(module)
    assert "made_up.warp" in replaced(report), str(report)
    for size in (20, 18, 20):
        image, flow = IMAGE[..., :size], FLOW[..., :size]
        torch.testing.assert_close(module.warp(image, flow), theirs(image, flow), rtol=0, atol=1e-4)


@pytest.mark.parametrize("target", ["module", "object"])
@pytest.mark.parametrize("kind", CACHES_OF_OBJECTS)
@pytest.mark.in_turn
def test_caches_of_objects_do_not_count(kind, target):
    module = method(*CACHES_OF_OBJECTS[kind])
    net, theirs = module.Net(), module.Net.warp
    report = compat.patch(module if target == "module" else net)
    needs_object = target == "module" and "self.h" in CACHES_OF_OBJECTS[kind][0]
    assert needs_object or "made_up.Net.warp" in replaced(report), str(report)
    for size in (20, 18, 20):
        image, flow = IMAGE[..., :size], FLOW[..., :size]
        torch.testing.assert_close(net.warp(image, flow), theirs(net, image, flow), rtol=0, atol=1e-4)


def test_what_another_method_reads_is_no_cache():
    more = "\n    def last(self): return self.size"
    code = METHOD.format(made="self.size = None", body="self.size = flow.shape if self.size is None else self.size")
    report = compat.patch(module_of(HEAD + code + more).Net())
    assert "made_up.Net.warp" not in replaced(report), str(report)
    assert any("reads" in item.reason for item in report.left)


def test_a_variable_of_a_closure_that_another_function_reads():
    code = """
def make():
    n = None
    def warp(img, flow):
        nonlocal n
        n = flow.shape if n is None else n
        return warped(img, flow)
    def size(): return n
    return warp, size
warp, {size} = make()
"""
    assert "made_up.warp" not in replaced(compat.patch(module_of(code.format(size="size"))))


HIDDEN = {
    "a logger": ("log = logging.getLogger('made_up')", "flow * (2.0 if log.isEnabledFor(10) else 1.0)"),
    "a variable of a context": ("c = contextvars.ContextVar('c', default=1.0)", "flow * c.get()"),
    "a variable of a thread": ("t = threading.local(); t.s = 1.0", "flow * getattr(t, 's', 2.0)"),
    "a weak reference": ("o = Config(s=1.0); w = weakref.ref(o)", "flow * w().s"),
    "a proxy": ("o = Config(s=1.0); w = weakref.proxy(o)", "flow * w.s"),
    "a weak dictionary": ("o = Config(s=1.0); w = weakref.WeakValueDictionary(o=o)", "flow * w['o'].s"),
    "a generator": ("g = (1.0 for _ in range(1000000))", "flow * next(g)"),
    "an iterator": ("g = itertools.repeat(1.0)", "flow * next(g)"),
    "random numbers of its own": ("g = torch.Generator()", "flow + 0 * torch.rand(1, generator=g)"),
}


@pytest.mark.parametrize("kind", HIDDEN)
def test_what_reads_something_hidden_stays(kind):
    made, value = HIDDEN[kind]
    module = module_of(f"{HEAD}{made}\ndef warp(img, flow): return warped(img, {value})\n")
    report = compat.patch(module)
    assert "made_up.warp" not in replaced(report), str(report)
    assert any(item.place == "made_up.warp" for item in report.left)
