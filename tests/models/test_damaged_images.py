"""Images of a sequence that cannot be read leave a gap, and damage that a decoder conceals is told: exit code 3."""

import io
from contextlib import closing
from fractions import Fraction

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow
from tiny_videos import numbered
from video_runs import read, refused, run

from vfi.commands.main import main
from vfi.files import images
from vfi.files.images import IMAGES, write_image
from vfi.files.overheard import overheard
from vfi.video.sequence import SequenceReader

COUNT = 8
FLOATS = (".exr", ".dpx")  # by OpenImageIO


def sequence(folder, suffix):
    if suffix in FLOATS:
        pytest.importorskip("OpenImageIO")
    folder.mkdir()
    for number in range(1, COUNT + 1):
        write_image(folder / f"x_{number:03d}{suffix}", numbered(number - 1, 96, 64))
    return folder


SPOILT = {
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "text": lambda data: b"no image",
    "head": lambda data: bytes(64) + data[64:],
}


@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.parametrize("suffix", [suffix for suffix in IMAGES if suffix not in (".jpeg", ".tiff")])
@pytest.mark.in_turn
def test_an_image_that_cannot_be_read_is_a_gap(tmp_path, capfd, suffix, how):
    folder = sequence(tmp_path / "f", suffix)
    for number in (3, 4):
        path = folder / f"x_{number:03d}{suffix}"
        path.write_bytes(SPOILT[how](path.read_bytes()))
    assert run(folder, "-o", tmp_path / "out.mkv", "--segment", 0) == 3
    said = capfd.readouterr()
    assert f"note: of {folder}, 2 images cannot be read: x_003{suffix} (" in said.err
    assert said.err.count("x_003") == said.err.count("x_004") == 1
    assert said.err.endswith(f"vfi: {folder} is incomplete, the result with it: 2 images left out\n")
    assert all(line.startswith(("note: ", "vfi: ")) for line in said.err.splitlines()), "no words of libraries"
    assert "from 6 frames of" in said.out
    times, _ = read(tmp_path / "out.mkv")
    assert len(times) == 12 and times[-1] <= Fraction(15, 50), "the others are shown when they were"


@pytest.mark.parametrize("places, first", [((1,), 2), ((8,), 1), ((1, 2, 8), 3)])
def test_at_the_ends(tmp_path, capsys, places, first):
    folder = sequence(tmp_path / "f", ".png")
    for number in places:
        (folder / f"x_{number:03d}.png").write_bytes(b"")
    assert run(folder / "x_%03d.png", "-o", tmp_path / "y_%d.png", "--factor", 1) == 3
    said = capsys.readouterr().err
    assert f"{len(places)} image{'s' if len(places) > 1 else ''} left out" in said
    assert len(list(tmp_path.glob("y_*.png"))) == COUNT - len(places)
    assert np.array_equal(images.read_image(tmp_path / "y_1.png").rgb, numbered(first - 1, 96, 64))


def test_gaps_damage_and_parts_together(tmp_path, capsys):
    folder = sequence(tmp_path / "f", ".png")
    (folder / "x_002.png").unlink()
    (folder / "x_006.png").write_bytes(b"")
    assert run(folder, "-o", tmp_path / "out.mkv", "--factor", 1) == 3
    assert "the result with it: no images number 2; 1 image left out" in capsys.readouterr().err
    assert run(folder, "-o", tmp_path / "before.mkv", "--end", 0.12, "--factor", 1) == 0
    assert run(folder, "-o", tmp_path / "around.mkv", "--start", 0.08, "--end", 0.24, "--factor", 1) == 3
    for path in folder.iterdir():
        path.write_bytes(b"no image")
    assert "of 7 images none can be read, from the first on: cannot read" in refused(capsys, folder, "-o", "o.mkv")


def test_one_that_is_left_is_not_enough(tmp_path, capsys):
    folder = sequence(tmp_path / "f", ".png")
    for number in range(2, 9):
        (folder / f"x_{number:03d}.png").write_bytes(b"")
    message = refused(capsys, folder, "-o", tmp_path / "o.mkv")
    assert message == (
        f"vfi: {folder} has only one frame; two are needed: "
        f"cannot read {folder / 'x_002.png'}: it is not an image, or it is damaged"
    )


