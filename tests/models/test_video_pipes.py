"""Videos from standard input and to standard output."""

import io
import os
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from processes import warm_python
from tiny_videos import make, number_of
from video_runs import read, refused, run, sound, standard_input

pytestmark = pytest.mark.in_turn


def vfi(*arguments, data=b"", **options):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [*warm_python(), "-m", "vfi", "interpolate", "--quiet", *map(str, arguments)]
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


@pytest.mark.usefixtures("mean_frames")
def test_a_y4m_that_is_cut_off_is_told(tmp_path, capsys):
    whole, cut = tmp_path / "whole.y4m", tmp_path / "cut.y4m"
    head = b"YUV4MPEG2 W32 H32 F25:1 Ip A1:1 C420jpeg\n"
    whole.write_bytes(head + 6 * (b"FRAME\n" + bytes(range(256)) * 6))
    cut.write_bytes(whole.read_bytes()[:-700])
    assert run(whole, "-o", tmp_path / "whole.mkv") == 0
    assert run(cut, "-o", tmp_path / "cut.mkv") == 3
    assert "1 frame lost: it ends in the middle of a frame" in capsys.readouterr().err
    for length in (1, 5, 700, 1541):
        with standard_input(whole.read_bytes()[:-length]):
            assert run("-", "-o", tmp_path / "pipe.mkv", "--overwrite") == 3, length
        said = capsys.readouterr()
        assert "from 5 frames of" in said.out
        assert "standard input is incomplete, the result with it: 1 frame lost: it ends in the middle" in said.err
    with standard_input(whole.read_bytes()):
        assert run("-", "-o", tmp_path / "pipe.mkv", "--overwrite") == 0


BY_DAY = (".y4m", ".ts", ".mkv", ".mp4")
SUFFIXES = (*BY_DAY, ".m2ts", ".webm", ".flv", ".mpg", ".vob", ".gif", ".nut", ".mov")


@pytest.mark.parametrize(
    "suffix", [pytest.param(s, marks=() if s in BY_DAY else pytest.mark.nightly) for s in SUFFIXES], ids=SUFFIXES
)
@pytest.mark.usefixtures("mean_frames")
def test_a_pipe_that_ends_too_early_is_told_as_a_file_is(tmp_path, capsys, suffix):
    """And one that comes whole is whole."""
    original = make(tmp_path / "original.mkv", 40, codec="ffv1", sizes=[(96, 64)] * 40)
    source = tmp_path / f"in{suffix}"
    if suffix == ".nut":
        source = make(tmp_path / "in.nut", 40, codec="mpeg4")
    else:
        assert run(original, "-o", source, "--factor", 1) == 0
    data = source.read_bytes()
    for share in (1, 0.4, 0.77, 0.95):
        cut = data[: int(len(data) * share) // 2 * 2 + 1] if share < 1 else data
        (tmp_path / f"cut{suffix}").write_bytes(cut)
        of_file = run(tmp_path / f"cut{suffix}", "-o", tmp_path / "a.mkv", "--overwrite")
        capsys.readouterr()
        with standard_input(cut):
            of_pipe = run("-", "-o", tmp_path / "b.mkv", "--overwrite")
        assert of_pipe == of_file == (0 if share == 1 else of_file), f"{share}: {capsys.readouterr().err}"


@pytest.mark.parametrize("suffix", [".apng", ".webp"])
def test_animations_that_no_pipe_gives(tmp_path, capsys, suffix):
    assert run(make(tmp_path / "original.mkv", 4), "-o", tmp_path / f"in{suffix}") == 0
    with standard_input((tmp_path / f"in{suffix}").read_bytes()):
        message = refused(capsys, "-", "-o", tmp_path / "out.mkv")
    assert "an animation of this kind is not read from a pipe; give the file by its name" in message


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".m4v"])
def test_an_index_behind_the_pictures_is_named(tmp_path, capsys, suffix):
    """Of a file that is longer than what FFmpeg keeps of a pipe."""
    rng = np.random.default_rng(0)
    path = tmp_path / f"in{suffix}"

    def write(options):
        with av.open(str(path), "w", options=options) as out:
            stream = out.add_stream("mpeg4" if suffix != ".mov" else "png", rate=25)
            stream.width = stream.height = 256
            stream.pix_fmt = "yuv420p" if suffix != ".mov" else "rgb24"
            stream.codec_context.bit_rate = 100_000_000
            for number in range(60):
                picture = rng.integers(0, 256, (256, 256, 3)).astype(np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=stream.pix_fmt)
                frame.pts, frame.time_base = number, Fraction(1, 25)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        return path.read_bytes()

    behind = write({})
    assert behind.index(b"mdat") < behind.index(b"moov")
    for data in (behind, behind[: len(behind) * 2 // 3]):
        with standard_input(data):
            message = refused(capsys, "-", "-o", tmp_path / "out.mkv", "--factor", 1)
        assert "its index (the box moov) comes behind its pictures" in message and "-movflags +faststart" in message
        assert "cut off" not in message and not (tmp_path / "out.mkv").exists()
    with standard_input(write({"movflags": "+faststart"})):
        assert run("-", "-o", tmp_path / "out.mkv", "--factor", 1, "--end", 0.4) == 0


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p10le", "gray", "yuva420p"])
def test_a_file_of_y4m(tmp_path, capsys, pixels):
    """What a pipe would get, whole under its name or not at all."""
    source = make(tmp_path / "in.mkv", 6, codec="ffv1", pixels=pixels, rate=Fraction(24000, 1001))
    assert run(source, "-o", tmp_path / "out.y4m") == 0
    said = capsys.readouterr()
    assert f"wrote {tmp_path / 'out.y4m'}: 12 frames" in said.out
    piped = vfi(source, "-o", "-")
    assert (tmp_path / "out.y4m").read_bytes() == piped.stdout
    assert run(tmp_path / "out.y4m", "-o", tmp_path / "again.mkv", "--factor", 1, "--codec", "ffv1") == 0
    assert "exists already" in refused(capsys, source, "-o", tmp_path / "out.y4m")
    assert run(source, "-o", tmp_path / "out.y4m", "--overwrite", "--dry-run") == 0
    assert "--crf is for files other than YUV4MPEG2 only" in refused(
        capsys, source, "-o", tmp_path / "o.y4m", "--crf", 9
    )
    assert "--resume is for files other" in refused(capsys, source, "-o", tmp_path / "o.y4m", "--resume")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.mkv", "in.mkv", "out.y4m"]


def test_two_images_as_y4m(tmp_path, capsys):
    from vfi.files.images import write_image

    for number in range(2):
        write_image(tmp_path / f"{number}.png", np.full((32, 48, 3), 90 * number, np.uint8))
    pair = tmp_path / "0.png", tmp_path / "1.png"
    assert run(*pair, "-o", tmp_path / "out.y4m", "--factor", 4) == 0
    assert "out.y4m: 5 frames at 30 frames per second" in capsys.readouterr().out
    piped = vfi(*pair, "-o", "-", "--factor", 4)
    assert piped.stdout == (tmp_path / "out.y4m").read_bytes() and len(decoded(piped.stdout)[1]) == 5
    assert "--crf is for files" in refused(capsys, *pair, "-o", "-", "--crf", 9)
