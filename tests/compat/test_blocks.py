"""After compat.patch, RAFT's CorrBlock in the hands of code that reads, changes or derives from it."""

import sys
from types import ModuleType

import pytest
import torch
from compat.test_raft import Volume

from vfi_kernels import compat

pytestmark = pytest.mark.in_turn
CODE = """
import torch
class Sub(CorrBlock):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.levels = self.levels[:2]
class Louder(CorrBlock):
    def __call__(self, coords): return super().__call__(coords) * 2
class ByName(CorrBlock):
    def __init__(self, one, two): CorrBlock.__init__(self, one, two, 3, radius=2)
"""


def volume():
    """A class of its own for each test."""
    return type("CorrBlock", (), {**{n: vars(Volume)[n] for n in ("__init__", "__call__")}, "__module__": "corr"})


@pytest.fixture
def module():
    made = ModuleType("corr")
    sys.modules["corr"] = made
    made.CorrBlock = volume()
    yield made
    del sys.modules["corr"]


def drawn(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    one, two = torch.randn(2, 2, 24, 16, 24, generator=generator).to(dtype)
    ys, xs = torch.meshgrid(torch.arange(16.0), torch.arange(24.0), indexing="ij")
    return one, two, torch.stack([xs, ys]) + 3 * torch.randn(2, 2, 16, 24, generator=generator)


def trimmed(block):
    block.levels = block.levels[:2]


def edited(block):
    block.levels[1].mul_(3)


USES = {  # what is done with a block, or with the maps that it was made of
    "nothing": lambda block, one, two: None,
    "a radius set": lambda block, one, two: setattr(block, "radius", 2),
    "levels removed": lambda block, one, two: trimmed(block),
    "a level deleted": lambda block, one, two: block.levels.pop(),
    "a level in place": lambda block, one, two: edited(block),
    "all levels deleted": lambda block, one, two: setattr(block, "levels", []) or block.levels.append(one[:1] * 0 + 1),
    "a map written to": lambda block, one, two: one.mul_(3),
    "the other map written to": lambda block, one, two: two.zero_(),
    "a map written to, then a level": lambda block, one, two: (one.mul_(3), edited(block)),
}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("use", USES)
@pytest.mark.in_turn(of=3)
def test_a_block_that_is_changed(module, use, layout):
    theirs = module.CorrBlock
    assert compat.patch(module).replaced and module.CorrBlock is not theirs
    found = []
    for kind in (theirs, module.CorrBlock):
        one, two, coords = (t.contiguous(memory_format=layout) for t in drawn())
        block = kind(one, two, num_levels=3)
        assert block.radius == 4
        USES[use](block, one, two)
        if use == "all levels deleted":
            with pytest.raises(RuntimeError):
                block(coords)
            continue
        found.append(block(coords))
    for expected, ours in [found] if found else []:
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
        assert torch.equal(ours, expected) == (use not in ("nothing", "a map written to", "the other map written to"))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", ["Sub", "Louder", "ByName"])
def test_a_class_that_is_made_of_it(module, name, when):
    one, two, coords = drawn()
    plain = ModuleType("plain")
    plain.CorrBlock = volume()
    exec(CODE, vars(plain))
    expected = vars(plain)[name](one, two)(coords)
    if when == "before":
        exec(CODE, vars(module))
    assert "corr.CorrBlock" in {r.place for r in compat.patch(module).replaced}
    if when == "after":
        exec(CODE, vars(module))
    torch.testing.assert_close(vars(module)[name](one, two)(coords), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize("read", [True, False])
def test_gradients_flow_from_where_it_is_built(module, built, read):
    theirs = module.CorrBlock
    compat.patch(module)
    slopes = []
    for kind in (theirs, module.CorrBlock):
        one, two, coords = (t.requires_grad_() for t in drawn())
        with torch.set_grad_enabled(built):
            block = kind(one, two, 2)
        if read:
            block.levels  # noqa: B018
        slopes.append(torch.autograd.grad(block(coords).sum(), (one, two), allow_unused=True))
    for expected, ours in zip(*slopes):
        assert (expected is None) == (ours is None) == (not built)
        if built:
            torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("cast", [True, False])
def test_under_autocast_it_has_the_dtype_of_theirs(module, cast):
    theirs = module.CorrBlock
    if cast:  # one that does not go back to float32
        theirs.__call__ = lambda self, coords: Volume.__call__(self, coords).to(self.levels[0].dtype)
    assert compat.patch(module).replaced
    one, two, coords = drawn()
    with torch.autocast("cpu", torch.bfloat16):
        expected, ours = (kind(one, two, 2)(coords) for kind in (theirs, module.CorrBlock))
    assert ours.dtype == expected.dtype == (torch.bfloat16 if cast else torch.float32)


@pytest.mark.parametrize(
    ("channels", "size", "train", "theirs"),
    [
        (256, (16, 24), True, True),
        (256, (16, 24), False, False),
        (64, (16, 24), True, False),
        (256, (48, 48), True, False),
    ],
    ids=["small", "not trained", "few channels", "large"],
)
def test_where_the_volume_is_quicker_it_is_used(module, channels, size, train, theirs):
    assert compat.patch(module).replaced
    maps = [torch.randn(1, channels, *size, requires_grad=train) for _ in range(2)]
    block = module.CorrBlock(*maps, 2)
    assert ("_made" not in vars(block)) == theirs
