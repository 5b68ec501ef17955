"""Scores of other tools: found by a script in an environment of its own, here with stand-ins; and beside results."""

import csv
import json
from pathlib import Path

import cv2
import environments
import numpy as np
import pytest
import torch
from outside_tools import make_tools, scored
from test_evaluate import Average, write
from test_evaluation_results import loaded

from vfi.commands.main import main
from vfi.commands.make_clips.__main__ import main as make_manifest
from vfi.evaluation.sfibench.measures import flickering


@pytest.fixture
def tools(tmp_path):
    return make_tools(tmp_path / "tools")


@pytest.fixture
def clips(make_video, sliding, tmp_path, monkeypatch):
    """The manifest of two videos, clips of 5 and of 9 frames each."""
    monkeypatch.setattr("vfi.models.registry.load_model", lambda *arguments, **settings: Average())
    (tmp_path / "videos").mkdir()
    for number in range(2):
        path = make_video(
            [sliding(20 * number + i) for i in range(12)], f"{number}.mkv", codec="ffv1", pixel_format="bgr0"
        )
        path.rename(tmp_path / "videos" / path.name)
        (tmp_path / f"videos/{number}.txt").write_text(f"video {number}")
    options = ("-o", str(tmp_path / "clips.jsonl"), "--f-max", "9", "--counts", "5", "9", "--quiet")
    assert make_manifest([str(tmp_path / "videos"), *options]) == 0
    return tmp_path / "clips.jsonl"


def sfibench(clips: Path, *more: object) -> int:
    words = ("--dataset", "sfibench", clips, "--size", 64, 96, "--write-frames", clips.parent / "frames", *more)
    return main(["evaluate", *map(str, words)])


def test_vbench_on_clips(clips, tools, tmp_path, capsys):
    frames, out, scores = tmp_path / "frames", tmp_path / "s.json", tmp_path / "v.json"
    assert sfibench(clips, "--results", tmp_path / "kept", "--json", out) == 0
    printed = scored(tools, "vbench", frames, "-o", scores, "--manifest", clips)
    assert "imaging: " in printed and "the mean of 4 files" in printed
    document = loaded(scores)
    assert (document["tool"], document["versions"]["vbench"]) == ("vbench", "0.1.5") and len(document["rows"]) == 24
    capsys.readouterr()
    more = ("--scores", scores, "--results", tmp_path / "kept", "--resume", "--csv", tmp_path / "s.csv")
    assert sfibench(clips, *more, "--json", tmp_path / "with.json") == 0
    printed, found = capsys.readouterr().out, loaded(tmp_path / "with.json")
    values = {row["file"]: row["value"] for row in document["rows"] if row["measure"] == "aesthetic"}
    assert [row["aesthetic"] for row in found["scenes"]] == [values[row["file"]] for row in found["scenes"]]
    means = {n: np.mean([row["imaging"] for row in found["scenes"] if row["frames"] == n]) for n in (5, 9)}
    assert means[5] == pytest.approx(np.mean([v for f, v in values.items() if int(f[:5]) % 2 == 0]) / 100)
    assert {n: found["frames"][str(n)]["imaging"] for n in means} == pytest.approx(means)
    assert found["mean"]["imaging"] == pytest.approx(np.mean(list(means.values())))
    assert not {"imaging", "semantic"} & set(found["not_measured"])
    assert f"imaging 5: {means[5]:.4f}, by vbench 0.1.5" in printed
    rows = list(csv.DictReader((tmp_path / "s.csv").read_text().splitlines()))
    assert [float(row["imaging"]) for row in rows] == [row["imaging"] for row in found["scenes"]]
    assert main(["evaluate", "--table", "semfi", "A1", str(out), "--scores", str(scores)]) == 0
    printed = capsys.readouterr().out
    assert "measured with vbench 0.1.5" in printed and "ViCLIP" not in printed


