"""`vfi evaluate --ray`, clips and training: what they make is what one machine makes. Ray is stood in for."""

import argparse
import json
import re
from types import SimpleNamespace

import pytest
from clip_runs import lines, run
from cluster_runs import SLOTS, in_place_of_ray
from lpips_files import FewFeatures
from test_evaluate import vimeo90k

from vfi.commands.cluster import nodes, training
from vfi.commands.cluster.films import AHEAD
from vfi.commands.cluster.in_order import in_order
from vfi.commands.main import build_parser, main
from vfi.commands.make_clips.__main__ import build_parser as clips_parser
from vfi.commands.make_clips.__main__ import main as clips
from vfi.errors import UserError
from vfi.evaluation.kept_rows import RESULTS


def figures(text: str) -> list[str]:
    """Without the seconds, in the last column."""
    return [re.sub(r"\s+\S+$", "", line) for line in text.splitlines()]


def test_evaluation(tmp_path, sliding, monkeypatch, capsys):
    names = [f"{number:05}/0001" for number in range(11)]
    vimeo90k(tmp_path, names, [sliding(x) for x in (10, 12, 14)], "\n".join(names))
    words = ["evaluate", "--dataset", "vimeo90k", str(tmp_path)]
    assert main(words) == 0
    alone = figures(capsys.readouterr().out)
    with in_place_of_ray(monkeypatch) as ray:
        assert main([*words, "--ray"]) == 0
    assert figures(capsys.readouterr().out) == alone and len(ray.done) == 2


def test_evaluation_that_goes_on_and_writes_frames(tmp_path, sliding, monkeypatch):
    """Nodes are asked for what is missing only; they write the frames that one machine writes."""
    names, root = [f"{number:05}/0001" for number in range(11)], tmp_path / "vimeo"
    root.mkdir()
    vimeo90k(root, names, [sliding(x) for x in (10, 12, 14)], "\n".join(names))
    words = ["evaluate", "--dataset", "vimeo90k", str(root), "--results", str(tmp_path / "kept")]
    assert main([*words, "--write-frames", str(tmp_path / "alone")]) == 0
    kept = tmp_path / "kept" / RESULTS
    kept.write_text("".join(kept.read_text().splitlines(keepends=True)[:6]))
    frames = tmp_path / "frames"
    with in_place_of_ray(monkeypatch) as ray:
        assert main([*words, "--resume", "--ray"]) == 0
        assert [list(some.numbers) for _, some in ray.done] == [[5, 6, 7, 8, 9, 10]]
        assert main([*words, "--resume", "--ray", "--write-frames", str(frames)]) == 0
        assert len(ray.done) == 3
    alone = {path.name: path.read_bytes() for path in (tmp_path / "alone").glob("*.png")}
    assert len(alone) == 11 and {path.name: path.read_bytes() for path in frames.glob("*.png")} == alone


