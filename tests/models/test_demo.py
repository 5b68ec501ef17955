"""The demo and the scene it is measured on."""

import shutil

import numpy as np
import pytest

from vfi.commands import demo, demo_clip
from vfi.commands.moving_photographs import HEIGHT, WIDTH, true_frame
from vfi.evaluation.metrics import compare
from vfi.files.images import read_image


def test_the_scene_moves_and_its_front_moves_another_way():
    frames = [true_frame(time).astype(float) for time in (0, 0.5, 1)]
    assert frames[0].shape == (HEIGHT, WIDTH, 3)
    # Background at the right, the cut-out at the left of the centre: best shift of the later frame, by trial.
    shifts = {}
    for name, rows, columns in (
        ("behind", slice(150, 250), slice(430, 530)),
        ("front", slice(190, 240), slice(160, 200)),
    ):
        errors = {
            shift: np.abs(frames[0][rows, columns] - np.roll(frames[2], -shift, axis=1)[rows, columns]).mean()
            for shift in range(-25, 26)
        }
        shifts[name] = min(errors, key=errors.__getitem__)
    assert shifts["behind"] < -4 and shifts["front"] > 8


@pytest.mark.slow
def test_the_demo_beats_averaging_by_far_and_writes_its_files(tmp_path, capsys):
    assert demo.main(["--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "known motion" in printed and "scikit-image" in printed
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"strip.png", "clip.png", "demo.mp4", "frame0.png", "frame1.png", "interpolated.png", "true.png"}
    frames = {
        name: read_image(tmp_path / "out" / f"{name}.png").rgb for name in ("frame0", "interpolated", "frame1", "true")
    }
    average = ((frames["frame0"].astype(float) + frames["frame1"]) / 2).round().astype(np.uint8)
    quality = compare(frames["interpolated"], frames["true"])
    assert quality.psnr > 36 > compare(average, frames["true"]).psnr + 14
    assert f"PSNR {quality.psnr:.2f} dB" in printed
    of_clip = {
        line[:28].strip(): float(line.split("PSNR")[1].split()[0])
        for line in printed.partition("A clip")[2].splitlines()
        if "PSNR" in line
    }
    assert of_clip["flow-splat"] > of_clip["average of the two frames"] + 6


def test_without_ffmpeg_the_clip_is_shown(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo_clip.shutil, "which", lambda name: None)
    demo_clip.show(lambda a, b: a, "the first", tmp_path / "clip.png")
    printed = capsys.readouterr().out
    assert "ffmpeg is not installed" in printed and "the first" in printed and (tmp_path / "clip.png").exists()


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_frames_through_ffmpeg_are_those_between():
    """Of a pan of two pixels a frame the middles are moved by one."""
    noise = np.kron(np.random.default_rng(1).integers(0, 255, (24, 40, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    given = [noise[:, 2 * i : 2 * i + 256] for i in range(5)]
    made = demo_clip.minterpolated(given, demo_clip.FINEST, demo_clip.RATE)
    assert len(made) == 4
    for i, frame in enumerate(made):
        inner = (slice(32, -32), slice(32, -32))
        apart = [compare(frame[inner], noise[:, k : k + 256][inner]).psnr for k in (2 * i, 2 * i + 1, 2 * i + 2)]
        assert apart[1] == max(apart)


@pytest.mark.slow
def test_the_figure_is_small(tmp_path):
    assert demo.main(["--figure", str(tmp_path / "figure.png"), "--device", "cpu"]) == 0
    assert (tmp_path / "figure.png").stat().st_size < 400_000


@pytest.mark.slow
def test_the_figure_of_the_clip_is_small(tmp_path):
    assert demo.main(["--clip-figure", str(tmp_path / "clip.jpg"), "--device", "cpu"]) == 0
    assert (tmp_path / "clip.jpg").stat().st_size < 250_000
