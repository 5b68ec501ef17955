"""Synthetic triplets: exact frames, flow and visibility, the same for the same seed."""

import sys

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

import vfi_kernels as vk
from vfi.commands.main import main as vfi
from vfi.data.synthetic import Layer, Scene, random_scene, triplet
from vfi.data.synthetic.__main__ import main
from vfi.data.synthetic.motion import Motion, Uniform, Waves
from vfi.errors import UserError
from vfi.files.images import read_image, to_array

SIZE = (96, 128)


def same(a, b) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("frames", "flow", "visible"))


def psnr(result, truth, where) -> float:
    return float(-10 * torch.log10(((result - truth) ** 2)[:, where].mean()))


def eroded(mask):
    """Where the mask holds and in the two pixels around."""
    return -F.max_pool2d(-mask.float()[None], 5, 1, 2)[0] > 0


@pytest.mark.parametrize("photographs", [False, True])
def test_the_same_seed_gives_the_same_bytes(threads, photographs):
    """Whatever the number of threads and the state of other generators, which stay as they are."""
    torch.manual_seed(1)
    np.random.seed(1)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    threads(1)
    first = triplet(5, (131, 173), photographs=photographs)
    assert torch.equal(torch.get_rng_state(), states[0]) and np.array_equal(np.random.get_state()[1], states[1])
    torch.manual_seed(2)
    np.random.seed(2)
    threads(4)
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        assert same(first, triplet(5, (131, 173), photographs=photographs))
    finally:
        cv2.setNumThreads(before)
    assert not same(first, triplet(6, (131, 173), photographs=photographs))


@pytest.mark.parametrize("seed", range(6))
def test_warping_by_the_flow_rebuilds_the_middle(seed):
    made = triplet(seed, SIZE, photographs=seed % 2 == 1)
    assert made.frames.shape == (3, 3, *SIZE) and made.frames.dtype == torch.float32
    assert made.flow.shape == (4, *SIZE) and made.flow.dtype == torch.float32
    assert made.visible.shape == (2, *SIZE) and made.visible.dtype == torch.bool
    assert made.frames.min() >= 0 and made.frames.max() <= 1
    for i, frame in ((0, made.frames[0]), (1, made.frames[2])):
        warped = vk.backward_warp(frame[None], made.flow[None, 2 * i : 2 * i + 2])[0]
        where = eroded(made.visible[i])
        assert where.float().mean() > 0.5
        rebuilt = psnr(warped, made.frames[1], where)
        assert rebuilt > 30
        if made.flow[2 * i : 2 * i + 2].abs().mean() > 2:
            assert rebuilt > psnr(frame, made.frames[1], where) + 8


def test_flow_and_frames_agree_to_the_last_digit_on_a_smooth_texture():
    """A layer whose colour is its own coordinate: the frames show where each pixel's point comes from."""
    waves = Waves(np.array([[0.05, 0.02], [-0.01, 0.06]]), np.array([[2.0, -1.0], [1.5, 2.0]]), np.array([0.3, 2.0]))
    motion = Motion(
        x=lambda time: 32 + 3 * time + 4 * time**2,
        y=lambda time: 24 + 2 * np.sin(3 * time),
        angle=Uniform(0, 0.2),
        zoom=Uniform(0, -0.1),
        shear=Uniform(0, 0.1),
        bend=Uniform(0.2, 1),
        waves=waves,
    )
    x, y = torch.meshgrid(torch.linspace(0, 1, 201), torch.linspace(0, 1, 201), indexing="xy")
    scene = Scene((Layer(motion, torch.stack((x, y, 0 * x)), 1.0),), (48, 64))
    frames = {time: scene.frame(time) for time in (0.2, 0.7)}
    flow, visible = scene.track(0.2, [0.7])
    warped = vk.backward_warp(frames[0.7][None], flow)[0]
    where = eroded(visible)[0]
    # A step of 1/200 in colour is a pixel: what is left is the curvature between pixels.
    assert 200 * (warped - frames[0.2])[:2, where].abs().max() < 0.01 and where.float().mean() > 0.5


