"""What people have in hand for compat.patch: objects, folders, aliases, closures; and torch.jit.script and torch.fx of
a patched network."""

import importlib
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from compat.transcriptions import grid_warp
from torch import nn

import vfi_kernels as vk
from vfi_kernels import compat
from vfi_kernels.compat import _warp_objects

WARP = """
import torch
import torch.nn.functional as F

def warp(image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    height, width = flow.shape[2], flow.shape[3]
    ys, xs = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    half = torch.tensor([(width - 1) / 2, (height - 1) / 2]).view(1, 2, 1, 1)
    grid = torch.stack((xs, ys))[None] + flow / half
    return F.grid_sample(image, grid.permute(0, 2, 3, 1), padding_mode="border", align_corners=True)
"""
IMAGE, FLOW = torch.rand(1, 3, 12, 16), torch.randn(1, 2, 12, 16) * 4
EXPECTED = grid_warp(IMAGE, FLOW, "border")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Writes files and imports modules; afterwards nothing of them is left."""
    tops = set()
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(files, *modules):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
            tops.add(name.partition("/")[0].removesuffix(".py"))
        importlib.invalidate_caches()
        return [importlib.import_module(module) for module in modules]

    yield write
    compat.unpatch()
    for name in [name for name in sys.modules if name.partition(".")[0] in tops]:
        del sys.modules[name]


def places(report):
    return {r.place for r in report.replaced}


NET = """
from torch import nn
{imports}

class Net(nn.Module):
    def forward(self, image, flow):
        return {call}(image, flow)
"""


def test_an_object_that_holds_networks(repository):
    files = {"lib/warps.py": WARP, "lib/net.py": NET.format(imports="from lib.warps import warp as w", call="w")}
    wrapper = (
        "from lib.net import Net\n\nclass Model:\n    def __init__(self):\n        self.nets = {'flow': [Net()]}\n"
    )
    (model,) = repository({**files, "model.py": wrapper}, "model")
    made = model.Model()
    report = compat.patch(made)
    assert places(report) == {"lib.net.w", "lib.warps.warp"}
    torch.testing.assert_close(made.nets["flow"][0](IMAGE, FLOW), EXPECTED, rtol=0, atol=1e-5)


@pytest.mark.parametrize("init", [True, False], ids=["package", "namespace"])
def test_folders_below_with_and_without_init(repository, init):
    files = {"client/net.py": NET.format(imports="from client.ops.deep import warps", call="warps.warp")}
    files |= {"client/ops/deep/warps.py": WARP, "client/ops/deep/not_imported.py": "raise AssertionError()"}
    if init:
        files |= {f"client/{folder}__init__.py": "" for folder in ("", "ops/", "ops/deep/")}
    net, client = repository(files, "client.net", "client")
    assert places(compat.patch(net.Net())) == {"client.ops.deep.warps.warp"}
    assert compat.unpatch() == 1
    report = compat.patch(client)
    assert places(report) == {"client.ops.deep.warps.warp"}
    missing = {item.place for item in report.left if item.reason == "it is not imported"}
    assert "client.ops.deep.not_imported" in missing


def test_modules_beside_in_one_folder(repository):
    (net,) = repository({"net.py": NET.format(imports="import tools.warps", call="tools.warps.warp"),
                         "tools/warps.py": WARP}, "net")  # fmt: skip
    assert places(compat.patch(net.Net())) == {"tools.warps.warp"}


def test_functions_and_classes_in_closures(repository):
    code = """
from torch import nn

def make(inner):
    class Net(nn.Module):
        def bwarp(self, image, flow):
            return inner(image, flow)
        def forward(self, image, flow):
            return self.bwarp(image, flow)
    return Net
