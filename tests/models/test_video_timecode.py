"""Timecodes go on counting at the output's rate; covers stay pictures beside the video."""

import io
import itertools
from fractions import Fraction

import av
import numpy as np
import pytest
from tiny_videos import SIDE, make, numbered
from video_runs import run

from vfi.video.timecode import moved, timecode_of

pytestmark = pytest.mark.usefixtures("mean_frames")

NTSC = Fraction(30000, 1001)


@pytest.mark.parametrize(
    "timecode, rate, later, other, expected",
    [
        ("01:00:00:12", 25, 0, 50, "01:00:00:24"),
        ("01:00:00:12", 25, Fraction(1, 2), 25, "01:00:00:24"),
        ("23:59:59:24", 25, Fraction(1, 25), 25, "00:00:00:00"),
        ("00:00:59;29", NTSC, 1 / NTSC, NTSC, "00:01:00;02"),
        ("00:09:59;29", NTSC, 1 / NTSC, NTSC, "00:10:00;00"),
        ("00:01:00;02", NTSC, 0, 2 * NTSC, "00:01:00;04"),
        ("00:01:00;02", NTSC, 0, 25, "00:01:00:01"),
        ("00:00:00:00", NTSC, 3600, NTSC, "00:59:56:12"),
    ],
)
def test_counting(timecode, rate, later, other, expected):
    assert moved(timecode, Fraction(rate), Fraction(later), Fraction(other)) == expected


def test_with_numbers_left_out_the_clock_stays_right():
    """Of ten minutes, all frames have a number of their own, in order, and the last is as long ago as it says."""
    frames = 17982
    walked = list(
        itertools.accumulate(range(frames), lambda last, _: moved(last, NTSC, 1 / NTSC, NTSC), initial="00:00:00;00")
    )
    assert walked == sorted(set(walked)) and walked[-1] == "00:10:00;00"
    assert not any(name[3:5] in ("01", "09") and name[6:] in ("00;00", "00;01") for name in walked)
    assert moved("00:00:00;00", NTSC, Fraction(3600), NTSC) == "01:00:00;00"


def with_timecode(path, timecode, codec):
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25)
        stream.width = stream.height = SIDE
        stream.pix_fmt, stream.metadata["timecode"] = "yuv420p", timecode
        for number in range(8):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(number), format="rgb24")))
        out.mux(stream.encode(None))
    return path


def told(path):
    with av.open(str(path)) as container:
        return timecode_of(container)


@pytest.mark.parametrize("source, codec", [("in.mov", "libx264"), ("in.mxf", "mpeg2video"), ("in.mkv", "libx264")])
def test_it_is_kept_where_the_file_holds_one(tmp_path, capsys, source, codec):
    path = with_timecode(tmp_path / source, "10:00:00:05", codec)
    for suffix in (".mov", ".mp4", ".mxf", ".mkv", ".webm"):
        assert run(path, "-o", tmp_path / f"out{suffix}", "--segment", 0.2) == 0
        assert told(tmp_path / f"out{suffix}") == "10:00:00:10", suffix
    assert "timecode" not in capsys.readouterr().err
    assert run(path, "-o", tmp_path / "part.mov", "--start", 0.16, "--factor", 1) == 0
    assert told(tmp_path / "part.mov") == "10:00:00:09"
    for suffix in (".avi", ".m4v", ".ts"):
        assert run(path, "-o", tmp_path / f"out{suffix}") == 0
        assert f"the timecode 10:00:00:05 is left out: {suffix} files hold none" in capsys.readouterr().err


def cover(kind):
    file = io.BytesIO()
    with av.open(file, "w", format="image2pipe") as out:
        stream = out.add_stream(kind, rate=1)
        stream.width, stream.height, stream.pix_fmt = 48, 40, {"mjpeg": "yuvj420p", "png": "rgb24"}[kind]
        picture = av.VideoFrame.from_ndarray(np.full((40, 48, 3), 90, np.uint8), format="rgb24")
        out.mux([*stream.encode(picture), *stream.encode(None)])
    return file.getvalue()


def covers(path):
    """Kinds and bytes of the pictures beside the video."""
    with av.open(str(path)) as container:
        beside = {video.index for video in container.streams.video if video.disposition & 0x400}
        found = [p for p in container.demux() if p.stream_index in beside and p.size]
        return [(p.stream.codec_context.name, bytes(p)) for p in found]


@pytest.mark.parametrize("kind", ["mjpeg", "png"])
def test_covers(tmp_path, capsys, kind):
    plain, data = make(tmp_path / "plain.mkv", 8, sound="aac"), cover(kind)
    source, name = tmp_path / "in.mkv", {"mjpeg": "jpeg", "png": "png"}[kind]
    with av.open(str(plain)) as film, av.open(str(source), "w") as out:
        streams = [out.add_stream_from_template(stream) for stream in film.streams]
        out.add_attachment(f"cover.{name}", f"image/{name}", data)
        for packet in film.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    assert covers(source) == [(kind, data)]
    for before, after in ((source, "out.mp4"), (source, "out.mkv"), (tmp_path / "out.mp4", "again.mkv")):
        assert run(before, "-o", tmp_path / after, "--segment", 0.2) == 0
        assert covers(tmp_path / after) == [(kind, data)] and "cover" not in capsys.readouterr().err
    for suffix in (".mov", ".webm", ".ts", ".avi", ".mxf", ".m4v"):
        assert run(source, "-o", tmp_path / f"out{suffix}") == 0
        assert f"the cover is left out: {suffix} files hold none" in capsys.readouterr().err


def test_titles_of_chapters_are_no_subtitles(tmp_path, capsys):
    plain = make(tmp_path / "plain.mkv", 20)
    with av.open(str(plain)) as film, av.open(str(tmp_path / "in.mp4"), "w") as out:
        stream = out.add_stream_from_template(film.streams.video[0])
        base = Fraction(1, 1000)
        names = [{"id": 0, "start": 0, "end": 800, "time_base": base, "metadata": {"title": "One"}}]
        out.set_chapters(names)
        for packet in film.demux():
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    for suffix in (".mkv", ".mp4", ".webm"):
        assert run(tmp_path / "in.mp4", "-o", tmp_path / f"out{suffix}") == 0
        assert capsys.readouterr().err == ""
        with av.open(str(tmp_path / f"out{suffix}")) as container:
            assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["One"]


def test_a_second_video_is_told(tmp_path, capsys):
    films = [make(tmp_path / f"{number}.mkv", 6, first=number) for number in range(2)]
    with av.open(str(films[0])) as one, av.open(str(films[1])) as two, av.open(str(tmp_path / "in.mkv"), "w") as out:
        streams = {id(file): out.add_stream_from_template(file.streams.video[0]) for file in (one, two)}
        for file in (one, two):
            for packet in file.demux():
                if packet.size:
                    packet.stream = streams[id(file)]
                    out.mux(packet)
    assert run(tmp_path / "in.mkv", "-o", tmp_path / "out.mkv") == 0
    assert "1 other video in the file left out: the first one is taken" in capsys.readouterr().err
