"""`vfi probe`."""

import json

import pytest
from tiny_videos import make

from vfi.commands.main import main


def probed(capsys, *arguments):
    assert main(["probe", *map(str, arguments), "--json"]) == 0
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
    known = probed(capsys, source, "--count")
    assert known["frames"] < 40 and known["missing"]


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
