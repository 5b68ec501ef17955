"""Frames that repeat are left out, and their times are filled between the distinct ones; progress for programs."""

import json
from fractions import Fraction
from itertools import pairwise

import av
import cv2
import numpy as np
import pytest
from tiny_videos import film
from video_runs import read, refused, run

from vfi.commands import progress
from vfi.video.duplicates import Distinct
from vfi.video.reader import TimedFrame, VideoReader

pytestmark = pytest.mark.usefixtures("mean_frames")

WIDTH, HEIGHT, RATE = 160, 90, 24


def drawing(place: float, *, still: bool = False) -> np.ndarray:
    """A ball over a fixed background, or only a small part that moves."""
    noise = np.random.default_rng(0).integers(0, 80, (9, 16, 3)).astype(np.uint8)
    picture = cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    center = (20 + 4 * place, 45.0)
    cv2.circle(
        picture, tuple(round(16 * c) for c in center), 16 * (3 if still else 12), (250, 220, 40), -1, cv2.LINE_AA, 4
    )
    return picture


PATTERNS = {
    "ones": [1] * 12,
    "twos": [2] * 8,
    "threes": [3] * 6,
    "mixed": [1, 2, 3, 1, 1, 2, 3, 2, 1],
    "film at 30": [1, 1, 1, 2] * 3,
}


def shown(pattern):
    """The numbers of drawings, one for each frame."""
    return [number for number, times in enumerate(pattern) for _ in range(times)]


def timed(pictures):
    return [TimedFrame(Fraction(n, RATE), Fraction(1, RATE), rgb) for n, rgb in enumerate(pictures)]


def noisy(picture, seed, sigma=3.0):
    return (picture + np.random.default_rng(seed).normal(0, sigma, picture.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("small", (False, True))
@pytest.mark.parametrize("noise", (0, 3))
@pytest.mark.parametrize("case", PATTERNS)
@pytest.mark.parametrize("depth", (np.uint8, np.uint16))
def test_repeats_are_found(case, noise, small, depth):
    """Also in noise, and where only a small part moves; each frame lasts as long as it was shown."""
    numbers = shown(PATTERNS[case])
    pictures = [noisy(drawing(k, still=small), n, noise) for n, k in enumerate(numbers)]
    pictures = [picture.astype(depth) * (257 if depth == np.uint16 else 1) for picture in pictures]
    distinct = Distinct()
    kept = list(distinct.frames(timed(pictures)))
    assert [frame.time * RATE for frame in kept] == [numbers.index(k) for k in sorted(set(numbers))]
    assert [frame.duration * RATE for frame in kept] == PATTERNS[case]
    assert distinct.dropped == len(numbers) - len(kept)


@pytest.mark.parametrize("texture", [0, 60])
@pytest.mark.parametrize("crf", [18, 23, 28])
def test_repeats_are_found_after_coding(tmp_path, crf, texture):
    """Lines of high contrast, and paper with a texture, which coding changes most."""
    rng, pictures = np.random.default_rng(3), []
    paper = (250 - rng.integers(0, texture + 1, (180, 320, 1))).repeat(3, 2).astype(np.uint8)
    lines = rng.integers(0, 200, (40, 2, 2))
    for number in range(16):
        page = paper.copy()
        moved = np.add(lines, (number * 3, 0))
        for line in moved:
            cv2.line(page, *(tuple(map(int, end)) for end in line), (20, 20, 40), 2, cv2.LINE_AA)
        pictures += [page, page]
    path = tmp_path / "lines.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"crf": str(crf)})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    distinct = Distinct()
    assert len(list(distinct.frames(VideoReader(path).frames()))) == 16 and distinct.dropped == 16


def test_a_still_picture_stays():
    """A hold is no animation: it moves from its last frame on."""
    numbers = [0, 1, *[2] * 20, 3, 4]
    distinct = Distinct()
    kept = list(distinct.frames(timed([drawing(k) for k in numbers])))
    assert [frame.time * RATE for frame in kept] == [0, 1, 2, 21, 22, 23]
    assert sum(frame.duration for frame in kept) == Fraction(len(numbers), RATE)
    assert list(Distinct().frames([])) == []


@pytest.mark.parametrize("case", ("twos", "threes", "mixed"))
def test_the_motion_becomes_even(tmp_path, capsys, case):
    numbers = shown(PATTERNS[case])
    source = film(tmp_path / "in.mkv", [drawing(k) for k in numbers], rate=RATE)
    out = tmp_path / "out.mkv"
    assert run(source, "-o", out, "--dedup", "--factor", 1, "--scene-cuts", "off") == 0
    said = capsys.readouterr()
    assert f"{len(numbers) - len(PATTERNS[case])} frames of {source} repeat others and were left out" in said.err
    times, pictures = read(out)
    assert [time * RATE for time in times] == pytest.approx(list(range(len(numbers))), abs=0.02)
    last = numbers.index(numbers[-1])
    still = sum(np.abs(a.astype(int) - b).mean() < 0.15 for a, b in pairwise(pictures[: last + 1]))
    assert still == 0, "no frame stands still any more"
    assert run(source, "-o", tmp_path / "d.mkv", "--dedup", "--target", "distinct", "--scene-cuts", "off") == 0
    starts = [numbers.index(k) for k in sorted(set(numbers))]
    found = [float(time * RATE) for time in read(tmp_path / "d.mkv")[0]]
    assert found[::2] == pytest.approx(starts, abs=0.03)


def test_progress_for_programs(tmp_path, capsys, monkeypatch):
    source = film(tmp_path / "in.mkv", [drawing(k) for k in range(6)], rate=RATE)
    from vfi.commands.main import main

    assert main(["interpolate", str(source), "-o", str(tmp_path / "out.mkv"), "--json-progress"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    assert lines[-1]["frames"] == lines[-1]["total"] == 12 and lines[-1]["seconds_left"] == 0
    monkeypatch.setattr(progress, "_LINE", 0.0)
    assert list(progress.shown(iter(range(4)), 4, "out.mkv", "auto")) == [0, 1, 2, 3]
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 4 and told[1].startswith("out.mkv: 2 of 4 frames, ") and told[1].endswith(" left")
    assert list(progress.shown(iter(range(3)), None, "x", "auto")) == [0, 1, 2]
    assert "of ? frames" in capsys.readouterr().err
    assert "--dedup is for video input only" in refused(capsys, *_images(tmp_path), "--dedup", "-o", tmp_path / "o.png")


def _images(folder):
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(folder / name), drawing(0))
    return folder / "a.png", folder / "b.png"
