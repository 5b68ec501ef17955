"""Videos that are cut off, holed or torn: all frames come, or the command says what is missing and exits with 3."""

from contextlib import closing
from fractions import Fraction

import av
import numpy as np
import pytest
from tiny_videos import join, make
from video_runs import run

from vfi.files.atomic import written_whole
from vfi.video.containers import CONTAINERS
from vfi.video.reader import VideoReader

pytestmark = pytest.mark.usefixtures("mean_frames")

COUNT = 50
HOLE = 4096


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """One video per container, as the package writes it, with sound where the container holds any."""
    folder, made = tmp_path_factory.mktemp("whole"), {}
    original = make(folder / "source.mkv", COUNT, codec="ffv1", sound="flac", sizes=[(96, 64)] * COUNT)

    def of(suffix, *options):
        key = (suffix, *options)
        if key not in made:
            made[key] = folder / f"{len(made)}{suffix}"
            assert run(original, "-o", made[key], "--factor", 1, *options) == 0
        return made[key]

    return of


def cut(data, share):
    return data[: int(len(data) * share) // 2 * 2 + 1]  # an odd length: nothing ends at the end of a packet of it


def zeroed(data, share):
    at = int(len(data) * share)
    return data[:at] + bytes(min(HOLE, len(data) - at)) + data[at + HOLE :]


def torn(data, share, length=HOLE + 1000):
    at = int(len(data) * share)
    return data[:at] + data[at + length :]


DAMAGES = [(cut, 0.3), (cut, 0.6), (cut, 0.9), (cut, 0.98), (zeroed, 0.4), (zeroed, 0.6), (torn, 0.4), (torn, 0.6)]


def frames_of(printed):
    return int(printed.rpartition("from ")[2].split()[0]) if printed else 0


def check(path, data, tmp_path, capsys, name):
    path.write_bytes(data)
    code = run(path, "-o", tmp_path / "out.mkv", "--factor", 1, "--overwrite")
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    if code == 0:
        assert frames_of(said.out) >= COUNT, f"{name}: {frames_of(said.out)} frames without a word"
    elif code == 3:
        assert "is incomplete, the result with it: " in said.err, name
    else:
        assert code == 2 and ("no frame" in said.err or "only one frame" in said.err or "cannot read" in said.err), name
    return code


def ways():
    """Each container with sound has every other damage by day, the next one the others; the rest are slow."""
    for number, suffix in enumerate(CONTAINERS):
        for sound in ((), ("--no-audio",)):
            for first in (0, 1):
                marks = () if first == number % 2 and not sound else pytest.mark.slow
                yield pytest.param(
                    suffix, sound, DAMAGES[first::2], marks=marks, id=f"{suffix}{''.join(sound)}-{first}"
                )


@pytest.mark.parametrize("suffix, sound, damages", list(ways()))
@pytest.mark.in_turn(of=3)
def test_what_is_missing_is_said(sources, tmp_path, capsys, suffix, sound, damages):
    data = sources(suffix, *sound).read_bytes()
    capsys.readouterr()
    assert check(tmp_path / f"whole{suffix}", data, tmp_path, capsys, "whole") == 0
    codes = [check(tmp_path / f"in{suffix}", how(data, share), tmp_path, capsys, f"{how.__name__} {share}")
             for how, share in damages]  # fmt: skip
    assert 3 in codes


def test_lost_frames_are_counted(sources, tmp_path, capsys):
    """Of a transport stream, by its packets' counters."""
    path = tmp_path / "in.ts"
    data = sources(".ts").read_bytes()
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    middle = len(packets) // 2
    path.write_bytes(b"".join(packets[:middle] + packets[middle + 30 :]))
    assert run(path, "-o", tmp_path / "out.mkv", "--factor", 1) == 3
    said = capsys.readouterr()
    lost = int(said.err.partition("result with it: ")[2].split()[0])
    # One that lacks what it refers to may come at a wrong time.
    assert lost > 1 and abs(frames_of(said.out) + lost - COUNT) <= 1


@pytest.mark.parametrize("suffix", [".ts", ".m2ts", ".mkv", ".mp4", ".flv"])
def test_a_pause_is_no_loss(tmp_path, suffix):
    stamps = [*range(10), *range(40, 50)]
    source = make(tmp_path / f"in{suffix}", 20, stamps=stamps, b_frames=2, sound="aac")
    assert run(source, "-o", tmp_path / "out.mkv", "--factor", 1) == 0


def test_joined_transport_streams_are_whole(tmp_path):
    parts = [make(tmp_path / f"{number}.ts", 12, sound="aac") for number in range(2)]
    assert run(join(tmp_path / "in.ts", *parts), "-o", tmp_path / "out.mkv", "--factor", 1) == 0


def test_an_animated_png_that_is_cut(tmp_path, capsys):
    source = make(tmp_path / "in.apng", 20, codec="apng", pixels="rgb24", rate=Fraction(10))
    assert run(source, "-o", tmp_path / "whole.mkv", "--factor", 1) == 0
    with written_whole(source) as temporary:
        temporary.write_bytes(cut(source.read_bytes(), 0.6))
    assert run(source, "-o", tmp_path / "out.mkv", "--factor", 1) == 3


def test_pictures_that_are_left_are_as_they_were(sources, tmp_path):
    """A hole in the middle takes what it covers and what refers to that, nothing more."""
    from video_runs import read

    source = sources(".ts")
    path = tmp_path / "in.ts"
    path.write_bytes(zeroed(source.read_bytes(), 0.5))
    assert run(path, "-o", tmp_path / "out.mkv", "--factor", 1, "--codec", "ffv1") == 3
    times, after = read(tmp_path / "out.mkv")
    assert run(source, "-o", tmp_path / "whole.mkv", "--factor", 1, "--codec", "ffv1") == 0
    at, before = read(tmp_path / "whole.mkv")
    whole = dict(zip(at, before, strict=True))
    same = sum(time in whole and np.array_equal(picture, whole[time]) for time, picture in zip(times, after))
    assert same > len(before) // 2


@pytest.mark.parametrize("target", ["out.mkv", "out.webm"])
def test_sound_with_a_time_far_behind_all_else_is_cut(tmp_path, capsys, target):
    """Nobody waits for nine days of silence. Copied, and encoded again."""
    whole = make(tmp_path / "whole.mkv", 20, sound="aac")
    with (
        av.open(str(whole)) as film,
        av.open(str(tmp_path / "in.mkv"), "w") as out,
    ):
        streams = [out.add_stream_from_template(stream) for stream in film.streams]
        for packet in film.demux():
            if packet.size:
                late = packet.stream.type == "audio" and packet.pts > 600
                packet.pts, packet.dts = (stamp + late * 800_000_000 for stamp in (packet.pts, packet.dts))
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    assert run(tmp_path / "in.mkv", "-o", tmp_path / target, "--factor", 1) == 0
    assert "sound track 1 is cut off at 0.76 seconds (what follows says it is 8" in capsys.readouterr().err
    with av.open(str(tmp_path / target)) as written:
        ends = [(packet.pts + packet.duration) * packet.time_base for packet in written.demux(audio=0) if packet.size]
    assert 0.5 < max(ends) < 0.8


def test_a_stream_that_appears_in_the_middle(tmp_path, capsys):
    """A file that is joined of one without sound and one with it: the sound is with its picture, or told to be lost."""
    parts = make(tmp_path / "a.ts", 100), make(tmp_path / "b.ts", 50, sound="aac", first=0)
    assert run(join(tmp_path / "in.ts", *parts), "-o", tmp_path / "out.mp4", "--factor", 1) == 0
    said = capsys.readouterr()
    assert "from 150 frames" in said.out and "1 jump of the file's clock" in said.err
    with closing(VideoReader(tmp_path / "in.ts", sound=True)) as reader:
        frames, (sound,) = list(reader.frames()), reader.demuxer.sound.values()
        assert abs(sound[0][0] - reader.origin - frames[100].time) < 0.1
    with av.open(str(tmp_path / "out.mp4")) as written:
        assert bool(written.streams.audio) != ("the sound is left out" in said.err)
