"""Files that are no video, or that nobody can read: sentences name the file and the cause, in words of their own."""

import random
import re
import subprocess
import zipfile

import av
import numpy as np
import pytest
from fuzzed_runs import BARE
from processes import warm_python
from tiny_videos import make

from vfi.commands.main import main
from vfi.files.images import write_image
from vfi.video import unreadable
from vfi.video.demux import Demuxer

pytestmark = pytest.mark.usefixtures("mean_frames")


def sound(path):
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 48000, 0
        out.mux([*stream.encode(frame), *stream.encode(None)])


def changed(path, old, new, **options):
    make(path, **options)
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))


def without_index(path):
    data = make(path, 30).read_bytes()
    path.write_bytes(data[: data.index(b"moov") - 4])


def archive(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("film.mkv", b"film" * 99)


def noise(path):
    path.write_bytes(random.Random(path.suffix).randbytes(20_000))


def cut(path):
    path.write_bytes(make(path, 20).read_bytes()[:900])


CASES = {
    "empty.mp4": (lambda path: path.write_bytes(b""), "it is empty"),
    "zeros.ts": (lambda path: path.write_bytes(bytes(188 * 99)), "nothing but zeros"),
    "text.mp4": (lambda path: path.write_text("A letter.\n" * 99), "it is a text"),
    "notes.txt": (lambda path: path.write_text("A letter.\n" * 99), "it is a text"),
    "page.mkv": (lambda path: path.write_text("<!DOCTYPE html><html>Not found</html>"), "it is a web page"),
    "lfs.mp4": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid 1"), "Git LFS"),
    "list.m3u8": (lambda path: path.write_text("#EXTM3U\n#EXTINF:9,\nnone.ts\n#EXT-X-ENDLIST\n"), "it is a playlist"),
    "zip.mp4": (archive, "it is an archive"),
    "noise.mp4": (noise, "of a kind that FFmpeg does not know"),
    "noise.ts": (noise, "of a kind that FFmpeg does not know"),
    "noise.y4m": (noise, "of a kind that FFmpeg does not know"),
    "noise.gif": (noise, "of a kind that FFmpeg does not know"),
    "noise.bin": (noise, ""),
    "index.mp4": (without_index, "its index (the box moov) is missing"),
    "cut.mkv": (cut, "it has no picture, only headers of h264"),
    "unknown.mp4": (
        lambda path: changed(path, b"avc1", b"zzz9"),
        "the codec of its video (stream 0) is unknown",
    ),
    "unknown.avi": (lambda path: changed(path, b"FMP4", b"ZZZ9", codec="mpeg4"), "its video (stream 0) is unknown"),
    "sound.mp4": (sound, "has no video in it, only sound"),
    "titles.srt": (lambda path: path.write_text("1\n00:00:00,200 --> 00:00:00,500\nfirst\n"), "only subtitles"),
    "folder.mp4": (lambda path: path.mkdir(), "is a folder, not a file"),
    "still.png": (lambda path: write_image(path, np.zeros((32, 32, 3), np.uint8)), "only one frame"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_cause_is_said(tmp_path, capsys, name):
    path = tmp_path / name
    CASES[name][0](path)
    for words in (["interpolate", str(path), "-o", str(tmp_path / "out.mkv"), "--quiet"], ["probe", str(path)]):
        if words[0] == "probe" and name == "still.png":
            continue  # one frame is enough to be described
        assert main(words) == 2
        (said,) = capsys.readouterr().err.splitlines()
        assert said.startswith("vfi: ") and name in said and CASES[name][1] in said
        assert not re.search(BARE, said)
    assert [each.name for each in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("magic", unreadable._ARCHIVES)
def test_an_archive_in_which_streams_are_found(tmp_path, magic):
    path = tmp_path / "film.mp4"
    path.write_bytes(magic + random.Random(3).randbytes(9000))
    for error in (unreadable.no_frame(path, "vvc", 0, None, False), unreadable.no_video(path, ["audio"])):
        assert "it is an archive or a document; unpack it first" in str(error)


@pytest.mark.parametrize("turn", range(8))
def test_encrypted(tmp_path, capsys, turn):
    """Each time with other numbers, of some of which a decoder makes pictures without complaint."""
    plain, path = make(tmp_path / "plain.mp4", 5), tmp_path / "in.mp4"
    key = ["-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "76" * 16, "-encryption_kid", "a7" * 16]
    subprocess.run(["ffmpeg", "-loglevel", "error", "-i", plain, "-c", "copy", *key, path], check=True)
    assert main(["probe", str(path)]) == 2
    assert "it is encrypted; only who has the key can play it" in capsys.readouterr().err


def test_an_encrypted_packet_is_a_damaged_one(tmp_path, capsys, monkeypatch):
    """Whatever a decoder would make of it."""
    path = make(tmp_path / "in.mp4", 5)
    seen = []

    def decode(self, packet, before=Demuxer.decode):
        if packet is None or len(seen) % 5 != 2:
            seen.append(packet)
            return before(self, packet)
        seen.append(packet)
        return before(self, Sealed())

    monkeypatch.setattr(Demuxer, "decode", decode)
    assert main(["interpolate", str(path), "-o", str(tmp_path / "out.mkv"), "--quiet"]) == 3
    assert "1 damaged packet" in capsys.readouterr().err


class Sealed:
    def has_sidedata(self, kind):
        return kind == "encryption_info"


@pytest.mark.parametrize("given", [b"", b"a letter"])
def test_a_pipe_of_which_no_video_comes(tmp_path, given):
    words = [*warm_python(), "-m", "vfi", "interpolate", "-", "-o", str(tmp_path / "out.mkv")]
    process = subprocess.run(words, input=given, capture_output=True, cwd=tmp_path)
    assert process.returncode == 2 and list(tmp_path.iterdir()) == []
    assert process.stderr == b"vfi: cannot read standard input as a video: nothing came, or nothing that FFmpeg knows\n"


@pytest.mark.parametrize("count", range(2, 9))
@pytest.mark.parametrize("suffix", [".ts", ".m2ts"])
def test_short_transport_streams_are_videos(tmp_path, capsys, count, suffix):
    """FFmpeg takes those of fewer than ten packets for something else."""
    source = make(tmp_path / f"in{suffix}", count)
    assert main(["interpolate", str(source), "-o", str(tmp_path / "out.mkv"), "--quiet"]) == 0
    assert f"from {count} frames" in capsys.readouterr().out


def test_what_files_say_of_themselves_moves_no_cursor(tmp_path, capsys):
    path = make(tmp_path / "in.mkv", 3)
    with av.open(str(path)) as source, av.open(str(tmp_path / "odd.mkv"), "w") as out:
        out.metadata["title"] = "\x1b[2Ja film\nvfi: \x85\u2028"
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux():
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    assert main(["probe", str(tmp_path / "odd.mkv")]) == 0
    printed = capsys.readouterr().out
    assert r"title \x1b[2Ja film\nvfi: \x85\u2028" in printed and "\x1b" not in printed
