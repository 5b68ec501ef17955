"""compat.patch on ops that repositories carry as private kernels: cost volumes, RAFT's look-up, adaptive kernels."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from vfi_kernels import compat
from vfi_kernels.compat import _kernels, _stubs


def displaced(two, radius, step=1):
    reach, (height, width) = radius * step, two.shape[2:]
    near = F.pad(two, (reach,) * 4)
    starts = range(0, 2 * reach + 1, step)
    return [near[:, :, y : y + height, x : x + width] for y in starts for x in starts]


VOLUMES = {
    "FlowNetC's": (lambda a, b: torch.stack([(a * s).mean(1) for s in displaced(b, 10, 2)], 1), "patch_dilation=2"),
    "sums of products": (lambda a, b: torch.cat([(a * s).sum(1, True) for s in displaced(b, 4)], 1), "normalize=False"),
    "M2M's": (lambda a, b: torch.cat([(a - s).abs().mean(1, True) for s in displaced(b, 4)], 1), "cost='l1'"),
    "radius 0": (lambda a, b: (a * b).mean(1, True), "radius=0"),
}


@pytest.mark.parametrize("kind", VOLUMES)
@pytest.mark.in_turn
def test_cost_volumes(kind):
    theirs, option = VOLUMES[kind]
    module = ModuleType("client")
    module.costvol = theirs
    (replaced,) = compat.patch(module).replaced
    assert replaced.by == "vk.correlation" and option in replaced.reason, replaced
    one, two = torch.randn(2, 2, 5, 24, 26)
    torch.testing.assert_close(module.costvol(one, two), theirs(one, two), rtol=0, atol=1e-5)


def with_kernel(monkeypatch, name, parameters, size, text):
    """An autograd function around a kernel of CuPy, and a function around that."""
    monkeypatch.setitem(sys.modules, "cupy", _stubs.cupy_stubs()["cupy"])
    module = ModuleType("kernels")
    code = f'''
import cupy, torch

class {name}(torch.autograd.Function):
    @staticmethod
    def forward(ctx, {parameters}):
        first = {parameters.partition(",")[0]}
        assert first.is_cuda
        out = first.new_empty({size})
        cupy.RawKernel("""{text}""", "forward")((1,), (512,), (first.data_ptr(), out.data_ptr()))
        return out

def around({parameters}):
    return {name}.apply({parameters})
'''
    exec(code, vars(module))
    return module


def test_a_cost_volume_without_a_text_stays(monkeypatch):
    size = "[first.shape[0], 81, first.shape[2], first.shape[3]]"
    module = with_kernel(monkeypatch, "costvol_func", "tenOne, tenTwo", size, "")
    report = compat.patch(module)
    assert not report.replaced
    assert report.left[0].reason == "the text of its kernel, which says what it sums, is not known"


OF_TAPS = "[first.shape[0], first.shape[1], weight.shape[2], weight.shape[3]]"
ADAPTIVE = {
    "adacof": ("FunctionAdaCoF", "input, weight, offset_i, offset_j, dilation", compat.adacof.FunctionAdaCoF.apply),
    "sepconv": ("_FunctionSepconv", "input, weight, horizontal", compat.sepconv.FunctionSepconv),
    "dsepconv": (
        "_FunctionDSepconv", "input, weight, horizontal, offset_x, offset_y, mask", compat.dsepconv.FunctionDSepconv
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ADAPTIVE)
def test_adaptive_kernels(monkeypatch, kind):
    name, parameters, ours = ADAPTIVE[kind]
    arguments = _kernels.adaptive(kind)
    module = with_kernel(monkeypatch, name, parameters, OF_TAPS, "text")
    vars(module)[f"Function_{kind}"] = vars(module).pop("around")
    report = compat.patch(module)
    assert {r.place for r in report.replaced} == {f"kernels.{name}", f"kernels.Function_{kind}"}, str(report)
    assert torch.equal(vars(module)[name].apply(*arguments), ours(*arguments))
    assert torch.equal(vars(module)[f"Function_{kind}"](*arguments), ours(*arguments))
    compat.unpatch()
    wrong = with_kernel(monkeypatch, name, parameters, "first.shape", "text")
    assert not compat.patch(wrong).replaced


corr = ModuleType("corr")


class Blocks:
    """RAFT's look-up in plain PyTorch, and another one."""

    class CorrBlock:
        def __init__(self, fmap1, fmap2, num_levels=4, radius=4):
            self.levels, self.radius = [fmap2], radius
            self.fmap1 = fmap1
            for _ in range(num_levels - 1):
                self.levels.append(F.avg_pool2d(self.levels[-1], 2))

        def __call__(self, coords):
            b, c, height, width = self.fmap1.shape
            near = torch.linspace(-self.radius, self.radius, 2 * self.radius + 1)
            out = []
            for level, fmap in enumerate(self.levels):
                volume = torch.einsum("bchw,bcij->bhwij", self.fmap1, fmap) / c**0.5
                volume = volume.reshape(b * height * width, 1, *fmap.shape[2:])
                shifts = torch.stack(torch.meshgrid(near, near, indexing="ij"), -1)
                at = coords.permute(0, 2, 3, 1).reshape(-1, 1, 1, 2) / 2**level + shifts
                size = torch.tensor([fmap.shape[3] - 1, fmap.shape[2] - 1])
                found = F.grid_sample(volume, 2 * at / size - 1, align_corners=True)
                out.append(found.view(b, height, width, -1))
            return torch.cat(out, -1).permute(0, 3, 1, 2).contiguous().float()

    class CorrBlockOfArgs(CorrBlock):
        """As SEA-RAFT's: its numbers are an object's, and its windows can be stretched."""

        def __init__(self, fmap1, fmap2, args):
            self.maps = corr.CorrBlock.pair(fmap1, fmap2)  # as there: a method by its class' name
            super().__init__(*self.maps, radius=args.corr_radius, num_levels=args.corr_levels)

        @staticmethod
        def pair(*maps):
            return maps

        def __call__(self, coords, dilation=None):
            out = super().__call__(coords)
            return out if dilation is None else out * dilation

    class BidirCorrBlock:
        """As AMT's."""

        def __init__(self, fmap1, fmap2, num_levels=4, radius=4):
            self.there = Blocks.CorrBlock(fmap1, fmap2, num_levels, radius)
            self.back = Blocks.CorrBlock(fmap2, fmap1, num_levels, radius)

        def __call__(self, coords0, coords1):
            return self.there(coords0), self.back(coords1)

    class CeilCorrBlock(CorrBlock):
        """Of pools that keep an odd last row."""

        def __init__(self, fmap1, fmap2, num_levels=4, radius=4):
            super().__init__(fmap1, fmap2, 1, radius)
            for _ in range(num_levels - 1):
                self.levels.append(F.avg_pool2d(self.levels[-1], 2, ceil_mode=True))

    class OtherCorrBlock(CorrBlock):
        def __call__(self, coords):
            return super().__call__(coords) * 1.0001


