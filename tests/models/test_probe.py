"""`vfi probe`."""

import json
import re

import numpy as np
import pytest
from scripts_of_the_tree import script
from test_animations import animation
from tiny_videos import film, make
from video_runs import standard_input

from vfi.commands.main import main
from vfi.files.images import write_image

pytestmark = pytest.mark.usefixtures("mean_frames")

kept = script("kept")


def probed(capsys, *arguments, code=0):
    assert main(["probe", *map(str, arguments), "--json"]) == code
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("suffix, container", [(".mkv", "matroska,webm"), (".ts", "mpegts"), (".mp4", "mov")])
def test_what_is_known(tmp_path, capsys, suffix, container):
    source = make(tmp_path / f"in{suffix}", 20, b_frames=2, sound="aac")
    known = probed(capsys, source, "--count")
    assert known["container"].startswith(container)
    assert known["picture"]["codec"] == "h264" and known["picture"]["size"] == "32x32"
    assert known["picture"]["rate"] == "25" and known["picture"]["even"] and known["picture"]["pixels"] == "yuv420p"
    assert known["seconds"] == pytest.approx(0.8, abs=0.05) and known["frames"] == 20
    assert known["sound"] == [{"track": 1, "codec": "aac", "rate": 48000, "layout": "stereo", **known["sound"][0]}]
    assert known["missing"] == [] and "frames" not in probed(capsys, source)


def test_what_is_missing(tmp_path, capsys):
    source = make(tmp_path / "in.mkv", 40)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    known = probed(capsys, source, "--count", code=3)
    assert known["frames"] < 40 and known["missing"]
    assert main(["probe", "--count", str(source)]) == 3
    said = capsys.readouterr()
    assert said.err == f"vfi: {source} is incomplete: {'; '.join(known['missing'])}\n" and "missing: " in said.out
    assert main(["probe", str(source)]) == 0


