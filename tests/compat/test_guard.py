"""After compat.patch, what a function reads that is no argument may change: each call gives what the original would."""

import pytest
import torch
from compat.test_patch_trials import module_of, replaced

from vfi_kernels import compat

IMAGE, FLOW = torch.rand(2, 3, 20, 24), torch.rand(2, 2, 20, 24) * 4
NET = """
class Net(Module):
    def __init__(self):
        super().__init__()
        {made}
    {more}
    def warp(self, img, flow):
        return warped(img, flow * ({scale}))
"""
CONFIG = """
class Config:
    def __init__(self, **values):
        for name, value in values.items():
            setattr(self, name, value)
class Slotted:
    __slots__ = ("s",)
    def __init__(self, s):
        self.s = s
import argparse, functools, types, collections
"""
# made in __init__, further members, how the scale of the flow is read, how it is changed, and changed back
STATES = {
    "number": ("self.s = 1.0", "", "self.s", "net.s = 2.0", "net.s = 1.0"),
    "number in a tuple": ("self.s = (1.0, 3)", "", "self.s[0]", "net.s = (2.0, 3)", "net.s = (1.0, 3)"),
    "number in a list": ("self.s = [1.0]", "", "self.s[0]", "net.s[0] = 2.0", "net.s[0] = 1.0"),
    "list that grows": ("self.s = [1.0]", "", "sum(self.s)", "net.s.append(2.0)", "net.s.pop()"),
    "dict": ("self.s = {'a': 1.0}", "", "self.s['a']", "net.s['a'] = 2.0", "net.s['a'] = 1.0"),
    "dict in a dict": ("self.s = {'a': {'b': 1.0}}", "", "self.s['a']['b']", "net.s['a']['b'] = 2.0",
                       "net.s['a']['b'] = 1.0"),
    "deque": ("self.s = collections.deque([1.0])", "", "self.s[-1]", "net.s[0] = 2.0", "net.s[0] = 1.0"),
    "set": ("self.s = {1.0}", "", "sum(self.s)", "net.s.add(2.0)", "net.s.remove(2.0)"),
    "namespace": ("self.args = argparse.Namespace(x=types.SimpleNamespace(y=1.0))", "", "self.args.x.y",
                  "net.args.x.y = 2.0", "net.args.x.y = 1.0"),
    "config object": ("self.args = Config(x=Config(y=1.0))", "", "self.args.x.y", "net.args.x.y = 2.0",
                      "net.args.x.y = 1.0"),
    "object with slots": ("self.o = Slotted(1.0)", "", "self.o.s", "net.o.s = 2.0", "net.o.s = 1.0"),
    "object by a word": ("self.o = Config(s=1.0)", "", "getattr(self.o, 's')", "net.o.s = 2.0", "net.o.s = 1.0"),
    "parameter": ("self.s = torch.nn.Parameter(torch.ones(1, 1, 1, 1))", "", "self.s.detach()",
                  "net.s = torch.nn.Parameter(net.s * 2)", "net.s = torch.nn.Parameter(net.s / 2)"),
    "parameter in place": ("self.s = torch.nn.Parameter(torch.ones(1, 1, 1, 1))", "", "self.s.detach()",
                           "torch.no_grad()(net.s.mul_)(2)", "torch.no_grad()(net.s.div_)(2)"),
    "parameter through data": ("self.s = torch.nn.Parameter(torch.ones(1, 1, 1, 1))", "", "self.s.detach()",
                               "net.s.data.mul_(2)", "net.s.data.div_(2)"),
    "other data of a parameter": ("self.s = torch.nn.Parameter(torch.ones(100))", "", "self.s.detach().mean()",
                                  "net.s.data = net.s.data * 2", "net.s.data = net.s.data / 2"),
    "buffer": ("self.register_buffer('s', torch.ones(1))", "", "self.s", "net.s += 1", "net.s -= 1"),
    "part": ("self.part = torch.nn.Conv2d(2, 2, 1); torch.nn.init.zeros_(self.part.weight)", "",
             "self.part.weight.detach().mean() + 1",
             "torch.nn.init.ones_(net.part.weight)", "torch.nn.init.zeros_(net.part.weight)"),
    "parameters of a part": ("self.part = torch.nn.Conv2d(2, 2, 1); torch.nn.init.zeros_(self.part.weight)", "",
                             "next(iter(self.parameters())).detach().mean() + 1",
                             "torch.nn.init.ones_(net.part.weight)", "torch.nn.init.zeros_(net.part.weight)"),
    "state dict": ("self.register_buffer('s', torch.ones(1))", "", "self.state_dict()['s']", "net.s += 1",
                   "net.s -= 1"),
    "hook of a part": ("self.part = Part()", "", "self.part(torch.ones(1))",
                       "hook = net.part.register_forward_hook(lambda *a: a[2] * 2)", "hook.remove()"),
    "forward of a part": ("self.part = Part()", "", "self.part(torch.ones(1))",
                          "old = m.Part.forward; m.Part.forward = lambda self, x: x * 2", "m.Part.forward = old"),
    "class of the object": ("", "s = 1.0", "self.__class__.s", "m.Net.s = 2.0", "m.Net.s = 1.0"),
    "type of the object": ("", "s = 1.0", "type(self).s", "m.Net.s = 2.0", "m.Net.s = 1.0"),
    "closure of its own": ("self.s = 1.0; self.f = lambda: self.s", "", "self.f()", "net.s = 2.0", "net.s = 1.0"),
    "class method": ("", "s = 1.0; scale = classmethod(lambda cls: cls.s)", "self.scale()", "m.Net.s = 2.0",
                     "m.Net.s = 1.0"),
    "training": ("", "", "1.0 + (not self.training)", "net.eval()", "net.train()"),
    "class attribute": ("", "s = 1.0", "self.s", "m.Net.s = 2.0", "m.Net.s = 1.0"),
    "attribute over that of the class": ("", "s = 1.0", "self.s", "net.s = 2.0", "del net.s"),
    "new attribute": ("", "", "getattr(self, 's', 1.0)", "net.s = 2.0", "del net.s"),
    "property": ("self._s = 1.0", "s = property(lambda self: self._s)", "self.s", "net._s = 2.0", "net._s = 1.0"),
    "method": ("", "def scale(self): return 1.0", "self.scale()", "old = m.Net.scale; m.Net.scale = lambda self: 2.0",
               "m.Net.scale = old"),
    "method of the object": ("", "def scale(self): return 1.0", "self.scale()", "net.scale = lambda: 2.0",
                             "del net.scale"),
    "what a method reads": ("self.s = [1.0]", "def scale(self): return self.s[0]", "self.scale()", "net.s[0] = 2.0",
                            "net.s[0] = 1.0"),
    "object given away": ("self.s = 1.0", "", "scale_of(self)", "net.s = 2.0", "net.s = 1.0"),
    "global": ("", "", "s", "m.s = 2.0", "m.s = 1.0"),
    "global list": ("", "", "many[0]", "m.many[0] = 2.0", "m.many[0] = 1.0"),
    "global object": ("", "", "config.s", "m.config.s = 2.0", "m.config.s = 1.0"),
    "global function": ("", "", "scale()", "old = m.scale; m.scale = lambda: 2.0", "m.scale = old"),
    "global of a function": ("", "", "scale()", "m.inner = 2.0", "m.inner = 1.0"),
    "code of a function": ("", "", "scale()", "old = m.scale.__code__; m.scale.__code__ = (lambda: 2.0).__code__",
                           "m.scale.__code__ = old"),
    "attribute of a function": ("", "", "scale.s", "m.scale.s = 2.0", "m.scale.s = 1.0"),
    "default of a function": ("", "", "default()", "m.default.__defaults__ = (2.0,)",
                              "m.default.__defaults__ = (1.0,)"),
    "default by keyword": ("", "", "keyword()", "m.keyword.__kwdefaults__ = {'s': 2.0}",
                           "m.keyword.__kwdefaults__ = {'s': 1.0}"),
    "partial": ("self.f = functools.partial(given, many)", "", "self.f()", "m.many[0] = 2.0", "m.many[0] = 1.0"),
    "closure": ("", "", "closed()", "m.closed.__closure__[0].cell_contents = 2.0",
                "m.closed.__closure__[0].cell_contents = 1.0"),
    "closure's list": ("", "", "listed()", "m.listed.__closure__[0].cell_contents[0] = 2.0",
                       "m.listed.__closure__[0].cell_contents[0] = 1.0"),
    "class of the module": ("", "", "Holder.s", "m.Holder.s = 2.0", "m.Holder.s = 1.0"),
    "made where it is called": ("", "", "Holder().get()", "m.Holder.s = 2.0", "m.Holder.s = 1.0"),
    "operator": ("self.o = Holder()", "", "self.o[0]", "m.Holder.s = 2.0", "m.Holder.s = 1.0"),
    "another module": ("", "", "other.s", "m.other.s = 2.0", "m.other.s = 1.0"),
    "environment": ("", "", "float(__import__('os').environ.get('S_OF_A_TEST', '1'))",
                    "__import__('os').environ['S_OF_A_TEST'] = '2'", "del __import__('os').environ['S_OF_A_TEST']"),
    "setting of torch": ("", "", "1.0 + torch.backends.cudnn.benchmark", "torch.backends.cudnn.benchmark = True",
                         "torch.backends.cudnn.benchmark = False"),
    "mode of torch": ("", "", "1.0 + (torch.get_float32_matmul_precision() == 'high')",
                      "torch.set_float32_matmul_precision('high')", "torch.set_float32_matmul_precision('highest')"),
}  # fmt: skip
GLOBALS = """
s = inner = 1.0
many = [1.0]
config = Config(s=1.0)
other = types.ModuleType("other")
other.s = 1.0
def scale(): return inner
scale.s = 1.0
def default(s=1.0): return s
def keyword(*, s=1.0): return s
def given(values): return values[0]
def scale_of(net): return net.s
def close(s): return lambda: s
def close_list(s): return lambda: s[0]
closed, listed = close(1.0), close_list([1.0])
class Part(Module):
    def forward(self, x): return x
class Holder:
    s = 1.0
    def get(self): return self.s
    def __getitem__(self, n): return self.s
"""


