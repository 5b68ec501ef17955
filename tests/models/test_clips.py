"""Synthetic clips: motion that is not uniform, and what cubic trajectories make of it."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import vfi_kernels as vk
from vfi.data.synthetic import clip, random_scene, triplet
from vfi.data.synthetic.__main__ import main
from vfi.data.synthetic.motion import Accelerated, Oscillating, Uniform
from vfi.data.synthetic.random_motion import MOTIONS
from vfi.errors import UserError
from vfi.files.images import read_image, to_array

pytestmark = pytest.mark.in_turn
SIZE = (96, 128)
FIELDS = ("frames", "flow", "visible")


@pytest.mark.parametrize("motion", [*MOTIONS, "mixed"])
def test_the_same_arguments_give_the_same_bytes(threads, motion):
    """Whatever the number of threads and the state of other generators."""
    threads(1)
    first = clip(5, (64, 70), 4, motion=motion)
    torch.manual_seed(3)
    threads(4)
    again = clip(5, (64, 70), 4, motion=motion)
    assert all(torch.equal(getattr(first, name), getattr(again, name)) for name in FIELDS)
    assert first.times == (0.0, 1 / 3, 2 / 3, 1.0)


def test_another_process_gives_the_same_bytes(threads):
    """Of other numbers of threads, a clip and a triplet."""
    code = "import hashlib; from vfi.data.synthetic import clip, triplet\n"
    code += "c, t = clip(5, (64, 70), 4), triplet(3, (64, 70))\n"
    code += "parts = [x.numpy().tobytes() for made in (c, t) for x in (made.frames, made.flow, made.visible)]\n"
    code += "found = [hashlib.sha256(part).hexdigest() for part in parts]"
    environment = {**os.environ, "OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "1"}
    other = [sys.executable, "-c", f"{code}; print(found)"]
    printed = subprocess.run(other, env=environment, capture_output=True, text=True, check=True).stdout
    threads(1)
    exec(code, here := {})
    assert len(here["found"]) == 6 and printed.strip() == str(here["found"])


def test_uniform_scenes_are_what_they_were():
    """Numbers of a scene from before there were other motions."""
    layers = random_scene(3, SIZE).layers
    curve = layers[2].motion.x
    assert isinstance(curve, Uniform)
    np.testing.assert_allclose([curve.middle, curve.rate], [91.2993423695095, 7.308213478529565], rtol=1e-12)
    np.testing.assert_allclose(layers[3].motion.bend(0.0), 0.41691567539992935, rtol=1e-12)


@pytest.mark.parametrize("motion", [*MOTIONS, "mixed"])
def test_what_a_clip_holds(motion):
    made = clip(2, SIZE, (0.0, 0.3, 1.0), motion=motion)
    assert made.frames.shape == (3, 3, *SIZE) and made.flow.shape == (2, 3, 2, *SIZE)
    assert made.visible.shape == (2, 3, *SIZE) and made.visible.dtype == torch.bool
    scene = random_scene(2, SIZE, motion=motion)
    for i, time in enumerate(made.times):
        assert torch.equal(made.frames[i], scene.frame(time))
    for i, end in enumerate((0.0, 1.0)):
        flow, visible = scene.track(end, made.times)
        assert torch.equal(made.flow[i], flow) and torch.equal(made.visible[i], visible)
        assert made.flow[i, 2 * i].abs().max() < 1e-6 and made.visible[i, 2 * i].all()


@pytest.mark.parametrize("max_motion", [0, 6, 60])
@pytest.mark.parametrize("motion", [*MOTIONS, "mixed"])
def test_nothing_moves_further_than_allowed_at_any_time(motion, max_motion):
    """Between any two of 17 times, for what either end shows."""
    longest = 0.0
    for seed in range(2):
        made = clip(seed, (48, 64), 17, motion=motion, max_motion=max_motion, layers=3)
        apart = (made.flow[:, :, None] - made.flow[:, None]).norm(dim=3)
        longest = max(longest, float(apart.max()))
    assert 0.4 * max_motion <= longest <= max_motion + 1e-5


@pytest.mark.parametrize("seed", range(4))
def test_accelerated_tracks_are_quadratics(seed):
    """Second differences of every point's track are the same at every time, from either end."""
    made = clip(seed, SIZE, 9, motion="accelerated")
    second = made.flow[:, 2:] - 2 * made.flow[:, 1:-1] + made.flow[:, :-2]
    assert (second - second[:, :1]).abs().max() < 1e-5
    assert second.abs().max() > 0.02, "and they are not 0"


