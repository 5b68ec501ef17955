"""Every model in squares: of a given side, or of what fits into a memory."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import vfi
from tests.models.fresh import fresh
from vfi.commands.main import main
from vfi.errors import ArgumentError
from vfi.models import registry
from vfi.models.interpolator import Interpolator
from vfi.models.tiled import Tiled, tiled
from vfi.networks import memory

ROOT = Path(__file__).resolve().parents[2]
IN_TILES = [name for name in vfi.MODELS if registry.entry_of(name).loaded().works_in_tiles]
WHOLE = [name for name in vfi.MODELS if name not in IN_TILES]


class Mean(Interpolator):
    """Sees a pixel at a time; keeps the sizes that it was asked for."""

    def __init__(self):
        self.seen = []

    def interpolate(self, frame0, frame1, t):
        self.seen.append(tuple(frame0.shape[2:]))
        return frame0 + t * (frame1 - frame0)


@pytest.fixture
def frames(rng):
    return tuple(torch.rand(2, 3, 150, 270, generator=rng) for _ in range(2))


def test_models_that_work_in_tiles_have_the_option():
    assert len(IN_TILES) >= 5 and len(WHOLE) >= 3
    for name in vfi.MODELS:
        fields = registry.options_of_model(name).__dataclass_fields__
        assert ("tile" in fields) == (name in IN_TILES), name


@pytest.mark.parametrize("times", [[0.25], [0, 0.5, 1, 0.75], [1], []])
def test_squares_give_what_the_whole_gives(frames, times):
    model = Mean()
    results = Tiled(model, 64, None, "cpu").interpolate_many(*frames, times)
    assert all(size == (64, 64) for size in model.seen)
    assert len(results) == len(times)
    for t, result in zip(times, results, strict=True):
        expected = frames[0] + t * (frames[1] - frames[0])
        torch.testing.assert_close(result, expected, rtol=0, atol=0 if t in (0, 1) else 1e-6)


def test_what_fits_is_not_cut(frames):
    model = Mean()
    torch.testing.assert_close(Tiled(model, 300, None, "cpu").interpolate(*frames, 0.5), sum(frames) / 2)
    assert model.seen == [(150, 270)]


@pytest.mark.parametrize("name", [name for name in IN_TILES if name != "sg-rife"])
def test_every_model_works_in_squares(name, rng):
    model = fresh(name)
    frames = [torch.rand(1, 3, 96, 200, generator=rng) for _ in range(2)]
    results = Tiled(model, 128, None, "cpu").interpolate_many(*frames, [0.5, 1])
    assert [tuple(result.shape) for result in results] == [(1, 3, 96, 200)] * 2
    alone = model.interpolate(*(frame[..., :128].contiguous() for frame in frames), 0.5)
    torch.testing.assert_close(results[0][..., :64], alone[..., :64], rtol=0, atol=1e-5)  # the next begins there
    assert torch.equal(results[1], frames[1])


@pytest.mark.parametrize("name", WHOLE)
def test_a_model_of_whole_pictures_is_not_cut(name):
    model = fresh(name)
    for argument, values in (("tile", (128, None)), ("max_memory", (None, 1 << 30))):
        with pytest.raises(ArgumentError, match=f"^{argument} is not for the model {name}: every pixel depends"):
            tiled(model, *values, "cpu")


def peaks(monkeypatch, each):
    """Models take `each` bytes per pixel."""

    def peak(action, device):
        action()
        return each and each * 512**2

    monkeypatch.setattr("vfi.models.tiled.peak_bytes", peak)


@pytest.mark.parametrize(("each", "most", "side"), [(100, 8 << 20, 270), (100, 6 << 20, 128), (None, 88 << 20, 128)])
def test_squares_fit_into_the_memory(frames, monkeypatch, each, most, side):
    peaks(monkeypatch, each)
    assert Tiled(Mean(), None, most, "cpu").side_for(frames[0], 1) == side
    taken = (each or 2560) * 2 * min(side, 150) * side
    assert taken <= most


def test_too_little_memory_says_how_much_is_needed(frames, monkeypatch):
    peaks(monkeypatch, 1000)
    with pytest.raises(ArgumentError, match=r"^max_memory is too little: .*270x150 pixels by Mean take (\d+)M or more"):
        Tiled(Mean(), None, 8 << 20, "cpu").interpolate(*frames, 0.5)
    needed = 2 * (128**2 * 1000 + 150 * 270 * 28)
    assert Tiled(Mean(), None, needed + (1 << 20), "cpu").side_for(frames[0], 1) == 128


def print_measured():
    """50 MiB with others kept, again, and after garbage of before: what each takes, in MiB."""

    def take():
        gc.collect()
        return torch.ones(50 << 20, dtype=torch.uint8)

    take()  # what a first call loads is not its block
    kept = torch.ones(80 << 20, dtype=torch.uint8)
    for _ in range(2):
        print(memory.peak_bytes(take, "cpu") >> 20)
    circle = [kept]
    circle.append(circle)
    del kept, circle
    print(memory.peak_bytes(take, "cpu") >> 20)


def in_a_process_of_its_own(called):
    """The numbers that a function of here prints: in a long process other tests' threads take and free meanwhile."""
    code = f"from tests.models.test_tiled import {called.__name__} as called; called()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return list(map(int, done.stdout.split()))


@pytest.mark.skipif(memory._status("VmHWM") is None, reason="this system does not tell")
def test_memory_is_measured_and_garbage_of_before_is_not_in_it():
    measured = in_a_process_of_its_own(print_measured)
    assert len(measured) == 3
    assert all(49 <= taken < 60 for taken in measured), measured


def test_memory_that_cannot_be_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_SELF", tmp_path / "none")
    assert memory.peak_bytes(lambda: None, "cpu") is None


class Hungry(Mean):
    """Takes 400 bytes per pixel meanwhile."""

    def interpolate(self, frame0, frame1, t):
        torch.ones(frame0[:, :1].numel() * 400, dtype=torch.uint8)
        return super().interpolate(frame0, frame1, t)


def print_peaks():
    """Of large frames within a limit, and without one: what they take beside themselves, in MiB."""
    frames = [torch.rand(1, 3, 720, 1280) for _ in range(2)]
    limited = Tiled(Hungry(), None, 120 << 20, "cpu")
    for model in (limited, Hungry()):
        model.interpolate(*frames, 0.5)  # what a first run loads is not its frames'
        # Of three, since what was freed before may be held by others for a while.
        print(
            min(memory.peak_bytes(lambda model=model: model.interpolate(*frames, 0.5), "cpu") for _ in range(3)) >> 20
        )


@pytest.mark.nightly
@pytest.mark.skipif(memory._status("VmHWM") is None, reason="this system does not tell")
def test_a_limit_holds():
    within, without = in_a_process_of_its_own(print_peaks)
    assert within < 120
    assert without > 350


def test_the_command(make_video, slide, tmp_path, capsys):
    video = make_video(slide[:3])
    for number, words in enumerate((["--tile", "64"], ["--max-memory", "200MiB"])):
        assert main(["interpolate", str(video), "-o", str(tmp_path / f"{number}.mkv"), *words]) == 0
    words = ["interpolate", str(video), "-o", str(tmp_path / "x.mkv")]
    assert main([*words, "--max-memory", "1M"]) == 2
    assert "--max-memory is too little" in capsys.readouterr().err
    assert main([*words, "--max-memory", "1G", "--tile", "64"]) == 2
    assert "expected only one of --tile and --max-memory" in capsys.readouterr().err
