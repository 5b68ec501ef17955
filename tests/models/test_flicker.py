"""What is made does not flicker more than what it stands for (benchmarks/temporal.py has the scenes)."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import temporal

from vfi.models.registry import MODELS

READY = [name for name, entry in MODELS.items() if entry.weights is None or entry.shipped is not None]


def test_flicker_is_the_mean_difference():
    frames = [np.full((8, 8, 3), value, np.uint8) for value in (10, 12, 14, 16, 18, 20, 22, 24, 30)]
    flicker, pulse = temporal.measured(frames)
    assert flicker == pytest.approx(20 / 8, abs=1e-4) and pulse == pytest.approx(6 / 2.5, abs=1e-3)


def test_true_frames_are_steady():
    for motion in temporal.SCENES.values():
        assert temporal.measured(temporal.true_frames(*motion))[1] < 1.03


@pytest.mark.slow
@pytest.mark.in_turn
@pytest.mark.parametrize("scene", temporal.SCENES)
@pytest.mark.parametrize("model", READY)
def test_a_pan_and_a_zoom_do_not_flicker(model, scene):
    truth = temporal.true_frames(*temporal.SCENES[scene])
    made, pulse = temporal.measured(temporal.whole(truth, temporal.by_model(model)))
    own, _ = temporal.measured(truth)
    assert 0.9 * own < made < 1.02 * own and pulse < 1.08