@pytest.mark.parametrize("seed", range(4))
def test_the_flow_joins_points_of_one_texture_coordinate(seed):
    scene = random_scene(seed, SIZE)
    flow, _ = scene.track(0.3, (0.0, 0.8))
    pixels = np.stack(np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0]))).astype(float)
    nearest = []
    for i, time in enumerate((0.0, 0.8)):
        ends = pixels + flow[i].numpy()
        differences = []
        for layer in scene.layers:
            start = layer.motion.to_layer(pixels.reshape(2, -1), 0.3)
            end = layer.motion.to_layer(ends.reshape(2, -1), time)
            differences.append(np.linalg.norm(start - end, axis=0))
        nearest.append(np.min(differences, axis=0).max())
    assert max(nearest) < 1e-4


def test_either_direction_of_a_motion_undoes_the_other(rng):
    for seed in range(5):
        for layer in random_scene(seed, SIZE).layers:
            points = 200 * torch.rand(2, 500, generator=rng, dtype=torch.float64).numpy() - 100
            for time in (0.0, 0.37, 1.0):
                there = layer.motion.to_frame(points, time)
                assert np.abs(layer.motion.to_layer(there, time) - points).max() < 1e-8
                assert layer.motion.waves.steepness() * abs(layer.motion.bend(time)) < 0.35


def test_a_grid_and_single_points_agree():
    motion = random_scene(1, SIZE).layers[0].motion
    xs, ys = np.arange(-3, 40, 0.5), np.arange(5, 30, 0.5)
    points = np.stack(np.meshgrid(xs, ys)).reshape(2, -1)
    expected = motion.to_layer(points, 0.8).reshape(2, len(ys), len(xs))
    np.testing.assert_allclose(motion.grid_to_layer(xs, ys, 0.8), expected, atol=1e-4)


def test_the_gradient_of_the_waves():
    waves = random_scene(2, SIZE).layers[0].motion.waves
    points, step = np.array([[3.0, -20.0], [7.0, 44.0]]), 1e-5
    for j in (0, 1):
        shift = step * np.eye(2)[:, j : j + 1]
        numeric = (waves(points + shift) - waves(points - shift)) / (2 * step)
        np.testing.assert_allclose(waves.gradient(points)[:, j], numeric, atol=1e-8)


def test_waves_that_fold_are_refused():
    still = Uniform(0, 0)
    waves = Waves(np.array([[1.0, 0.0]]), np.array([[3.0, 0.0]]), np.zeros(1))
    motion = Motion(still, still, still, still, still, Uniform(1, 0), waves)
    with pytest.raises(ArithmeticError, match="fold"):
        motion.to_frame(np.linspace(-9, 9, 400).reshape(2, -1), 0.5)


def square(centre, shift, colour):
    """A plain square of 21 px that moves by `shift` px to the right."""
    texture = torch.ones(4, 31, 31) * torch.tensor([*colour, 1.0])[:, None, None]
    texture[3] = -1
    texture[3, 5:26, 5:26] = 1
    still, none = Uniform(0, 0), Waves(np.zeros((1, 2)), np.zeros((1, 2)), np.zeros(1))
    return Layer(Motion(Uniform(centre, shift), Uniform(20, 0), still, still, still, still, none), texture, 1.0)


def test_what_a_moving_square_covers_and_uncovers():
    """Without rounding: the square's middle is at 28, 32 and 36, and it reaches 10.5 px to either side."""
    background = square(0, 0, (0, 0, 0)).motion
    scene = Scene((Layer(background, torch.full((3, 9, 9), 0.25), 1.0), square(32, 8, (1, 0.5, 0))), (40, 64))
    flow, visible = scene.track(0.5, (0.0, 1.0))
    inside = torch.zeros(64, dtype=torch.bool)
    inside[22:43] = True
    assert torch.allclose(flow[0, 0, 20], torch.where(inside, -4.0, 0.0)) and not flow[:, 1].any()
    covered_before, covered_after = torch.zeros(2, 64, dtype=torch.bool)
    covered_before[18:22], covered_after[43:47] = True, True
    assert torch.equal(visible[0, 20], ~covered_before) and torch.equal(visible[1, 20], ~covered_after)
    assert visible[:, 2].all()
    frame = scene.frame(0.5)
    assert torch.allclose(frame[:, 20, 32], torch.tensor([1.0, 0.5, 0]))
    assert torch.allclose(frame[:, 20, 5], torch.tensor(0.25))
    elsewhere = Scene((scene.layers[0], square(500, 8, (1, 1, 1))), (40, 64))
    assert torch.allclose(elsewhere.frame(0.5), torch.tensor(0.25)) and elsewhere.track(0.5, [0.0])[1].all()


