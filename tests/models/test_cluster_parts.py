"""A film that is planned, rendered in parts and joined, in any order, is the one of one machine to the last bit."""

import random
import re
from fractions import Fraction
from itertools import accumulate

import av
import numpy as np
import pytest
from cluster_runs import packets, run_in_parts
from tiny_videos import film, join, make, numbered
from video_runs import read, run

from vfi.commands.cluster.joining import all_said

pytestmark = [pytest.mark.usefixtures("mean_frames"), pytest.mark.in_turn(of=3)]

SIZE = (64, 48)
# With one thread the encoder's packets are the same; of more, how a picture is cut depends on their number.
LOSSLESS = ("--segment", 1, "--codec", "ffv1", "--encoder-option", "threads=1")


def source(folder, name, count, **more):
    return make(folder / name, count, sizes=[SIZE] * count, b_frames=2, **more)


def both(monkeypatch, capsys, path, *options, suffix=".mkv", seed=0, code=0):
    """The names of the tasks that ran, and what was said; what they made is what one machine makes."""
    alone, parts = path.with_name(f"alone{suffix}"), path.with_name(f"parts{suffix}")
    assert run(path, "-o", alone, *LOSSLESS, *options) == code
    first = capsys.readouterr()
    found, ray = run_in_parts(monkeypatch, path, "-o", parts, *LOSSLESS, *options, seed=seed)
    second = capsys.readouterr()
    assert found == code, second.err
    for kind in ("video", "audio"):
        assert packets(parts, kind) == packets(alone, kind), kind
    assert said(second.out) == said(first.out) != [], "frames are counted alike"
    assert not list(path.parent.glob(".*")), "nothing is left"
    return [name for name, _ in ray.done], second.err


def said(printed):
    return re.findall(r"encoded by .*|: \d+ frames? \(.*?\), from \d+ frames? of", printed)


FILMS = {
    "mp4": ("in.mp4", 120, {"sound": "aac"}),
    "mkv": ("in.mkv", 101, {"sound": "aac"}),
    "23.976": ("in.mkv", 121, {"rate": Fraction(24000, 1001)}),
    "29.97": ("in.mkv", 135, {"rate": Fraction(30000, 1001)}),
    "2 a second": ("in.mkv", 17, {"rate": 2}),
    "ts": ("in.ts", 111, {"sound": "aac"}),
    "avi": ("in.avi", 101, {"codec": "mpeg4"}),
    "without b-frames": ("in.avi", 75, {"codec": "mjpeg", "pixels": "yuvj420p"}),
    "one segment": ("in.mp4", 27, {}),
}


@pytest.mark.in_turn(of=3)
@pytest.mark.parametrize("name", FILMS)
def test_films(tmp_path, monkeypatch, capsys, name):
    file, count, more = FILMS[name]
    path = source(tmp_path, file, count, **more)
    names, _ = both(monkeypatch, capsys, path, seed=count)
    assert names.count("plan") == names.count("join") == 1 and names.count("render") >= 2


ASKED = {
    "start and end": ("--start", "0.93", "--end", "4.61"),
    "start": ("--start", "2.5"),
    "three times slower": ("--slow-motion", 3),
    "60 a second": ("--fps", 60),
    "7 a second": ("--fps", 7),
    "59.94 a second": ("--fps", "59.94", "--start", "0.1"),
    "2.5 times as many": ("--factor", "2.5"),
    "without doubles": ("--dedup",),
    "distinct": ("--dedup", "--target", "distinct"),
    "longer segments": ("--segment", "2.7"),
    "cuts are listed": ("--scene-cuts", "cuts.txt"),
    "cuts are off": ("--scene-cuts", "off"),
    "without sound": ("--no-audio",),
    "stretched": ("--slow-motion", 2, "--audio", "stretch"),
}


