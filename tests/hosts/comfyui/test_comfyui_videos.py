"""The node for videos: from file to file, and of what is in memory."""

import io
import threading
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch
from comfyui_frames import loaded, ramp, values
from comfyui_stand_in import (
    ComfyUI,
    InterruptProcessingException,
    ProgressBar,
    VideoComponents,
    VideoFromComponents,
    VideoFromFile,
)

from vfi.video import writer


def described(path):
    with av.open(str(path)) as container:
        rate, sounds = container.streams.video[0].average_rate, len(container.streams.audio)
        return sum(1 for _ in container.decode(video=0)), rate, sounds


def left(comfy):
    return sorted(path.name for path in (comfy.root / "temp").rglob("*"))


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_video_keeps_its_sound(comfy, linear, film, in_memory):
    source = io.BytesIO(film.read_bytes()) if in_memory else str(film)
    (made,) = comfy.run("VFIKernelsInterpolateVideo", video=VideoFromFile(source), model=loaded(comfy), multiplier=3)
    path = Path(made.get_stream_source())
    assert described(path) == (24, 30, 1) and left(comfy) == [path.name]
    assert ProgressBar.bars[-1].seen[-1] == (24, 24)


@pytest.mark.parametrize("suffix, becomes", [(".MOV", ".mov"), (".mkv", ".mp4"), (".avi", ".mp4")])
def test_a_video_is_in_a_file_that_comfyui_can_save(comfy, linear, film, suffix, becomes):
    path = film.rename(film.with_suffix(suffix))
    (made,) = comfy.run("VFIKernelsInterpolateVideo", video=VideoFromFile(str(path)), model=loaded(comfy))
    assert Path(made.get_stream_source()).suffix == becomes and described(made.get_stream_source()) == (16, 20, 1)


def test_a_rate_and_a_part_of_a_video(comfy, linear, film):
    node, model = "VFIKernelsInterpolateVideo", loaded(comfy)
    (made,) = comfy.run(node, video=VideoFromFile(str(film)), model=model, fps=59.94)
    assert described(made.get_stream_source())[1] == Fraction(60000, 1001)
    part = VideoFromFile(str(film), start_time=0.2, duration=0.4)
    (made,) = comfy.run(node, video=part, model=model)
    assert described(made.get_stream_source())[:2] == (8, 20)


def test_a_video_that_is_made_of_images(comfy, linear):
    sound = {"waveform": torch.zeros(1, 1, 100), "sample_rate": 100}
    parts = VideoComponents(ramp(3), Fraction(10), sound, {"a": "b"}, torch.ones(3, 8, 10, 1))
    node, model = "VFIKernelsInterpolateVideo", loaded(comfy)
    (made,) = comfy.run(node, video=VideoFromComponents(parts), model=model)
    got = made.get_components()
    assert values(got.images) == [0, 0.5, 1, 1.5, 2, 2] and got.frame_rate == 20 and got.alpha.shape == (6, 8, 10, 1)
    assert got.audio is sound and got.metadata == {"a": "b"} and left(comfy) == []
    (made,) = comfy.run(node, video=VideoFromComponents(parts), model=model, fps=30)
    assert len(made.get_components().images) == 9
    with pytest.raises(RuntimeError, match="fps to be a multiple of 10"):
        comfy.run(node, video=VideoFromComponents(parts), model=model, fps=25)


@pytest.mark.parametrize("rate", [29.97, 30000 / 1001, 23.98, Fraction(24000, 1001)])
def test_a_rate_of_comfyui_is_a_float(comfy, linear, rate):
    """Create Video makes a fraction of it, whose multiples nobody can name."""
    video = VideoFromComponents(VideoComponents(ramp(2), Fraction(rate)))
    given = {"video": video, "model": loaded(comfy)}
    (made,) = comfy.run("VFIKernelsInterpolateVideo", **given, fps=round(2 * float(rate), 2))
    assert len(made.get_components().images) == 4 and made.get_components().frame_rate == 2 * Fraction(rate)
    with pytest.raises(RuntimeError, match="fps to be a multiple of 2"):
        comfy.run("VFIKernelsInterpolateVideo", **given, fps=2 * round(rate))


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_cancelled_video_leaves_nothing(comfy, linear, film, in_memory):
    model, source = loaded(comfy), io.BytesIO(film.read_bytes()) if in_memory else str(film)
    ComfyUI.interrupt_at = 3
    with pytest.raises(InterruptProcessingException):
        comfy.run("VFIKernelsInterpolateVideo", video=VideoFromFile(source), model=model)
    assert left(comfy) == [] and not [each for each in threading.enumerate() if each.name.startswith("vfi ")]


@pytest.mark.parametrize("full", ["result", "source"])
def test_a_full_disk_is_one_sentence(comfy, linear, film, monkeypatch, full):
    def refuse(*arguments, **named):
        raise av.error.OSError(28, "No space left on device", "x")

    def encode(self, rgb, time, own=None):
        with writer.writing(self.path):
            refuse()

    monkeypatch.setattr(writer.VideoWriter, "write", encode)
    if full == "source":
        monkeypatch.setattr(Path, "write_bytes", refuse)
    video = VideoFromFile(io.BytesIO(film.read_bytes()))
    with pytest.raises(RuntimeError, match=r"cannot write .*: [Nn]o space left on device$"):
        comfy.run("VFIKernelsInterpolateVideo", video=video, model=loaded(comfy))
    assert left(comfy) == []


@pytest.mark.parametrize("content", [b"", b"no video"])
def test_a_video_that_is_none_is_one_sentence(comfy, tmp_path, content):
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    for source in (str(path), io.BytesIO(content), str(tmp_path / "nix.mp4")):
        with pytest.raises(RuntimeError, match=r"cannot read|does not exist") as error:
            comfy.run("VFIKernelsInterpolateVideo", video=VideoFromFile(source), model=loaded(comfy))
        assert "\n" not in str(error.value) and left(comfy) == []
