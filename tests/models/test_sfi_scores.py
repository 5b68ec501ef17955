"""Clips with captions: lists, captions and the scores that choose among videos."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from clip_runs import SHORT, lines, run

from vfi.commands.make_clips import scores
from vfi.commands.make_clips.__main__ import main
from vfi.data.captioned import captions
from vfi.data.captioned.clips import CaptionedClips
from vfi.errors import UserError
from vfi.files.images import read_image


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


def test_lists_and_videos_by_name(library):
    (library / "list.txt").write_text("videos/slow.mp4\n\nvideos/still.mp4\n")
    arguments = ["--list", library / "list.txt", library / "videos/slow.mp4", "-o", library / "elsewhere/m.jsonl"]
    assert main([str(a) for a in (*arguments, "--quiet", *SHORT)]) == 0
    videos = {one["video"] for one in lines(library / "elsewhere/m.jsonl")}
    assert videos == {str(library / "videos/slow.mp4"), str(library / "videos/still.mp4")}
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
        captions = {one["video"]: one["caption"] for one in lines(library / "clips.jsonl")}
        assert captions == {
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
        features = network.vision_model(seen).pooler_output @ network.visual_projection.weight.T
    expected = torch.nn.functional.cosine_similarity(*features, dim=0).item()
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