@pytest.mark.nightly
@pytest.mark.parametrize(("tool", "name"), [("vbench", "flickering"), ("pyiqa", "imaging")])
def test_the_tools_themselves(tool, name, clips, tmp_path, monkeypatch):
    """VBench's flickering, which needs no network, is ours; MUSIQ has weights drawn at random."""

    class Blend(Average):
        def interpolate(self, frame0, frame1, t):
            return frame0 + t * (frame1 - frame0)

    monkeypatch.setattr("vfi.models.registry.load_model", lambda *arguments, **settings: Blend())
    frames, scores = tmp_path / "frames", tmp_path / "scores.json"
    kept = ("--results", tmp_path / "kept")
    assert sfibench(clips, *kept) == 0
    words = (tmp_path, tool, frames, "-o", scores, "--device", "cpu", "--measures", name)
    done = environments.run("measures", "tests/real_outside_scores.py", *map(str, words))
    assert done.returncode == 0, done.stderr[-3000:]
    rows = loaded(scores)["rows"]
    assert len(rows) == len(list(frames.rglob("*.mp4"))) == 4 and {row["measure"] for row in rows} == {name}
    if tool == "vbench":
        for row in rows:
            video, pictures = cv2.VideoCapture(str(frames / row["file"])), []
            while (read := video.read())[0]:
                pictures.append(torch.from_numpy(read[1]).permute(2, 0, 1))
            assert row["value"] == pytest.approx(flickering(torch.stack(pictures)), abs=1e-9)
    assert sfibench(clips, *kept, "--resume", "--scores", scores, "--json", tmp_path / "with.json") == 0
    values = sorted(row["value"] for row in rows)
    assert sorted(scene[name] for scene in loaded(tmp_path / "with.json")["scenes"]) == values and len({*values}) == 4


def test_scores_that_contradict_themselves(clips, tools, tmp_path, capsys):
    frames, scores = tmp_path / "frames", tmp_path / "v.json"
    kept = ("--results", tmp_path / "kept")
    assert sfibench(clips, *kept) == 0
    scored(tools, "vbench", frames, "-o", scores, "--measures", "imaging")
    document = loaded(scores)
    first = document["rows"][0]
    for row, said in (
        ({**first, "value": first["value"] + 1}, f"has two scores, imaging, of {first['file']}"),
        ({**first, "value": "0.5"}, f"expected finite scores in {scores}, got '0.5' for imaging of {first['file']}"),
        ({**first, "value": True}, f"expected finite scores in {scores}, got True for imaging of {first['file']}"),
    ):
        scores.write_text(json.dumps({**document, "rows": [*document["rows"], row]}))
        capsys.readouterr()
        assert sfibench(clips, *kept, "--resume", "--scores", scores) == 2
        assert said in capsys.readouterr().err
    scores.write_text(json.dumps({**document, "rows": [*document["rows"], first]}))
    assert sfibench(clips, *kept, "--resume", "--scores", scores) == 0, "said twice, and the same"


def test_a_manifest_that_is_cut(clips, capsys):
    whole = clips.read_bytes()
    for cut, told in ((len(whole) - 20, True), (len(whole) - 1, False)):
        clips.write_bytes(whole[:cut])
        assert main(["evaluate", "--dataset", "sfibench", str(clips), "--size", "64", "96"]) == 0
        said = f"note: the last line of {clips} is not whole, and is left out: 3 clips are measured"
        assert (said in capsys.readouterr().err) == told


