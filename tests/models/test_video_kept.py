"""What travels with a video: the table of docs/video.md is true, and every loss in it is told."""

import re
from pathlib import Path

import av
import pytest
from scripts_of_the_tree import script
from tiny_videos import make
from video_runs import run

from vfi.video.containers import CONTAINERS
from vfi.video.track_names import named

pytestmark = pytest.mark.usefixtures("mean_frames")

PAGE = Path(__file__).resolve().parents[2] / "docs/video.md"
SLICE = (".mkv", ".mp4", ".mpg")
kept = script("kept")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return kept.make_sources(tmp_path_factory.mktemp("sources"))


def columns():
    """By the suffix: what is said of each row."""
    lines = PAGE.read_text().partition("## What is kept in which file")[2].splitlines()
    head, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|"))
    rows, told = rows[: len(kept.NOTES)], {}
    for number, cell in list(enumerate(head))[1:]:
        told |= {suffix.strip("`"): {row[0]: row[number] for row in rows} for suffix in cell.split()}
    return told


def test_the_table_has_every_kind_of_file():
    assert list(columns()) == list(CONTAINERS) and all(list(rows) == list(kept.NOTES) for rows in columns().values())


MARKED = [pytest.param(each, marks=pytest.mark.slow if each in SLICE else pytest.mark.nightly) for each in CONTAINERS]


@pytest.mark.parametrize("suffix", MARKED)
def test_the_table_is_true(sources, suffix):
    assert kept.kept(sources, suffix) == columns()[suffix]


def test_a_loss_without_a_note_is_found(sources, monkeypatch):
    monkeypatch.setitem(kept.NOTES, "attached files", "^note: something else")
    with pytest.raises(SystemExit, match="attached files"):
        kept.kept({"": sources[""]}, ".mp4")


def with_subtitles(path, codec, texts):
    """codec: of text, as FFmpeg names its files."""
    plain, text = make(path.with_name("plain.mkv"), 50), path.with_name(f"text.{codec}")
    text.write_text(texts)
    with av.open(str(plain)) as film, av.open(str(text)) as words, av.open(str(path), "w") as out:
        streams = {id(stream): out.add_stream_from_template(stream) for stream in (*film.streams, *words.streams)}
        packets = [packet for file in (film, words) for packet in file.demux() if packet.size]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            packet.stream = streams[id(packet.stream)]
            out.mux(packet)
    return path


SRT = "1\n00:00:00,200 --> 00:00:00,500\n<i>first</i>\n\n2\n00:00:01,100 --> 00:00:01,500\nsecond\n"
ASS = (
    "[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize, PrimaryColour\n"
    "Style: Default,Arial,16,&H00FFFFFF\n\n"
    "[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
    r"Dialogue: 0,0:00:00.20,0:00:00.50,Default,,0,0,0,,{\i1}first{\i0}" + "\n"
    "Dialogue: 0,0:00:01.10,0:00:01.50,Default,,0,0,0,,second\n"
)


def read_texts(path):
    """Times in seconds and words, without styles."""
    with av.open(str(path)) as file:
        stream = file.streams.subtitles[0]
        found = []
        for packet in file.demux(stream):
            words = bytes(packet)
            if stream.codec_context.name == "mov_text":
                words = words[2 : 2 + int.from_bytes(words[:2], "big")]
            words = re.sub(rb"<[^>]*>", b"", words).rpartition(b",,")[2]
            if words:
                times = packet.pts * packet.time_base, (packet.pts + packet.duration) * packet.time_base
                found.append((*(round(float(time), 2) for time in times), words))
        return stream.codec_context.codec.canonical_name, found


@pytest.mark.parametrize("codec, texts", [("srt", SRT), ("ass", ASS)], ids=["srt", "ass"])
@pytest.mark.parametrize("suffix, taken", [(".mp4", "mov_text"), (".mov", "mov_text"), (".webm", "webvtt")])
def test_subtitles_become_what_the_file_takes(tmp_path, capsys, codec, texts, suffix, taken):
    source = with_subtitles(tmp_path / "in.mkv", codec, texts)
    target = tmp_path / f"out{suffix}"
    assert run(source, "-o", target, "--factor", 1, "--segment", 0.7) == 0
    assert f"the subtitles (track 1) become {taken}, from" in capsys.readouterr().err
    words = [(0.2, 0.5, b"first"), (1.1, 1.5, b"second")]
    assert read_texts(target) == (taken, words)
    assert run(source, "-o", target, "--slow-motion", 2, "--overwrite") == 0
    assert read_texts(target) == (taken, [(2 * begin, 2 * end, text) for begin, end, text in words])
    assert run(source, "-o", target, "--factor", 1, "--start", 0.6, "--end", 1.3, "--overwrite") == 0
    assert read_texts(target) == (taken, [(0.5, 0.7, b"second")])
    assert run(target, "-o", tmp_path / "back.mkv", "--factor", 1) == 0
    assert read_texts(tmp_path / "back.mkv")[1] == [(0.5, 0.7, b"second")]


def test_languages_of_mov_have_their_older_names(tmp_path):
    source = make(tmp_path / "in.mkv", 4, sound="aac")
    with av.open(str(source)) as film:
        (track,) = film.streams.audio
        track.metadata["language"] = "fra"
        assert named(track, "mov")["language"] == "fre" and named(track, "mp4")["language"] == "fra"


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".webm"])
@pytest.mark.parametrize("slower", [1, 2])
def test_subtitles_that_begin_before_the_part_end_where_they_end(tmp_path, suffix, slower):
    source = with_subtitles(tmp_path / "in.mkv", "srt", SRT.replace("00:00:00,500", "00:00:01,000"))
    target = tmp_path / f"out{suffix}"
    assert run(source, "-o", target, "--start", 0.4, "--end", 1.4, "--slow-motion", slower) == 0
    expected = [(0, 0.6 * slower, b"first"), (0.7 * slower, slower, b"second")]
    found = [
        (pytest.approx(begin, abs=0.03), pytest.approx(end, abs=0.03), w) for begin, end, w in read_texts(target)[1]
    ]
    assert expected == found
