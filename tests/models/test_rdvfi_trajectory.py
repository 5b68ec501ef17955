"""RDVFI's motion: from latents to trajectories, and along them to frames."""

import math
import pickle

import pytest
import torch
import torch.nn.functional as F

import vfi_kernels as vk

pytest.importorskip("diffusers")

from rdvfi_parts import VARIANTS, made, pair, seeded

from vfi.models.rdvfi import EstimatedMotion, FrameSynthesis, Trajectory, TrajectoryEstimator
from vfi.models.rdvfi.estimator import upsampled
from vfi.models.rdvfi.trajectory import resized_flow


def test_estimator_fuses_neighbouring_motion():
    """With the heads at 0 but for a constant motion between neighbours, flows add up along the way."""
    estimator = TrajectoryEstimator(4, 16, 2)
    with torch.no_grad():
        estimator.adjacent.head.bias.copy_(torch.tensor([0.5, -0.25, -0.5, 0.25]))
    motion = estimator(torch.randn(2, 5, 4, 8, 10, generator=seeded()))
    assert motion.nodes0.shape == (2, 5, 2, 64, 80)
    for k in range(5):
        wanted = torch.tensor([0.5, -0.25]) * 4 * k  # px of a grid four times as fine
        torch.testing.assert_close(motion.nodes0[:, k], wanted.view(1, 2, 1, 1).expand(2, 2, 64, 80))
        torch.testing.assert_close(motion.nodes1[:, 4 - k], -wanted.view(1, 2, 1, 1).expand(2, 2, 64, 80))
    torch.testing.assert_close(motion.adjacent[0, 2, :, 3, 3], torch.tensor([0.25, -0.125, -0.25, 0.125]))


def test_ends_do_not_move():
    motion = made().estimator(torch.randn(1, 5, 16, 8, 8, generator=seeded()))
    assert not motion.nodes0[:, 0].any() and not motion.nodes1[:, -1].any()
    assert motion.nodes0[:, 1:].any() and motion.nodes1[:, :-1].any()


def test_composition_follows_the_moved_pixel():
    """phi2 looks the next motion up where the pixel is by then."""
    fusion = TrajectoryEstimator(4, 16, 2).fusion
    flow = torch.full((1, 2, 6, 8), 1.0)
    adjacent = torch.arange(8.0).expand(1, 2, 6, 8)
    features = torch.zeros(1, 16, 6, 8)
    composed, *_ = fusion(flow, adjacent, features, features, features)
    torch.testing.assert_close(composed[0, 0, 2], 1 + torch.arange(1.0, 9.0).clamp(max=7))