def test_fid(tmp_path, sliding, monkeypatch, capsys):
    """By a stand-in for Inception: nodes give features, this machine finds the distance."""
    monkeypatch.setattr("vfi.evaluation.sfibench.inception.load", lambda path: FewFeatures())
    names = [f"{number:05}/0001" for number in range(9)]
    for i, name in enumerate(names):
        vimeo90k(tmp_path, [name], [sliding(i + x) for x in (10, 12, 14)], "\n".join(names))
    words = ["evaluate", "--dataset", "vimeo90k", str(tmp_path), "--inception", "x"]
    assert main(words) == 0
    alone = capsys.readouterr().out.splitlines()[-1]
    with in_place_of_ray(monkeypatch) as ray:
        assert main([*words, "--ray"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == alone and alone.startswith("FID: 0.") and len(ray.done) == 2


def test_evaluation_of_what_cannot_be_read(tmp_path, sliding, monkeypatch, capsys):
    (paths,) = vimeo90k(tmp_path, ["00001/0001"], [sliding(x) for x in (10, 12, 14)], "00001/0001")
    paths[1].write_bytes(b"none")
    with in_place_of_ray(monkeypatch):
        assert main(["evaluate", "--dataset", "vimeo90k", str(tmp_path), "--ray"]) == 2
    assert str(paths[1]) in capsys.readouterr().err


def test_clips(tmp_path, sliding, make_video, monkeypatch):
    (tmp_path / "videos").mkdir()
    for number, count in enumerate((12, 20, 4, 30)):
        make_video([sliding(2 * i) for i in range(count)], f"videos/{number}.mp4")
    (tmp_path / "videos/text.mp4").write_text("none")
    assert run(tmp_path, "--write-clips", tmp_path / "clips") == 0
    alone = lines(tmp_path / "clips.jsonl"), lines(tmp_path / "clips.videos.jsonl")
    with in_place_of_ray(monkeypatch) as ray:
        assert run(tmp_path, "--write-clips", tmp_path / "clips", "--overwrite", "--ray") == 0
        assert len(ray.done) == 5
        assert run(tmp_path, "--write-clips", tmp_path / "clips", "--resume", "--ray") == 0
    assert len(ray.done) == 5  # all was done
    assert (lines(tmp_path / "clips.jsonl"), lines(tmp_path / "clips.videos.jsonl")) == alone


def double(value: int) -> int:
    if value < 0:
        raise UserError(f"expected no {value}")
    return 2 * value


def test_in_order(monkeypatch):
    begun: list[int] = []

    def given():
        for value in range(20):
            begun.append(value)
            yield value

    with in_place_of_ray(monkeypatch), nodes.connected("auto", None) as cluster:
        found = in_order(cluster, double, given())
        assert next(found) == 0 and len(begun) == AHEAD * SLOTS
        assert list(found) == [2 * value for value in range(1, 20)]
        with pytest.raises(UserError, match="expected no -1"):
            list(in_order(cluster, double, [3, -1, 4]))


def test_lines_of_a_training_are_said(tmp_path, capsys):
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps({"step": 1, "loss": 9.0, "psnr": 1.0}) + "\n")
    with training.told(log), log.open("a") as file:
        file.write(json.dumps({"step": 2, "loss": 0.5, "psnr": 20.0, "held_out_psnr": 21.5}) + "\n" + '{"step": 3, "lo')
    assert capsys.readouterr().out == "step 2: loss 0.5000, PSNR 20.00 dB, held out 21.50 dB\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["evaluate", "--dataset", "vimeo90k", "x", "--ray", "--device", "cpu"], "--device has no meaning"),
        (["train", "--model", "rife", "--data", "synthetic", "-o", "run", "--ray", "--device", "cpu"], "--device has"),
        (["train", "--model", "rife", "--data", "synthetic", "-o", "memory://run", "--ray"], "that all nodes share"),
    ],
)
def test_what_has_no_meaning(words, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert sentence in capsys.readouterr().err


WITH_RAY = {
    "interpolate": ["in.mp4", "-o", "out.mp4"],
    "evaluate": ["--dataset", "vimeo90k", "x"],
    "train": ["--model", "rife", "--data", "synthetic", "-o", "run"],
    "make_clips": ["x", "-o", "clips.jsonl"],
}


def commands_with_ray():
    (subparsers,) = (each for each in build_parser()._actions if isinstance(each, argparse._SubParsersAction))
    parsers = {**subparsers.choices, "make_clips": clips_parser()}
    words = {name: [option for action in parser._actions for option in action.option_strings if "--ray" in option]
             for name, parser in parsers.items()}  # fmt: skip
    return {name: options for name, options in words.items() if options}


def test_what_means_nothing_without_a_cluster(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert commands_with_ray().keys() == WITH_RAY.keys()
    for name, options in commands_with_ray().items():
        assert "--ray" in options and len(options) > 1
        run = clips if name == "make_clips" else lambda words, name=name: main([name, *words])
        for option in options[1:]:
            assert run([*WITH_RAY[name], option, "CPU=1" if option == "--ray-resources" else "1"]) == 2
            assert f": {option} is for --ray only\n" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["0", "-1", "x", "1.5"])
def test_a_number_of_processes(capsys, text):
    assert main(["train", *WITH_RAY["train"], "--ray", "--ray-workers", text]) == 2
    assert f"expected a whole number, 1 or more, got '{text}'" in capsys.readouterr().err


RAYS = ("TorchTrainer", "ScalingConfig", "RunConfig", "FailureConfig")


class Trained:
    """In place of Ray Train's: asks nothing, and ends well."""

    def __init__(self, *_: object, **given: object) -> None:
        self.error = None

    def fit(self) -> "Trained":
        return self


def test_more_processes_than_there_is_room_for(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "require", lambda *_: SimpleNamespace(**dict.fromkeys(RAYS, Trained)))
    words = ["train", *WITH_RAY["train"], "-o", str(tmp_path / "run"), "--quiet", "--ray", "--ray-workers"]
    with in_place_of_ray(monkeypatch):
        assert main([*words, "5"]) == 0
        room = "5 processes were asked for, the cluster has room for 3 now: waiting for nodes; Ctrl-C ends"
        assert room in capsys.readouterr().err
        assert main([*words, "3", "--overwrite"]) == 0
        assert "room" not in capsys.readouterr().err
