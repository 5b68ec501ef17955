"""SFIBench: models whose scores are known, going on after a stop, and the command."""

import csv
import json
import math
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
from lpips_files import network_of_lpips

from vfi.commands.main import main
from vfi.commands.make_clips.__main__ import main as make_manifest
from vfi.data.captioned.clips import CaptionedClips, SyntheticClips
from vfi.errors import UserError
from vfi.evaluation import metrics
from vfi.evaluation.sfibench import benchmark
from vfi.evaluation.sfibench.benchmark import Tools, evaluate
from vfi.evaluation.sfibench.kept import Kept
from vfi.models import flow_by_name
from vfi.models.interpolator import Interpolator
from vfi.video.reader import VideoReader

SIZE = (64, 96)


@pytest.fixture
def clips(make_video, sliding, tmp_path):
    """Two videos with captions, clips of 5 and of 9 frames each."""
    for number in range(2):
        make_video([sliding(20 * number + i) for i in range(12)], f"{number}.mkv", codec="ffv1", pixel_format="bgr0")
        (tmp_path / f"{number}.txt").write_text(f"video {number}")
    paths = [str(tmp_path / f"{number}.mkv") for number in range(2)]
    options = ("-o", str(tmp_path / "clips.jsonl"), "--f-max", "9", "--counts", "5", "9", "--quiet")
    assert make_manifest([*paths, *options]) == 0
    return CaptionedClips(tmp_path / "clips.jsonl", SIZE)


class Truth:
    """Gives the true frames, changed by `change`."""

    def __init__(self, clips, change=lambda frames: frames):
        self.known = {}
        self.change, self.asked = change, []
        for i in range(len(clips)):
            frames, caption = clips.read(i)
            self.known[caption, len(frames)] = frames

    def generate(self, first, last, prompt, num_frames=81, *, seed=0):
        truth = self.known[prompt, num_frames].float() / 255
        assert torch.equal(first[0], truth[0]) and torch.equal(last[0], truth[-1])
        self.asked.append((prompt, num_frames))
        return self.change(truth)


def mean_apart(a, b):
    return (a - b).abs().mean((1, 2, 3))


def few_features(frames):
    return torch.nn.functional.adaptive_avg_pool2d(frames, 2).flatten(1)


ALL = Tools(
    lpips=mean_apart,
    features=few_features,
    between=lambda a, b: (a + b) / 2,
    flow=flow_by_name.load_flow("dis"),
    semantic=lambda frames, caption: len(frames) + int(caption[-1]),
    aesthetic=lambda frames: 0.5,
    imaging=lambda frames: float(len(frames)),
)


def test_the_truth_is_perfect(clips):
    model = Truth(clips)
    report = evaluate(model, clips, ALL)
    assert model.asked == [("video 0", 5), ("video 0", 9), ("video 1", 5), ("video 1", 9)]
    assert report.clips == {5: 2, 9: 2} and report.missing == {}
    for scores in (*report.scores.values(), report.mean):
        assert scores["lpips"] == scores["end_lpips"] == 0 and scores["psnr"] == math.inf
        assert scores["fid"] == pytest.approx(0, abs=1e-9) and scores["ssim"] == pytest.approx(1)
    assert [report.scores[n]["semantic"] for n in (5, 9)] == [5.5, 9.5] and report.mean["semantic"] == 7.5
    assert report.mean["imaging"] == 7 and report.mean["aesthetic"] == 0.5
    text = "\n".join(benchmark.table(report))
    assert "inf" in text and "not measured" not in text
    assert json.loads(json.dumps(report.as_json(), allow_nan=False))["mean"]["psnr"] == "inf"


def test_a_picture_that_stands_still(clips):
    """Flickering exactly 1; its ends as far from those given as the metrics say."""
    still = lambda frames: frames[:1].expand_as(frames)  # noqa: E731
    report = evaluate(Truth(clips, still), clips, ALL)
    assert report.scores[5]["flickering"] == report.mean["flickering"] == 1 and report.mean["dynamic"] == 0
    truth, _ = clips.read(0)
    first, last = (truth[i].permute(1, 2, 0).numpy() for i in (0, -1))
    qualities = [metrics.compare(first, end) for end in (first, last)]
    one = benchmark.measured(still(truth), truth, "video 0", 10, ALL, "cpu")
    assert one["psnr"] == math.inf and one["ssim"] == pytest.approx((1 + qualities[1].ssim) / 2)
    assert one["end_lpips"] == pytest.approx(np.abs(first.astype(float) - last).mean() / 255 / 2, rel=1e-5)
    expected = np.abs(truth.numpy().astype(float) - truth[:1].numpy()).mean() / 255
    assert one["lpips"] == pytest.approx(expected, rel=1e-5)