def test_for_people(tmp_path, capsys):
    source = make(tmp_path / "in.mkv", 4, sound="aac")
    assert main(["probe", str(source)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "container: matroska,webm" and "picture: codec h264, size 32x32, rate 25, " in lines[2]
    assert lines[3].startswith("sound: track 1, codec aac, rate 48000, layout stereo")


def test_wrong_requests(tmp_path, capsys):
    (tmp_path / "text.txt").write_text("no video")
    for name, said in (("none.mkv", "does not exist"), (".", "is a folder, not a file")):
        assert main(["probe", str(tmp_path / name)]) == 2
        assert said in capsys.readouterr().err
    (tmp_path / "noise.mkv").write_bytes(b"noise" * 99)
    assert main(["probe", str(tmp_path / "noise.mkv")]) == 2
    assert "cannot read" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(tmp_path, capsys):
    source = make(tmp_path / "in.mkv", 20, sound="flac")
    for output, said in (("o.mp4", ""), ("o.ts", "the sound is encoded again"), ("o_%d.png", ""), ("-", "")):
        target = output if output == "-" else str(tmp_path / output)
        assert main(["interpolate", str(source), "-o", target, "--dry-run", "--factor", "3"]) == 0
        printed = capsys.readouterr()
        assert "32x32, 25 frames per second" in printed.out and said in printed.err
        assert "75 frames per second, about 6" in printed.out and "seconds per frame" in printed.out
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


@pytest.mark.parametrize("output, words", [("o.mp4", ()), ("o.avi", ()), ("o.mkv", ("--codec", "ffv1", "--fps", "75"))])
def test_the_size_that_a_dry_run_tells(make_video, texture, tmp_path, capsys, output, words):
    """To a factor of two; with what the input has, and how the output would be encoded."""
    frames = [np.ascontiguousarray(np.roll(texture, 3 * number, 1)) for number in range(60)]
    source = make_video(frames, rate=25, sound="aac")
    words = ["interpolate", str(source), "-o", str(tmp_path / output), *words]
    assert main([*words, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "  picture: codec h264, size 192x96, rate 25," in told and "  sound: track 1, codec aac" in told
    number, unit = re.search(r"about ([\d.]+) (B|kB|MB) of pictures", told.replace("bytes", "B")).groups()
    assert main([*words, "--quiet", "--no-audio"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"encoded by .*", told)[0] == re.search(r"encoded by .*", printed)[0]
    assert 0.5 < float(number) * {"B": 1, "kB": 1e3, "MB": 1e6}[unit] / (tmp_path / output).stat().st_size < 2


def test_what_professionals_ask_for(tmp_path, capsys):
    """Of a film with everything in it."""
    known = probed(capsys, kept.make_film(tmp_path))
    assert known["picture"]["bits"] == 10 and known["picture"]["scan"] == "progressive"
    light = {"least": 0.005, "most": 1000, "brightest_pixel": 1000, "brightest_frame": 400}
    assert light.items() <= known["picture"]["hdr"].items() and known["picture"]["transfer"] == 16
    assert known["timecode"] == "01:00:00:00" and known["covers"] == known["attachments"] == 1
    assert [track["title"] for track in known["sound"]] == ["Film", "Commentary"] and known["chapters"] == 2
    assert main(["probe", str(tmp_path / "film.mkv")]) == 0
    assert "matrix BT.2020, range limited, transfer PQ, primaries BT.2020, hdr (least " in capsys.readouterr().out
    assert probed(capsys, kept.make_see_through(tmp_path))["picture"]["alpha"]
    assert not probed(capsys, kept.make_turned(tmp_path))["picture"]["alpha"]


@pytest.mark.parametrize("first, scan", [(0, "progressive"), (1, "interlaced")])
def test_how_pictures_are_scanned(tmp_path, capsys, first, scan):
    pictures = [picture_of_halves(number, first) for number in range(10)]
    assert probed(capsys, film(tmp_path / "in.mkv", pictures))["picture"]["scan"] == scan


def test_a_pipe(tmp_path, capsys):
    data = make(tmp_path / "in.mkv", 40, sound="aac").read_bytes()
    with standard_input(data):
        known = probed(capsys, "-", "--count")
    assert known["frames"] == 40 and known["missing"] == [] and known["sound"][0]["codec"] == "aac"
    with standard_input(data[: len(data) // 2]):
        assert main(["probe", "-", "--count"]) == 3
    assert "vfi: standard input is incomplete: " in capsys.readouterr().err


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("place", ["left", "center", "topleft", "top", "bottomleft"])
def test_where_chroma_lies(tmp_path, capsys, place, codec):
    options = {"chroma_sample_location": place} | ({"x265-params": "log-level=none"} if codec == "libx265" else {})
    pictures = [np.full((64, 96, 3), 60 + number, np.uint8) for number in range(4)]
    source = film(tmp_path / "in.mkv", pictures, codec, options)
    assert probed(capsys, source)["picture"]["siting"] == place
    assert main(["probe", str(source)]) == 0
    assert f", siting {place}" in capsys.readouterr().out
    full = film(tmp_path / "full.mkv", pictures, "ffv1", pixels="yuv444p")
    assert probed(capsys, full)["picture"]["siting"] is None


@pytest.mark.parametrize("alpha", (True, False))
@pytest.mark.parametrize("name", ["a.webp", "a.avif", "a.apng", "a.png", "a.gif", "a.bin"])
def test_animations(tmp_path, capsys, name, alpha):
    """Whatever they are called."""
    source = animation(tmp_path / ("a.webp" if name == "a.bin" else "a.apng" if name == "a.png" else name), alpha)
    source = source.rename(tmp_path / name)
    for count in ((), ("--count",)):
        known = probed(capsys, source, *count)
        assert known["picture"]["size"] == "48x48" and known["picture"]["rate"] == "25"
        assert known["picture"]["alpha"] == alpha or name == "a.gif", "GIF always could"
        assert known.get("missing", []) == [] and (not count or known["frames"] == 5)
    assert main(["probe", str(source)]) == 0
    assert "size 48x48, rate 25" in capsys.readouterr().out


def sequence(folder, suffix, numbers):
    folder.mkdir()
    for number in numbers:
        picture = np.full((24, 32, 3), 20 * number, np.uint8)
        deep = suffix in (".tif", ".dpx")
        write_image(folder / f"x_{number:02d}{suffix}", picture.astype(np.uint16) * 257 if deep else picture)


DEPTHS = {".png": 8, ".jpg": 8, ".webp": 8, ".avif": 8, ".bmp": 8, ".ppm": 8, ".tif": 16, ".dpx": 16, ".exr": 16}


@pytest.mark.parametrize("suffix", DEPTHS)
def test_images(tmp_path, capsys, suffix):
    if suffix in (".exr", ".dpx"):
        pytest.importorskip("OpenImageIO")
    folder = tmp_path / "f"
    sequence(folder, suffix, (2, 3, 4, 7, 8))
    for given in ([folder], [folder / f"x_%02d{suffix}"], [folder / f"*{suffix}"], sorted(folder.iterdir())):
        known = probed(capsys, *given)
        assert known["container"] == "images" and known["images"] == 5 and known["gaps"] == ["no images number 5 to 6"]
        assert (known["first"], known["last"]) == (f"x_02{suffix}", f"x_08{suffix}")
        assert known["picture"]["size"] == "32x24" and known["picture"]["bits"] == DEPTHS[suffix]
        assert known["picture"]["float"] == (suffix == ".exr") and known["picture"]["codec"] == suffix[1:]
    assert probed(capsys, folder, "--count", code=3)["frames"] == 5
    assert probed(capsys, folder / f"x_02{suffix}", folder / f"x_03{suffix}", "--count")["frames"] == 2
    (folder / f"x_03{suffix}").write_bytes(b"")
    known = probed(capsys, folder, "--count", code=3)
    assert known["frames"] == 4 and known["missing"] == ["no images number 5 to 6", "1 image left out"]
    assert known["faults"][0].startswith(f"1 image cannot be read: x_03{suffix} (")
    assert main(["probe", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {"images: 5", "gaps: no images number 5 to 6"} <= set(lines)


def test_what_is_no_sequence(tmp_path, capsys):
    sequence(tmp_path / "f", ".png", (1, 2, 3))
    make(tmp_path / "in.mkv", 3)
    for given, said in (
        (
            [tmp_path / "in.mkv", tmp_path / "f/x_01.png"],
            "expected one video, or the images of one sequence, got 2 files",
        ),
        ([tmp_path / "z_%d.png"], "no image is called"),
        ([tmp_path], "is a folder, not a file"),
    ):
        assert main(["probe", *map(str, given)]) == 2
        assert said in capsys.readouterr().err
    animation(tmp_path / "f/x_04.webp")
    assert main(["probe", str(tmp_path / "f")]) == 2
    assert "x_04.webp is a video of its own: give it alone" in capsys.readouterr().err


def picture_of_halves(number, apart):
    """A bar that moves; every second row a moment later."""
    picture = np.full((64, 96, 3), 60, np.uint8)
    for half in (0, 1):
        place = 8 + 3 * (2 * number + half * apart)
        picture[half::2, place : place + 20] = 200
    return picture