def client(kind):
    made, more, scale, *_ = STATES[kind]
    return module_of(CONFIG + GLOBALS + NET.format(made=made, more=more or "pass", scale=scale))


def run(statement, names):
    exec(statement, names)


@pytest.mark.in_turn("kind", "target", of=4)
@pytest.mark.parametrize("target", ["module", "object"])
@pytest.mark.parametrize("kind", STATES)
def test_what_a_method_reads_may_change(kind, target):
    module = client(kind)
    net, theirs = module.Net(), module.Net.warp
    names = {"m": module, "net": net, "torch": torch, "Config": module.Config}
    before = theirs(net, IMAGE, FLOW)
    report = compat.patch(module if target == "module" else net)
    tried = "made_up.Net.warp" in replaced(report)
    assert tried, str(report)
    ours = net.warp(IMAGE, FLOW)
    assert not torch.equal(ours, before), "ours was called"
    torch.testing.assert_close(ours, before, rtol=0, atol=1e-4)
    run(STATES[kind][3], names)
    try:
        expected = theirs(net, IMAGE, FLOW)
        assert (expected - before).abs().max() > 1e-2
        for _ in range(3):
            assert torch.equal(net.warp(IMAGE, FLOW), expected)
    finally:
        run(STATES[kind][4], names)
    assert torch.equal(net.warp(IMAGE, FLOW), ours), "and back"
