"""A model whose frames are not finite makes no picture and no video."""

import pytest
import torch

from vfi.commands.main import main
from vfi.files.images import write_image
from vfi.models import registry, rife
from vfi.models.interpolator import Interpolator
from vfi.models.rife.config import TINY

SENTENCE = (
    "the frame that Broken made at 0.5 holds NaN or infinity: its weights are damaged, or its precision is too small"
)


class Broken(Interpolator):
    """Good frames but for one value of the frame at 0.5."""

    def __init__(self, value, order):
        self.value, self.channel_order = value, order

    def interpolate(self, frame0, frame1, t):
        frame = frame0.lerp(frame1, t)
        frame[..., -1, -1] = self.value if t == 0.5 else 0
        return frame


@pytest.mark.parametrize("output", ["m.png", "m.mp4"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nothing_is_written_of_a_frame_that_is_not_finite(value, output, sliding, tmp_path, monkeypatch, capsys):
    pair = [tmp_path / name for name in ("a.png", "b.png")]
    for path, x in zip(pair, (20, 28)):
        write_image(path, sliding(x))
    monkeypatch.setattr(registry, "load_model", lambda *_, **__: Broken(value, "bgr"))
    assert main(["interpolate", *map(str, pair), "-o", str(tmp_path / output), "--factor", "4"]) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].endswith(SENTENCE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_weights_that_overflow_in_the_network_are_told(sliding, tmp_path, capsys):
    pair, weights = [tmp_path / name for name in ("a.png", "b.png")], tmp_path / "w.pkl"
    for path, x in zip(pair, (20, 28)):
        write_image(path, sliding(x))
    state = rife.RIFE(TINY).state_dict()
    torch.save({name: torch.full_like(v, 3e38) if v.ndim == 4 else v for name, v in state.items()}, weights)
    words = ["--model", "rife", "--weights", str(weights)]
    assert main(["interpolate", *map(str, pair), "-o", str(tmp_path / "m.png"), *words]) == 2
    assert "holds NaN or infinity" in capsys.readouterr().err
    assert not (tmp_path / "m.png").exists()
