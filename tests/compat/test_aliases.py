"""What takes a function's place is one object in every place, has its name, and can be pickled and copied."""

import copy
import inspect
import io
import pickle
import sys
from types import ModuleType

import pytest
import torch
from compat.test_patch_trials import module_of, replaced

from vfi_kernels import compat

IMAGE, FLOW = torch.rand(2, 3, 20, 24), torch.rand(2, 2, 20, 24) * 4
CODE = """
def warp(img: torch.Tensor, flow: torch.Tensor, *, padding: str = "border") -> torch.Tensor:
    return warped(img, flow, padding)

back = warp

class Net(Module):
    sample = staticmethod(warp)
    def warp(self, img, flow):
        return warped(img, flow)
    again = warp
    def forward(self, img, flow):
        return self.warp(img, flow) + self.sample(img, flow)

class Other(Module):
    sample = Net.__dict__["sample"]

def correlation(tenFirst, tenSecond):
    import compat.transcriptions as t
    return t.cost_volume(tenFirst, tenSecond)
"""


@pytest.fixture
def modules():
    """A module, and another that imported its functions under other names."""
    first, second = module_of(CODE), ModuleType("made_up_too")
    sys.modules["made_up_too"] = second
    second.ancient, second.w = first.back, first.warp
    yield first, second
    compat.unpatch()
    del sys.modules["made_up_too"]


def test_one_object_stays_one_object(modules):
    first, second = modules
    assert first.warp is first.back is second.w is first.Net.sample
    compat.patch(first)
    compat.patch(second)
    assert first.warp is first.back is second.w is second.ancient is first.Net.sample
    assert hasattr(first.warp, "__vfi_kernels__")
    assert first.Net.warp is first.Net.again and first.Net.warp is not first.warp
    assert vars(first.Net)["sample"] is vars(first.Other)["sample"]
    compat.unpatch()
    assert first.warp is first.back is second.w is second.ancient is first.Net.sample
    assert not hasattr(first.warp, "__vfi_kernels__") and not hasattr(first.Net.again, "__vfi_kernels__")


@pytest.mark.parametrize("order", [(0,), (1,), (0, 1), (1, 0)], ids=str)
def test_functions_are_pickled_by_reference(modules, order):
    for n in order:
        compat.patch(modules[n])
    for n in order:
        for name, value in vars(modules[n]).items():
            if hasattr(value, "__vfi_kernels__"):
                assert pickle.loads(pickle.dumps(value)) is value, name
    if 0 in order:
        first = modules[0]
        assert (first.warp.__module__, first.warp.__qualname__, first.warp.__name__) == ("made_up", "warp", "warp")
        assert pickle.loads(pickle.dumps(first.Net.warp)) is first.Net.warp
        written = pickle.dumps([first.warp, first.Net.warp])
        compat.unpatch()
        assert pickle.loads(written) == [first.warp, first.Net.warp], "of the original"


def test_signatures_are_those_of_the_originals(modules):
    first, _ = modules
    names = ("warp", "warped", "correlation")
    before = [inspect.signature(getattr(first, name)) for name in names] + [inspect.signature(first.Net.warp)]
    assert replaced(compat.patch(first)) >= {f"made_up.{name}" for name in names}
    after = [inspect.signature(getattr(first, name)) for name in names] + [inspect.signature(first.Net.warp)]
    assert after == before


def test_a_patched_network_is_copied_and_saved(modules):
    first, _ = modules
    net = first.Net()
    expected = net(IMAGE, FLOW)
    compat.patch(net)
    net.held = first.warp
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    for twin in (copy.copy(net), copy.deepcopy(net), torch.load(file, weights_only=False)):
        assert type(twin) is first.Net and twin.held is first.warp
        torch.testing.assert_close(twin(IMAGE, FLOW), expected, rtol=0, atol=1e-4)


BLOCK = """
class CorrBlock:
    def __init__(self, fmap1, fmap2, num_levels=4, radius=4):
        self.num_levels, self.radius = num_levels, radius
        b, c, h, w = fmap1.shape
        volume = fmap1.flatten(2).transpose(1, 2) @ fmap2.flatten(2) / c**0.5
        self.pyramid = [volume.reshape(b * h * w, 1, h, w)]
        for _ in range(num_levels - 1):
            self.pyramid.append(F.avg_pool2d(self.pyramid[-1], 2))

    def __call__(self, coords):
        r, (b, _, h, w) = self.radius, coords.shape
        d = torch.arange(-r, r + 1.0)
        delta = torch.stack(torch.meshgrid(d, d, indexing="ij"), -1)
        found = []
        for n, volume in enumerate(self.pyramid):
            at = coords.permute(0, 2, 3, 1).reshape(b * h * w, 1, 1, 2) / 2**n + delta
            size = torch.tensor([volume.shape[3] - 1.0, volume.shape[2] - 1.0])
            found.append(F.grid_sample(volume, 2 * at / size - 1, align_corners=True).view(b, h, w, -1))
        return torch.cat(found, -1).permute(0, 3, 1, 2) * GAIN
GAIN = 1.0
"""


def test_classes():
    module = module_of(BLOCK)
    theirs = module.CorrBlock
    assert "made_up.CorrBlock" in replaced(compat.patch(module))
    ours = module.CorrBlock
    assert pickle.loads(pickle.dumps(ours)) is ours is not theirs
    assert inspect.signature(ours) == inspect.signature(theirs) and ours.__name__ == "CorrBlock"
    maps, at = torch.rand(2, 1, 8, 16, 16), torch.rand(1, 2, 16, 16) * 16
    made, expected = ours(*maps), theirs(*maps)(at)
    torch.testing.assert_close(made(at), expected, rtol=0, atol=1e-4)
    module.GAIN = 3.0
    torch.testing.assert_close(made(at), expected * 3, rtol=0, atol=1e-4)
    compat.unpatch()
    assert module.CorrBlock is theirs
