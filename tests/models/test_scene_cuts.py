"""Cuts are found, and what moves or changes its brightness is none."""

import cv2
import numpy as np
import pytest

from vfi.video.scene_cuts import is_cut

SEEDS = [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 8))]


def landscape(seed, width=320, height=180):
    """Detail of several sizes."""
    random, total = np.random.default_rng(seed), np.zeros((height, width, 3))
    for cell in (8, 16, 32, 64):
        noise = random.uniform(-1, 1, (height // cell + 2, width // cell + 2, 3)).astype(np.float32)
        total += cv2.resize(noise, (width + 64, height + 64))[:height, :width]
    return np.clip(128 + 55 * total, 0, 255).astype(np.uint8)


def blobs(seed, low=20, high=235, width=320, height=180):
    noise = np.random.default_rng(seed).uniform(low, high, (6, 8, 3)).astype(np.float32)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_NEAREST).astype(np.uint8)


def noisy(rgb, strength=3):
    return np.clip(rgb + np.random.default_rng(0).normal(0, strength, rgb.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("top, left", [(0, 0), (0, 40), (0, 110), (40, 0)])
def test_cuts_between_bars(seed, top, left):
    """None, 4:3 in 16:9, an upright phone in 16:9, cinema."""
    size = {"width": 320 - 2 * left, "height": 180 - 2 * top}
    bars = ((top, top), (left, left), (0, 0))
    assert is_cut(*(noisy(np.pad(blobs(number, **size), bars), 2) for number in (seed, seed + 100)))


@pytest.mark.parametrize("seed", SEEDS)
def test_dark_and_plain_scenes(seed):
    scene = landscape(seed)
    assert is_cut(blobs(seed, 2, 38), blobs(seed + 100, 2, 38))
    assert not is_cut(noisy(blobs(seed, 2, 20), 5), blobs(seed, 2, 20))
    for level in (0, 16, 128, 255):
        plain = np.full_like(scene, level)
        assert is_cut(scene, plain) and is_cut(plain, scene) and not is_cut(plain, plain)


@pytest.mark.parametrize("seed", SEEDS)
def test_motion_and_light_are_no_cuts(seed):
    wide, high = landscape(seed, width=480), landscape(seed, height=260)
    for step in (40, 80, 160):
        assert not is_cut(noisy(wide[:, :320]), wide[:, step : step + 320])
    assert not is_cut(noisy(high[:180]), high[80:])
    scene = landscape(seed)
    assert not is_cut(scene, cv2.resize(scene[9:-9, 16:-16], (320, 180))), "a zoom"
    assert not is_cut(scene, np.clip(scene.astype(int) + 100, 0, 255).astype(np.uint8)), "a flash"
    fade = [(scene * (step / 12)).astype(np.uint8) for step in range(13)]
    assert not any(map(is_cut, fade, fade[1:])) and not any(map(is_cut, fade[1:], fade))


def test_photographs():
    from skimage import data

    shown = [cv2.resize(data.__getattr__(name)(), (640, 360)) for name in ("astronaut", "coffee", "chelsea", "rocket")]
    for first in shown:
        assert all(is_cut(first, other) == (first is not other) for other in shown)
        assert not any(is_cut(first[:, :-step], first[:, step:]) for step in (40, 100))