def test_pyiqa_on_pictures(tools, tmp_path, sliding, monkeypatch, capsys):
    """A folder for each split; pictures are shrunk to what MUSIQ sees."""
    monkeypatch.setattr("vfi.models.registry.load_model", lambda *arguments, **settings: Average())
    root, frames, out = tmp_path / "data", tmp_path / "frames", tmp_path / "s.json"
    for i in range(3):
        write(root / f"{i}", ("im1.png", "im2.png", "im3.png"), [cv2.resize(sliding(9 * i), (600, 64))] * 3)
    words = ["evaluate", "--dataset", "triplets", str(root), "--write-frames", str(frames)]
    assert main([*words, "--json", str(out)]) == 0
    assert "imaging: " in scored(tools, "pyiqa", frames, "-o", tmp_path / "p.json")
    assert (
        main([*words, "--json", str(out), "--csv", str(tmp_path / "s.csv"), "--scores", str(tmp_path / "p.json")]) == 0
    )
    document = loaded(out)
    for row in document["scenes"]:
        assert row["imaging"] == pytest.approx(cv2.imread(str(frames / row["file"])).mean() / 255, abs=0.01)
    mean = document["means"][""]
    assert mean["imaging"] == pytest.approx(np.mean([row["imaging"] for row in document["scenes"]]))
    assert mean["bounds_95"]["imaging"][0] < mean["imaging"] < mean["bounds_95"]["imaging"][1]
    assert "imaging" in (tmp_path / "s.csv").read_text().splitlines()[0]
    assert "pyiqa measures imaging alone" in scored(tools, "pyiqa", frames, "-o", "x", "--measures", "semantic")
    assert "semantic needs --manifest" in scored(tools, "vbench", frames, "-o", "x", "--measures", "semantic")


def test_scores_that_do_not_belong(clips, tools, tmp_path, capsys):
    """Of other frames, or not of all; one sentence, and nothing is written."""
    frames, out, scores = tmp_path / "frames", tmp_path / "s.json", tmp_path / "v.json"
    kept = ("--results", tmp_path / "kept")
    assert sfibench(clips, *kept, "--json", out) == 0
    scored(tools, "vbench", frames, "-o", scores)
    whole = loaded(scores)

    def said(change, *words):
        document = json.loads(json.dumps(whole))
        change(document)
        (tmp_path / "changed.json").write_text(json.dumps(document))
        capsys.readouterr()
        assert main(["evaluate", "--table", "semfi", "A1", str(out), "--scores", str(tmp_path / "changed.json")]) == 2
        first = capsys.readouterr().err
        more = (*kept, "--resume", "--scores", tmp_path / "changed.json", "--json", tmp_path / "none.json")
        assert sfibench(clips, *more) == 2
        second = capsys.readouterr().err
        assert first.count("\n") == second.count("\n") == 1 and not (tmp_path / "none.json").exists()
        return first + second

    def without(document):
        document["rows"] = [row for row in document["rows"] if row["file"][:5] != "00001"]

    assert said(lambda d: d["made_with"].update(model="rife")).count("another model (rife, not flow-splat)") == 2
    assert said(without).count("lacks flickering of 1 of 4 files: 00001-clip.mp4 is the first") == 2
    assert said(lambda d: d["rows"][0].update(value=float("nan"))).count("expected finite scores in ") == 2
    assert said(lambda d: d["rows"][0].update(measure="psnr")).count("expected scores of aesthetic, dynamic") == 2
    assert said(lambda d: d.pop("versions")).count("expected scores of scripts/outside_scores.py as JSON in ") == 2
    (frames / "00002-clip.mp4").write_bytes(b"other")
    more = ("--scores", scores, *kept, "--resume", "--json", tmp_path / "none.json")
    assert sfibench(clips, *more) == 2 and "00002-clip.mp4 has changed since" in capsys.readouterr().err
    words = ["evaluate", "--dataset", "sfibench", str(clips), "--size", "64", "96", "--scores", str(scores)]
    assert main(words) == 2 and "--scores needs --write-frames" in capsys.readouterr().err
    document = loaded(out)
    for row in document["scenes"]:
        del row["file"]
    out.write_text(json.dumps(document))
    assert main(["evaluate", "--table", "semfi", "A1", str(out), "--scores", str(scores)]) == 2
    assert "without written frames: its rows have no files" in capsys.readouterr().err
