"""A video in, a video out, through the `vfi` command."""

import os
import signal
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from vfi.commands import video_frames
from vfi.commands.main import main
from vfi.files.images import read_image, write_image
from vfi.video import writer
from vfi.video.av_common import EXACT_CONVERSION

TENTH = Fraction(1, 10)


def run(*arguments: object) -> int:
    return main(["interpolate", "--quiet", *map(str, arguments)])


def refused(capsys, *arguments: object) -> str:
    assert run(*arguments) == 2
    message = capsys.readouterr().err.strip()
    assert "Traceback" not in message
    return message.splitlines()[-1]


def read(path: Path) -> tuple[list[Fraction], list[np.ndarray]]:
    """Times and pictures of a video."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        pictures = [frame.to_ndarray(format="rgb24", interpolation=EXACT_CONVERSION) for frame in frames]
        return [frame.pts * frame.time_base for frame in frames], pictures


def sound(path: Path) -> tuple[float, np.ndarray, str]:
    """Start, samples and codec of the sound."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
        resampler = av.AudioResampler("flt", "mono", 8000)
        start = float(frames[0].pts * frames[0].time_base)
        parts = [part.to_ndarray()[0] for frame in frames for part in resampler.resample(frame)]
        return start, np.concatenate(parts), container.streams.audio[0].codec_context.codec.canonical_name


def loudness(samples: np.ndarray, start: float, time: float) -> float:
    """Mean loudness, in steps of the test's staircase, over the tenth of a second around `time`."""
    first = round((time - start - 0.03) * 8000)
    return float(np.sqrt(2 * np.mean(samples[max(first, 0) : first + 480] ** 2))) / 0.05


def error(first: np.ndarray, second: np.ndarray) -> float:
    """Mean difference of brightness (videos keep a quarter of the colours), borders aside."""
    weights = np.array([0.299, 0.587, 0.114])
    return float(np.abs((first.astype(float) - second)[8:-8, 16:-16] @ weights).mean())


@pytest.fixture
def slide(sliding):
    """Eight frames of a slide, four pixels per frame."""
    return [sliding(4 * i) for i in range(8)]


def test_twice_the_frames_between_the_old_ones(make_video, slide, sliding, tmp_path, capsys):
    output = tmp_path / "out.mp4"
    assert run(make_video(slide), "-o", output) == 0
    times, frames = read(output)
    assert times == [Fraction(i, 20) for i in range(16)], "as long as the input"
    for i in range(15):
        assert error(frames[i], sliding(2 * i)) < 2, i
    assert np.array_equal(frames[14], frames[15]) or error(frames[14], frames[15]) < 1, "the last frame is held"
    assert "16 frames (7 interpolated, 1 repeated; 0 scene cuts)" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_another_frame_rate(make_video, slide, sliding, tmp_path):
    output = tmp_path / "out.mkv"
    assert run(make_video(slide), "-o", output, "--fps", "25") == 0
    times, frames = read(output)
    # 0.8 s at 25 per second; Matroska rounds to milliseconds.
    assert [float(time) for time in times] == pytest.approx([i / 25 for i in range(20)], abs=6e-4)
    assert error(frames[5], sliding(8)) < 2
    assert error(frames[6], frames[5]) > 2


def test_fewer_frames_per_second(make_video, slide, tmp_path):
    assert run(make_video(slide), "-o", tmp_path / "out.mp4", "--fps", 5) == 0
    times, frames = read(tmp_path / "out.mp4")
    assert times == [Fraction(i, 5) for i in range(4)]
    assert error(frames[1], slide[2]) < 2


def test_variable_frame_rate_by_timestamps(make_video, slide, tmp_path):
    stamps = [Fraction(ms, 1000) for ms in (0, 40, 200, 240)]
    source = make_video(slide[:4], "vfr.mkv", times=stamps)
    assert run(source, "-o", tmp_path / "out.mp4", "--factor", 2) == 0
    times, _ = read(tmp_path / "out.mp4")
    assert [round(float(time), 3) for time in times[:7]] == [0, 0.02, 0.04, 0.12, 0.2, 0.22, 0.24]
    # At a constant rate the long interval gets most frames.
    assert run(source, "-o", tmp_path / "cfr.mp4", "--fps", 50) == 0
    times, frames = read(tmp_path / "cfr.mp4")
    assert times[:13] == [Fraction(i, 50) for i in range(13)]
    assert error(frames[2], slide[1]) < 2 and error(frames[10], slide[2]) < 2


