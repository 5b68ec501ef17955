"""A video in, a video out, through the `vfi` command."""

from fractions import Fraction

import av
import numpy as np
import pytest
from video_runs import error, read, run

from vfi.files.images import read_image, write_image


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
    assert "; 1 scene cut)" in capsys.readouterr().out
    _, frames = read(tmp_path / "out.mp4")
    assert error(frames[5], slide[2]) < 2 and error(frames[6], other[0]) < 2
    assert run(source, "-o", tmp_path / "through.mp4", "--scene-cuts", "off") == 0
    assert error(read(tmp_path / "through.mp4")[1][5], slide[2]) > 10


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


@pytest.mark.parametrize("factor, frames", [("2.5", 20), ("3/2", 12), ("2x", 16), ("3", 24), ("1", 8)])
def test_any_factor(make_video, slide, sliding, tmp_path, factor, frames):
    assert run(make_video(slide), "-o", tmp_path / "out.mp4", "--factor", factor) == 0
    times, pictures = read(tmp_path / "out.mp4")
    rate = 10 * Fraction(factor.removesuffix("x"))
    assert times == [i / rate for i in range(frames)]
    for time, picture in zip(times, pictures):
        if time <= Fraction(7, 10):
            assert error(picture, sliding(round(40 * time))) < 5
