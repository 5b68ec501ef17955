"""Numbered images as a video, and as its result."""

from fractions import Fraction

import numpy as np
import pytest
from tiny_videos import number_of, numbered
from video_runs import error, read, refused, run

from vfi.files.images import read_image, write_image

COUNT = 8


@pytest.fixture
def frames(tmp_path):
    (tmp_path / "f").mkdir()

    def make(suffix=".png", numbers=range(1, COUNT + 1), digits=3, deep=False):
        for place, number in enumerate(numbers):
            rgb = numbered(place, 96, 64)
            write_image(tmp_path / f"f/x_{number:0{digits}d}{suffix}", rgb.astype(np.uint16) * 257 + 3 if deep else rgb)
        return tmp_path / "f"

    return make


def shown(path):
    times, pictures = read(path)
    return times, [number_of(picture) for picture in pictures]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp"])
def test_a_pattern_a_folder_and_a_list(frames, tmp_path, capsys, suffix):
    folder = frames(suffix)
    for number, given in enumerate(([folder / f"x_%03d{suffix}"], [folder], sorted(folder.iterdir()))):
        out = tmp_path / f"{number}.mp4"
        assert run(*given, "-o", out, "--input-fps", 24, "--segment", 0.1 * number) == 0
        assert "16 frames (7 interpolated, 1 repeated; 0 scene cuts), from 8 frames of" in capsys.readouterr().out
        times, numbers = shown(out)
        assert times == [Fraction(i, 48) for i in range(16)] and numbers[::2] == list(range(COUNT))


def test_numbers_count_as_numbers(frames, tmp_path):
    folder = frames(numbers=range(5, 13), digits=1)
    for number, given in enumerate((folder, folder / "x_%d.png")):
        assert run(given, "-o", tmp_path / f"{number}.mp4", "--factor", 1) == 0
        assert shown(tmp_path / f"{number}.mp4")[1] == list(range(COUNT)), "9 before 10"
    assert run(folder, "-o", tmp_path / "part.mp4", "--factor", 1, "--start-number", 8) == 0
    assert shown(tmp_path / "part.mp4")[1] == [3, 4, 5, 6, 7]


def test_gaps_are_said(frames, tmp_path, capsys):
    folder = frames(numbers=(1, 2, 3, 7, 8, 10, 11, 12))
    assert run(folder, "-o", tmp_path / "out.mp4") == 3
    assert "is incomplete, the result with it: no images number 4 to 6, 9" in capsys.readouterr().err
    assert len(shown(tmp_path / "out.mp4")[0]) == 16
    assert run(folder, "-o", tmp_path / "part.mp4", "--start-number", 10) == 0


def test_to_images_in_16_bits(frames, tmp_path):
    folder = frames(deep=True)
    assert run(folder / "x_%03d.png", "-o", tmp_path / "y_%04d.png") == 0
    made = [read_image(tmp_path / f"y_{number:04d}.png").rgb for number in range(1, 17)]
    assert all(rgb.dtype == np.uint16 for rgb in made)
    assert all(np.array_equal(made[2 * i], read_image(folder / f"x_{i + 1:03d}.png").rgb) for i in range(COUNT))
    assert error(made[1] / 257, numbered(0, 96, 64) + 3) < 2 and len(np.unique(made[1])) > 300


def test_16_bits_into_a_video_are_said(frames, tmp_path, capsys):
    for name, bits in (("out.mp4", "10"), ("out.avi", "8, dithered")):
        assert run(frames(deep=True), "-o", tmp_path / name) == 0
        assert f"the 16 bits per sample become {bits}" in capsys.readouterr().err
    assert run(frames(deep=True), "-o", tmp_path / "out.mkv", "--codec", "ffv1") == 0
    assert "note" not in capsys.readouterr().err


def test_wrong_requests(frames, tmp_path, capsys):
    folder, out = frames(), tmp_path / "out.mp4"
    assert "no image is called" in refused(capsys, folder / "z_%d.png", "-o", out)
    write_image(folder / "x_009.png", numbered(0, 32, 32))
    assert "expected images of one size, got" in refused(capsys, folder, "-o", out)
    (folder / "x_009.png").unlink()
    (tmp_path / "empty").mkdir()
    assert "is a folder, not a file" in refused(capsys, tmp_path / "empty", "-o", out)
    pair = folder / "x_001.png", folder / "x_002.png"
    assert "--input-fps is for a sequence of images only" in refused(capsys, *pair, "-o", out, "--input-fps", 3)
    assert not out.exists()


def test_a_first_number_behind_the_last_image(slide, tmp_path, capsys):
    for number, rgb in enumerate(slide, 7):
        write_image(tmp_path / f"f_{number}.png", rgb)
    for given in (tmp_path / "f_%d.png", tmp_path):
        said = refused(capsys, given, "-o", tmp_path / "out.mp4", "--start-number", 99)
        assert said == f"vfi: --start-number 99 is behind the last image of {given}, number 14"
