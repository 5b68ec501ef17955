"""Every container writes every rate, and every frame of it at its time."""

import re
from contextlib import closing
from fractions import Fraction

import numpy as np
import pytest
from tiny_videos import SIDE, make, numbered
from video_runs import read, refused, run

from vfi.video.animation import AnimationReader, is_animation
from vfi.video.containers import ANIMATIONS, CONTAINERS, clock_for, in_words
from vfi.video.encoder import Picture
from vfi.video.encodings import Encoding
from vfi.video.reader import VideoReader
from vfi.video.writer import VideoWriter

pytestmark = pytest.mark.usefixtures("mean_frames")

NTSC = [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60000, 1001)]
COUNT = 7
# Files round times: Matroska, WebM and Flash to milliseconds, GIF to hundredths of a second; program streams tell the
# times of some frames only.
TICK = {
    ".mkv": 0.001,
    ".webm": 0.001,
    ".flv": 0.001,
    ".gif": 0.016,
    ".webp": 0.001,
    ".mpg": 1e-4,
    ".mpeg": 1e-4,
    ".vob": 1e-4,
    ".apng": 1e-4,
}


def written(path, rate):
    """Times, in seconds, of frames written to a file for this rate; the rate that it has become."""
    clock = clock_for(path, None, rate)
    picture = Picture(SIDE, SIDE, clock.rate, clock.tick, least_ticks=clock.least)
    writer = VideoWriter(path, picture, Encoding())
    try:
        for number in range(COUNT):
            writer.write(numbered(number), number / clock.rate)
        writer.finish()
    finally:
        writer.discard()
    with closing(AnimationReader(path, path) if is_animation(path) else VideoReader(path)) as reader:
        return [float(frame.time) for frame in reader.frames()], clock.rate


def check(folder, suffix, rate):
    path = folder / f"{float(rate):.3f}{suffix}"
    times, became = written(path, Fraction(rate))
    assert float(became) == pytest.approx(float(min(rate, 50) if suffix == ".gif" else rate), rel=1e-7)
    expected = [number / float(became) for number in range(COUNT)]
    assert times == pytest.approx(expected, abs=TICK.get(suffix, 1 / 45_000)), (suffix, rate)
    path.unlink()


@pytest.mark.parametrize("suffix", [*CONTAINERS, *ANIMATIONS])
@pytest.mark.parametrize("rate", [NTSC[0], 97, *(pytest.param(rate, marks=pytest.mark.slow) for rate in (1, 25, 240))])
def test_some_rates(tmp_path, suffix, rate):
    check(tmp_path, suffix, rate)


@pytest.mark.nightly
@pytest.mark.parametrize("suffix", [*CONTAINERS, *ANIMATIONS])
def test_every_rate(tmp_path, suffix):
    for rate in (*range(1, 241), *NTSC, Fraction(48000, 1001), Fraction(120000, 1001)):
        check(tmp_path, suffix, rate)


def test_uneven_times_become_even_where_files_hold_no_other(tmp_path, capsys):
    ms = [0, 20, 60, 80, 120, 160, 240, 280]
    source = make(tmp_path / "in.mkv", 8, stamps=ms, clock=Fraction(1, 1000))
    assert run(source, "-o", tmp_path / "out.avi") == 0
    printed = capsys.readouterr()
    assert "the variable rate becomes constant, 50 frames per second: .avi files hold no other" in printed.err
    with closing(VideoReader(tmp_path / "out.avi")) as reader:
        times = [frame.time for frame in reader.frames()]
    assert times == [Fraction(number, 50) for number in range(16)]
    assert run(source, "-o", tmp_path / "out.mov") == 0
    assert "constant" not in capsys.readouterr().err


def test_a_gif_has_delays_that_browsers_honour(tmp_path, capsys):
    source = make(tmp_path / "in.mp4", rate=30)
    assert run(source, "-o", tmp_path / "out.gif") == 0
    printed = capsys.readouterr()
    assert "60 frames per second become 50: GIF players show no more" in printed.err and "20 frames" in printed.out
    with closing(VideoReader(tmp_path / "out.gif")) as reader:
        assert all(frame.duration >= Fraction(2, 100) for frame in reader.frames())


def test_frames_that_no_output_frame_lies_beside_are_counted(tmp_path, capsys):
    assert run(make(tmp_path / "in.mp4"), "-o", tmp_path / "out.mp4", "--fps", 5) == 0
    assert "from 12 frames of in.mp4; 9 frames left out" in capsys.readouterr().out
    assert run(make(tmp_path / "in.mp4"), "-o", tmp_path / "out.mp4", "--overwrite") == 0
    assert "left out" not in capsys.readouterr().out


def test_what_cannot_be_held_says_what_can(tmp_path, capsys):
    source = make(tmp_path / "in.mp4", 3)
    message = refused(capsys, source, "-o", tmp_path / "out.gif", "--codec", "libx264")
    assert ".gif files cannot hold h264 video; use --codec gif" in message
    message = refused(capsys, source, "-o", tmp_path / "out.webm", "--codec", "libx264")
    assert "use --codec libvpx-vp9 or libsvtav1" in message
    message = refused(capsys, source, "-o", tmp_path / "out.mpg", "--codec", "mpeg2video", "--fps", 7)
    assert "the codec mpeg2video has no rate of 7 frames per second; use --codec mpeg4" in message
    assert "at most 1000 frames per second" in refused(capsys, source, "-o", tmp_path / "out.mkv", "--factor", 100)


def test_a_gif_has_a_palette_for_every_frame(tmp_path):
    y, x = np.mgrid[:90, :160]
    sky = np.stack([60 + y, 110 + y // 2, 200 - x // 8], -1).astype(np.uint8)
    shown = [np.roll(sky, 8 * number, 1) for number in range(4)]
    writer = VideoWriter(tmp_path / "out.gif", Picture(160, 90, Fraction(10), Fraction(1, 100)), Encoding())
    for number, rgb in enumerate(shown):
        writer.write(rgb, Fraction(number, 10))
    writer.finish()
    frames = read(tmp_path / "out.gif")[1]
    errors = [((frame.astype(float) - rgb) ** 2).mean() for frame, rgb in zip(frames, shown, strict=True)]
    assert 10 * np.log10(255**2 / np.mean(errors)) > 40


CLOSE = [Fraction(479655, 10_000) + Fraction(1, 10**n) for n in (3, 5, 7, 9, 12, 15, 20)]


@pytest.mark.parametrize("rate", CLOSE)
def test_rates_that_differ_are_told_apart(rate):
    """Whatever their digits; and those that are the same are not."""
    for other in (Fraction(479655, 10_000), rate * 2, Fraction(48)):
        one, two = in_words(rate, other)
        assert one != two and abs(Fraction(one) / rate - 1) < 1e-5 and abs(Fraction(two) / other - 1) < 1e-5
    assert len(set(in_words(rate, rate))) == 1


TOLD = re.compile(r"([\d./]+) frames per second become ([\d./]+)|at most ([\d./]+) .*, not ([\d./]+)")


@pytest.mark.parametrize("name", ["o.avi", "o.mpg", "o.gif", "o.mkv", "o.mxf"])
def test_a_rate_that_changes_is_told_with_both(tmp_path, capsys, name):
    source = make(tmp_path / "in.mp4", 6)
    for rate in ("47.96553", "1000.0001", "59.9401"):
        assert run(source, "-o", tmp_path / name, "--overwrite", "--fps", rate) in (0, 2)
        for told in TOLD.finditer(capsys.readouterr().err):
            one, two = [part.rstrip(":;") for part in told.groups() if part]
            assert one != two, told[0]