def test_look_ups_with_other_signatures():
    module = corr
    module.CorrBlock, module.BidirCorrBlock = Blocks.CorrBlockOfArgs, Blocks.BidirCorrBlock
    report = compat.patch(module)
    assert {r.place: r.by for r in report.replaced} == {
        "corr.CorrBlock": "compat.raft.CorrBlock", "corr.BidirCorrBlock": "compat.raft.BidirCorrBlock",
    }  # fmt: skip
    one, two = torch.randn(2, 1, 8, 32, 40)
    coords, other = torch.rand(2, 1, 2, 32, 40) * 40
    assert module.CorrBlock.pair is Blocks.CorrBlockOfArgs.pair
    settings = SimpleNamespace(corr_levels=3, corr_radius=2, more="kept")
    ours, theirs = module.CorrBlock(one, two, settings), Blocks.CorrBlockOfArgs(one, two, args=settings)
    torch.testing.assert_close(ours(coords), theirs(coords), rtol=0, atol=1e-4)
    assert all(map(torch.equal, ours.maps, (one, two)))
    assert torch.equal(ours(coords, dilation=torch.tensor(2.0)), theirs(coords, torch.tensor(2.0)))
    both = module.BidirCorrBlock(one, two, radius=3)(coords, other)
    for got, expected in zip(both, Blocks.BidirCorrBlock(one, two, radius=3)(coords, other), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)
    assert compat.unpatch() == 2


def test_the_look_up_of_raft():
    module = ModuleType("corr")
    module.CorrBlock, module.OtherCorrBlock = Blocks.CorrBlock, Blocks.OtherCorrBlock
    module.CeilCorrBlock = Blocks.CeilCorrBlock
    report = compat.patch(module)
    assert {r.place: r.by for r in report.replaced} == {"corr.CorrBlock": "compat.raft.CorrBlock"}
    assert [item.place for item in report.left] == ["corr.OtherCorrBlock", "corr.CeilCorrBlock"]
    one, two = torch.randn(2, 1, 8, 32, 40)
    coords = torch.rand(1, 2, 32, 40) * 40
    for arguments, named in (((one, two), {}), ((one, two, 3), {"radius": 2}), ((one,), {"fmap2": two})):
        expected = Blocks.CorrBlock(*arguments, **named)(coords)
        torch.testing.assert_close(module.CorrBlock(*arguments, **named)(coords), expected, rtol=0, atol=1e-4)
    assert compat.unpatch() == 1 and module.CorrBlock is Blocks.CorrBlock
