"""Results do not depend on who listens, and files of killed, concurrent and racing runs are kept apart."""

import fcntl
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_videos import make
from video_runs import refused, run

from vfi.commands.program import exit_code
from vfi.files.atomic import claimed, temporary_name
from vfi.models import pictures
from vfi.video import intervals, writer

pytestmark = pytest.mark.usefixtures("mean_frames")

PRINTS = "from vfi.commands.program import exit_code, note; import sys\n" + (
    "def act():\n"
    "    for number in range(3): print('x' * 9000, flush=True); note('y')\n"
    "    open('done', 'w').write('whole')\n"
    "sys.exit(exit_code('vfi', act))"
)


@pytest.mark.parametrize("redirection", ["2>&-", ">&-", ">&- 2>&- <&-", "> /dev/full", "2> /dev/full", "| true"])
def test_work_is_done_whoever_listens(tmp_path, redirection):
    command = f'"{sys.executable}" -c "$PROGRAM" {redirection}'
    environment = os.environ | {"PROGRAM": PRINTS, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (tmp_path / "done").read_text() == "whole"
    assert process.returncode == 0 and "Traceback" not in process.stderr and "Exception" not in process.stderr


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        Exception("OpenCV: error: (-4:Insufficient memory) Failed to allocate 9 bytes in function 'OutOfMemoryError'"),
        ImportError("libx.so: failed to map segment from shared object"),
        MemoryError(),
    ],
)
def test_too_little_memory_is_one_sentence(capsys, error):
    def fail():
        raise error

    assert exit_code("vfi", fail) == 2
    assert capsys.readouterr().err == "vfi: there is not enough memory for frames of this size\n"


def test_other_errors_stay_what_they_are():
    with pytest.raises(ZeroDivisionError):
        exit_code("vfi", lambda: 1 // 0)


def test_what_dead_runs_left_is_removed(tmp_path):
    source = make(tmp_path / "in.mp4", 3)
    (tmp_path / ".out.unfinished-99999.mp4").write_bytes(b"half")
    (tmp_path / ".other.unfinished-99999.mp4").write_bytes(b"of another output")
    assert run(source, "-o", tmp_path / "out.mp4") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.unfinished-99999.mp4", "in.mp4", "out.mp4"]


def test_a_second_run_to_one_output_is_refused(tmp_path, capsys):
    source, alive = make(tmp_path / "in.mp4", 3), tmp_path / ".out.unfinished-99999.mp4"
    with alive.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "another process is writing" in refused(capsys, source, "-o", tmp_path / "out.mp4")
    assert alive.exists() and not (tmp_path / "out.mp4").exists()


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path, capsys, monkeypatch):
    original = writer.VideoWriter.finish

    def finish(self):
        (tmp_path / "out.mp4").write_bytes(b"precious")
        original(self)

    monkeypatch.setattr(writer.VideoWriter, "finish", finish)
    message = refused(capsys, make(tmp_path / "in.mp4", 3), "-o", tmp_path / "out.mp4")
    assert message.endswith(f"made by another process meanwhile; this result is {tmp_path / 'out-2.mp4'}")
    assert (tmp_path / "out.mp4").read_bytes() == b"precious" and (tmp_path / "out-2.mp4").stat().st_size > 500


@pytest.mark.parametrize("length", [200, 255])
def test_long_names(tmp_path, length):
    name = tmp_path / ("n" * (length - 4) + ".mp4")
    assert len(temporary_name(name).name) <= 255
    assert run(make(tmp_path / "in.mp4", 3), "-o", name) == 0 and name.exists()
    with claimed(name) as temporary:
        assert temporary.exists()
    assert not temporary.exists()


@pytest.mark.parametrize("name", ["a:b.mp4", "100%d[1].mp4", "-dash.mp4"])
def test_odd_names(tmp_path, name, monkeypatch):
    make(tmp_path / "in.mp4", 3).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert (
        run(Path(".") / f"./{name}" if not name.startswith("-") else tmp_path / name, "-o", tmp_path / f"to {name}")
        == 0
    )
    assert (tmp_path / f"to {name}").exists()


def cut(path, share):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


@pytest.mark.parametrize("suffix, codec", [(".mkv", "libx264"), (".avi", "mpeg4"), (".webm", "libvpx-vp9")])
def test_a_video_that_ends_too_early_says_so(tmp_path, capsys, suffix, codec):
    source = cut(make(tmp_path / f"in{suffix}", 40, codec=codec), 0.5)
    assert run(source, "-o", tmp_path / "out.mp4") == 3
    message = capsys.readouterr().err
    assert "is incomplete, the result with it: it ends" in message and "seconds before its time" in message
    assert (tmp_path / "out.mp4").exists()


@pytest.mark.slow
def test_a_pause_is_held_in_bounded_memory(tmp_path, monkeypatch):
    """A pause of 100 s at 60 frames per second: no more results at once than in any interval, and no morph."""
    from fractions import Fraction

    asked = []
    original = pictures.interpolate_many

    def interpolate_many(model, frame0, frame1, positions):
        asked.append(list(positions))
        return original(model, frame0, frame1, positions)

    monkeypatch.setattr(pictures, "interpolate_many", interpolate_many)
    source = make(tmp_path / "in.mkv", 4, stamps=[0, 40, 100_040, 100_080], clock=Fraction(1, 1000))
    assert run(source, "-o", tmp_path / "out.mkv", "--fps", 60, "--scene-cuts", "off") == 0
    assert sum(map(len, asked)) < 12 and max(map(len, asked)) <= intervals.AT_ONCE
    asked.clear()
    assert run(source, "-o", tmp_path / "more.mkv", "--factor", 30, "--scene-cuts", "off") == 0
    assert max(map(len, asked)) == intervals.AT_ONCE


def bomb(path, side, frames):
    """A GIF of so many frames of side x side pixels, in some bytes each."""
    colours = struct.pack("<6sHHBBB6B", b"GIF89a", side, side, 0xF0, 0, 0, 0, 0, 0, 255, 255, 255)
    delay = bytes([0x21, 0xF9, 4, 4, 10, 0, 0, 0])
    dot = struct.pack("<BHHHHB", 0x2C, 0, 0, 1, 1, 0) + bytes([2, 2, 0x44, 1, 0])
    path.write_bytes(colours + (delay + dot) * frames + b";")
    return path


def test_bombs_are_refused_before_they_are_decoded(tmp_path, capsys):
    message = refused(capsys, bomb(tmp_path / "in.gif", 16_000, 200), "-o", tmp_path / "out.mp4")
    assert "frames of 16000x16000 pixels in" in message and "add --trust-input if that is meant" in message
    assert run(bomb(tmp_path / "small.gif", 400, 3), "-o", tmp_path / "out.mp4") == 0


def test_bombs_that_are_meant(tmp_path, monkeypatch):
    monkeypatch.setattr("vfi.video.reader._HUGE", 100)
    monkeypatch.setattr("vfi.video.reader._PIXELS_PER_BYTE", 1)
    source = bomb(tmp_path / "in.gif", 400, 3)
    assert run(source, "-o", tmp_path / "out.mp4") == 2
    assert run(source, "-o", tmp_path / "out.mp4", "--trust-input") == 0
