"""compat.patch: what a function learns, what spreads over a batch, and repositories whose objects are unusual."""

import os

import pytest
import torch
from compat.test_guard import FLOW, IMAGE
from compat.test_patch_trials import module_of, replaced

from vfi_kernels import compat
from vfi_kernels.compat import _children

LEARNED = {
    "parameter": """
class Net(Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))
    def warp(self, img, flow): return warped(img, flow * self.scale)
""",
    "variable": "scale = torch.ones(1, requires_grad=True)\ndef warp(img, flow): return warped(img, flow * scale)",
    "closure": """
def made():
    scale = torch.ones(1, requires_grad=True)
    def warp(img, flow): return warped(img, flow * scale)
    return warp
warp = made()
""",
}


@pytest.mark.parametrize("case", LEARNED)
def test_what_learns_stays(case):
    """A tensor that requires a gradient gets none from ours."""
    module = module_of(LEARNED[case])
    target = module.Net() if hasattr(module, "Net") else module
    report = compat.patch(target)
    left = {left.place.rpartition(".")[2]: left.reason for left in report.left}
    assert "requires a gradient" in left["warp"], str(report)
    compat.unpatch()


def test_what_learns_later_is_the_originals():
    module = module_of("scale = torch.ones(1)\ndef warp(img, flow): return warped(img, flow * scale)")
    assert compat.patch(module).replaced
    assert not module.warp(IMAGE, FLOW).requires_grad
    module.scale.requires_grad_()
    module.warp(IMAGE, FLOW).sum().backward()
    assert module.scale.grad is not None
    module.scale = torch.ones(1)
    assert not module.warp(IMAGE, FLOW).requires_grad
    compat.unpatch()


def test_one_map_for_a_batch_is_the_originals():
    module = module_of("""
def cost_volume(one, two):
    padded, (h, w) = torch.nn.functional.pad(two, (4, 4, 4, 4)), one.shape[2:]
    found = [(one * padded[:, :, y:y + h, x:x + w]).mean(1, True) for y in range(9) for x in range(9)]
    return torch.cat(found, 1)
""")
    one, two = torch.rand(3, 4, 8, 9), torch.rand(1, 4, 8, 9)
    before = module.cost_volume(one, two)
    assert compat.patch(module).replaced
    assert module.cost_volume(one, two).equal(before)
    torch.testing.assert_close(module.cost_volume(one[:1], two), before[:1])
    compat.unpatch()


UNUSUAL = {
    "a dictionary with attributes": "class D(dict):\n  __getattr__ = dict.__getitem__\nopt = D(scale=1.0)\n",
    "a class of a class that raises": "class M(type):\n  def __getattribute__(cls, name):\n"
    "    if name.startswith('_'): return super().__getattribute__(name)\n    raise RuntimeError(name)\n"
    "class D(metaclass=M): pass\n",
}


@pytest.mark.parametrize("case", UNUSUAL)
def test_objects_whose_attributes_cannot_be_read(case):
    """They are no functions; what is beside them is found, unless it reads them."""
    module = module_of(UNUSUAL[case] + "def warp(img, flow): return warped(img, flow)\n")
    report = compat.patch(module)
    assert "made_up.warp" in replaced(report), str(report)
    compat.unpatch()


def test_a_trial_that_fails_or_disturbs_the_others():
    """An error of ours is named; what closes the files of its process ends its own trial only."""

    def wrong():
        raise KeyError("no such thing")

    def closing():
        os.closerange(3, 64)
        return 1

    def garbage():
        class Odd:
            def __reduce__(self):
                return int, ("no number",)

        return Odd()

    found = _children.answers([lambda: "first", wrong, closing, garbage, lambda: "last"], lambda why: f"failed: {why}")
    assert found[0] == "first" and found[-1] == "last"
    assert found[1].startswith("failed: its trial failed: KeyError: 'no such thing'")
    assert found[2].startswith("failed: ") and found[3].startswith("failed: ")
