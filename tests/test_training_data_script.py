"""scripts/training_data.py: its scenes and degradations, and its shards."""

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import training_data
from data_steps import shards
from data_steps.degradations import degraded
from data_steps.motion import Camera, SceneMotion, Wave, Way
from data_steps.pictures import Pictures
from data_steps.random_scene import random_scene
from data_steps.samples import made_up
from data_steps.sheet import warped
from data_steps.triplets import Triplets

from vfi.data.synthetic.textures import noise
from vfi.training.shards import listed


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    found = [np.clip(127 + 50 * noise(rng, 300, 400, 3, 0.6), 0, 255).astype(np.uint8) for _ in range(4)]
    y, x = np.mgrid[-1:1:120j, -1:1:80j]
    cut_out = np.dstack((found[0][:120, :80], (255 * (x**2 + y**2 < 0.8)).astype(np.uint8)))
    return Pictures(found, [cut_out])


def test_a_motion_goes_there_and_back():
    """The inverse is as good as what float16 keeps of a flow, with waves and a tilt, at any time."""
    camera = Camera((64, 64), Way(0, 20, 2), Way(0, -6), Way(0, 0.2), Way(0, 0.1))
    wave = Wave((0.05, 0.02), (0.6, 0.8), Way(2, 3), Way(1, 2))
    motion = SceneMotion(Way(50, 30, -3), Way(70, 5), Way(0.3, 0.4), Way(0.1, 0.3), Way(0, 0.1), Way(0, 1e-3),
                         Way(1e-3, 0), (wave, wave), camera, 1.3)  # fmt: skip
    points = np.stack(np.meshgrid(np.linspace(0, 128, 40), np.linspace(0, 128, 40))).reshape(2, -1)
    for time in (0, 0.3, 1):
        there = motion.to_layer(points, time)
        assert np.abs(motion.to_frame(there, time) - points).max() < 2e-3
        grid = motion.grid_to_layer(points[0, :40], points[1, ::40], time).reshape(2, -1)
        assert np.abs(grid - there).max() < 1e-3
    assert np.abs(motion.to_layer(points, 0) - motion.to_layer(points, 1)).max() > 10


def test_the_flow_brings_frame_0_onto_the_middle(pictures):
    """Where it is visible; at edges of objects pixels are mixed, and frames are sampled twice: a few hundredths."""
    moved = 0
    for seed in range(16):
        scene = random_scene(np.random.default_rng(seed), 128, pictures)
        first, middle = (scene.frame(time).permute(1, 2, 0).numpy() for time in (0.0, 0.5))
        flow, visible = (found.numpy() for found in scene.track(0.5, (0.0, 1.0)))
        seen = visible[0]
        error, still = (np.abs(warped(first, field) - middle)[seen].mean() for field in (flow[0], 0 * flow[0]))
        assert error < 0.03
        if np.hypot(*flow[0])[seen].mean() > 2:
            moved += 1
            assert error < 0.5 * still
    assert moved >= 4


def test_a_sample_follows_from_its_seed(pictures):
    first, again, other = (made_up(shards.generator(3, 0, number), pictures, 96) for number in (5, 5, 6))
    for field in shards.FIELDS:
        assert np.array_equal(getattr(first, field), getattr(again, field))
    assert not np.array_equal(first.frames, other.frames)
    assert first.frames.shape == (3, 96, 96, 3) and first.frames.dtype == np.uint8
    assert first.flow.shape == (4, 96, 96) and first.flow.dtype == np.float16 and np.isfinite(first.flow).all()
    assert first.visible.shape == (2, 96, 96) and set(np.unique(first.visible)) <= {0, 1}
    assert 0 <= first.time <= 1


@pytest.mark.parametrize("size", [(96, 96), (81, 107)])
def test_degradations_leave_size_and_place(pictures, size):
    """Every one: frames come out as they went in, a little changed, and in the same order."""
    frames = np.stack([picture[: size[0], : size[1]].astype(np.float32) / 255 for picture in pictures.photographs[:3]])
    changed = 0
    for seed in range(40):
        result = degraded(np.random.default_rng(seed), frames)
        assert result.shape == frames.shape and result.dtype == np.uint8
        difference = np.abs(result / np.float32(255) - frames).mean((1, 2, 3))
        assert difference.max() < 0.12
        changed += difference.max() > 0.004
    assert 15 < changed < 40


@pytest.fixture
def folder(tmp_path, pictures):
    """As after fetching: arrays of pictures and of triplets."""
    for kind, arrays in (("photographs", pictures.photographs), ("objects", pictures.objects * 4)):
        place = tmp_path / "sources" / "pictures" / "album" / kind
        place.mkdir(parents=True)
        for number, array in enumerate(arrays * 8):
            np.save(place / f"{number:04d}.npy", array)
    (tmp_path / "sources" / "triplets").mkdir()
    for part in training_data.PARTS:
        crops = np.arange(6, dtype=np.uint8)[:, None, None, None, None] + np.zeros((3, 256, 256, 3), np.uint8)
        np.save(tmp_path / "sources" / "triplets" / f"clip-{part}.npy", crops)
    return tmp_path


def hashes(folder):
    return {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted(folder.rglob("*.npy"))}  # fmt: skip


def test_a_run_that_was_killed_goes_on_to_the_same_files(folder, monkeypatch):
    monkeypatch.setattr(training_data, "SAMPLES", 1)
    monkeypatch.setattr(training_data, "REAL", 0.4)
    training_data.written(folder, "train", 5, seed=1)
    whole = hashes(folder / "train")
    assert {Path(name).parts[0] for name in whole} == {f"made-{i:05d}" for i in range(3)} | {
        f"real-{i:05d}" for i in range(2)
    }
    (folder / "train").rename(folder / "whole")
    save, left = np.save, [5]

    def killed(*args):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        save(*args)

    monkeypatch.setattr(np, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        training_data.written(folder, "train", 5, seed=1)
    monkeypatch.setattr(np, "save", save)
    assert len(listed(folder / "train")) == 1  # four arrays make one, the fifth is of another
    training_data.written(folder, "train", 5, seed=1)
    assert hashes(folder / "train") == whole
    real = shards.read(folder / "train", "real-00000")
    assert np.isnan(real["flow"]).all() and not real["visible"].any() and (real["time"] == 0.5).all()


def test_held_out_pictures_and_triplets_are_others(folder):
    held, others = (Pictures.of(folder / "sources" / "pictures", part) for part in (True, False))
    names = [{picture.filename for picture in part.photographs + part.objects} for part in (held, others)]
    assert names[0] and len(names[1]) > 4 * len(names[0]) and not names[0] & names[1]
    triplet = Triplets.of(folder / "sources" / "triplets", True, seed=0)
    assert sorted(int(triplet.sample(i).frames[0, 0, 0, 0]) for i in range(len(triplet))) == list(range(6))