@pytest.fixture(scope="module")
def asked_of(tmp_path_factory):
    """On threes, with a picture that stands still, cuts near borders of segments, and sound that begins early."""
    numbers = [n // 3 for n in range(75)] + [30] * 20 + list(range(31, 62))
    return scenes(tmp_path_factory.mktemp("in") / "in.mkv", numbers, (0, 24, 50, 73, 110))


def scenes(path, numbers, begins):
    """A texture that slides by these numbers, another one from each frame of `begins` on."""
    pictures, textures = [], np.random.default_rng(0)
    for index, number in enumerate(numbers):
        if index in begins:
            small = textures.integers(20, 235, (6, 24, 3), dtype=np.uint8)
            wide = np.kron(small, np.ones((8, 8, 1), np.uint8))
        pictures.append(np.ascontiguousarray(wide[:, number * 2 : number * 2 + SIZE[0]]))
    return film(path, pictures, "libx264", {"crf": "5", "g": "12"})


SELDOM = {"59.94 a second", "2.5 times as many", "distinct", "longer segments", "cuts are off", "stretched"}


def some_slow(names, slow):
    return [pytest.param(name, marks=pytest.mark.slow) if name in slow else name for name in names]


@pytest.mark.parametrize("name", some_slow(ASKED, SELDOM))
def test_whatever_is_asked_for(asked_of, tmp_path, monkeypatch, capsys, name):
    path = tmp_path / "in.mkv"
    path.write_bytes(asked_of.read_bytes())
    (tmp_path / "cuts.txt").write_text("0.9\n1.0\n2.0\n3.0\n3.04\n4.4\n")
    monkeypatch.chdir(tmp_path)
    names, errors = both(monkeypatch, capsys, path, *ASKED[name])
    assert names.count("render") >= 2 and "read from its beginning" not in errors


@pytest.mark.parametrize("suffix", some_slow([".mov", ".avi", ".apng", ".gif", ".webp"], {".apng", ".gif", ".webp"}))
def test_clocks_of_outputs(asked_of, tmp_path, monkeypatch, capsys, suffix):
    path = tmp_path / "in.mkv"
    path.write_bytes(asked_of.read_bytes())
    codec = {".mov": "png", ".avi": "ffv1"}.get(suffix, suffix[1:])
    both(monkeypatch, capsys, path, "--codec", codec, suffix=suffix)


def test_cuts_are_found(asked_of, tmp_path, monkeypatch, capsys):
    code, _ = run_in_parts(monkeypatch, asked_of, "-o", tmp_path / "out.mkv", *LOSSLESS)
    assert code == 0 and "4 scene cuts" in capsys.readouterr().out


STAMPS = {
    "uneven": [1, 2, 1, 3, 1, 1, 5, 20, 1, 2] * 4,
    "a pause": [1] * 30 + [120] + [1] * 30,
    "a pause at the end": [1] * 30 + [95] + [1] * 2,
    "screen": [1] * 25 + [30] + [1, 50] * 4,
}


@pytest.mark.parametrize("name", STAMPS)
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.in_turn("name", "suffix")
def test_uneven_times(tmp_path, monkeypatch, capsys, name, suffix):
    stamps = list(accumulate(STAMPS[name]))
    path = source(tmp_path, f"in{suffix}", len(stamps), stamps=stamps)
    names, _ = both(monkeypatch, capsys, path, seed=3)
    assert names.count("render") >= 5
    both(monkeypatch, capsys, path, "--overwrite", "--fps", 30)


def test_times_of_a_millisecond_clock_that_wander(tmp_path, monkeypatch, capsys):
    draw = random.Random(1)
    stamps = list(accumulate(draw.choice((33, 33, 34, 37, 50)) for _ in range(120)))
    path = source(tmp_path, "in.mkv", 120, rate=30, stamps=stamps, clock=Fraction(1, 1000))
    both(monkeypatch, capsys, path)


@pytest.mark.parametrize("told", [2.0, 9.0])
def test_a_length_that_is_told_wrong(tmp_path, monkeypatch, capsys, told):
    path = with_length(source(tmp_path, "in.mkv", 125), told)
    names, errors = both(monkeypatch, capsys, path, code=3 if told > 5 else 0)
    assert names.count("render") == told
    assert ("before its time" in errors) == (told > 5)


def with_length(path, seconds):
    """A Matroska file that tells another one."""
    import struct

    data = path.read_bytes()
    place = data.index(b"\x44\x89\x88") + 3  # Duration, a float of eight bytes, in milliseconds
    path.write_bytes(data[:place] + struct.pack(">d", seconds * 1000) + data[place + 8 :])
    return path


def test_sound_that_begins_early(tmp_path, monkeypatch, capsys):
    path = source(tmp_path, "in.mkv", 100, stamps=range(30, 130), sound="aac")
    _, errors = both(monkeypatch, capsys, path)
    assert "the sound begins so much earlier" in errors


def test_interlaced(tmp_path, monkeypatch, capsys):
    path = source(tmp_path, "in.mpg", 100, codec="mpeg2video")
    both(monkeypatch, capsys, path, "--deinterlace", "bwdif")
    both(monkeypatch, capsys, path, "--overwrite", "--deinterlace", "bob", "--start", "0")


def test_a_clock_that_begins_anew(tmp_path, monkeypatch, capsys):
    path = join(tmp_path / "in.ts", *(source(tmp_path, f"{n}.ts", 60, first=n) for n in (0, 9, 3)))
    names, errors = both(monkeypatch, capsys, path)
    assert names.count("render") >= 3 and "repaired: at least 2 jumps of the file's clock" in errors


def test_times_that_are_repaired(tmp_path, monkeypatch, capsys):
    """By a search they are other ones: parts that do not meet are read from the beginning."""
    path = with_stamps(tmp_path / "in.mkv", [*range(20), *(n - 12 for n in range(20, 120))])
    names, errors = both(monkeypatch, capsys, path)
    assert "read from its beginning" in errors and names.count("join") == 2
    assert "repaired: at least 1 jump of the file's clock" in errors


def with_stamps(path, stamps):
    """Pictures whose times, counted in frames, need not grow."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuvj420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(numbered(index, *SIZE), format="rgb24").reformat(format="yuvj420p")
            frame.pts, frame.time_base = index * 40, Fraction(1, 1000)
            for packet in stream.encode(frame):
                packet.dts, packet.pts = index * 40, stamp * 40 + 2000
                out.mux(packet)
    return path


def test_a_film_that_is_cut_off(tmp_path, monkeypatch, capsys):
    path = source(tmp_path, "in.mkv", 125)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    _, errors = both(monkeypatch, capsys, path, code=3)
    assert errors.count("is incomplete, the result with it") == 1


def test_counts_of_parts_are_said_once():
    assert all_said([["1 frame damaged"], ["12 frames damaged", "it ends early"], [], ["it ends early"]]) == [
        "at least 12 frames damaged",
        "it ends early",
    ]


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mpg"])
def test_the_number_of_threads_is_settled(tmp_path, monkeypatch, capsys, suffix):
    """For every encoder, and by the run that began the work."""
    path, out = source(tmp_path, "in.mkv", 60), tmp_path / f"out{suffix}"
    code, ray = run_in_parts(monkeypatch, path, "-o", out, "--segment", 1)
    assert code == 0, capsys.readouterr().err
    assert dict(ray.done[1][1].planned.film.job.encoding.options) == {"threads": "1"}
    assert run(path, "-o", tmp_path / f"alone{suffix}") == 0
    assert read(out)[0] == read(tmp_path / f"alone{suffix}")[0]
