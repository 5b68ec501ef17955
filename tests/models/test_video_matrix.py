"""Containers x codecs x B-frames x what their times may be: every frame that is in a file is decoded, and reported."""

import itertools
import json
import os
from contextlib import closing
from fractions import Fraction

import av
import numpy as np
import pytest
from tiny_videos import join, make, number_of

from vfi.commands.main import main
from vfi.video.reader import VideoReader

os.environ.setdefault("SVT_LOG", "1")
COUNT = 12
CODECS = {
    ".mp4": ("libx264", "libx265", "mpeg4", "libvpx-vp9", "libsvtav1"),
    ".mov": ("libx264", "prores_ks", "png"),
    ".m4v": ("libx264", "mpeg4"),
    ".mkv": ("libx264", "libx265", "mpeg4", "mpeg2video", "ffv1", "libvpx-vp9", "libsvtav1"),
    ".webm": ("libvpx-vp9", "libsvtav1"),
    ".avi": ("libx264", "mpeg4", "ffv1"),
    ".ts": ("libx264", "libx265", "mpeg2video"),
    ".m2ts": ("libx264", "mpeg2video"),
    ".mpg": ("mpeg2video",),
    ".vob": ("mpeg2video",),
    ".mxf": ("mpeg2video", "libx264"),
    ".flv": ("libx264", "flv"),
    ".nut": ("libx264", "ffv1"),
    ".wmv": ("wmv2",),
    ".264": ("libx264",),
    ".m2v": ("mpeg2video",),
}
REORDERED = ("libx264", "libx265", "mpeg4", "mpeg2video")
PIXELS = {"prores_ks": "yuv422p10le", "png": "rgb24"}
CONSTANT = (".avi", ".mpg", ".vob", ".mxf", ".264", ".m2v")  # which hold no uneven times
JOINED = (".ts", ".m2ts", ".mpg", ".vob", ".264", ".m2v")
TIMES = {
    "even": range(COUNT),
    "late": range(50, 50 + COUNT),
    "uneven": [0, 1, 2, 4, 5, 7, 10, 11, 12, 14, 15, 17],
    "a pause": [*range(6), *range(46, 52)],
    "before 0": range(-5, COUNT - 5),
}


def kinds():
    """(suffix, codec, B-frames, times) of all that a file can hold."""
    for suffix, codecs in CODECS.items():
        for codec in codecs:
            for b_frames in (0, 2) if codec in REORDERED else (0,):
                for times in (*TIMES, "joined", "a jump"):
                    uneven = times in ("uneven", "a pause") and suffix in CONSTANT
                    apart = times in ("joined", "a jump") and (suffix not in JOINED or codec == "libx265")
                    if not (uneven or apart):
                        yield suffix, codec, b_frames, times


EVERY = list(kinds())
QUICK = {
    kind: None for kind in EVERY
    if kind in ((".mp4", "libx264", 2, "before 0"), (".mkv", "mpeg4", 2, "uneven"), (".vob", "mpeg2video", 2, "joined"),
                (".ts", "libx264", 2, "a jump"), (".avi", "libx264", 2, "late"), (".264", "libx264", 2, "even"))
}  # fmt: skip


def written(folder, suffix, codec, b_frames, times):
    """The file, and the numbers of its frames."""
    options = {"codec": codec, "b_frames": b_frames, "pixels": PIXELS.get(codec, "yuv420p")}
    options["sizes"] = [(64, 64)] * COUNT
    target = folder / f"in{suffix}"
    if times not in ("joined", "a jump"):
        source = make(target, COUNT, stamps=list(TIMES[times]), **options)
        # What lies before 0 is hidden by an edit list; others begin at 0 with it.
        hidden = 5 if times == "before 0" and suffix in (".mp4", ".mov", ".m4v") else 0
        return source, range(hidden, COUNT)
    begin = 0 if times == "joined" else 90_000
    first = make(folder / f"a{suffix}", COUNT, **options)
    second = make(folder / f"b{suffix}", COUNT, stamps=range(begin, begin + COUNT), first=COUNT, **options)
    return join(target, first, second), range(2 * COUNT)


@pytest.mark.parametrize("kind", [k if k in QUICK else pytest.param(k, marks=pytest.mark.slow) for k in EVERY], ids=str)
def test_every_frame_is_reported(tmp_path, capsys, kind):
    source, numbers = written(tmp_path, *kind)
    with av.open(str(source)) as file:
        in_file = sum(1 for _ in file.decode(video=0))
    with closing(VideoReader(source)) as reader:
        frames = list(reader.frames())
        assert reader.decoded == reader.given == len(frames) == in_file == len(numbers)
        eight = [frame.rgb >> 8 if frame.rgb.dtype == np.uint16 else frame.rgb for frame in frames]
        assert list(map(number_of, eight)) == list(numbers)
        assert all(a.time < b.time for a, b in itertools.pairwise(frames))
        assert reader.missing(whole=True) == []
        length = frames[-1].time + frames[-1].duration - frames[0].time
    span = TIMES.get(kind[3], range(2 * COUNT))
    expected = Fraction(span[-1] - span[0] + 1 - (COUNT - len(numbers) if kind[3] == "before 0" else 0), 25)
    if kind[0] != ".avi":  # which FFmpeg fills with the first frame until others come
        assert abs(length - expected) <= Fraction(3, 25), "but for what a join lacks, in time"
    assert main(["probe", str(source), "--json", "--count"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == in_file


def test_the_matrix_is_whole():
    assert len(EVERY) > 200 and len(QUICK) == 6
    assert {kind[3] for kind in EVERY} == {*TIMES, "joined", "a jump"} and {kind[0] for kind in EVERY} == set(CODECS)