def test_upsampling_is_convex():
    flow, mask = torch.randn(1, 2, 5, 6, generator=seeded()), torch.randn(1, 144, 5, 6, generator=seeded(1))
    fine = upsampled(flow, mask)
    padded = F.pad(4 * flow, (1, 1, 1, 1), "replicate")
    for y, x in ((0, 0), (7, 13), (19, 23)):
        weights = mask[0].view(9, 4, 4, 5, 6)[:, y % 4, x % 4, y // 4, x // 4].softmax(0)
        around = padded[0, :, y // 4 : y // 4 + 3, x // 4 : x // 4 + 3].flatten(1)
        torch.testing.assert_close(fine[0, :, y, x], (around * weights).sum(1))


def trajectory_of(nodes0, nodes1, frame0, frame1, warp="forward"):
    """With a fresh synthesis, which blends."""
    batch, count = nodes0.shape[:2]
    metric, adjacent = torch.zeros(batch, 1, 4, 4), torch.zeros(batch, count - 1, 4, 2, 2)
    motion = EstimatedMotion(nodes0, nodes1, metric, metric, adjacent)
    return Trajectory(frame0, frame1, motion, torch.zeros(batch, count, 4, 2, 2), FrameSynthesis(4, 8), warp)


@pytest.mark.parametrize("warp", ["forward", "backward"])
def test_a_sliding_picture(warp):
    """Motion of 8 px to the right, quadratic in time; in the middle the frames agree with the truth."""
    texture = F.avg_pool2d(torch.rand(1, 3, 40, 140, generator=seeded()), 5, 1)
    frame0, frame1 = texture[..., 20:84], texture[..., 12:76]
    knots = torch.linspace(0, 1, 5)
    distance = 8 * knots**2
    nodes0, nodes1 = torch.zeros(2, 1, 5, 2, 36, 64)
    nodes0[:, :, 0], nodes1[:, :, 0] = distance.view(1, 5, 1, 1), (distance - 8).view(1, 5, 1, 1)
    curve = trajectory_of(nodes0, nodes1, frame0, frame1, warp)
    tau = math.sqrt(0.5)  # 4 px
    torch.testing.assert_close(curve.flow(tau)[0][0, 0], torch.full((36, 64), 4.0))
    torch.testing.assert_close(curve.flow(tau, (72, 32))[1][0, 0], torch.full((72, 32), -2.0))
    result = curve.frames(tau)
    torch.testing.assert_close(result[..., 8:-8], texture[..., 16:80][..., 8:-8], atol=1e-5, rtol=0)
    wide = curve.frames(tau, *(F.interpolate(f, scale_factor=2, mode="nearest") for f in (frame0, frame1)))
    wanted = F.interpolate(texture[..., 16:80], scale_factor=2, mode="nearest")
    torch.testing.assert_close(wide[..., 16:-16], wanted[..., 16:-16], atol=1e-5, rtol=0)


def test_flows_between_nodes_are_cubic_in_time():
    nodes = torch.randn(1, 9, 2, 6, 8, generator=seeded())
    frame = torch.rand(1, 3, 12, 24)
    curve = trajectory_of(nodes, nodes.flip(1), frame, frame)
    flows = curve.flow([0.1, 0.5], (12, 24))[0]
    wanted = resized_flow(vk.sample_trajectory(nodes, [0.1])[:, 0], (12, 24))
    torch.testing.assert_close(flows[:, 0], wanted)
    torch.testing.assert_close(curve.flow(0.5)[0], resized_flow(nodes[:, 4], (12, 24)))


def test_where_one_frame_covers_nothing_the_other_counts():
    """Frame 0 moves out of the picture altogether: the result is frame 1."""
    frame0, frame1 = pair(32, 48)
    nodes0 = torch.zeros(1, 3, 2, 32, 48)
    nodes0[:, 1:] = 1000
    curve = trajectory_of(nodes0, torch.zeros_like(nodes0), frame0, frame1).frames(0.5)
    torch.testing.assert_close(curve, frame1, atol=2e-3, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_trajectory_is_kept_and_used_again(variant):
    net, (frame0, frame1) = made(variant), pair()
    curve = net.trajectory(frame0, frame1, seeded())
    wanted = net.interpolate(frame0, frame1, [0.3, 0.6], seeded())
    again = pickle.loads(pickle.dumps(curve))
    for kept in (curve, again, again.to("cpu")):
        for frame, expected in zip(kept.frames([0.3, 0.6]), wanted, strict=True):
            assert torch.equal(frame, expected)
    large = F.interpolate(frame0, scale_factor=2), F.interpolate(frame1, scale_factor=2)
    assert again.frames(0.3, *large).shape == (1, 3, 140, 202)


def test_many_times_are_worked_on_in_parts(monkeypatch):
    net, (frame0, frame1) = made(), pair()
    curve = net.trajectory(frame0, frame1, seeded())
    times = [i / 24 for i in range(25)]
    whole = curve.frames(times)
    monkeypatch.setattr("vfi.models.rdvfi.trajectory.PIXELS_AT_ONCE", 5 * 70 * 101)
    for one, other in zip(whole, curve.frames(times), strict=True):
        torch.testing.assert_close(one, other)