def test_what_an_earlier_run_has_seen_is_not_forgotten(tmp_path):
    folder = sequence(tmp_path / "f", ".png")
    (folder / "x_003.png").write_bytes(b"")
    with closing(SequenceReader(folder, sorted(folder.iterdir()), Fraction(25), tmp_path / "o.mkv")) as reader:
        frames = list(reader.frames(seen_from=Fraction(1, 5)))
        assert [round(frame.time * 25) for frame in frames] == [0, 1, 3, 4, 5, 6, 7]
        assert [frame.rgb.size > 0 for frame in frames] == [False] * 4 + [True] * 3
        assert reader.missing(whole=True) == ["1 image left out"]


def test_lack_of_memory_is_no_damage(tmp_path, capsys, monkeypatch):
    folder = sequence(tmp_path / "f", ".png")
    decode = cv2.imdecode

    def imdecode(data, flags):
        if len(data) == (folder / "x_003.png").stat().st_size:
            error = cv2.error("Insufficient memory")
            error.code = cv2.Error.StsNoMem
            raise error
        return decode(data, flags)

    (folder / "x_003.png").write_bytes((folder / "x_003.png").read_bytes() + b"\0" * 9)
    monkeypatch.setattr(cv2, "imdecode", imdecode)
    assert "not enough memory" in refused(capsys, folder, "-o", tmp_path / "out.mkv")


def jpeg(**options):
    rng, file = np.random.default_rng(0), io.BytesIO()
    rgb = numbered(3, 128, 96) + rng.integers(0, 60, (96, 128, 3)).astype(np.uint8)
    picture = Pillow.fromarray(rgb)
    picture = picture.convert(options.pop("mode", "RGB"))
    picture.save(file, "JPEG", quality=90, **options)
    return file.getvalue()


JPEGS = {
    "plain": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 4},
    "gray": {"mode": "L"},
    "cmyk": {"mode": "CMYK"},
}
HARMED = {
    "zeros": lambda data, at: data[:at] + bytes(200) + data[at + 200 :],
    "hole": lambda data, at: data[:at] + data[at + 333 :],
    "noise": lambda data, at: (
        data[:at] + np.random.default_rng(0).bytes(200).replace(b"\xff", b"\1") + data[at + 200 :]
    ),
}


@pytest.mark.parametrize("kind", JPEGS)
def test_what_a_decoder_conceals_is_told(tmp_path, capfd, kind):
    whole = jpeg(**JPEGS[kind])
    names = [tmp_path / f"a_{number}.jpg" for number in range(3)]
    for path in names:
        path.write_bytes(whole)
    assert run(*names, "-o", tmp_path / "whole.mkv") == 0
    assert run(*names[:2], "-o", tmp_path / "whole.png") == 0
    assert capfd.readouterr().err == ""
    for how, harm in HARMED.items():
        if (kind, how) == ("progressive", "zeros"):
            continue  # its later scans take zeros for nothing to be added, and nobody can tell
        names[1].write_bytes(harm(whole, len(whole) * 2 // 3))
        assert run(*names, "-o", tmp_path / "out.mkv", "--overwrite") == 3, how
        said = capfd.readouterr().err
        assert (
            "1 image damaged, and taken as decoded: a_1.jpg (" in said and "the result with it: 1 image damaged" in said
        )
        assert run(*names[:2], "-o", tmp_path / "out.png", "--overwrite") == 3
        assert run(*names[:2], "-o", tmp_path / "out.mp4", "--overwrite") == 3
        said = capfd.readouterr().err
        assert said.count(f"note: {names[1]} is damaged, and taken as decoded: ") == 2
        assert said.endswith(f"vfi: {names[1]}: damaged, the result with it\n") and "Corrupt JPEG" not in said
        assert main(["probe", "--count", *map(str, names)]) == 3
        assert "1 image damaged" in capfd.readouterr().err


def test_what_others_print_meanwhile_is_printed(capfd):
    import os
    import re

    with overheard(re.compile(rb"taken.*\n?")) as said:
        os.write(2, b"one\ntaken: this\ntwo\n")
    assert said == ["taken: this"] and capfd.readouterr().err == "one\ntwo\n"
    with overheard() as said:
        os.write(2, b"\nall of it\n")
    assert said == ["all of it"] and capfd.readouterr().err == ""
    with pytest.raises(ZeroDivisionError), overheard() as said:
        os.write(2, b"before")
        raise ZeroDivisionError
    assert said == ["before"]
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"
