"""`python -m vfi.data.captioned`: which videos are taken, how they are cut, and going on after a stop."""

import csv
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from vfi.commands.make_clips import job, rules, scores
from vfi.commands.make_clips.__main__ import main
from vfi.data.captioned import captions, manifest
from vfi.data.captioned.clips import CaptionedClips
from vfi.errors import UserError
from vfi.files import json_lines
from vfi.files.images import read_image

SHORT = ("--f-max", 9, "--counts", 3, 5, 9)  # videos of 9 to 36 frames


def run(folder: Path, *more: object) -> int:
    arguments = (folder / "videos", "-o", folder / "clips.jsonl", "--quiet", *SHORT, *more)
    return main([str(argument) for argument in arguments])


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def library(make_video, sliding, tmp_path):
    """Videos that slide at different speeds, and others that no rule lets pass."""
    for name in ("videos/deep", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    make_video([sliding(i // 2) for i in range(12)], "videos/slow.mp4")
    make_video([sliding(i) for i in range(13)], "videos/deep/fast.mkv")
    make_video([sliding(0)] * 9, "videos/still.mp4")
    make_video([sliding(i) for i in range(8)], "videos/short.mp4")
    make_video([sliding(i) for i in range(37)], "videos/long.mp4")
    make_video([sliding(i) for i in range(12)], "videos/quick.mp4", rate=60)
    (tmp_path / "videos/broken.mp4").write_bytes(b"no video" * 99)
    (tmp_path / "videos/notes.txt").write_text("nothing")
    (tmp_path / "videos/slow.txt").write_text("A camera\n  slides slowly.\n")
    return tmp_path


def test_the_middle_is_cut(library, capsys):
    assert run(library) == 0
    printed = capsys.readouterr()
    found = lines(library / "clips.jsonl")
    assert [(one["video"], one["first"], one["frames"]) for one in found] == [
        (video, first, count)
        for video, frames in (("videos/deep/fast.mkv", (5, 4, 2)), ("videos/slow.mp4", (4, 3, 1)))
        for first, count in zip(frames, (3, 5, 9))
    ] + [("videos/still.mp4", 3, 3), ("videos/still.mp4", 2, 5), ("videos/still.mp4", 0, 9)]
    one = found[3]
    assert one["caption"] == "A camera slides slowly." and found[0]["caption"] == ""
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
    found = lines(tmp_path / "clips.jsonl")
    expected = [(47, 5), (45, 9), (41, 17), (33, 33), (17, 65), (9, 81)]
    assert [(one["first"], one["frames"]) for one in found] == expected
    for first, count in expected:
        assert first + count / 2 in (50, 49.5), "around the middle, to half a frame"
    assert rules.Rules().most == 324 and rules.Rules().counts == manifest.COUNTS


def test_cut_has_exactly_s_frames_inside():
    for frames in range(9, 40):
        for count in (3, 5, 9):
            first = manifest.cut(frames, count)
            assert first >= 0 and first + count <= frames
            assert 0 <= (frames - first - count) - first <= 1, "as many before as after, or one more after"


def test_bounds_of_the_flow_score_and_their_summary(library, capsys):
    assert run(library, "--flow-low", 3, "--flow-high", 8) == 0
    assert {one["video"] for one in lines(library / "clips.jsonl")} == {"videos/slow.mp4"}
    printed = capsys.readouterr().out
    assert "1 left out: flow score below 3" in printed and "1 left out: flow score above 8" in printed


def test_scores_to_choose_bounds_from(library, capsys):
    assert run(library, "--scores", "--histogram", library / "h.png") == 0
    printed = capsys.readouterr().out.splitlines()
    row = next(line for line in printed if line.startswith("flow score"))
    values = [float(value) for value in row.split()[2:]]
    assert len(values) == 7 and values[0] < 0.1
    assert values[3] == pytest.approx(5, abs=1), "the median: slides by 0, 5 and 12 pixels"
    assert any("CLIP score    not measured" in line for line in printed)
    assert read_image(library / "h.png").rgb.shape == (480, 480, 3)


def test_new_bounds_measure_nothing_again(library, monkeypatch):
    assert run(library) == 0
    monkeypatch.setattr(job, "measure", lambda *_: pytest.fail("measured again"))
    assert run(library, "--resume", "--flow-low", 3) == 0
    assert {one["video"] for one in lines(library / "clips.jsonl")} == {"videos/slow.mp4", "videos/deep/fast.mkv"}


def test_rules_that_let_more_videos_pass_measure_these(library):
    assert run(library) == 0
    assert run(library, "--resume", "--max-fps", 60) == 0
    found = {one["video"] for one in lines(library / "clips.jsonl")}
    assert "videos/quick.mp4" in found and len(found) == 4
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
        expected, found = ranges.read(i)[0].float(), files.read(i)[0].float()
        error = (expected - found).abs().mean()
        assert error == 0 if lossless else error < 1.5
    stamps = {path: path.stat().st_mtime_ns for path in (library / "files").rglob("*.m*")}
    gone = next(iter(stamps))
    gone.unlink()
    assert run(library, "--resume", "--write-clips", library / "files", *more) == 0
    kept = [path for path, stamp in stamps.items() if path.stat().st_mtime_ns == stamp]
    assert gone.is_file() and len(kept) == 6, "only the clips of one video are written again"


def test_lists_and_videos_by_name(library):
    (library / "list.txt").write_text("videos/slow.mp4\n\nvideos/still.mp4\n")
    arguments = ["--list", library / "list.txt", library / "videos/slow.mp4", "-o", library / "elsewhere/m.jsonl"]
    assert main([str(a) for a in (*arguments, "--quiet", *SHORT)]) == 0
    found = {one["video"] for one in lines(library / "elsewhere/m.jsonl")}
    assert found == {str(library / "videos/slow.mp4"), str(library / "videos/still.mp4")}
    assert CaptionedClips(library / "elsewhere/m.jsonl", (32, 32)).read(0)[0].shape == (3, 3, 32, 32)


def test_captions_for_all(library):
    pairs = {"deep/fast.mkv": "A fast  slide", "still.mp4": "Nothing"}
    with (library / "c.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("video", "caption"), *pairs.items()])
    (library / "c.json").write_text(json.dumps(pairs))
    (library / "d.json").write_text(json.dumps([{"path": name, "cap": text} for name, text in pairs.items()]))
    rows = [json.dumps({"video": name, "caption": text}) for name, text in pairs.items()]
    (library / "c.jsonl").write_text("\n".join(rows))
    for name in ("c.csv", "c.json", "d.json", "c.jsonl"):
        assert run(library, "--overwrite", "--captions", library / name) == 0
        found = {one["video"]: one["caption"] for one in lines(library / "clips.jsonl")}
        assert found == {
            "videos/deep/fast.mkv": "A fast slide", "videos/slow.mp4": "", "videos/still.mp4": "Nothing"
        }  # fmt: skip
    assert run(library, "--resume", "--captions", library / "c.json", "--need-captions") == 0
    assert {one["caption"] for one in lines(library / "clips.jsonl")} == {"A fast slide", "Nothing"}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", b"{", "cannot read the captions"),
        ("a.json", b'{"a": 3}', "expected texts called video and caption"),
        ("a.json", b"[[]]", "expected texts called"),
        ("a.json", b"[" * 100_000, "cannot read the captions"),
        ("a.jsonl", b"{}\n", "expected texts called"),
        ("a.csv", b"name,text\na,b\n", "expected texts called"),
        ("a.csv", b"\xff\xfe", "cannot read the captions"),
        ("a.csv", b"video,caption\n" + b"x" * 200_000, "cannot read the captions"),
        ("a.txt", b"", "expected captions as .json, .jsonl or .csv"),
    ],
)
def test_captions_that_are_none(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said):
        captions.read_captions(tmp_path / name)


def clip_folder(path: Path, whole: bool) -> Path:
    """CLIP of transformers, small, of random weights."""
    import torch
    import transformers as t

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = t.CLIPVisionConfig(**sizes, image_size=32, patch_size=16, projection_dim=8, hidden_act="gelu")
    torch.manual_seed(0)
    if not whole:
        t.CLIPVisionModelWithProjection(vision).save_pretrained(path)
        return path
    text = t.CLIPTextConfig(**sizes, vocab_size=8, max_position_embeddings=4, bos_token_id=0, eos_token_id=1)
    config = t.CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=8)
    t.CLIPModel(config).save_pretrained(path)
    return path


@pytest.mark.parametrize("whole", [True, False])
def test_clip_scores(library, capsys, whole):
    """Equal to transformers' own model on the square in the middle; measured once; bounds."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    folder = clip_folder(library / "clip", whole)
    score = scores.clip_score(folder)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    kind = transformers.CLIPModel if whole else transformers.CLIPVisionModelWithProjection
    network = kind.from_pretrained(folder).eval()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (scores.MEAN, scores.STD))
    seen = (torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.no_grad():
        found = network.vision_model(seen).pooler_output @ network.visual_projection.weight.T
    expected = torch.nn.functional.cosine_similarity(*found, dim=0).item()
    assert score(*pictures) == pytest.approx(expected, abs=1e-5) and abs(expected - 1) > 1e-3
    assert score(pictures[0], pictures[0]) == pytest.approx(1)
    wide = np.concatenate((np.zeros_like(pictures), pictures, np.zeros_like(pictures)), axis=2)
    assert score(*wide) == pytest.approx(expected, abs=1e-5)
    assert run(library, "--clip-model", folder, "--clip-high", 0.9999, "--scores") == 0
    printed = capsys.readouterr().out
    assert "1 left out: CLIP score above 0.9999" in printed and "was not measured" not in printed
    assert "videos/still.mp4" not in {one["video"] for one in lines(library / "clips.jsonl")}
    assert all(0 < one["clip_score"] < 0.9999 for one in lines(library / "clips.jsonl"))


def test_a_clip_model_that_is_none(tmp_path, library, capsys):
    pytest.importorskip("transformers")
    assert run(library, "--clip-model", tmp_path / "none") == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "none" in message
    folder = clip_folder(tmp_path / "clip", False)
    settings = json.loads((folder / "config.json").read_text())
    for wrong in ({"num_attention_heads": 3}, {"num_attention_heads": "x"}, {"hidden_act": "system"}):
        (folder / "config.json").write_text(json.dumps({**settings, **wrong}))
        with pytest.raises(UserError):
            scores.clip_score(folder)


def test_the_flow_score_is_the_mean_length(sliding):
    score = scores.flow_score(lambda first, second: first[:, :2] * 0 + torch_pair(3, 4), 0)
    assert score(sliding(0), sliding(0)) == pytest.approx(5)
    sizes = []
    scores.flow_score(lambda a, b: (sizes.append(a.shape), a[:, :2])[1], 32)(sliding(0), sliding(0))
    assert sizes == [(1, 3, 32, 48)]


def torch_pair(x: float, y: float):
    import torch

    return torch.tensor([x, y]).view(1, 2, 1, 1)


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
