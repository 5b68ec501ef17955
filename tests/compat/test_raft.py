"""compat.raft against the cost volumes as RAFT and AMT make them, written anew."""

import pytest
import torch
import torch.nn.functional as F

import vfi_kernels as vk
from vfi_kernels.compat import raft


class Volume:
    """All pairs of two maps, pooled over the second, and looked up around coords."""

    def __init__(self, fmap1, fmap2, num_levels=4, radius=4):
        self.radius, (b, c, h, w) = radius, fmap1.shape
        pairs = torch.matmul(fmap1.flatten(2).transpose(1, 2), fmap2.flatten(2)).view(b * h * w, 1, h, w)
        self.levels = [pairs / torch.tensor(c).float().sqrt()]
        for _ in range(num_levels - 1):
            self.levels.append(F.avg_pool2d(self.levels[-1], 2, stride=2))

    def __call__(self, coords):
        b, _, h, w = coords.shape
        line = torch.linspace(-self.radius, self.radius, 2 * self.radius + 1)
        delta = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1)
        centre = coords.permute(0, 2, 3, 1).reshape(b * h * w, 1, 1, 2)
        found = []
        for n, level in enumerate(self.levels):
            x, y = (centre / 2**n + delta).split(1, 3)
            grid = torch.cat([2 * x / (level.shape[3] - 1) - 1, 2 * y / (level.shape[2] - 1) - 1], 3)
            found.append(F.grid_sample(level, grid, align_corners=True).view(b, h, w, -1))
        return torch.cat(found, 3).permute(0, 3, 1, 2).contiguous().float()


@pytest.fixture
def maps(rng):
    fmap1, fmap2 = torch.randn(2, 2, 24, 18, 21, generator=rng)
    ys, xs = torch.meshgrid(torch.arange(18.0), torch.arange(21.0), indexing="ij")
    coords = torch.stack([xs, ys]) + 3 * torch.randn(2, 2, 18, 21, generator=rng)
    return fmap1.requires_grad_(), fmap2.requires_grad_(), coords


@pytest.mark.parametrize("block", [raft.CorrBlock, raft.AlternateCorrBlock])
@pytest.mark.parametrize("options", [{}, {"num_levels": 2, "radius": 3}])
def test_numbers_and_gradients(block, options, maps, rng):
    fmap1, fmap2, coords = maps
    ours, theirs = block(fmap1, fmap2, **options), Volume(fmap1, fmap2, **options)
    got, expected = ours(coords), theirs(coords)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=2e-5)
    assert got.is_contiguous() and ours.radius == theirs.radius
    cotangent = torch.randn(expected.shape, generator=rng)
    for a, b in zip(*(torch.autograd.grad(out, (fmap1, fmap2), cotangent) for out in (got, expected))):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-4)


def test_both_directions(maps):
    fmap1, fmap2, coords = maps
    there, back = raft.BidirCorrBlock(fmap1, fmap2, radius=3)(coords, coords.flip(0))
    torch.testing.assert_close(there, Volume(fmap1, fmap2, radius=3)(coords), rtol=1e-5, atol=2e-5)
    torch.testing.assert_close(back, Volume(fmap2, fmap1, radius=3)(coords.flip(0)), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_maps_are_multiplied_in_float32(maps, dtype):
    fmap1, fmap2, coords = (t.detach() for t in maps)
    got = raft.CorrBlock(fmap1.to(dtype), fmap2.to(dtype))(coords)
    expected = Volume(fmap1.to(dtype).float(), fmap2.to(dtype).float())(coords)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(("options", "sentence"), [
    ({"num_levels": 0}, "expected num_levels to be an integer from 1 up, got 0"),
    ({"radius": -1}, "expected radius to be an integer from 0 up, got -1"),
])  # fmt: skip
def test_wrong_numbers_are_refused_when_it_is_built(options, sentence, maps):
    with pytest.raises(vk.ArgumentError, match=f"^CorrBlock: {sentence}$"):
        raft.CorrBlock(*maps[:2], **options)