def test_frames_that_are_brighter(clips):
    """By 10 of 255: so the 12 features, whose covariance stays, and what stands in for LPIPS."""
    report = evaluate(Truth(clips, lambda frames: (frames + 10 / 255).clamp(0, 1)), clips, ALL)
    assert report.mean["fid"] == pytest.approx(12 * (10 / 255) ** 2, rel=0.02)
    assert report.mean["lpips"] == pytest.approx(10 / 255, rel=0.02)
    assert report.mean["psnr"] == pytest.approx(10 * math.log10(255**2 / 100), abs=0.05)


@pytest.mark.parametrize(("step", "degree"), [(0, 0.0), (1, 0.0), (3, 1.0)])
def test_the_dynamic_degree_of_a_known_slide(clips, sliding, step, degree):
    """64 pixels: the bound is 1.5 between consecutive frames, at 10 per second."""

    def slide(frames):
        views = [sliding(20 + step * i) for i in range(len(frames))]
        return torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2).float() / 255

    report = evaluate(Truth(clips, slide), clips, Tools(flow=flow_by_name.load_flow("dis")))
    assert report.scores[5]["dynamic"] == report.scores[9]["dynamic"] == report.mean["dynamic"] == degree


class Blend(Interpolator):
    """An Interpolator that takes BGR, and is asked for one time at a time."""

    channel_order = "bgr"

    def interpolate(self, frame0, frame1, t):
        self.times.append(t)
        return ((1 - t) * frame0 + t * frame1) * torch.tensor([1.0, 1, 0]).view(3, 1, 1)

    def __init__(self):
        self.times = []


def test_an_interpolator_gives_frames_at_even_times(clips):
    model = Blend()
    report = evaluate(model, clips, Tools())
    assert model.times[:5] == [0, 0.25, 0.5, 0.75, 1] and len(model.times) == 28
    truth, _ = clips.read(0)
    made = benchmark.frames_of(model, truth, "", "cpu")
    assert (
        (made[:, 0] == 0).all() and torch.equal(made[0, 1:], truth[0, 1:]) and torch.equal(made[-1, 1:], truth[-1, 1:])
    )
    assert report.mean["psnr"] < 20 and report.mean["flickering"] > 0.9


def test_made_up_clips():
    report = evaluate(Blend(), SyntheticClips(4, (32, 48), (5, 9)), Tools())
    assert report.clips == {5: 2, 9: 2} and 0.9 < report.mean["flickering"] < 1


def test_what_is_not_measured_is_never_a_number(clips):
    report = evaluate(Truth(clips), clips, Tools(reasons={"fid": "no --inception"}))
    missing = {"lpips", "fid", "end_lpips", "semantic", "smoothness", "dynamic", "aesthetic", "imaging"}
    assert set(report.missing) == missing and report.missing["fid"] == "no --inception"
    whole = report.as_json()
    for scores in (whole["mean"], *whole["frames"].values()):
        assert {name for name, value in scores.items() if value is None} == missing
    lines = list(benchmark.table(report))
    assert lines[1].split()[2:4] == ["-", "-"] and "FID was not measured: no --inception" in lines
    assert sum("was not measured" in line for line in lines) == len(missing)


def test_a_model_that_makes_something_else(clips):
    for change, said in (
        (lambda frames: frames[:-1], r"expected 5 frames of the model, .* got \(4, 3, 64, 96\)"),
        (lambda frames: frames / 0, "not finite"),
    ):
        with pytest.raises(UserError, match=said):
            evaluate(Truth(clips, change), clips, Tools())
    with pytest.raises(UserError, match="at least 32x32"):
        evaluate(Truth(clips), CaptionedClips(clips.folder / "clips.jsonl", (31, 96)), Tools())


def test_frames_of_another_size_are_resized(clips):
    twice = lambda frames: torch.nn.functional.interpolate(frames, scale_factor=2, mode="bicubic")  # noqa: E731
    report = evaluate(Truth(clips, twice), clips, Tools())
    assert report.mean["psnr"] > 30 and report.mean["ssim"] > 0.98


def test_going_on(clips, tmp_path):
    """After a stop only what is missing is made; the scores are the same to the last bit."""
    model = Truth(clips, lambda frames: frames * 0.9)
    whole = evaluate(model, clips, ALL)

    class Stops(Truth):
        def generate(self, *arguments, **options):
            if len(self.asked) == 2:
                raise KeyboardInterrupt
            return super().generate(*arguments, **options)

    def kept_by(model, name="x"):
        with closing(Kept(tmp_path / "kept", {"model": name}, tmp_path / "frames", resume=True)) as kept:
            return evaluate(model, clips, ALL, kept=kept)

    def figures(report):
        rows = [{name: value for name, value in row.items() if name != "file"} for row in report.rows]
        return replace(report, rows=rows)

    with pytest.raises(KeyboardInterrupt):
        kept_by(Stops(clips, model.change))
    model.asked.clear()
    report = kept_by(model)
    assert model.asked == [("video 1", 5), ("video 1", 9)] and figures(report) == whole
    (tmp_path / "kept" / "fid-000003.npy").unlink()
    (tmp_path / "frames" / report.rows[0]["file"]).unlink()
    assert kept_by(model) == report
    assert model.asked[2:] == [("video 0", 5), ("video 1", 9)]
    with pytest.raises(UserError, match=r"are of another model \(x, not y\)"):
        kept_by(model, "y")
    lines = (tmp_path / "kept" / "results.jsonl").read_text().splitlines()
    assert len(lines) == 5 and json.loads(lines[1])["scene"] == 0
    for row, (index, count) in zip(report.rows, enumerate((5, 9, 5, 9)), strict=True):
        with closing(VideoReader(tmp_path / "frames" / row["file"])) as reader:
            frames = np.stack(list(reader.pictures()))
        made = benchmark.frames_of(model, *clips.read(index), "cpu")
        assert row["frames"] == count and np.array_equal(frames, made.permute(0, 2, 3, 1).numpy())