"""
    made, warps = repository({"made.py": code, "warps.py": WARP}, "made", "warps")
    net = made.make(warps.warp)()
    report = compat.patch(net)
    assert {"made.make.<locals>.Net.bwarp", "made.make.<locals>.Net.bwarp.inner"} <= places(report)
    torch.testing.assert_close(net(IMAGE, FLOW), EXPECTED, rtol=0, atol=1e-5)
    assert compat.unpatch() == len(report.replaced)
    assert type(net).bwarp.__closure__[0].cell_contents is warps.warp


def test_a_function_that_an_object_has_as_attribute(repository):
    (warps,) = repository({"warps.py": WARP}, "warps")
    theirs = warps.warp
    holder = nn.Module()
    holder.resample = theirs
    report = compat.patch(holder)
    assert places(report) == {"Module.resample"} and holder.resample is not theirs
    torch.testing.assert_close(holder.resample(IMAGE, FLOW), EXPECTED, rtol=0, atol=1e-5)
    assert compat.unpatch() == 1 and holder.resample is theirs


@pytest.mark.parametrize("target", ["model", 3, None, [1], {}, print, nn.Module], ids=str)
def test_what_is_no_target(target):
    with pytest.raises(TypeError, match=r"patch: expected a module, a package or an nn\.Module, got "):
        compat.patch(target)


def test_an_object_without_networks_changes_nothing():
    report = compat.patch(SimpleNamespace(a=1))
    assert not report.replaced and not report.left


SCRIPTED = """
from torch import nn

class Net(nn.Module):
    def forward(self, image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
        return warp(image, flow)

class WithMethod(nn.Module):
    def warp(self, image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
        return warp(image, flow)

    def forward(self, image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
        return self.warp(image, flow)
"""


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("name", ["Net", "WithMethod"])
def test_jit_script_compiles_the_original(repository, name):
    (module,) = repository({"scripted.py": WARP + SCRIPTED}, "scripted")
    net = getattr(module, name)()
    assert places(compat.patch(net)) >= {"scripted.warp"}
    torch.testing.assert_close(net(IMAGE, FLOW), EXPECTED, rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.jit.script(net)(IMAGE, FLOW), EXPECTED, rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.jit.script(module.warp)(IMAGE, FLOW), EXPECTED, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_what_is_compiled_already_is_named(repository):
    (module,) = repository({"compiled.py": WARP + "\nscripted_warp = torch.jit.script(warp)\n"}, "compiled")
    report = compat.patch(module)
    assert places(report) == {"compiled.warp"}
    assert [(i.place, i.reason) for i in report.left] == [
        ("compiled.scripted_warp", "it is compiled by torch.jit.script")
    ]


TRACED = """
import torch.nn.functional as F
from torch import nn

def warp(image, flow, div, grid):
    return F.grid_sample(image, (grid + flow / div.view(1, 2, 1, 1)).permute(0, 2, 3, 1), align_corners=True)

class Net(nn.Module):
    def forward(self, image, flow, div, grid):
        return warp(image, flow, div, grid)
"""


def test_fx_traces_the_original(repository):
    (module,) = repository({"traced.py": TRACED}, "traced")
    given = (IMAGE, FLOW, *_warp_objects.grid_arguments(IMAGE, FLOW))
    expected = module.Net()(*given)
    assert places(compat.patch(module)) == {"traced.warp"}
    graph = torch.fx.symbolic_trace(module.Net())
    assert torch.nn.functional.grid_sample in {node.target for node in graph.graph.nodes}
    assert torch.equal(graph(*given), expected)
    assert torch.equal(module.Net()(*given), vk.backward_warp(IMAGE, FLOW, padding_mode="zeros"))


def test_compile_has_no_graph_break(repository):
    (module,) = repository({"compiled.py": WARP + SCRIPTED}, "compiled")
    compat.patch(module)
    compiled = torch.compile(module.Net(), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(IMAGE, FLOW), EXPECTED, rtol=0, atol=1e-5)


def test_unpatch_restores_everything(repository):
    files = {"a.py": WARP, "b.py": "from a import warp as other\nimport a\n"}
    module, other = repository(files, "a", "b")
    before = {m: dict(vars(m)) for m in (module, other)}
    assert places(compat.patch(module)) == {"a.warp"} and places(compat.patch(other)) == {"b.other"}
    assert compat.unpatch() == 2
    for m, names in before.items():
        assert dict(vars(m)) == names
    assert isinstance(module, ModuleType)
