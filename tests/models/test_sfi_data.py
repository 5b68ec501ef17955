"""`python -m vfi.data.captioned`: which videos are taken, how they are cut, and going on after a stop."""

import json
import os
import signal

import numpy as np
import pytest
from clip_runs import lines, run

from vfi.commands.make_clips import job, rules
from vfi.commands.make_clips.__main__ import main
from vfi.data.captioned import manifest
from vfi.data.captioned.clips import CaptionedClips
from vfi.data.captioned.holding_out import hold_out
from vfi.errors import UserError
from vfi.files import json_lines


def test_the_middle_is_cut(library, capsys):
    assert run(library) == 0
    printed = capsys.readouterr()
    clips = lines(library / "clips.jsonl")
    assert [(one["video"], one["first"], one["frames"]) for one in clips] == [
        (video, first, count)
        for video, frames in (("videos/deep/fast.mkv", (5, 4, 2)), ("videos/slow.mp4", (4, 3, 1)))
        for first, count in zip(frames, (3, 5, 9))
    ] + [("videos/still.mp4", 3, 3), ("videos/still.mp4", 2, 5), ("videos/still.mp4", 0, 9)]
    one = clips[3]
    assert one["caption"] == "A camera slides slowly." and clips[0]["caption"] == ""
    assert one["fps"] == 10 and one["size"] == [64, 96] and one["clip_score"] is None and "file" not in one
    assert one["flow_score"] == pytest.approx(5, abs=1), "a slide by 5 pixels from the first to the last frame"
    for text in (
        "3 of 7 videos are taken, 9 clips",
        "1 left out: fewer than 9 frames",
        "1 left out: more than 36 frames",
        "1 left out: more than 30 frames per second",
        "1 left out: damaged",
        "the CLIP score was not measured: no --clip-model",
    ):
        assert text in printed.out
    assert "broken.mp4 is left out: cannot read" in printed.err


def test_the_six_lengths(make_video, sliding, tmp_path):
    """Equation 3 with the numbers of the paper: videos of 81 to 324 frames, as many clips as lengths."""
    (tmp_path / "videos").mkdir()
    make_video([sliding(i % 90) for i in range(100)], "videos/a.mp4")
    make_video([sliding(i % 80) for i in range(80)], "videos/b.mp4")
    assert main([str(tmp_path / "videos"), "-o", str(tmp_path / "clips.jsonl"), "--quiet"]) == 0
    clips = lines(tmp_path / "clips.jsonl")
    expected = [(47, 5), (45, 9), (41, 17), (33, 33), (17, 65), (9, 81)]
    assert [(one["first"], one["frames"]) for one in clips] == expected
    for first, count in expected:
        assert first + count / 2 in (50, 49.5), "around the middle, to half a frame"
    assert rules.Rules().most == 324 and rules.Rules().counts == manifest.COUNTS


def test_cut_has_exactly_s_frames_inside():
    for frames in range(9, 40):
        for count in (3, 5, 9):
            first = manifest.cut(frames, count)
            assert first >= 0 and first + count <= frames
            assert 0 <= (frames - first - count) - first <= 1, "as many before as after, or one more after"


def test_new_bounds_measure_nothing_again(library, monkeypatch):
    assert run(library) == 0
    monkeypatch.setattr(job, "measure", lambda *_: pytest.fail("measured again"))
    assert run(library, "--resume", "--flow-low", 3) == 0
    assert {one["video"] for one in lines(library / "clips.jsonl")} == {"videos/slow.mp4", "videos/deep/fast.mkv"}