@pytest.mark.parametrize("seed", range(4))
def test_rotation_is_on_circles_at_constant_speed(seed):
    """Each layer against a closed form: p(t) = pivot + R(turn (t - 1/2)) (p(1/2) - pivot), with a pivot for all points;
    or, of a layer that does not turn itself, with one for each point, all as far away."""
    turned = 0
    for layer in random_scene(seed, SIZE, motion="rotation").layers:
        motion, points = layer.motion, np.random.default_rng(seed).uniform(-20, 20, (2, 50))
        pivot = np.array([[motion.x.middle], [motion.y.middle]])
        turn = motion.angle(1.0) - motion.angle(0.0)
        if turn == 0:
            turn = motion.x.rate
            pivot = motion.to_frame(points, 0.5) - np.array([[motion.x(0.5)], [motion.y(0.5)]]) + pivot
        assert np.pi / 3 <= abs(turn) <= np.pi or motion.x.amplitude == 0
        turned += motion.x.amplitude != 0 or motion.angle(1.0) != motion.angle(0.0)
        middle = motion.to_frame(points, 0.5) - pivot
        for time in (0.0, 0.21, 0.8, 1.0):
            angle = turn * (time - 0.5)
            matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            np.testing.assert_allclose(motion.to_frame(points, time), pivot + matrix @ middle, atol=1e-7)
    assert turned


@pytest.mark.parametrize("seed", range(4))
def test_oscillation_is_a_sine(seed):
    """Points move as a whole, and satisfy x'' = -rate^2 (x - middle), whose solutions are sines, between samples."""
    for layer in random_scene(seed, SIZE, motion="oscillation").layers:
        points = np.random.default_rng(seed).uniform(-20, 20, (2, 30))
        tracks = np.stack([layer.motion.to_frame(points, time) for time in np.linspace(0, 1, 41)])
        moved = tracks - tracks[20]
        np.testing.assert_allclose(moved, np.broadcast_to(moved[..., :1], moved.shape), atol=1e-7)
        for axis, curve in enumerate((layer.motion.x, layer.motion.y)):
            place = moved[:, axis, 0] + curve(0.5) - curve.middle
            step = 2 * np.cos(curve.rate / 40)  # sin(a + d) + sin(a - d) = 2 cos(d) sin(a)
            np.testing.assert_allclose(place[2:] + place[:-2], step * place[1:-1], atol=1e-7)
            assert 0.5 <= curve.rate / (2 * np.pi) <= 1.5


def test_curves():
    curve, step = Accelerated(3, 2, 8), 1e-4
    assert curve(0.5) == 3 and abs((curve(0.5 + step) - curve(0.5 - step)) / (2 * step) - 2) < 1e-9
    assert abs(curve(1) - 2 * curve(0.5) + curve(0) - 8 * 0.25) < 1e-12
    sine = Oscillating(1, 2, np.pi, 0)
    assert sine(0.5) == 1 and abs(sine(1) - 3) < 1e-12 and abs(sine(0) + 1) < 1e-12


def test_mixed_layers_differ():
    kinds = {type(layer.motion.x) for seed in range(6) for layer in random_scene(seed, SIZE, motion="mixed").layers}
    assert kinds == {Uniform, Accelerated, Oscillating}


@pytest.mark.parametrize("seed", range(3))
def test_keyframes_give_every_other_time(seed):
    """Cubic convolution through nine knots is exact for constant acceleration, and near for the others."""
    taus = (0.04, 0.3, 0.5, 0.77, 0.99)
    for motion, limit in (("accelerated", 1e-4), ("rotation", 0.05), ("oscillation", 0.6)):
        made = clip(seed, SIZE, 9, motion=motion)
        scene = random_scene(seed, SIZE, motion=motion)
        for i, end in enumerate((0.0, 1.0)):
            expected, _ = scene.track(end, taus)
            flows = vk.sample_trajectory(made.flow[i][None], taus)[0]
            assert (flows - expected).abs().max() < limit