def test_explicit_times_as_images(make_video, slide, sliding, tmp_path, capsys):
    source = make_video(slide)
    assert run(source, "-o", tmp_path / "f_%02d.png", "--times", 0.25, 0.1, 99) == 0
    printed = capsys.readouterr()
    assert "only 2 of the 3 times" in printed.err and "f_01.png to f_02.png: 2 frames" in printed.out
    assert error(read_image(tmp_path / "f_01.png").rgb, slide[1]) < 2
    assert error(read_image(tmp_path / "f_02.png").rgb, sliding(10)) < 2
    assert not (tmp_path / "f_03.png").exists()
    assert run(source, "-o", tmp_path / "again.png", "--times", 0.25, 0.1, 0.1) == 0
    printed = capsys.readouterr()
    assert "of the 3 times 2 differ" in printed.err and "lie within" not in printed.err
    assert "again_00001.png to again_00002.png" in printed.out


def test_odd_sizes_are_padded_and_said(make_video, sliding, tmp_path, capsys):
    frames = [sliding(4 * i, width=95, height=63) for i in range(3)]
    source = make_video(frames, "odd.mkv", codec="ffv1", pixel_format="bgr0")
    assert run(source, "-o", tmp_path / "out.mp4") == 0
    assert "95x63 becomes 96x64 by repeating the last row or column" in capsys.readouterr().err
    _, results = read(tmp_path / "out.mp4")
    assert results[0].shape == (64, 96, 3)
    assert error(results[0][:63, :95], frames[0]) < 2
    # The added row and column repeat the last ones.
    assert np.abs(results[0][63].astype(float) - results[0][62]).mean() < 6
    assert run(source, "-o", tmp_path / "odd_out.mkv", "--codec", "ffv1") == 0


def test_a_scene_cut_repeats_the_frame_before_it(make_video, slide, tmp_path, capsys):
    other = [np.ascontiguousarray(frame[::-1, :, ::-1]) for frame in slide]
    source = make_video(slide[:3] + other[:3])
    assert run(source, "-o", tmp_path / "out.mp4") == 0
    assert "1 scene cuts" in capsys.readouterr().out
    _, frames = read(tmp_path / "out.mp4")
    assert error(frames[5], slide[2]) < 2 and error(frames[6], other[0]) < 2
    assert run(source, "-o", tmp_path / "through.mp4", "--no-scene-cuts") == 0
    assert error(read(tmp_path / "through.mp4")[1][5], slide[2]) > 10


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
    # Three whole intervals, and half of one.
    assert [float(time) for time in times] == pytest.approx([0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.325], abs=2e-3)
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
    assert "sound, if any, is left out, because the speed changes" in capsys.readouterr().err
    times, frames = read(tmp_path / "out.mp4")
    assert times == [i * TENTH for i in range(8)] and error(frames[2], slide[1]) < 2
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert not container.streams.audio


def test_brightness_is_kept(make_video, sliding, tmp_path):
    """Conversions between RGB and YUV round; those that cut off make a video darker every time."""
    source = make_video([sliding(0)] * 3)
    assert run(source, "-o", tmp_path / "out.mp4") == 0
    before, after = (read(path)[1][0].astype(float).mean() for path in (source, tmp_path / "out.mp4"))
    assert abs(after - before) < 0.2


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_rotated_videos_come_out_upright(make_video, slide, tmp_path, rotation):
    source = make_video(slide[:2], rotation=rotation, aspect=Fraction(4, 3))
    with av.open(str(source)) as container:
        turns = next(container.decode(video=0)).rotation // 90
    assert run(source, "-o", tmp_path / "out.mkv") == 0
    _, frames = read(tmp_path / "out.mkv")
    assert error(frames[0], np.rot90(slide[0], turns)) < 2
    with av.open(str(tmp_path / "out.mkv")) as container:
        aspect = container.streams.video[0].sample_aspect_ratio
    assert aspect == (Fraction(4, 3) if rotation == 180 else Fraction(3, 4))


