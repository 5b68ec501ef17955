"""`vfi.frames`: the frames that would be written, one after the other, and all is closed wherever a loop ends."""

import gc
import weakref
from fractions import Fraction

import numpy as np
import pytest
from video_runs import readers

import vfi
from vfi.files.images import read_image, write_image

pytestmark = pytest.mark.usefixtures("mean_frames")


def test_frames_are_those_that_are_written(tmp_path, film):
    vfi.interpolate(film, tmp_path / "out_%02d.png", fps=25, progress=False)
    made = list(vfi.frames(film, fps=25))
    assert [frame.time for frame in made] == [Fraction(number, 25) for number in range(20)]
    written = [read_image(path).rgb for path in sorted(tmp_path.glob("out_*.png"))]
    assert all(np.array_equal(frame, rgb) for frame, rgb in zip(made, written, strict=True))
    assert [frame.interpolated for frame in made[:6]] == [False, True, True, True, True, False]
    assert not made[-1].interpolated  # it is held


def test_frames_of_images_and_of_a_part(tmp_path, film, sliding):
    for number in range(3):
        write_image(tmp_path / f"s_{number}.png", sliding(4 * number).astype(np.uint16) * 257)
    made = list(vfi.frames(tmp_path / "s_%d.png", input_fps=10))
    assert len(made) == 6 and made[1].pixels.dtype == np.uint16 and made[1].time == Fraction(1, 20)
    part = list(vfi.frames(film, start=0.2, end=0.5, factor=3))
    assert [float(frame.time) for frame in part] == pytest.approx([0.2 + n / 30 for n in range(9)])


def test_frames_that_are_left_early_close_the_source(film):
    for frame in vfi.frames(film):
        assert frame.pixels.shape == (64, 96, 3)
        break
    del frame
    gc.collect()
    assert not readers()
    waiting = vfi.frames(film)
    assert not readers()  # nothing is opened before it is wanted
    next(waiting)
    waiting.close()
    assert not readers()


def test_memory_does_not_grow_with_the_length(make_video, sliding):
    long = make_video([sliding(n % 90) for n in range(80)])
    alive, most = [], 0
    for frame in vfi.frames(long, factor=3):
        alive = [each for each in [*alive, weakref.ref(frame.pixels)] if each() is not None]
        most = max(most, len(alive))
    assert most < 12


FRAMES_REFUSED = {
    "missing": ("nix.mp4", {}, "does not exist"),
    "output": ("in.mp4", {"crf": 3}, "crf is for vfi.interpolate only"),
    "two images": (["a.png", "b.png"], {}, "there is vfi.between"),
    "option": ("in.mp4", {"rate": 60}, "has no option rate"),
    "two": ("in.mp4", {"factor": 2, "fps": 60}, "only one of factor, fps and times"),
    "model": ("in.mp4", {"model": "nix"}, "unknown model 'nix'"),
}


@pytest.mark.parametrize("case", FRAMES_REFUSED)
def test_wrong_frames_are_one_sentence(tmp_path, film, sliding, case):
    names, keywords, said = FRAMES_REFUSED[case]
    for name in "ab":
        write_image(tmp_path / f"{name}.png", sliding(0))
    given = [tmp_path / name for name in names] if isinstance(names, list) else tmp_path / names
    with pytest.raises(vfi.UserError, match=said):
        next(vfi.frames(given, **keywords))
    assert not readers()
