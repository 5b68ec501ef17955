"""Interlaced video: recognised by flags and by combs, made whole, with its times."""

from fractions import Fraction

import av
import numpy as np
import pytest
from tiny_videos import film
from video_runs import read, run

from vfi.video.interlaced import is_combed
from vfi.video.reader import VideoReader

pytestmark = pytest.mark.usefixtures("mean_frames")

WIDTH, HEIGHT = 96, 64
FLAGGED = {
    "h264": ("libx264", {"flags": "+ildct+ilme", "x264-params": "bff=1", "crf": "4"}),
    "mpeg2": ("mpeg2video", {"flags": "+ildct+ilme", "qscale": "2"}),
}


def moment(place: float) -> np.ndarray:
    """A bright bar over a soft picture, `place` pixels from the left, and a row of text-like detail."""
    x, y = np.arange(WIDTH), np.arange(HEIGHT)[:, None]
    picture = 60 + 30 * np.sin(x / 9) * np.cos(y / 7)
    picture = np.where((x >= 8 + place) & (x < 28 + place), 200, picture)
    return np.repeat(picture[..., None], 3, 2).astype(np.uint8)


def woven(number: int, step: float = 3, first: int = 0) -> np.ndarray:
    """Even rows of one moment, odd rows of the next; the other way round if `first` is 1."""
    picture = moment(2 * number * step).copy()
    picture[1 - first :: 2] = moment((2 * number + 1) * step)[1 - first :: 2]
    return picture


def combs(path) -> int:
    with av.open(str(path)) as container:
        return sum(is_combed(frame) for frame in container.decode(video=0))


def bar(picture: np.ndarray) -> float:
    """Where the bar is, from rows of both halves."""
    bright = picture[..., 1].astype(float).mean(0) > 130
    return float(np.flatnonzero(bright).mean())


@pytest.mark.parametrize("pixels", ("yuv420p", "yuv422p10le", "gray", "nv12", "yuyv422"))
def test_combs_are_measured(tmp_path, pixels):
    """Not in pictures with detail of single rows, nor in noise, nor in a cut or a still picture."""

    def found(picture):
        return is_combed(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(format=pixels)
        )

    assert found(woven(2)) and found(woven(5))
    stripes = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    stripes[::2] = 255
    fine = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    lines = np.where((np.arange(HEIGHT) % 3 == 0)[:, None, None], np.uint8(220), moment(3))
    for picture in (moment(0), moment(17), fine, lines, np.zeros_like(fine), fine // 8):
        assert not found(picture)


@pytest.mark.parametrize("case", ("h264", "mpeg2", "unflagged"))
@pytest.mark.parametrize("asked", ("auto", "bwdif", "off", "bob"))
def test_it_is_made_whole(tmp_path, capsys, case, asked):
    codec, options = FLAGGED.get(case, ("ffv1", {}))
    # The encoders here say that the lower half is first.
    pictures = [woven(n, first=int(case in FLAGGED)) for n in range(10)]
    source = film(tmp_path / "in.mkv", pictures, codec, options)
    assert run(source, "-o", tmp_path / "out.mkv", "--factor", 1, "--codec", "ffv1", "--deinterlace", asked) == 0
    said = capsys.readouterr().err
    times, pictures = read(tmp_path / "out.mkv")
    if asked == "off":
        assert "the pictures are interlaced, and their combs stay" in said and combs(tmp_path / "out.mkv") > 6
        return
    assert "the pictures are interlaced: one frame is made of" in said
    assert combs(tmp_path / "out.mkv") <= 1 and len(pictures) == (20 if asked == "bob" else 10)
    rate = 50 if asked == "bob" else 25
    assert [round(time * rate) for time in times] == list(range(len(times)))
    places = [bar(picture) for picture in pictures]
    assert np.allclose(np.diff(places)[1:-1], 3 if asked == "bob" else 6, atol=1)


def test_what_is_not_interlaced_stays_untouched(tmp_path, capsys):
    source = film(tmp_path / "in.mkv", [moment(3 * n) for n in range(10)])
    assert run(source, "-o", tmp_path / "out.mkv", "--factor", 1) == 0
    assert capsys.readouterr().err == ""
    for before, after in zip(read(source)[1], read(tmp_path / "out.mkv")[1], strict=True):
        assert np.abs(before.astype(int) - after).max() <= 1


def test_a_dithered_palette_is_no_comb(tmp_path, capsys):
    source = film(tmp_path / "in.mkv", [woven(n) for n in range(4)], pixels="bgr0")
    assert run(source, "-o", tmp_path / "out.mkv", "--factor", 1) == 0
    assert "interlaced" not in capsys.readouterr().err


def test_telecine_is_named(tmp_path, capsys):
    """3:2 pulldown: of four frames of film five of video, two of which are woven."""
    fields = [n for k in range(8) for n in [k] * (3 if k % 2 else 2)]
    pictures = []
    for top, bottom in zip(fields[::2], fields[1::2]):
        picture = moment(5 * top).copy()
        picture[1::2] = moment(5 * bottom)[1::2]
        pictures.append(picture)
    source = film(tmp_path / "in.mkv", pictures, rate=30)
    assert run(source, "-o", tmp_path / "out.mkv", "--factor", 1) == 0
    assert "the pictures look telecined" in capsys.readouterr().err


@pytest.mark.parametrize("deinterlace", ("bwdif", "bob"))
@pytest.mark.parametrize("suffix", (".mkv", ".ts", ".avi"))
def test_times_and_parts(tmp_path, suffix, deinterlace):
    """Frames of a part are those of the whole, also where the file has times of decoding only (H.264 in AVI)."""
    codec, options = FLAGGED["h264"]
    source = film(
        tmp_path / f"in{suffix}", [woven(n, 1.0, first=1) for n in range(24)], codec, {**options, "g": "6", "bf": "0"}
    )
    reader = VideoReader(source, deinterlace=deinterlace)
    whole = list(reader.frames())
    step = Fraction(1, 50 if deinterlace == "bob" else 25)
    assert [frame.time for frame in whole] == [step * n for n in range(24 if deinterlace == "bwdif" else 48)]
    assert reader.decoded == 24 and reader.info.rate == 1 / step
    reader.close()
    reader = VideoReader(source, deinterlace=deinterlace)
    part = list(reader.frames(Fraction(2, 5), Fraction(3, 5)))
    reader.close()
    assert [frame.time for frame in part] == [
        frame.time for frame in whole if Fraction(2, 5) <= frame.time < Fraction(3, 5)
    ]
    assert abs(bar(part[3].rgb) - bar(whole[round(part[3].time / step)].rgb)) < 0.6


def test_who_does_not_ask_does_not_wait(tmp_path, monkeypatch):
    """Training reads many short clips."""
    source = film(tmp_path / "in.mkv", [woven(n) for n in range(10)])
    assert VideoReader(source, deinterlace="off").info.scan == "interlaced"
    monkeypatch.setattr("vfi.video.interlaced.is_combed", None)
    assert VideoReader(source).info.scan is None
