"""Several devices at one video: the same pictures, in the same order, as one makes."""

import threading
import time
from contextlib import closing
from fractions import Fraction

import numpy as np
import pytest

from vfi.commands.main import main
from vfi.commands.video_frames import Renderer
from vfi.commands.workers import Workers
from vfi.models.interpolator import Interpolator
from vfi.video.reader import TimedFrame
from vfi.video.timeline import Multiplied

RATE = 25


class Slow(Interpolator):
    """The mean, after a while that changes from call to call."""

    def __init__(self, number):
        self.number, self.made, self.threads = number, 0, set()

    def interpolate(self, frame0, frame1, t):
        self.made += 1
        self.threads.add(threading.get_ident())
        time.sleep((self.made * 7 + self.number * 3) % 5 / 500)
        return frame0 + t * (frame1 - frame0)


class Failing(Slow):
    def interpolate(self, frame0, frame1, t):
        if self.made == 5:
            raise MemoryError
        return super().interpolate(frame0, frame1, t)


def frames(count, rng, pause=None):
    """Some repeat the one before, one stands still for two seconds."""
    at, before = Fraction(0), None
    for number in range(count):
        rgb = before if number % 7 == 3 else rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        yield TimedFrame(at, Fraction(1, RATE), rgb)
        at, before = at + (2 if number == pause else Fraction(1, RATE)), rgb


def rendered(models, source, **settings):
    with closing(Workers([(model, "cpu") for model in models])) as workers:
        renderer = Renderer(workers, Multiplied(5), step=Fraction(1, RATE), **settings)
        seen = [
            (picture.tobytes(), at, renderer.begins, renderer.counted) for picture, at, _ in renderer.render(source)
        ]
    return seen, (renderer.interpolated, renderer.repeated, renderer.cuts)


@pytest.mark.in_turn
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("cuts", [False, (Fraction(10, RATE), Fraction(20, RATE))])
def test_several_give_what_one_gives(count, cuts):
    def source():
        return frames(60, np.random.default_rng(1), pause=30)

    alone = rendered([Slow(0)], source(), scene_cuts=cuts)
    models = [Slow(number) for number in range(count)]
    assert rendered(models, source(), scene_cuts=cuts) == alone
    assert all(model.made > 20 and len(model.threads) == 1 for model in models), "all of them work"
    assert len(set.union(*(model.threads for model in models))) == count


def test_not_too_much_is_read_ahead():
    read = 0

    def source():
        nonlocal read
        for frame in frames(100, np.random.default_rng(1)):
            read += 1
            yield frame

    with closing(Workers([(Slow(number), "cpu") for number in range(2)])) as workers:
        given = Renderer(workers, Multiplied(2), scene_cuts=False).render(source())
        for number, (_, at, _) in enumerate(given):
            assert read <= at * RATE + 14, "a few intervals for each"
            if number == 50:
                break
    assert read < 50


def test_an_error_of_one_ends_all():
    before = set(threading.enumerate())
    with pytest.raises(MemoryError):
        rendered([Slow(0), Failing(1)], frames(60, np.random.default_rng(1)), scene_cuts=False)
    assert set(threading.enumerate()) <= before


def test_the_command(make_video, slide, tmp_path, capsys):
    source = make_video(slide[:6])
    for number, words in enumerate((["cpu"], ["cpu", "cpu"])):
        target = tmp_path / f"{number}.mkv"
        assert main(["interpolate", str(source), "-o", str(target), "--codec", "ffv1", "--device", *words]) == 0
    assert (tmp_path / "0.mkv").stat().st_size == (tmp_path / "1.mkv").stat().st_size
    lines = [line.split(": ")[1] for line in capsys.readouterr().out.splitlines() if line.startswith("wrote")]
    assert lines[0] == lines[1]
    assert main(["interpolate", str(source), "-o", str(tmp_path / "x.mkv"), "--device", "cpu", "none"]) == 2
    assert "the --device 'none' cannot be used" in capsys.readouterr().err
    images = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    for path in images:
        (tmp_path / path).touch()
    assert main(["interpolate", *images, "-o", str(tmp_path / "c.png"), "--device", "cpu", "cpu"]) == 2
    assert "expected one --device for two images, got cpu cpu" in capsys.readouterr().err