def test_infinite_scores_are_kept(clips, tmp_path):
    model = Truth(clips)
    for _ in range(2):
        with closing(Kept(tmp_path / "kept", {}, resume=True)) as scores:
            assert evaluate(model, clips, Tools(), kept=scores).mean["psnr"] == math.inf
    assert len(model.asked) == 4
    kept = tmp_path / "kept" / "results.jsonl"
    kept.write_text(kept.read_text().replace('"inf"', '"much"'))
    with pytest.raises(UserError, match="expected scores of scenes"):
        Kept(tmp_path / "kept", {}, resume=True)


def run(clips, *more):
    size = ("--size", *map(str, SIZE))
    return main(["evaluate", "--dataset", "sfibench", str(clips.folder / "clips.jsonl"), *size, *map(str, more)])


def test_the_command(clips, tmp_path, capsys):
    out, kept = tmp_path / "scores.json", tmp_path / "kept"
    assert run(clips, "--json", out, "--results", kept, "--csv", tmp_path / "scores.csv") == 0
    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.splitlines()]
    assert [row[:2] for row in rows[:4]] == [["frames", "clips"], ["5", "2"], ["9", "2"], ["mean", "4"]]
    for text in (
        "LPIPS was not measured: no --lpips",
        "FID was not measured: no --inception",
        "semantic was not measured: it needs ViCLIP",
        "MS: measured with flow-splat, not comparable with AMT-S",
        "DD: measured with the flow of dis, not comparable with RAFT",
    ):
        assert text in printed
    document = json.loads(out.read_text())
    assert document["mean"]["fid"] is None and document["not_measured"]["imaging"].startswith("it needs MUSIQ")
    assert document["mean"]["psnr"] == "inf", "flow-splat gives back the ends"
    assert 0.9 < document["mean"]["smoothness"] <= 1
    assert document["model"] == document["settings"]["model"] == "flow-splat"
    table = list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines()))
    assert [(row["name"], row["frames"], row["psnr"], row["lpips"]) for row in table[:2]] == [
        ("clip 0", "5", "inf", ""), ("clip 1", "9", "inf", "")
    ]  # fmt: skip
    assert run(clips, "--json", out, "--results", kept, "--resume") == 0
    assert json.loads(out.read_text()) == document
    capsys.readouterr()
    assert run(clips, "--results", kept) == 2 and "holds results already" in capsys.readouterr().err
    assert run(clips, "--results", kept, "--resume", "--flow-model", "ebme", "--flow-weights", "x") == 2


def test_the_command_with_files_of_weights(clips, tmp_path, capsys, inception_file):
    """LPIPS and FID are measured when their weights are given."""
    manifest = clips.folder / "clips.jsonl"
    manifest.write_text(manifest.read_text().splitlines()[0])  # five frames
    files = ("--lpips", *network_of_lpips(tmp_path), "--inception", inception_file)
    assert run(clips, *files, "--json", tmp_path / "s.json") == 0
    document = json.loads((tmp_path / "s.json").read_text())
    assert set(document["not_measured"]) == {"semantic", "aesthetic", "imaging"}
    assert document["mean"]["lpips"] > 0 and document["mean"]["end_lpips"] >= 0 and document["mean"]["fid"] > 0
    capsys.readouterr()


def test_wrong_requests(clips, tmp_path, capsys):
    def said(*more):
        assert run(clips, *more) == 2
        message = capsys.readouterr().err
        assert message.startswith("vfi: ") and message.count("\n") == 1
        return message

    assert "has no split 'hard'" in said("--split", "hard")
    assert "--resume is for --results only" in said("--resume")
    assert "at least 32x32" in said("--size", 16, 16)
    assert "expected a checkpoint" in said("--inception", tmp_path / "none.pth")
    assert "also an input" in said("--json", clips.folder / "clips.jsonl")
    assert main(["evaluate", "--dataset", "triplets", str(tmp_path), "--flow-model", "dis"]) == 2
    assert "--flow-model is for --dataset sfibench only" in capsys.readouterr().err
    assert main(["evaluate", "--dataset", "sfibench", str(tmp_path)]) == 2
    assert "cannot read" in capsys.readouterr().err
