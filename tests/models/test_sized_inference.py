"""Frames at any time, scale and size, in tiles, and the pictures that explain them."""

import numpy as np
import pytest
import torch

from vfi.errors import UserError
from vfi.models import rife
from vfi.networks import sized_inference


def test_the_middle_reaches_other_times_by_halves():
    """A network that averages: the frame at t is the mix of both by t."""

    class Averaging(torch.nn.Linear):
        multiple, least_multiple, any_time = 1, 1, False
        calls = 0

        def frame_at(self, first, second, timestep, scale):
            self.calls += 1
            return (first + second) / 2

    network = Averaging(1, 1)
    frame0, frame1 = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    times = [0.25, 0.5, 0.625, 1 / 3, 0.001]
    for t, frame in zip(times, sized_inference.interpolate(network, frame0, frame1, times), strict=True):
        assert abs(frame.mean().item() - t) <= (1 / 128 if t > 0.01 else 1 / 64)
    assert network.calls == 2 + 2 + 4 + 4  # what lies on the way of several is computed once


class Local(torch.nn.Linear):
    """A network whose pixels depend on their neighbours up to 16 px away, and which says what it was given."""

    multiple, least_multiple, any_time = 32, 32, True

    def frame_at(self, first, second, timestep, scale):
        self.seen.append(tuple(first.shape[2:]))
        mean = (1 - timestep) * first + timestep * second
        return torch.nn.functional.avg_pool2d(mean, 33, 1, 16, count_include_pad=False)


@pytest.mark.parametrize("size", [(300, 500), (128, 640), (64, 64), (129, 128)])
def test_tiles_give_what_the_whole_gives(size):
    """A network that sees less far than tiles overlap: no seam, whatever the size."""
    torch.manual_seed(0)
    frames = torch.rand(2, 1, 3, *size)
    network = Local(1, 1)
    results = []
    for tile in (None, 100):
        network.seen = []
        results.append(sized_inference.interpolate(network, *frames, 0.25, tile=tile))
    assert all(max(seen) <= 128 for seen in network.seen), "tiles are multiples of 32: 128"
    inner = (..., slice(16, size[0] - 48), slice(16, size[1] - 48))  # tiles have ends where the picture has none
    torch.testing.assert_close(results[1][inner], results[0][inner], rtol=0, atol=0.02)
    assert results[1].shape == frames[0].shape


def test_tiles_of_rife():
    torch.manual_seed(0)
    model, frames = rife.load(), torch.rand(2, 1, 3, 96, 200)
    whole = model.interpolate(*frames)
    assert torch.equal(model.interpolate(*frames, tile=256), whole), "a tile that holds all"
    tiled, first = model.interpolate(*frames, tile=96), model.interpolate(*frames[..., :96])
    assert tiled.shape == whole.shape and not torch.equal(tiled, whole)
    torch.testing.assert_close(tiled[..., :64], first[..., :64], rtol=0, atol=1e-6)  # the next begins there
    with pytest.raises(ValueError, match=r"expected tile to be at least 128 at scale 0\.5, got 100"):
        model.interpolate(*frames, scale=0.5, tile=100)
    with pytest.raises(UserError, match="expected tile to be at least 64 at scale 1, got 10"):
        model.set_usual(tile=10)


@pytest.mark.parametrize("variant", ["rife", "rife_m"])
def test_explanation(variant):
    """Motion and blend are those of the forward, cut to the picture; there is a picture of either."""
    torch.manual_seed(0)
    model, frames = rife.load(variant=variant), torch.rand(2, 1, 3, 40, 70)
    explanation = model.explain(*frames, 0.25)
    padded = torch.nn.functional.pad(frames, (0, 26, 0, 24))
    with torch.no_grad():
        last = model(*padded, 0.25 if variant == "rife_m" else 0.5).stages[-1]
    torch.testing.assert_close(explanation.flow, (last.flow[:, 2:] - last.flow[:, :2])[..., :40, :70], rtol=0, atol=0)
    motion, blend = explanation.panels()
    assert motion.rgb.shape == blend.rgb.shape == (40, 70, 3)
    share = last.mask.sigmoid()[0, 0, :40, :70]
    y, x = divmod(int(share.argmax()), 70)
    towards0 = np.array(blend.legend[0][1]) - np.array(blend.legend[1][1])
    expected = np.array(blend.legend[1][1]) + share[y, x].item() * towards0
    assert np.abs(blend.rgb[y, x] - expected).max() <= 0.51


def test_turned_pictures_are_averaged():
    torch.manual_seed(0)
    model, frames = rife.load(), torch.rand(2, 1, 3, 64, 64)
    turned = model.interpolate(frames[0].flip(2, 3), frames[1].flip(2, 3)).flip(2, 3)
    expected = (model.interpolate(*frames) + turned) / 2
    torch.testing.assert_close(model.interpolate(*frames, tta=True), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [0.5, 2])
def test_scales(scale):
    torch.manual_seed(0)
    model, frames = rife.load(), torch.rand(2, 1, 3, 45, 70)
    frame = model.interpolate(*frames, scale=scale)
    assert frame.shape == frames[0].shape and not torch.equal(frame, model.interpolate(*frames))


def test_times_may_be_any_numbers():
    assert sized_inference.times_of(torch.tensor(0.5)) == sized_inference.times_of(np.float32(0.5)) == ([0.5], True)
    assert (
        sized_inference.times_of(torch.tensor([0.25, 1]))
        == sized_inference.times_of(np.array([0.25, 1]))
        == ([0.25, 1.0], False)
    )
    for wrong in ("0.5x", None, [None], [[0.5, 0.5]]):
        with pytest.raises(ValueError, match="expected t to be a number or several"):
            sized_inference.times_of(wrong)
    for wrong in (1.5, [0.5, -0.1], float("nan")):
        with pytest.raises(ValueError, match=r"expected t in \[0, 1\]"):
            sized_inference.times_of(wrong)
    with pytest.raises(ValueError, match="expected frames to be tensors, got ndarray"):
        sized_inference.check(np.zeros((1, 3, 4, 4)), torch.rand(1, 3, 4, 4))
    with pytest.raises(ValueError, match="expected frames with pixels"):
        sized_inference.check(*torch.rand(2, 0, 3, 4, 4))