def test_rules_that_let_more_videos_pass_measure_these(library):
    assert run(library) == 0
    assert run(library, "--resume", "--max-fps", 60) == 0
    videos = {one["video"] for one in lines(library / "clips.jsonl")}
    assert "videos/quick.mp4" in videos and len(videos) == 4
    assert all(one["flow_score"] is not None for one in lines(library / "clips.jsonl"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_going_on(library, monkeypatch, capsys, number):
    assert run(library) == 0
    whole = (library / "clips.jsonl").read_bytes()
    original, seen = job.measure, []

    def stopped(*arguments):
        if len(seen) == 4:
            os.kill(os.getpid(), number)
        seen.append(arguments[1].name)
        return original(*arguments)

    monkeypatch.setattr(job, "measure", stopped)
    capsys.readouterr()
    assert run(library, "--overwrite") == 130
    printed = capsys.readouterr()
    assert "interrupted; what is done stays, --resume goes on" in printed.err and "videos are taken" in printed.out
    part = (library / "clips.jsonl").read_bytes()
    assert part and whole.startswith(part) and part.endswith(b"\n") and part != whole
    assert len(CaptionedClips(library / "clips.jsonl", (32, 48))) == part.count(b"\n")
    first, seen[:] = list(seen), range(9)
    assert run(library, "--resume") == 0
    assert (library / "clips.jsonl").read_bytes() == whole
    assert not set(first) & set(seen[9:]), "nothing is looked at twice"
    assert [path.name for path in library.iterdir() if path.name.startswith(".")] == []


def test_a_line_cut_in_half_is_made_again(library):
    assert run(library) == 0
    whole = (library / "clips.jsonl").read_bytes()
    for name in ("clips.jsonl", "clips.videos.jsonl"):
        content = (library / name).read_bytes()
        (library / name).write_bytes(content[:-40])
    assert len(manifest.read_manifest(library / "clips.jsonl")) == 8
    assert run(library, "--resume") == 0
    assert (library / "clips.jsonl").read_bytes() == whole


def test_what_exists_is_kept(library, capsys):
    (library / "clips.jsonl").write_text("precious")
    assert run(library) == 2 and "--resume goes on with it" in capsys.readouterr().err
    assert run(library, "--resume") == 2 and "clips.videos.jsonl is missing" in capsys.readouterr().err
    assert (library / "clips.jsonl").read_text() == "precious"
    assert run(library, "--overwrite") == 0
    assert run(library, "--resume", "--flow-side", 32) == 2
    assert "were measured in another way" in capsys.readouterr().err


@pytest.mark.parametrize("lossless", [False, True])
def test_clips_as_files(library, lossless):
    more = ["--lossless"] if lossless else []
    assert run(library) == 0
    ranges = CaptionedClips(library / "clips.jsonl", (64, 96))
    assert run(library, "--overwrite", "--write-clips", library / "files", *more) == 0
    files = CaptionedClips(library / "clips.jsonl", (64, 96))
    assert len(files) == len(ranges) == 9 and all(one.file for one in files.records)
    for i in range(9):
        expected, clip = ranges.read(i)[0].float(), files.read(i)[0].float()
        error = (expected - clip).abs().mean()
        assert error == 0 if lossless else error < 1.5
    stamps = {path: path.stat().st_mtime_ns for path in (library / "files").rglob("*.m*")}
    gone = next(iter(stamps))
    gone.unlink()
    assert run(library, "--resume", "--write-clips", library / "files", *more) == 0
    kept = [path for path, stamp in stamps.items() if path.stat().st_mtime_ns == stamp]
    assert gone.is_file() and len(kept) == 6, "only the clips of one video are written again"


def test_wrong_requests(library, capsys):
    def said(*more: object) -> str:
        assert run(library, *more) == 2
        message = capsys.readouterr().err
        assert message.startswith("sfi_data: ") and message.count("\n") == 1
        return message

    assert "need --clip-model" in said("--clip-low", 0.5)
    assert "--flow-low must not be above" in said("--flow-low", 3, "--flow-high", 1)
    assert "--f-max of 9 or more" in said("--f-max", 8)
    assert "counts of frames of 3 or more" in said("--counts", 5, 5)
    assert "dis or ebme" in said("--flow-model", "raft")
    assert "needs --flow-weights" in said("--flow-model", "ebme")
    assert "not for the flow model dis" in said("--flow-weights", "x")
    assert "frame rate above 0" in said("--max-fps", 0)
    assert "cannot read the list" in said("--list", library / "none.txt")
    assert "such as .png" in said("--histogram", library / "x.mp4")
    assert "is for --write-clips only" in said("--lossless")
    assert "folder" in said("-o", library / "missing" / "x.jsonl")
    (library / "empty").mkdir()
    assert main([str(library / "empty"), "-o", str(library / "x.jsonl")]) == 2
    assert "no video found below" in capsys.readouterr().err
    assert main([str(library / "nothing.mp4"), "-o", str(library / "x.jsonl")]) == 2
    assert "nothing.mp4 does not exist" in capsys.readouterr().err
    assert main(["-o", str(library / "x.jsonl")]) == 2
    assert not (library / "x.jsonl").exists()


def test_damage_in_the_middle_is_noticed(make_video, sliding, tmp_path, capsys):
    """Of a video whose samples are overwritten: left out with a note, or read as it is; never a crash."""
    (tmp_path / "videos").mkdir()
    whole = make_video([sliding(i) for i in range(20)], "videos/a.mp4").read_bytes()
    for seed in range(6):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[np.random.default_rng(seed).integers(200, len(whole) - 200, 60)] ^= 0xFF
        (tmp_path / f"videos/damaged{seed}.mp4").write_bytes(damaged.tobytes())
    assert run(tmp_path) == 0
    printed = capsys.readouterr()
    assert "left out: damaged" in printed.out and "is left out: " in printed.err
    clips = CaptionedClips(tmp_path / "clips.jsonl", (32, 32))
    for i in range(len(clips)):
        assert len(clips.read(i)[0]) == clips.records[i].frames


def test_captions_of_clips(library):
    """Of one length before those of the video; in a file for all, and beside the video."""
    rows = [
        {"video": "slow.mp4", "caption": "all of it"},
        {"video": "slow.mp4", "caption": "its  middle", "frames": 3},
        {"path": "still.mp4", "cap": "nothing", "frames": "9"},
    ]
    table = library / "captions.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def captions(*more):
        assert run(library, "--overwrite", *more) == 0
        clips = lines(library / "clips.jsonl")
        return {(one["video"].split("/")[-1], one["frames"]): one["caption"] for one in clips}

    found = captions("--captions", table)
    assert [found["slow.mp4", count] for count in (3, 5, 9)] == ["its middle", "all of it", "all of it"]
    assert [found["still.mp4", count] for count in (3, 5, 9)] == ["", "", "nothing"]
    assert {video for video, _ in captions("--captions", table, "--need-captions")} == {"slow.mp4"}
    (library / "videos/slow.5.txt").write_text("five frames\n")
    found = captions()
    assert [found["slow.mp4", count] for count in (3, 5, 9)] == [
        "A camera slides slowly.", "five frames", "A camera slides slowly."
    ]  # fmt: skip


@pytest.mark.parametrize("frames", [0, 1.5, "x", True])
def test_wrong_frames_of_a_caption(library, capsys, frames):
    table = library / "captions.json"
    table.write_text(json.dumps([{"video": "slow.mp4", "caption": "a", "frames": frames}]))
    assert run(library, "--captions", table) == 2
    assert "to be a whole number above 0, got" in capsys.readouterr().err


def test_what_is_held_out_shares_no_video(library, capsys):
    files = [library / f"clips.{part}.jsonl" for part in ("train", "held")]
    splits = []
    for seed in (0, 0, 1, 2, 3, 4):
        assert run(library, "--overwrite", "--hold-out", 1, "--seed", seed) == 0
        trained, held = (lines(path) for path in files)
        videos = [{one["video"] for one in part} for part in (trained, held)]
        assert not videos[0] & videos[1] and len(videos[1]) == 1 and len(videos[0]) == 2
        key = str
        assert sorted([*trained, *held], key=key) == sorted(lines(library / "clips.jsonl"), key=key)
        splits.append(videos[1])
    assert splits[0] == splits[1] and len({min(each) for each in splits}) > 1, "by the seed"
    assert f"wrote {files[1]}, 3 clips" in capsys.readouterr().out
    assert len(CaptionedClips(files[1], (32, 48))) == 3, "what training and evaluation read"
    (library / "clips.jsonl").write_text("".join(reversed((library / "clips.jsonl").read_text().splitlines(True))))
    hold_out(library / "clips.jsonl", 1, 4)
    assert {one["video"] for one in lines(files[1])} == splits[-1], "whatever their order"
    assert run(library, "--overwrite", "--hold-out", 3) == 2
    assert "expected --hold-out from 1 to 2, of 3 videos, got 3" in capsys.readouterr().err
    assert run(library, "--overwrite", "--hold-out", 0) == 2
    assert "expected --hold-out of 1 or more, got 0" in capsys.readouterr().err


def test_lines_that_grow(tmp_path):
    path = tmp_path / "a.jsonl"
    growing = json_lines.Lines(path, [{"a": 1}])
    growing.add({"b": 2}, {"c": "\udcff"})
    growing.close()
    assert json_lines.read(path) == [{"a": 1}, {"b": 2}, {"c": "\udcff"}]
    path.write_bytes(path.read_bytes() + b'{"d": ')
    assert len(json_lines.read(path)) == 3
    path.write_bytes(b'{"d": 1}\n{"e": 2}')
    assert json_lines.read(path) == [{"d": 1}, {"e": 2}]
    path.write_bytes(b'{"d": \n{"e": 2}\n')
    with pytest.raises(UserError, match="cannot read line 1 of"):
        json_lines.read(path)