@pytest.mark.parametrize("matrix, full", [(1, 1), (5, 1), (1, 2), (2, 0)])
def test_colours_and_their_tags_are_kept(make_video, slide, tmp_path, matrix, full):
    """BT.709 and BT.601, limited and full range, and untagged: the pictures decode to the same colours."""
    flat = np.zeros((64, 96, 3), dtype=np.uint8)
    flat[:, :48], flat[:, 48:] = (200, 40, 60), (20, 180, 90)
    source = make_video([flat, flat], tags={"colorspace": matrix, "color_range": full})
    assert run(source, "-o", tmp_path / "out.mp4") == 0
    expected, result = read(source)[1][0], read(tmp_path / "out.mp4")[1][0]
    # The colours' edge itself is blurred by every conversion.
    difference = np.abs(expected.astype(int) - result)
    assert difference[:, :40].max() <= 3 and difference[:, 56:].max() <= 3
    with av.open(str(source)) as a, av.open(str(tmp_path / "out.mp4")) as b:
        contexts = [container.streams.video[0].codec_context for container in (a, b)]
    assert contexts[0].colorspace == contexts[1].colorspace and contexts[0].color_range == contexts[1].color_range


def test_two_images_to_a_video(sliding, tmp_path):
    for name, x in (("a.png", 20), ("b.png", 28)):
        write_image(tmp_path / name, sliding(x))
    assert run(tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "m.mp4", "--factor", 4, "--fps", 12) == 0
    times, frames = read(tmp_path / "m.mp4")
    assert times == [Fraction(i, 12) for i in range(5)]
    assert all(error(frames[i], sliding(20 + 2 * i)) < 2 for i in range(5))


def interrupt_after(monkeypatch, count: int, number: int = signal.SIGINT) -> None:
    """Ctrl-C when `count` intervals are done, and again while the file is being closed."""
    done = 0
    close = writer.VideoWriter.interrupted
    monkeypatch.setattr(writer.VideoWriter, "interrupted", lambda w: (os.kill(os.getpid(), number), close(w))[1])
    original = video_frames.interpolate_many

    def interpolate_many(*arguments):
        nonlocal done
        done += 1
        if done > count:
            os.kill(os.getpid(), number)
        return original(*arguments)

    monkeypatch.setattr(video_frames, "interpolate_many", interpolate_many)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_what_is_done_playable(make_video, sliding, tmp_path, monkeypatch, capsys, number):
    source = make_video([sliding(2 * i) for i in range(20)], sound="aac")
    interrupt_after(monkeypatch, 5, number)
    assert run(source, "-o", tmp_path / "out.mp4") == 130
    assert "holds the first 0.50 seconds" in capsys.readouterr().err
    times, _ = read(tmp_path / "out.mp4")
    assert times == [Fraction(i, 20) for i in range(11)]
    start, samples, _ = sound(tmp_path / "out.mp4")
    assert start + len(samples) / 8000 < 0.8, "the sound ends with the picture"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_ctrl_c_before_the_end_keeps_the_file_that_was_there(make_video, slide, tmp_path, monkeypatch):
    (tmp_path / "out.mp4").write_bytes(b"precious")
    interrupt_after(monkeypatch, 2)
    assert run(make_video(slide), "-o", tmp_path / "out.mp4", "--overwrite") == 130
    assert (tmp_path / "out.mp4").read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_the_final_name_appears_at_the_end_only(make_video, slide, tmp_path, monkeypatch):
    seen = []
    original = writer.VideoWriter.write

    def write(self, rgb, time):
        seen.append((tmp_path / "out.mp4").exists())
        original(self, rgb, time)

    monkeypatch.setattr(writer.VideoWriter, "write", write)
    assert run(make_video(slide), "-o", tmp_path / "out.mp4") == 0
    assert len(seen) == 16 and not any(seen) and (tmp_path / "out.mp4").exists()


def test_a_failure_in_the_middle_leaves_no_file(make_video, slide, tmp_path, monkeypatch):
    def fail(*arguments):
        raise MemoryError

    monkeypatch.setattr(video_frames, "interpolate_many", fail)
    assert run(make_video(slide), "-o", tmp_path / "out.mp4") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4"]


