"""Videos: wrong requests, interruptions, and files that are no videos."""

import os
import signal
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from processes import warm_python
from video_runs import read, refused, run, sound

from vfi.files.images import write_image
from vfi.models import pictures
from vfi.video import writer

pytestmark = pytest.mark.usefixtures("mean_frames")


def interrupt_after(monkeypatch, count: int, number: int = signal.SIGINT) -> None:
    """Ctrl-C when `count` intervals are done, and again while the file is being closed."""
    done = 0
    close = writer.VideoWriter.interrupted
    monkeypatch.setattr(writer.VideoWriter, "interrupted", lambda w: (os.kill(os.getpid(), number), close(w))[1])
    original = pictures.interpolate_many

    def interpolate_many(*arguments):
        nonlocal done
        done += 1
        if done > count:
            os.kill(os.getpid(), number)
        return original(*arguments)

    monkeypatch.setattr(pictures, "interpolate_many", interpolate_many)


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

    def write(self, rgb, time, own=None):
        seen.append((tmp_path / "out.mp4").exists())
        original(self, rgb, time, own)

    monkeypatch.setattr(writer.VideoWriter, "write", write)
    assert run(make_video(slide), "-o", tmp_path / "out.mp4") == 0
    assert len(seen) == 16 and not any(seen) and (tmp_path / "out.mp4").exists()


def test_a_failure_in_the_middle_leaves_no_file(make_video, slide, tmp_path, monkeypatch):
    def fail(*arguments):
        raise MemoryError

    monkeypatch.setattr(pictures, "interpolate_many", fail)
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
    for wrong in (
        "--fps=0",
        "--fps=fast",
        "--start=1:x",
        "--fps=nan",
        "--fps=1e9",
        "--fps=1e-9",
        "--end=-1",
        "--factor=x",
        "--crf=abc",
    ):
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
        assert run(tmp_path / "damaged.mp4", "-o", tmp_path / "out.mp4", "--overwrite") in (0, 2, 3)
        assert not list(tmp_path.glob(".out*"))


def test_a_full_disk_is_one_sentence(make_video, slide, tmp_path, capsys, monkeypatch):
    def full(self, rgb, time, own=None):
        with writer.writing(self.path):
            raise av.error.OSError(28, "No space left on device", "x")

    monkeypatch.setattr(writer.VideoWriter, "write", full)
    message = refused(capsys, make_video(slide), "-o", tmp_path / "out.mp4")
    assert message == f"vfi: cannot write {tmp_path / 'out.mp4'}: no space left on device"
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


LONG = "n" * 300
WORDS = {
    "input": [f"{LONG}.mp4", "-o", "out.mp4"], "output": ["in.mp4", "-o", f"{LONG}.mp4"],
    "image": ["in.mp4", "-o", f"{LONG}.png"],
    "weights": ["in.mp4", "-o", "out.mp4", "--model", "rife", "--weights", LONG],
    "cuts": ["in.mp4", "-o", "out.mp4", "--scene-cuts", LONG], "pair": [f"{LONG}.png", f"{LONG}.png", "-o", "out.png"],
}  # fmt: skip


@pytest.mark.parametrize("what", WORDS)
def test_a_name_that_is_too_long_is_one_sentence(make_video, slide, tmp_path, capsys, monkeypatch, what):
    make_video(slide)
    monkeypatch.chdir(tmp_path)
    message = refused(capsys, *WORDS[what])
    assert "too long" in message.lower() and LONG in message
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


WORST = [("libx264", "o.mp4", 51), ("libx265", "o.mkv", 51), ("libvpx-vp9", "o.webm", 63), ("libsvtav1", "o.mp4", 63)]


@pytest.mark.parametrize("codec, name, most", WORST)
def test_quality_out_of_range(make_video, slide, tmp_path, capsys, monkeypatch, codec, name, most):
    monkeypatch.setattr(pictures, "interpolate_many", None)  # nothing is rendered before
    for crf in (-1, most + 1, 999):
        message = refused(capsys, make_video(slide), "-o", tmp_path / name, "--codec", codec, f"--crf={crf}")
        assert message == f"vfi: expected --crf from 0 (best) to {most} for the codec {codec}, got {crf}"
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["o.ogg"])
def test_containers_without_an_encoder_name_those_that_have_one(make_video, slide, tmp_path, capfd, name):
    message = refused(capfd, make_video(slide), "-o", tmp_path / name)
    assert "of which there is no encoder; use one of .mp4, .m4v, " in message


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libsvtav1"])
def test_encoders_are_quiet_unless_asked(make_video, slide, tmp_path, capfd, codec):
    source = make_video(slide)
    capfd.readouterr()
    assert run(source, "-o", tmp_path / "o.mp4", "--codec", codec) == 0
    assert capfd.readouterr().err == ""
    loud = [*warm_python(), "-m", "vfi", "interpolate", source, "-o", tmp_path / "loud.mp4", "--quiet", "--verbose"]
    environment = {name: value for name, value in os.environ.items() if name != "SVT_LOG"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    process = subprocess.run([*loud, "--codec", codec], env=environment, capture_output=True, text=True)
    assert process.returncode == 0 and (process.stderr != "") == (codec != "libx264")
