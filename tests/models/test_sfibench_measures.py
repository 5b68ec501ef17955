"""The measures of SFIBench, on cases worked out by hand."""

import math

import numpy as np
import pytest
import torch

from vfi.errors import UserError
from vfi.evaluation.sfibench import frechet, inception, measures
from vfi.models import ebme, flow_by_name


def video(*levels, size=(32, 48)):
    """Frames of one brightness each."""
    return torch.stack([torch.full((3, *size), level, dtype=torch.uint8) for level in levels])


def flow_of(*vectors):
    """A flow that is asked once for each pair: vectors (x, y) of all pixels, one pair after another."""
    left = iter(vectors)
    return lambda first, second: torch.tensor(next(left)).view(1, 2, 1, 1).expand(1, 2, *first.shape[2:])


def test_flickering_by_hand():
    """Steps of 10 and 30: their mean, 20, of 255."""
    assert measures.flickering(video(100, 110, 80)) == pytest.approx((255 - 20) / 255)
    assert measures.flickering(video(0, 255)) == 0
    assert measures.flickering(video(7, 7, 7, 7)) == 1
    half = video(0, 0)
    half[1, :, :, :24] = 8
    assert measures.flickering(half) == pytest.approx((255 - 4) / 255)


def test_smoothness_by_hand():
    """Frames 1 and 3 from frames 0, 2 and 4: the means are 15 and 30, and they are 20 and 30."""
    between = lambda a, b: (a + b) / 2  # noqa: E731
    assert measures.smoothness(video(10, 20, 20, 30, 40), between) == pytest.approx((255 - 2.5) / 255)
    assert measures.smoothness(video(10, 20, 30), between) == 1
    assert measures.smoothness(video(10, 20, 30), lambda a, b: between(a, b) + 0.9 / 255) == 1, "cut, not rounded"
    assert measures.smoothness(video(10, 20, 30, 99), between) == 1, "the last of an even number has no neighbour"


def test_dynamic_degree_by_hand():
    """32 pixels: the bound is 0.75. 16 frames at 8 per second need 4 of 15 pairs."""
    fast, slow = (0.6, 0.8), (0.0, 0.7)
    for count, expected in ((3, False), (4, True), (15, True)):
        flow = flow_of(*[fast] * count, *[slow] * (15 - count))
        assert measures.moves(video(*range(16)), 8, flow) == expected
    assert not measures.moves(video(0, 1), 8, flow_of((0.75, 0.0))), "above, not at it"
    # 30 per second: every fourth frame (3.75 rounded); 9 frames become 3, which need one pair.
    seen = []
    flow = lambda a, b: (seen.append((a.mean() * 255, b.mean() * 255)), flow_of(fast)(a, b))[1]  # noqa: E731
    assert measures.moves(video(*range(9)), 30, flow)
    assert [tuple(round(float(x)) for x in pair) for pair in seen] == [(0, 4), (4, 8)]
    assert not measures.moves(video(*range(5)), 30, flow_of(slow)), "one pair is needed even of two frames"
    assert not measures.moves(video(1, 2, 3), 60, flow_of()), "a single frame left has no motion"
    assert measures.moves(video(1, 2, 3), 2, flow_of(fast, fast)), "fewer than 8 per second: every frame"


def test_the_fastest_pixels_count():
    """5 % of 1,536 pixels are 76: half of these move by 5, half by 3."""
    flow = torch.zeros(1, 2, 32, 48)
    flow[0, 0].flatten()[:38] = -3
    flow[0, 1].flatten()[38:76] = 5
    assert measures.fastest(*video(0, 0), lambda a, b: flow) == pytest.approx(4)


def moments(*parts):
    counted = frechet.Moments()
    for part in parts:
        counted.add(torch.as_tensor(part))
    return counted


def test_frechet_of_one_dimension():
    """(m1 - m2)^2 + (s1 - s2)^2, with the unbiased deviations 1 and 2."""
    root = math.sqrt(2)
    assert frechet.distance(moments([[1 / root], [-1 / root]]), moments([[3 + root], [3 - root]])) == pytest.approx(10)


def test_frechet_of_axes_that_do_not_mix():
    """Diagonal covariances: the sum of (s1 - s2)^2 over the axes."""
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(50, 4))
    raw -= raw.mean(0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw.T))).T
    first, second = np.array([1.0, 2, 3, 0]), np.array([2.0, 2, 1, 0.5])
    shift = np.array([1.0, 0, 0, 2])
    distance = frechet.distance(moments(white * first), moments(white * second + shift))
    assert distance == pytest.approx(5 + ((first - second) ** 2).sum())


def test_frechet_of_any_covariances():
    """Against the usual form, with scipy's square root of a product that is not symmetric; in parts as at once."""
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(1)
    a, b = (rng.normal(size=(40, 6)) @ rng.normal(size=(6, 6)) + rng.normal(size=6) for _ in range(2))
    root = sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    assert frechet.distance(moments(a), moments(b[:7], b[7:])) == pytest.approx(expected)
    assert frechet.distance(moments(b), moments(a)) == pytest.approx(expected)
    assert frechet.distance(moments(a), moments(a)) == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="at least 2 features, got 1"):
        frechet.distance(moments(a), moments(b[:1]))


def test_frechet_of_fewer_frames_than_features():
    rng = np.random.default_rng(2)
    a = rng.normal(size=(5, 30))
    assert frechet.distance(moments(a), moments(a)) == pytest.approx(0, abs=1e-6)
    assert frechet.distance(moments(a), moments(a + 2)) == pytest.approx(120)


def test_inception(inception_file, tmp_path):
    """The number of parameters of Inception-v3 without its last layer and the auxiliary one; features of any size."""
    network = inception.load(inception_file)
    assert sum(p.numel() for p in network.parameters()) == 21_785_568
    frames = torch.rand(2, 3, 40, 60)
    features = network(frames)
    assert features.shape == (2, 2048) and torch.allclose(network(frames[1:]), features[1:], atol=1e-5)
    state = torch.load(inception_file)
    for changed in ({"Mixed_5b.branch1x1.conv.weight": torch.zeros(1)}, {"other": torch.zeros(1)}):
        torch.save({**state, **changed}, tmp_path / "wrong.pth")
        with pytest.raises(UserError, match="does not fit the Inception-v3 of FID:"):
            inception.load(tmp_path / "wrong.pth")
    torch.save({"weight": torch.zeros(1)}, tmp_path / "wrong.pth")
    with pytest.raises(UserError, match="expected the Inception-v3 of FID"):
        inception.load(tmp_path / "wrong.pth")
    torch.save(torch.nn.ReLU(), tmp_path / "module.pth")
    with pytest.raises(UserError, match="not a checkpoint that can be read safely"):
        inception.load(tmp_path / "module.pth")


def test_flow_models(tmp_path):
    torch.manual_seed(0)
    network = ebme.BiFlowNet().eval()
    torch.save(network.state_dict(), tmp_path / "flow.pkl")
    first, second = torch.rand(2, 1, 3, 64, 64)
    flow = flow_by_name.load_flow("ebme", str(tmp_path / "flow.pkl"))
    assert torch.equal(flow(first, second), network(first.flip(1), second.flip(1))[:, :2])