def test_both_kinds_of_occlusion_occur():
    """Inside the frame, points of the middle are hidden before and others after."""
    hidden = torch.zeros(2)
    for seed in range(8):
        made = triplet(seed, SIZE)
        ys, xs = torch.meshgrid(*map(torch.arange, SIZE), indexing="ij")
        for i in (0, 1):
            x, y = xs + made.flow[2 * i], ys + made.flow[2 * i + 1]
            inside = (x > 0) & (x < SIZE[1] - 1) & (y > 0) & (y < SIZE[0] - 1)
            hidden[i] += (inside & ~made.visible[i]).sum()
    assert (hidden > 200).all()


def test_a_background_alone_hides_nothing():
    for seed in range(4):
        made = triplet(seed, SIZE, layers=1)
        for i in (0, 1):
            _, inside = vk.backward_warp(made.frames[:1], made.flow[None, 2 * i : 2 * i + 2], return_validity=True)
            differ = inside[0, 0] != made.visible[i]
            assert differ.float().mean() < 1e-3


def test_the_ends_are_the_end_frames():
    scene = random_scene(4, SIZE)
    for time, end in ((0.0, 0), (1.0, 1)):
        made = triplet(4, SIZE, time=time)
        assert torch.equal(made.frames[1], made.frames[2 * end]) and made.time == time
        assert made.flow[2 * end : 2 * end + 2].abs().max() < 1e-6 and made.visible[end].all()
        assert torch.equal(made.frames[1], scene.frame(time))


@pytest.mark.parametrize("max_motion", [0, 3, 24, 100])
def test_nothing_moves_further_than_allowed(max_motion):
    longest = 0.0
    for seed in range(6):
        scene = random_scene(seed, SIZE, max_motion=max_motion)
        flow = torch.cat([scene.track(time, (1 - time,))[0] for time in (0.0, 1.0)])
        longest = max(longest, float(flow.norm(dim=1).max()))
    assert longest <= max_motion + 1e-5 and longest >= 0.5 * max_motion


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (33, 16), (64, 101)])
def test_sizes(size):
    made = triplet(0, size, max_motion=6)
    assert made.frames.shape == (3, 3, *size) and made.frames.isfinite().all() and made.flow.isfinite().all()
    assert made.frames.std() > 0.01


def test_wrong_requests():
    for arguments, message in (
        ({"seed": -1}, "seed of 0 or more, got -1"),
        ({"seed": 0, "size": (15, 40)}, "size of 16 or more, got 15"),
        ({"seed": 0, "time": 1.5}, r"time in \[0, 1\], got 1.5"),
        ({"seed": 0, "max_motion": float("nan")}, "max_motion of 0 px or more, got nan"),
        ({"seed": 0, "layers": 0}, "layers of 1 or more, got 0"),
    ):
        with pytest.raises(UserError, match=message):
            triplet(**arguments)


def test_photographs_are_never_left_out_silently(monkeypatch):
    from vfi.data.synthetic import textures

    monkeypatch.setitem(sys.modules, "skimage.data", None)
    textures._load.cache_clear()
    with pytest.raises(UserError, match="skimage cannot be imported"):
        for seed in range(5):
            triplet(seed, (32, 32), photographs=True)
    triplet(0, (32, 32))


def test_the_command_writes_what_evaluate_reads(tmp_path, capsys):
    out = tmp_path / "made"
    assert main(["--out", str(out), "--count", "2", "--size", "48", "64", "--seed", "7", "--flow"]) == 0
    assert sorted(path.name for path in (out / "0002").iterdir()) == ["flow.png", "im1.png", "im2.png", "im3.png"]
    expected = to_array(triplet(8, (48, 64)).frames[1:2])
    assert np.array_equal(read_image(out / "0002" / "im2.png").rgb, expected)
    assert read_image(out / "0001" / "flow.png").rgb.shape == (48, 64, 3)
    assert vfi(["evaluate", "--dataset", "triplets", str(out)]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[-5:-2]] == ["0001", "0002", "mean"]
    assert main(["--out", str(out)]) == 2
    assert capsys.readouterr().err.strip() == f"synthetic: cannot make the folder {out / '0001'}: File exists"
    assert main(["--out", str(out / "new"), "--size", "8", "8"]) == 2