def splatted(frames, keyframes, seen, tau):
    """Both frames at tau along their trajectories, each point with the weight of what is seen of it there."""
    total = 0
    for frame, flow, visible in zip(frames, keyframes, seen):
        weight = visible[None, None].float()
        total = total + vk.trajectory_splat(torch.cat((frame[None] * weight, weight), 1), flow[None], tau, mode="sum")
    return total[0, 0, :3] / total[0, 0, 3:].clamp_min(1e-6), total[0, 0, 3] > 0.5


def test_accelerated_trajectories_beat_straight_lines():
    """Frames made from nine exact keyframes against those from the flow between the ends: 10 dB, one splat."""
    gains = []
    for seed in range(4):
        knots = clip(seed, SIZE, 9, motion="accelerated", max_motion=36)
        between = clip(seed, SIZE, (0.3, 0.5, 0.7), motion="accelerated", max_motion=36)
        ends = knots.frames[[0, -1]]
        for i, tau in enumerate(between.times):
            errors = []
            for keyframes in (knots.flow, knots.flow[:, [0, -1]]):
                frame, filled = splatted(ends, keyframes, between.visible[:, i], tau)
                errors.append((frame - between.frames[i])[:, filled].square().mean())
                assert filled.float().mean() > 0.7
            gains.append(10 * torch.log10(errors[1] / errors[0]).item())
    assert min(gains) > 10


def test_wrong_requests():
    for arguments, message in (
        ({"motion": "circular"}, "motion uniform, accelerated, rotation, oscillation or mixed, got 'circular'"),
        ({"times": 1}, "times of 2 or more, got 1"),
        ({"times": (0.5, 1.5)}, r"times in \[0, 1\], got 0.5, 1.5"),
        ({"times": ()}, r"times in \[0, 1\], got none"),
        ({"times": (float("nan"),)}, r"times in \[0, 1\], got nan"),
    ):
        with pytest.raises(UserError, match=message):
            clip(0, SIZE, **arguments)
    with pytest.raises(UserError, match="expected motion uniform, "):
        triplet(0, SIZE, motion="none")


def test_the_command_writes_clips(tmp_path, capsys):
    arguments = ["--count", "2", "--size", "48", "64", "--seed", "7", "--frames", "5"]
    assert main(["--out", str(tmp_path / "made"), *arguments]) == 0
    assert sorted(p.name for p in (tmp_path / "made" / "0002").iterdir()) == [f"00{k}.png" for k in range(5)]
    expected = to_array(clip(8, (48, 64), 5).frames[3:4])
    assert np.array_equal(read_image(tmp_path / "made" / "0002" / "003.png").rgb, expected)
    assert main(["--out", str(tmp_path / "turned"), *arguments, "--motion", "rotation"]) == 0
    expected = to_array(clip(7, (48, 64), 5, motion="rotation").frames[1:2])
    assert np.array_equal(read_image(tmp_path / "turned" / "0001" / "001.png").rgb, expected)
    assert capsys.readouterr().out.splitlines()[0] == f"wrote 2 clips below {tmp_path / 'made'}"
    for wrong, message in (
        (["--flow"], "--flow and --time are for triplets, not for --frames"),
        (["--time", "0.5"], "--flow and --time are for triplets, not for --frames"),
        (["--frames", "1"], "expected --frames of 2 or more, got 1"),
    ):
        assert main(["--out", str(tmp_path / "wrong"), *arguments, *wrong]) == 2
        assert capsys.readouterr().err.strip() == f"synthetic: {message}"
    assert main(["--out", str(tmp_path / "three"), "--count", "1", "--size", "48", "64", "--motion", "mixed"]) == 0
    expected = to_array(triplet(0, (48, 64), motion="mixed").frames[1:2])
    assert np.array_equal(read_image(tmp_path / "three" / "0001" / "im2.png").rgb, expected)
