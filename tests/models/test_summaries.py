"""What scores come to: kinds of SSIM by choice, confidence intervals, and quality by motion."""

import json
from pathlib import Path

import numpy as np
import pytest
from test_evaluate import Average, write

from vfi.commands.main import main
from vfi.data.truth import TrueScene
from vfi.evaluation import summaries
from vfi.evaluation.metrics import MEASURES
from vfi.evaluation.scoring import Score
from vfi.evaluation.summaries import bootstrapped, motion, summary

NAMES = ("im1.png", "im2.png", "im3.png")


@pytest.fixture
def slides(tmp_path, sliding, monkeypatch):
    """Eight triplets, in an order of their own; the camera moves by 2, 4, 6 or 8 pixels from end to end."""
    monkeypatch.setattr("vfi.models.registry.load_model", lambda *arguments, **settings: Average())
    for i, step in enumerate((3, 1, 4, 2, 3, 1, 4, 2)):
        write(tmp_path / f"{i}", NAMES, [sliding(40 + 3 * i + step * k) for k in range(3)])
    return tmp_path


def run(root: Path, *words: object) -> dict:
    out = root.parent / f"{root.name}.json"
    assert main(["evaluate", "--dataset", "triplets", str(root), "--json", str(out), *map(str, words)]) == 0
    return json.loads(out.read_text())


def test_kinds_of_ssim_by_choice(slides, capsys):
    document = run(slides, "--ssim", "volume", "uniform", "volume")
    assert document["settings"]["measures"] == ["psnr", "ssim_volume", "ssim_uniform"]
    head = capsys.readouterr().out.splitlines()[0]
    assert head.split("  ")[-4:] == [" PSNR dB", "SSIM volume", "SSIM uniform", "seconds"]
    from vfi.data import datasets

    first, truth, last = datasets.scenes("triplets", slides)[0].read()
    made = ((first.astype(float) + last) / 2).round().astype(np.uint8)
    for name in ("ssim_volume", "ssim_uniform"):
        assert document["scenes"][0][name] == pytest.approx(MEASURES[name](made, truth), abs=2e-3)


def test_motion_and_what_depends_on_it(slides, capsys):
    """Of a slide it is the slide; the mean of both frames is worse where more moves."""
    document = run(slides, "--motion")
    moved = [row["motion"] for row in document["scenes"]]
    assert moved == pytest.approx([6, 2, 8, 4, 6, 2, 8, 4], rel=0.15)
    mean = document["means"][""]
    parts = mean["by_motion"]
    assert [part["scenes"] for part in parts] == [2, 2, 2, 2]
    assert [part["motion"] for part in parts] == pytest.approx([2, 4, 6, 8], rel=0.15)
    assert parts[0]["psnr"] > parts[1]["psnr"] > parts[3]["psnr"]
    assert np.mean([part["psnr"] for part in parts]) == pytest.approx(mean["psnr"])
    printed = capsys.readouterr().out.splitlines()
    labels = [line.rsplit(maxsplit=4)[0].strip() for line in printed[-4:]]
    assert labels == [f"quarter {number} by motion" for number in (1, 2, 3, 4)]


def test_motion_of_known_slides(sliding):
    assert motion([], [sliding(20), sliding(20)]) == pytest.approx(0, abs=0.05)
    assert motion([], [sliding(20), sliding(26)]) == pytest.approx(6, rel=0.1)


def test_intervals_of_known_numbers():
    """Of many draws of a normal distribution: 1.96 standard errors to each side; the same each time."""
    column = np.random.default_rng(1).normal(30, 2, 400)
    low, high = bootstrapped({"psnr": column, "ssim": np.full(400, np.inf)})["psnr"]
    error = 1.96 * column.std() / 20
    assert low == pytest.approx(column.mean() - error, abs=0.05) and high == pytest.approx(
        column.mean() + error, abs=0.05
    )
    assert bootstrapped({"psnr": column, "ssim": np.full(400, np.inf)}) == {"psnr": (low, high)}
    assert bootstrapped({"psnr": column[:1]}) == {} == bootstrapped({})


def test_intervals_are_printed_and_written(slides, capsys):
    mean = run(slides)["means"][""]
    low, high = mean["bounds_95"]["psnr"]
    assert low < mean["psnr"] < high and set(mean["bounds_95"]) == {"psnr", "ssim_gaussian"}
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[-2:]]
    assert [line[:4] for line in lines] == [["95", "%", "from", f"{low:.2f}"], ["95", "%", "to", f"{high:.2f}"]]


def test_of_few_scenes():
    """Less than a scene for each quarter, or a single one: what cannot be told is left out."""
    one = summary([Score("a", {"psnr": 30.0, "motion": 1.0}, 0.5)])
    assert (one.scenes, one.values["psnr"], one.seconds, one.bounds, one.by_motion) == (1, 30.0, 0.5, {}, ())
    scenes = [TrueScene("a", "x", ()), TrueScene("b", "y", ()), TrueScene("c", "x", ())]
    scores = [Score(scene.name, {"psnr": value}, value) for scene, value in zip(scenes, (1.0, 2.0, 5.0), strict=True)]
    found = summaries.summaries(scenes, scores)
    assert list(found) == ["x", "y"] and found["x"].values == {"psnr": 3.0} and found["y"].bounds == {}
