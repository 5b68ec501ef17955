"""What travels with a video: kept where the file takes it, else a note says what is lost."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from tiny_videos import SIDE, make, numbered
from video_runs import read, run

pytestmark = pytest.mark.usefixtures("mean_frames")

SUBTITLES = "1\n00:00:00,200 --> 00:00:00,500\nfirst\n\n2\n00:00:01,100 --> 00:00:01,500\nsecond\n"


@pytest.fixture
def film(tmp_path):
    """A title, two chapters of a second each, subtitles and a font."""
    plain = make(tmp_path / "plain.mkv", 50, sound="aac")
    (tmp_path / "text.srt").write_text(SUBTITLES)
    path = tmp_path / "film.mkv"
    with av.open(str(plain)) as file, av.open(str(tmp_path / "text.srt")) as text, av.open(str(path), "w") as out:
        out.metadata.update({"title": "A title", "artist": "Someone"})
        base = Fraction(1, 1000)
        out.set_chapters([
            {"id": i, "start": 1000 * i, "end": 1000 * i + 1000, "time_base": base, "metadata": {"title": f"{i}"}}
            for i in range(2)
        ])  # fmt: skip
        streams = {id(stream): out.add_stream_from_template(stream) for stream in (*file.streams, *text.streams)}
        out.add_attachment("font.ttf", "font/ttf", b"glyphs" * 20)
        packets = [packet for source in (file, text) for packet in source.demux() if packet.size]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            packet.stream = streams[id(packet.stream)]
            out.mux(packet)
    return path


def content(path):
    with av.open(str(path)) as file:
        chapters = [(float(c["start"] * c["time_base"]), float(c["end"] * c["time_base"])) for c in file.chapters()]
        title = file.metadata.get("title")
        subtitles = []
        if file.streams.subtitles:
            subtitles = [float(p.pts * p.time_base) for p in file.demux(subtitles=0) if p.size]
        return title, chapters, pytest.approx(subtitles, abs=2e-3), [item.name for item in file.streams.attachments]


def test_all_is_kept_in_matroska(film, tmp_path, capsys):
    assert run(film, "-o", tmp_path / "out.mkv", "--factor", 1) == 0
    assert content(tmp_path / "out.mkv") == ("A title", [(0, 1), (1, 2)], [0.2, 1.1], ["font.ttf"])
    assert "note" not in capsys.readouterr().err


def test_times_follow_cuts_and_slow_motion(film, tmp_path):
    assert run(film, "-o", tmp_path / "cut.mkv", "--factor", 1, "--start", 0.6, "--end", 1.4) == 0
    assert content(tmp_path / "cut.mkv")[1:3] == ([(0, 0.4), (0.4, 0.8)], [0.5])
    assert run(film, "-o", tmp_path / "slow.mkv", "--slow-motion", 2) == 0
    assert content(tmp_path / "slow.mkv")[:3] == ("A title", [(0, 2), (2, 4)], [0.4, 2.2])


def test_what_is_lost_is_said(film, tmp_path, capsys):
    assert run(film, "-o", tmp_path / "out.mp4", "--factor", 1) == 0
    said = capsys.readouterr().err
    assert content(tmp_path / "out.mp4")[:2] == ("A title", [(0, 1), (1, 2)])
    assert "the subtitles (track 1) become mov_text, from subrip: the text stays" in said
    assert "1 attached file left out: .mp4 files hold none" in said
    assert run(film, "-o", tmp_path / "out.mpg", "--factor", 1) == 0
    said = capsys.readouterr().err
    assert "title" in said and "2 chapters left out" in said and "subtitles" in said


ONE, LAST = 1 << 16, 1 << 30
MATRICES = {
    "as it is": ((ONE, 0, 0, 0, ONE, 0, 0, 0, LAST), lambda rgb: rgb),
    "left and right": ((-ONE, 0, 0, 0, ONE, 0, SIDE * ONE, 0, LAST), lambda rgb: rgb[:, ::-1]),
    "upside down": ((ONE, 0, 0, 0, -ONE, 0, 0, SIDE * ONE, LAST), lambda rgb: rgb[::-1]),
    "about the diagonal": ((0, ONE, 0, ONE, 0, 0, 0, 0, LAST), lambda rgb: rgb.transpose(1, 0, 2)),
    "a quarter": ((0, ONE, 0, -ONE, 0, 0, SIDE * ONE, 0, LAST), lambda rgb: np.rot90(rgb, -1)),
    "half": ((-ONE, 0, 0, 0, -ONE, 0, SIDE * ONE, SIDE * ONE, LAST), lambda rgb: np.rot90(rgb, 2)),
    "nothing": ((0, 0, 0, 0, 0, 0, 0, 0, LAST), lambda rgb: rgb),
}


@pytest.mark.parametrize("name", MATRICES)
def test_turned_and_mirrored(tmp_path, name):
    matrix, shown = MATRICES[name]
    source = make(tmp_path / "in.mp4", 3)
    data = bytearray(source.read_bytes())
    at = data.find(b"tkhd") + 44
    data[at : at + 36] = struct.pack(">9i", *matrix)
    source.write_bytes(data)
    before = np.array(read(make(tmp_path / "plain.mp4", 3))[1][0]).astype(float)
    assert run(source, "-o", tmp_path / "out.mkv", "--codec", "ffv1") == 0
    assert np.abs(read(tmp_path / "out.mkv")[1][0] - shown(before)).mean() < 4


def test_losses_of_the_picture_are_said(tmp_path, capsys):
    see_through = [np.dstack([numbered(i), np.full((SIDE, SIDE), 40 * i, np.uint8)]) for i in range(3)]
    opaque = [np.dstack([numbered(i), np.full((SIDE, SIDE), 255, np.uint8)]) for i in range(3)]
    for name, frames, lost in (("in.mov", see_through, True), ("opaque.mov", opaque, False)):
        with av.open(str(tmp_path / name), "w") as out:
            stream = out.add_stream("png", rate=25)
            stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "rgba"
            for rgba in frames:
                out.mux(stream.encode(av.VideoFrame.from_ndarray(rgba, format="rgba")))
            out.mux(stream.encode(None))
        assert run(tmp_path / name, "-o", tmp_path / f"{name}.mp4") == 0
        assert ("the alpha channel is left out" in capsys.readouterr().err) == lost
    with av.open(str(tmp_path / "in.mov.mp4")) as container:
        assert container.streams.video[0].codec_context.colorspace == 1, "RGB becomes BT.709"
    source = make(tmp_path / "ten.mkv", 3, pixels="yuv420p10le")
    assert run(source, "-o", tmp_path / "ten.avi") == 0
    assert "the 10 bits per sample become 8, dithered" in capsys.readouterr().err


@pytest.mark.parametrize("aspect", [Fraction(64, 45), Fraction(8, 9), Fraction(3)])
@pytest.mark.parametrize(
    "name, codec",
    [("o.webm", None), ("o.mkv", "libvpx-vp9"), ("o.mkv", "ffv1"), ("o.mp4", "libvpx-vp9"), ("o.mkv", None),
     ("o.avi", None)],
)  # fmt: skip
def test_the_pixel_aspect_is_kept(make_video, slide, tmp_path, capsys, name, codec, aspect):
    source = make_video(slide, "in.mkv", aspect=aspect, sound="aac")
    options = ("--codec", codec) if codec else ()
    assert run(source, "-o", tmp_path / name, *options, "--segment", 0.4) == 0
    assert "aspect" not in capsys.readouterr().err
    with av.open(str(tmp_path / name)) as container:
        video = container.streams.video[0]
        assert float(video.sample_aspect_ratio) == pytest.approx(float(aspect), rel=0.01)
        assert "title" not in video.metadata and len(list(container.decode(video))) == 16
    with av.open(str(tmp_path / name)) as container:
        assert len(list(container.decode(audio=0))) > 5


def test_a_pixel_aspect_that_is_lost_is_said(make_video, slide, tmp_path, capsys):
    source = make_video(slide, "in.mkv", aspect=Fraction(64, 45))
    assert run(source, "-o", tmp_path / "o.avi", "--codec", "ffv1") == 0
    assert "the pixel aspect of 64:45 is lost: neither ffv1 nor avi files tell it" in capsys.readouterr().err
