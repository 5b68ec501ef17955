"""The warps of the field (benchmarks/client_warps.py), patched: every call gives what it gave before."""

import inspect
import itertools
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from vfi_kernels import compat
from vfi_kernels.compat import _emulation, _warp_objects

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import client_warps as patterns  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:Default grid_sample")  # of clients that do not say align_corners
VALUES = {  # of further parameters, by their defaults
    "bilinear": ("bilinear", "nearest"),
    "zeros": ("zeros", "border", "reflection"),
    "border": ("zeros", "border", "reflection"),
    "reflection": ("zeros", "border", "reflection"),
    True: (True, False),
    False: (True, False),
}


@pytest.fixture(autouse=True)
def no_grids():
    patterns.grids.clear()
    yield
    patterns.grids.clear()


def client(name):
    """A module that has the function or class under the name that clients use."""
    published, _, value = {**patterns.FUNCTIONS, **patterns.CLASSES}[name]
    module = ModuleType("client")
    if isinstance(value, type):
        value = type(published, (value,), {k: v for k, v in vars(value).items() if not k.startswith("__")})
        value.__init__ = patterns.CLASSES[name][2].__init__
        value.__module__ = "client"
        value.__qualname__ = published
    setattr(module, published, value)
    return module, published


def tensors(last, image_size=(104, 106), flow_size=(104, 106), dtype=torch.float32, channels=3):
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, channels, *image_size, generator=generator)
    flow = torch.randn(2, 2, *flow_size, generator=generator) * 5
    flow[0, :, 3, 4] = 1.0
    return image.to(dtype), (flow.permute(0, 2, 3, 1).contiguous() if last else flow).to(dtype)


def outcome(function, *args, **kwargs):
    """With no grids of another size, on a GPU that is the CPU."""
    patterns.grids.clear()
    try:
        with _emulation.cpu_as_cuda():
            return function(*args, **kwargs)
    except (RuntimeError, ValueError, AssertionError, NotImplementedError) as error:
        return type(error)


def same(found, expected, tolerance=1e-4):
    if isinstance(expected, type):
        return True  # it raised: ours may compute
    found, expected = (r if isinstance(r, tuple) else (r,) for r in (found, expected))
    return len(found) == len(expected) and all(
        a.shape == b.shape and a.dtype == b.dtype and (a.double() - b.double()).abs().max() <= tolerance
        for a, b in zip(found, expected)
    )


@pytest.mark.parametrize("name", patterns.FUNCTIONS)
@pytest.mark.in_turn
def test_every_call_gives_what_it_gave(name):
    module, published = client(name)
    theirs = getattr(module, published)
    report = compat.patch(module)
    assert [r.place for r in report.replaced] == [f"client.{published}"] and not report.left, str(report)
    ours = getattr(module, published)
    assert ours is not theirs
    last = "(B, H, W, 2)" in report.replaced[0].reason
    parameters = list(inspect.signature(theirs).parameters.values())[2:]
    further = [[(p.name, value) for value in VALUES.get(p.default, ())] for p in parameters if name != "vs_rife"]
    for flow_size, more in itertools.product(((104, 106), (60, 70)), map(dict, itertools.product(*further))):
        image, flow = tensors(last, flow_size=flow_size, dtype=torch.float16 if name == "half_only" else torch.float32)
        grid = _warp_objects.grid_arguments(image, flow) if name == "vs_rife" else ()
        expected = outcome(theirs, image, flow, *grid, **more)
        found = outcome(ours, image, flow, *grid, **more)
        assert same(found, expected, 0.6 if name == "half_only" else 1e-4), (flow_size, more)
    assert compat.unpatch() == 1 and getattr(module, published) is theirs


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["rife", "softmax_splatting", "xvfi", "basicsr", "gmflow", "film"])
@pytest.mark.in_turn
def test_other_dtypes_stay_what_they_were(name, dtype):
    """Where the function computes in a dtype, the result has the dtype that it had."""
    module, published = client(name)
    theirs = getattr(module, published)
    report = compat.patch(module)
    image, flow = tensors("(B, H, W, 2)" in report.replaced[0].reason, dtype=dtype)
    expected = outcome(theirs, image, flow)
    found = outcome(getattr(module, published), image, flow)
    assert same(found, expected, 1e-4 if dtype.itemsize > 2 else 1.0)


def test_vs_rife_with_another_grid_is_the_original():
    module, _ = client("vs_rife")
    theirs = module.warp
    compat.patch(module)
    image, flow = tensors(False)
    divisors, grid = _warp_objects.grid_arguments(image, flow)
    for more in ((divisors * 2, grid), (divisors, grid * 0.5), (divisors, grid.flip(1))):
        for _ in range(2):
            assert torch.equal(module.warp(image, flow, *more), theirs(image, flow, *more))
    assert not torch.equal(module.warp(image, flow, divisors, grid), theirs(image, flow, divisors, grid))  # ours
    grid *= 0.5  # in place
    assert torch.equal(module.warp(image, flow, divisors, grid), theirs(image, flow, divisors, grid))


@pytest.mark.in_turn
@pytest.mark.parametrize("name", ["super_slomo", "momo", "method", "bilateral"])
def test_classes(name):
    module, published = client(name)
    report = compat.patch(module)
    assert len(report.replaced) == 1 and not report.left, str(report)
    kind = getattr(module, published)
    image, flow = tensors(False)
    made = {"super_slomo": [(106, 104, "cpu")], "momo": [(), (True,), (False,)], "method": [()], "bilateral": [(2,)]}
    for arguments in made[name]:
        module_ours = kind(*arguments).eval()
        found = module_ours(image, flow)
        compat.unpatch()
        expected = kind(*arguments)(image, flow)
        compat.patch(module)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.nightly
def test_a_bilateral_warp_with_another_grid_is_the_original():
    module, published = client("bilateral")
    kind = getattr(module, published)
    net, (image, flow) = kind(2), tensors(False)
    report = compat.patch(net)
    assert "client.BilateralCorrelation.warp" in {r.place for r in report.replaced}, str(report)
    found = net(image, flow)
    net.grid = net.grid + 1
    moved = net.warp(image, flow)
    compat.unpatch()
    torch.testing.assert_close(moved, net.warp(image, flow), rtol=0, atol=0)
    net.grid = net.grid - 1
    torch.testing.assert_close(found, net(image, flow), rtol=0, atol=1e-4)


@pytest.mark.nightly
def test_the_table_of_clients_is_that_of_its_script():
    """Without its times and differences."""
    import clients

    number = re.compile(r"\d+(?:\.\d+)?(?:e-\d+)?")
    page, now = (ROOT / "docs/migrate.md").read_text().splitlines(), clients.table(1).splitlines()
    begin = page.index(now[0])
    shown = page[begin : begin + len(now)]
    assert [number.sub("#", line) for line in shown] == [number.sub("#", line) for line in now]
    assert all(float(line.split("|")[-2]) >= 2 for line in shown[2:])
