"""Frames of a video by their numbers."""

from contextlib import closing
from fractions import Fraction

import av
import numpy as np
import pytest
from tiny_videos import make
from video_runs import read, run

from vfi.video.reader import VideoReader

pytestmark = pytest.mark.usefixtures("mean_frames")


def numbered(count, height=64, width=96):
    """Frames that differ, so that encoders use all kinds of frames; the brightness grows by 4 each."""
    noise = np.random.default_rng(0).integers(0, 12, (height, width, 3))
    return [(noise + 4 * i + 8).astype(np.uint8) for i in range(count)]


def number_of(rgb):
    return round((rgb.mean() - 8 - 5.5) / 4)


def picked(path, first=0, count=None):
    with closing(VideoReader(path)) as reader:
        return [number_of(rgb) for rgb in reader.pictures(first, count)]


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv"])
def test_numbers_are_exact_with_frames_out_of_order(make_video, name):
    path = make_video(numbered(50), name)
    with av.open(str(path)) as container:
        kinds = {int(frame.pict_type) for frame in container.decode(video=0)}
    assert av.video.frame.PictureType.B in kinds
    assert picked(path) == list(range(50))
    for first, count in ((0, 1), (1, 5), (17, 9), (45, 5), (48, 5), (50, 3)):
        assert picked(path, first, count) == list(range(first, min(first + count, 50)))


def test_they_are_the_frames_that_have_times(make_video):
    """At a variable rate; equal to the last bit to those read one after another."""
    stamps = [Fraction(k * k, 100) for k in range(12)]
    path = make_video(numbered(12), "vfr.mkv", times=stamps)
    with closing(VideoReader(path)) as reader:
        whole = [frame.rgb for frame in reader.frames()]
    with closing(VideoReader(path)) as reader:
        part = list(reader.pictures(4, 5))
    assert len(part) == 5 and all(map(np.array_equal, part, whole[4:9]))


def test_ends(make_video):
    path = make_video(numbered(20))
    for most, count in ((30, 20), (20, 20), (19, 20), (7, 8)):
        with closing(VideoReader(path)) as reader:
            frame_count, first, last = reader.ends(most)
        assert (frame_count, number_of(first), number_of(last)) == (count, 0, count - 1)


def test_pictures_are_upright(make_video):
    path = make_video(numbered(3), rotation=90)
    with closing(VideoReader(path)) as reader:
        assert reader.ends(5)[2].shape == (96, 64, 3)
    with closing(VideoReader(path)) as reader:
        assert next(reader.pictures(1)).shape == (96, 64, 3)


def test_parts_are_those_of_the_whole(tmp_path):
    """Joined, parts that were rendered apart are the whole: no frame is held where they meet."""
    source = make(tmp_path / "in.mkv", 24, sizes=[(64, 48)] * 24)
    options = ("--codec", "ffv1", "--scene-cuts", "off", "--factor", 3)
    assert run(source, "-o", tmp_path / "whole.mkv", *options) == 0
    times, whole = read(tmp_path / "whole.mkv")
    for start, end in ((0, 0.4), (0.4, 0.7), (0.33, 0.91)):
        assert run(source, "-o", tmp_path / "part.mkv", "--start", start, "--end", end, *options, "--overwrite") == 0
        expected = [rgb for time, rgb in zip(times, whole) if start - 1e-3 <= float(time) < end - 1e-3]
        part = read(tmp_path / "part.mkv")[1]
        assert len(part) == len(expected) or start == 0.33  # begins with the first frame of the source from there on
        assert all(map(np.array_equal, part[::-1], expected[::-1])), (start, end)
