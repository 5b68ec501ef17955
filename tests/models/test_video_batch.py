"""Many videos into a folder."""

import numpy as np
import pytest
from tiny_videos import make
from video_runs import read, refused, run

from vfi.commands import batch
from vfi.files.images import write_image

pytestmark = pytest.mark.usefixtures("mean_frames")


@pytest.fixture
def films(tmp_path):
    (tmp_path / "films/deep").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    make(tmp_path / "films/a.mp4", 6)
    make(tmp_path / "films/c.wmv", 6, codec="wmv2")
    make(tmp_path / "films/deep/d.mkv", 6)
    (tmp_path / "films/b.mp4").write_bytes(b"no video")
    (tmp_path / "films/notes.txt").write_text("no video")
    return tmp_path / "films"


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_one_that_fails_does_not_stop_the_rest(films, tmp_path, capsys):
    assert run(films, "-o", tmp_path / "out") == 1
    said = capsys.readouterr()
    assert names(tmp_path / "out") == ["a.mp4", "c.mkv"]
    assert "b.mp4 as a video: it is a text" in said.err and said.err.endswith("vfi: 1 of 3 videos could not be done\n")
    assert "3 videos: 2 done, 1 failed\n  failed: " in said.out
    assert len(read(tmp_path / "out/c.mkv")[0]) == 12


def test_what_is_finished_is_not_done_again(films, tmp_path, capsys):
    (films / "b.mp4").unlink()
    assert run(films, "-o", tmp_path / "out") == 0
    stamps = [(tmp_path / "out" / name).stat().st_mtime_ns for name in names(tmp_path / "out")]
    capsys.readouterr()
    assert run(films, "-o", tmp_path / "out", "--recursive") == 0
    said = capsys.readouterr()
    assert names(tmp_path / "out") == ["a.mp4", "c.mkv", "deep/d.mkv"]
    assert said.err.count("exists already: skipped") == 2 and "3 videos: 2 skipped, 1 done" in said.out
    assert stamps == [(tmp_path / "out" / name).stat().st_mtime_ns for name in ("a.mp4", "c.mkv")]
    assert run(films, "-o", tmp_path / "out", "--overwrite") == 0
    assert stamps[0] != (tmp_path / "out/a.mp4").stat().st_mtime_ns


def test_files_by_name(films, tmp_path, capsys):
    assert run(films / "a.mp4", films / "deep/d.mkv", "-o", tmp_path / "out") == 0
    assert names(tmp_path / "out") == ["a.mp4", "d.mkv"]
    message = refused(capsys, films / "a.mp4", films / "c.wmv", films / "b.mp4", "-o", tmp_path / "none")
    assert "or a folder that exists as --output, got 3 files" in message
    message = refused(capsys, films / "a.mp4", "-o", tmp_path / "o.mp4", "--recursive")
    assert "--recursive is for folders of videos" in message


def test_two_of_one_name(films, tmp_path, capsys):
    make(films / "deep/a.mp4", 6)
    message = refused(capsys, films / "a.mp4", films / "deep/a.mp4", "-o", tmp_path / "out")
    assert "two of the inputs would become" in message and not names(tmp_path / "out")


def test_a_fault_of_the_program_is_not_hidden(tmp_path):
    def fail(source, target):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        batch.run([(tmp_path / "a.mp4", tmp_path / "a.mp4")], tmp_path, False, fail)


def test_animations_are_videos_of_their_own(tmp_path, capsys):
    (tmp_path / "films").mkdir()
    (tmp_path / "out").mkdir()
    make(tmp_path / "plain.mkv", 4)
    for name in ("a.webp", "b.webp"):
        assert run(tmp_path / "plain.mkv", "-o", tmp_path / "films" / name, "--factor", 1) == 0
    assert run(tmp_path / "films", "-o", tmp_path / "out") == 0
    assert names(tmp_path / "out") == ["a.webp", "b.webp"]
    said = refused(capsys, tmp_path / "films", "-o", tmp_path / "one.mkv")
    assert "is a video of its own" in said
    assert "--target is for --dedup only" in refused(capsys, tmp_path / "plain.mkv", "-o", "x.mkv", "--target", "even")


@pytest.mark.parametrize("recursive", (True, False))
def test_a_folder_with_videos_and_images_says_what_is_left_out(tmp_path, capsys, recursive):
    """Of the one or the other, and how to have it."""
    (tmp_path / "films/deep").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    films = tmp_path / "films"
    make(films / "a.mp4", 3)
    make(films / "b.mkv", 3)
    for number in range(1, 4):
        write_image(films / f"x_{number}.png", np.full((32, 32, 3), 50 * number, np.uint8))
        write_image(films / f"deep/y_{number}.jpg", np.full((32, 32, 3), 50 * number, np.uint8))
    assert run(films, "-o", tmp_path / "out", *(["--recursive"] if recursive else [])) == 0
    said = capsys.readouterr().err
    assert (
        f"note: {6 if recursive else 3} images in {films}, such as " in said and "left out, since it has videos" in said
    )
    assert f"give '{films}/" in said.replace("/deep", "") and names(tmp_path / "out") == ["a.mp4", "b.mkv"]
    assert run(films, "-o", tmp_path / "one.mkv") == 0
    said = capsys.readouterr()
    assert f"note: 2 videos in {films}, such as a.mp4, left out, since it has images" in said.err
    assert "from 3 frames of films" in said.out
    assert run(films / "*.png", "-o", tmp_path / "two.mkv") == 0
    assert "note" not in capsys.readouterr().err
