"""The sound of videos that are interpolated."""

from fractions import Fraction

import av
import numpy as np
import pytest
from video_runs import TENTH, error, loudness, read, refused, run, sound

pytestmark = pytest.mark.usefixtures("mean_frames")


def test_sound_is_copied(make_video, slide, tmp_path):
    source = make_video(slide, sound="aac")
    assert run(source, "-o", tmp_path / "out.mp4") == 0
    with av.open(str(source)) as a, av.open(str(tmp_path / "out.mp4")) as b:
        before, after = ([bytes(p) for p in c.demux(audio=0) if p.size] for c in (a, b))
    assert before == after, "bit for bit"
    assert sound(source)[0] == sound(tmp_path / "out.mp4")[0]


def test_sound_is_cut_with_the_picture(make_video, sliding, tmp_path):
    frames = [sliding(2 * i) for i in range(12)]
    source = make_video(frames, sound="aac")
    assert run(source, "-o", tmp_path / "out.mp4", "--start", 0.4, "--end", "0:00.9") == 0
    times, pictures = read(tmp_path / "out.mp4")
    assert times == [Fraction(i, 20) for i in range(10)]
    assert error(pictures[0], frames[4]) < 2 and error(pictures[8], frames[8]) < 2
    start, samples, codec = sound(tmp_path / "out.mp4")
    assert codec == "aac"
    # The sound of 0.4 s is at 0 now: the fifth step.
    for time in (0.05, 0.15, 0.25, 0.35):
        assert loudness(samples, start, time) == pytest.approx(5 + int(time * 10), abs=0.6)
    assert start + len(samples) / 8000 == pytest.approx(0.5, abs=0.2)
    # A file that cannot hide sound before 0 begins a little later, in step all the same.
    assert run(source, "-o", tmp_path / "out.mkv", "--start", 0.4) == 0
    assert read(tmp_path / "out.mkv")[0][0] == 0
    start, samples, codec = sound(tmp_path / "out.mkv")
    assert codec == "aac" and loudness(samples, start, 0.35) == pytest.approx(8, abs=0.6)


def test_sound_is_encoded_again_where_the_container_needs_it(make_video, sliding, tmp_path, capsys):
    source = make_video([sliding(2 * i) for i in range(6)], sound="aac")
    assert run(source, "-o", tmp_path / "out.webm", "--start", 0.2) == 0
    assert "encoded again, from aac to libopus" in capsys.readouterr().err
    start, samples, codec = sound(tmp_path / "out.webm")
    assert codec == "opus"
    assert loudness(samples, start, 0.15) == pytest.approx(4, abs=0.6)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts"])
def test_a_part_far_into_a_long_video(make_video, sliding, tmp_path, suffix, monkeypatch):
    """Keyframes are far apart (250 frames): the part begins exactly where it should, and frames before are skipped."""
    frames = [sliding(i % 90) for i in range(300)]
    source = make_video(
        frames,
        f"long.{suffix}",
        codec="libx264" if suffix != "avi" else "mpeg4",
        sound="aac" if suffix != "avi" else "pcm_s16le",
    )
    assert run(source, "-o", tmp_path / "out.mp4", "--start", 26.1, "--end", 26.45) == 0
    times, results = read(tmp_path / "out.mp4")
    # The frames of the whole video in this time, no others.
    assert [float(time) for time in times] == pytest.approx([0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3], abs=2e-3)
    assert error(results[0], frames[261]) < 4 and error(results[6], frames[264]) < 4
    start, samples, _ = sound(tmp_path / "out.mp4")
    assert loudness(samples, start, 0.25) == pytest.approx(263 % 16 + 1, abs=0.8)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "webm", "avi"])
def test_picture_and_sound_stay_in_step_in_every_container(make_video, sliding, tmp_path, suffix):
    source, output = make_video([sliding(2 * i) for i in range(6)], sound="aac"), tmp_path / f"out.{suffix}"
    assert run(source, "-o", output) == 0
    assert [float(time) for time in read(output)[0]] == pytest.approx([i / 20 for i in range(12)], abs=1e-3)
    start, samples, _ = sound(output)
    for time in (0.25, 0.35, 0.45):
        assert loudness(samples, start, time) == pytest.approx(1 + int(time * 10), abs=0.6)


def test_slow_motion_drops_the_sound_and_says_so(make_video, slide, tmp_path, capsys):
    assert run(make_video(slide[:4], sound="aac"), "-o", tmp_path / "out.mp4", "--slow-motion", 2) == 0
    assert "sound is left out, because the speed changes" in capsys.readouterr().err
    times, frames = read(tmp_path / "out.mp4")
    assert times == [i * TENTH for i in range(8)] and error(frames[2], slide[1]) < 2
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert not container.streams.audio


def test_sound_without_pictures(make_video, slide, tmp_path, capsys):
    with av.open(str(tmp_path / "song.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    assert "has no video in it" in refused(capsys, tmp_path / "song.wav", "-o", tmp_path / "out.mp4")


def crossings(samples):
    """Per second: how high a tone is."""
    middle = samples[len(samples) // 4 : 3 * len(samples) // 4]
    return float(np.count_nonzero(np.diff(np.signbit(middle)))) * 8000 / len(middle)


@pytest.mark.parametrize("slower", ["2", "5", "1.25", "0.5"])
@pytest.mark.parametrize("segment", [0, 0.3])
def test_sound_as_slow_as_the_picture(make_video, sliding, tmp_path, slower, segment):
    source = make_video([sliding(2 * i) for i in range(20)], sound="aac")
    out = tmp_path / "out.mkv"
    assert run(source, "-o", out, "--slow-motion", slower, "--audio", "stretch", "--segment", segment) == 0
    (begin, before, _), (start, after, _) = sound(source), sound(out)
    factor = float(Fraction(slower))
    assert start == pytest.approx(begin * factor, abs=0.03)
    assert len(after) == pytest.approx(factor * len(before), abs=1500), "frames are an eighth of a second"
    assert crossings(after) == pytest.approx(crossings(before), rel=0.05), "the pitch is kept"
    for time in (0.25, 0.75, 1.25, 1.75):
        assert loudness(after, start, time * factor) == pytest.approx(loudness(before, begin, time), rel=0.25), time


def test_stretch_without_slow_motion_copies(make_video, slide, tmp_path, capsys):
    assert run(make_video(slide, sound="aac"), "-o", tmp_path / "out.mp4", "--audio", "stretch") == 0
    assert "--audio stretch changes nothing here" in capsys.readouterr().err and sound(tmp_path / "out.mp4")[2] == "aac"


def test_sound_that_is_dropped(make_video, slide, tmp_path):
    assert run(make_video(slide, sound="aac"), "-o", tmp_path / "out.mp4", "--audio", "drop") == 0
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert not container.streams.audio
