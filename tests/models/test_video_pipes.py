"""Videos from standard input and to standard output."""

import io
import os
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from tiny_videos import make, number_of
from video_runs import read, refused, run, sound


def vfi(*arguments, data=b"", **options):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "vfi", "interpolate", "--quiet", *map(str, arguments)]
    return subprocess.run(command, input=data, capture_output=True, env=environment, **options)


def decoded(data):
    with av.open(io.BytesIO(data)) as container:
        assert container.format.name == "yuv4mpegpipe"
        frames = list(container.decode(video=0))
        return container.streams.video[0], [frame.to_ndarray(format="rgb24") for frame in frames], frames


@pytest.mark.parametrize("suffix", [".mkv", ".ts"])
def test_a_container_on_stdin(tmp_path, suffix):
    source = make(tmp_path / f"in{suffix}", 12, sound="aac")
    process = vfi("-", "-o", tmp_path / "out.mkv", data=source.read_bytes())
    assert process.returncode == 0, process.stderr
    assert b"24 frames" in process.stdout and b"from 12 frames of standard input" in process.stdout
    assert run(source, "-o", tmp_path / "same.mkv") == 0
    assert read(tmp_path / "out.mkv")[0] == read(tmp_path / "same.mkv")[0]
    assert len(sound(tmp_path / "out.mkv")[1]) == len(sound(tmp_path / "same.mkv")[1])


@pytest.mark.parametrize("size", [(32, 32), (33, 31)])
def test_from_pipe_to_pipe(tmp_path, size):
    source = make(tmp_path / "in.mkv", 12, codec="ffv1", rate=Fraction(24000, 1001), sizes=[size] * 12)
    first = vfi(source, "-o", "-", "--factor", 1)
    assert first.returncode == 0 and first.stderr.startswith(b"wrote to standard output: 12 frames")
    second = vfi("-", "-o", "-", "--factor", 3, data=first.stdout)
    assert second.returncode == 0, second.stderr
    video, pictures, _ = decoded(second.stdout)
    assert video.average_rate == Fraction(72000, 1001) and pictures[0].shape == (size[1], size[0], 3)
    assert [number_of(picture) for picture in pictures[::3]] == list(range(12)) and len(pictures) == 36
    untouched = decoded(first.stdout)[1]
    assert all(np.abs(a.astype(int) - b).mean() < 1.5 for a, b in zip(untouched, pictures[::3]))


def test_a_part_of_what_comes(tmp_path):
    source = make(tmp_path / "in.mkv", 20)
    process = vfi("-", "-o", "-", "--factor", 1, "--start", "0.2", "--end", "0.4", data=source.read_bytes())
    assert [number_of(picture) for picture in decoded(process.stdout)[1]] == [5, 6, 7, 8, 9]


def test_uneven_times_become_even(tmp_path):
    source = make(tmp_path / "in.mkv", 5, stamps=[0, 40, 80, 160, 200], clock=Fraction(1, 1000))
    process = vfi(source, "-o", "-", "--factor", 1)
    assert b"1 uneven interval of" in process.stderr and len(decoded(process.stdout)[1]) == 6


def test_a_reader_that_goes_away(tmp_path):
    source = make(tmp_path / "in.mkv", 60, sizes=[(320, 240)] * 60)
    run_it = f'"{sys.executable}" -m vfi interpolate --quiet "{source}" -o -'
    command = f'{run_it} | head -c 1000 | wc -c; echo "${{PIPESTATUS[0]}}"'
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)
    assert process.stdout.split() == ["1000", "2"]
    assert process.stderr.strip().splitlines()[-1] == "vfi: cannot write to standard output: broken pipe"


def test_what_stdin_is_not(tmp_path, capsys):
    said = vfi("-", "-o", tmp_path / "out.mkv", data=b"no video").stderr
    assert said.startswith(b"vfi: cannot read standard input as a video: ")
    cut = make(tmp_path / "in.mkv", 20).read_bytes()
    assert vfi("-", "-o", tmp_path / "out.mkv", data=cut[: len(cut) * 9 // 10]).returncode == 3
    source = make(tmp_path / "in.mp4", 3)
    assert "--crf is for files only" in refused(capsys, source, "-o", "-", "--crf", 20)
    assert np.all([path.suffix in (".mkv", ".mp4") for path in tmp_path.iterdir()])


def test_a_y4m_that_is_cut_off_is_told(tmp_path, capsys):
    whole, cut = tmp_path / "whole.y4m", tmp_path / "cut.y4m"
    head = b"YUV4MPEG2 W32 H32 F25:1 Ip A1:1 C420jpeg\n"
    whole.write_bytes(head + 6 * (b"FRAME\n" + bytes(range(256)) * 6))
    cut.write_bytes(whole.read_bytes()[:-700])
    assert run(whole, "-o", tmp_path / "whole.mkv") == 0
    assert run(cut, "-o", tmp_path / "cut.mkv") == 3
    assert "it ends in the middle of a frame" in capsys.readouterr().err