def test_wrong_requests(make_video, slide, tmp_path, capsys):
    source, out = make_video(slide), tmp_path / "out.mp4"
    assert "none.mp4 does not exist" in refused(capsys, tmp_path / "none.mp4", "-o", out)
    assert "codec 'nope' is unknown" in refused(capsys, source, "-o", out, "--codec", "nope")
    assert "cannot encode video" in refused(capsys, source, "-o", out, "--codec", "aac")
    assert "cannot hold h264 video" in refused(capsys, source, "-o", tmp_path / "o.webm", "--codec", "libx264")
    assert ".xyz names no video format" in refused(capsys, source, "-o", tmp_path / "o.xyz")
    assert "without suffix" in refused(capsys, source, "-o", tmp_path / "o")
    assert "only one of" in refused(capsys, source, "-o", out, "--fps", 30, "--factor", 2)
    assert "must be after --start" in refused(capsys, source, "-o", out, "--start", 3, "--end", 2)
    assert "no frame between" in refused(capsys, source, "-o", out, "--start", 100)
    assert "only one frame between" in refused(capsys, source, "-o", out, "--start", 0.65)
    assert "--factor must be" in refused(capsys, source, "-o", out, "--factor", 0)
    assert "--t is for two images only" in refused(capsys, source, "-o", out, "--t", 0.5)
    assert "none of the times" in refused(capsys, source, "-o", out, "--times", 50)
    assert "also an input" in refused(capsys, source, "-o", source, "--overwrite")
    assert "--crf has no meaning" in refused(capsys, source, "-o", out, "--codec", "mpeg4", "--crf", 3)
    for wrong in ("--fps=0", "--fps=fast", "--start=1:x", "--fps=nan", "--end=-1", "--factor=1.5", "--crf=abc"):
        assert run(source, "-o", out, wrong) == 2
        message = capsys.readouterr().err.strip()
        assert message.startswith(f"vfi: argument {wrong.partition('=')[0]}: ") and len(message.splitlines()) == 1
    assert "none of the times" in refused(capsys, source, "-o", tmp_path / "x_%d.png", "--times", 50)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_one_frame_is_not_enough(make_video, slide, tmp_path, capsys):
    assert "only one frame; two are needed" in refused(capsys, make_video(slide[:1]), "-o", tmp_path / "out.mp4")
    write_image(tmp_path / "still.png", slide[0])
    assert "only one frame" in refused(capsys, tmp_path / "still.png", "-o", tmp_path / "out.mp4")


def test_hostile_videos(make_video, slide, tmp_path, capsys):
    whole = make_video(slide, sound="aac").read_bytes()
    rng = np.random.default_rng(0)
    cases = {
        "empty.mp4": b"",
        "text.mp4": b"this is no video\n" * 50,
        "cut.mp4": whole[: len(whole) // 3],
        "noise.mp4": rng.integers(0, 256, 5000, dtype=np.uint8).tobytes(),
        "list.m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n",
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        assert f"cannot read {tmp_path / name}" in refused(capsys, tmp_path / name, "-o", tmp_path / "out.mp4")
    # Damage in the middle of the samples: a result or one sentence, never a crash.
    for seed in range(4):
        damaged = np.frombuffer(whole, np.uint8).copy()
        places = np.random.default_rng(seed).integers(200, len(whole) - 200, 40)
        damaged[places] ^= 0xFF
        (tmp_path / "damaged.mp4").write_bytes(damaged.tobytes())
        assert run(tmp_path / "damaged.mp4", "-o", tmp_path / "out.mp4", "--overwrite") in (0, 2)
        assert not list(tmp_path.glob(".out*"))


def test_sound_without_pictures(make_video, slide, tmp_path, capsys):
    with av.open(str(tmp_path / "song.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    assert "has no video in it" in refused(capsys, tmp_path / "song.wav", "-o", tmp_path / "out.mp4")


def test_a_full_disk_is_one_sentence(make_video, slide, tmp_path, capsys, monkeypatch):
    def full(self, rgb, time):
        self._guarded(lambda: (_ for _ in ()).throw(av.error.OSError(28, "No space left on device", "x")))

    monkeypatch.setattr(writer.VideoWriter, "write", full)
    message = refused(capsys, make_video(slide), "-o", tmp_path / "out.mp4")
    assert message == f"vfi: cannot write {tmp_path / 'out.mp4'}: no space left on device"
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
