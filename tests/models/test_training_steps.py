"""A step in parts, crops that are no squares, averaged weights by a plain formula, gradients shortened or not."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_training import quick_arguments, run_command
from test_training_data import Ramp
from tiny import log_of, quick, tiny_rife, write_triplets

from vfi.commands import main
from vfi.errors import UserError
from vfi.files.images import write_image
from vfi.models.vfi_s.network import TINY, Network
from vfi.models.vfi_s.training import VFISObjective
from vfi.training import data, sources, train
from vfi.training.job import chosen_stage
from vfi.training.loop import Training
from vfi.training.parts import Parts
from vfi.training.world import World


def training(tmp_path, **options):
    job = quick(tmp_path, **options)
    objective = tiny_rife()
    return Training(objective, job, chosen_stage(objective, job), World(torch.device("cpu")))


def gradients(under_way):
    """Of the first step, and what it says of itself."""
    loader = torch.utils.data.DataLoader(
        under_way.data.samples, collate_fn=under_way.data.collate,
        batch_sampler=Parts(under_way.batches, under_way.job.accumulate),
    )  # fmt: skip
    parts = iter(loader)
    means = under_way.gradients(under_way.objective, (next(parts) for _ in range(under_way.job.accumulate)))
    return means, [p.grad.clone() for p in under_way.trained if p.grad is not None]


@pytest.mark.parametrize("count", [2, 4])
def test_parts_of_a_batch_have_its_gradients(tmp_path, count):
    whole, expected = gradients(training(tmp_path, batch=4))
    means, got = gradients(training(tmp_path, batch=4, accumulate=count))
    assert len(got) == len(expected) > 50
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert {name: value.item() for name, value in means.items()} == pytest.approx(
        {name: value.item() for name, value in whole.items()}, rel=1e-5
    )


def test_accumulation_trains_what_the_whole_batch_does(tmp_path):
    """And it is in parts that a process takes its share."""
    for count in (1, 2):
        train(tiny_rife(), quick(tmp_path / str(count), accumulate=count))
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("1", "2"))
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-3, atol=2e-5)
    first, second = (log_of(tmp_path / name)[-1] for name in ("1", "2"))
    assert second["psnr"] == pytest.approx(first["psnr"], abs=1e-3)
    for options, parts in (({"accumulate": 3}, 3), ({"batch": 4, "accumulate": 8}, 8)):
        sentence = rf"^expected batch to be a multiple of {parts}, the processes times accumulate, got \d$"
        with pytest.raises(UserError, match=sentence):
            train(tiny_rife(), quick(tmp_path / "x", **options))
    with pytest.raises(UserError, match="expected accumulate of 1 or more, got 0"):
        train(tiny_rife(), quick(tmp_path / "x", accumulate=0))


@pytest.mark.nightly
def test_parts_are_what_processes_would_be(tmp_path):
    """Also in what is drawn at random: the third stage of APR-VFI samples its routes."""

    def arguments(folder, stage, *more):
        usual = ["--data", "synthetic:8", "--batch", "4", "--crop", "64", "--steps", "3", "--learning-rate", "1e-3"]
        return ["train", "--model", "apr-vfi", "--stage", stage, *usual, "-o", folder, *more]

    for stage, begin in ((1, ["--tiny"]), (2, ["--weights", tmp_path / "1" / "weights.safetensors"])):
        assert run_command(arguments(tmp_path / str(stage), stage, *begin)).wait(300) == 0
    weights = ["--weights", tmp_path / "2" / "weights.safetensors"]
    runs = [
        run_command(arguments(tmp_path / "parts", 3, *weights, "--accumulate", "2")),
        run_command(arguments(tmp_path / "processes", 3, *weights), 2),
        run_command(arguments(tmp_path / "both", 3, *weights, "--accumulate", "2"), 2),
        run_command(arguments(tmp_path / "four", 3, *weights, "--accumulate", "4")),
    ]
    assert [run.wait(300) for run in runs] == [0] * 4
    for ours, theirs in (("parts", "processes"), ("both", "four")):
        one, two = (load_file(tmp_path / name / "weights.safetensors") for name in (ours, theirs))
        for key, value in one.items():
            torch.testing.assert_close(two[key], value, rtol=1e-3, atol=5e-5)
        routes = [[line["route"] for line in log_of(tmp_path / name)[1:]] for name in (ours, theirs)]
        assert routes[0] == pytest.approx(routes[1], rel=1e-4)


def test_averaged_weights_are_those_of_a_plain_formula(tmp_path):
    after = []
    for steps in (1, 2, 3):
        train(tiny_rife(), quick(tmp_path / str(steps), epochs=None, steps=3, stop_after=steps))
        after.append(load_file(tmp_path / str(steps) / "weights.safetensors"))
    train(tiny_rife(), quick(tmp_path / "ema", epochs=None, steps=3, ema=0.75))
    averaged = load_file(tmp_path / "ema" / "weights.safetensors")
    for key, value in averaged.items():
        expected = after[0][key]
        for each in after[1:]:
            expected = 0.75 * expected + 0.25 * each[key]
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-8)
    state = torch.load(tmp_path / "ema" / "last.pt", weights_only=True)
    assert all(torch.equal(value, after[2][key]) for key, value in state["network"].items())


@pytest.mark.parametrize("norm", [0, 0.01])
def test_gradients_are_shortened_as_asked(tmp_path, norm):
    under_way = training(tmp_path, gradient_norm=norm)
    _, before = gradients(under_way)
    loader = torch.utils.data.DataLoader(
        under_way.data.samples, collate_fn=under_way.data.collate, batch_sampler=under_way.batches
    )
    told = under_way.learn_from(under_way.objective, islice(loader, 1))["gradient"]
    length = torch.stack([g.norm() for g in before]).norm().item()
    kept = torch.stack([p.grad.norm() for p in under_way.trained if p.grad is not None]).norm().item()
    assert told == pytest.approx(length, rel=1e-4) and length > 0.02
    assert kept == pytest.approx(norm or length, rel=1e-3)
    with pytest.raises(UserError, match="expected gradient_norm of 0 or more, got -1"):
        train(tiny_rife(), quick(tmp_path, gradient_norm=-1.0))


def test_crops_of_two_sides(tmp_path):
    """Flipped, never turned by a quarter: the sides would not fit."""
    samples, kinds = data.Augmented(Ramp(), (32, 64), seed=3), set()
    for epoch in range(40):
        frames = samples[epoch, 1].frames.int()
        assert frames.shape == (3, 3, 32, 64)
        rows, columns = frames[0, 0], frames[0, 1]
        assert rows.max() - rows.min() == 31 and columns.max() - columns.min() == 63
        kinds.add(((rows[1, 0] - rows[0, 0]).item(), (columns[0, 1] - columns[0, 0]).item()))
    assert kinds == {(1, 1), (1, -1), (-1, 1), (-1, -1)}
    source, _ = sources.sources("synthetic:2")
    assert source.read(0, (64, 96))[0].shape == (3, 64, 96, 3)
    train(tiny_rife(), quick(tmp_path / "run", crop=(64, 96), epochs=1))
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["settings"]["crop"] == (64, 96)
    for crop, got in (((64, 80), "64 80"), ((64, 96, 32), "64 96 32"), ((32, 64), "32 64")):
        with pytest.raises(UserError, match=f"expected crop to be .*, got {got}$"):
            train(tiny_rife(), quick(tmp_path / "x", crop=crop))
    write_triplets(tmp_path / "files", 1, size=(64, 96))
    with pytest.raises(UserError, match=r"expected frames of at least 64x96 in .*0000, got 96x64; give crop"):
        sources.sources(str(tmp_path / "files"))[0].read(0, (96, 64))


def test_crops_by_command(tmp_path, capsys):
    words = [*map(str, quick_arguments(tmp_path / "a", "--steps", "1"))]
    words[words.index("--crop") + 1 : words.index("--crop") + 2] = ["64", "96"]
    assert main.main([*words, "--accumulate", "2", "--gradient-norm", "0"]) == 0
    assert "batches of 4, 96x64 each" in capsys.readouterr().out
    words[words.index("96")] = "100"
    assert main.main([*words, "--overwrite"]) == 2
    assert "expected --crop to be a multiple of 32, at least 64, got 64 100" in capsys.readouterr().err


def test_septuplets_at_any_time(tmp_path):
    """Three of seven, in order, at the time where the middle one is; what is held out is always the same."""
    folder = tmp_path / "sequences" / "00001" / "0001"
    folder.mkdir(parents=True)
    for number in range(1, 8):
        write_image(folder / f"im{number}.png", np.full((64, 64, 3), number, np.uint8))
    (tmp_path / "sep_trainlist.txt").write_text("00001/0001\n" * 20)
    source, held_out = sources.sources(str(tmp_path), any_time=True)
    assert (len(source), len(held_out)) == (19, 1)
    samples, met = data.Augmented(source, 64, seed=0), set()
    for epoch in range(60):
        sample = samples[epoch, 0]
        before, between, after = sample.frames[:, 0, 0, 0].tolist()
        assert sample.time == pytest.approx((between - before) / (after - before)) and before != between != after
        met.add(tuple(sorted((before, between, after))))
    assert len(met) > 20, "of 35"
    assert samples[7, 0].frames.equal(samples[7, 0].frames)
    frames, time = held_out.read(0, 64)
    assert frames[:, 0, 0, 0].tolist() == [1, 4, 7] and time == 0.5
    with pytest.raises(UserError, match="with 7 frames in a row, but the model is trained on 3"):
        sources.sources(str(tmp_path))


def test_shards_are_cut_into_squares():
    """They are transposed."""
    objective = VFISObjective(Network(TINY))
    stage = replace(objective.stages[0], crop=(64, 96))
    with pytest.raises(UserError, match=r"^expected crop to be a square for shards:FOLDER, got 64 96$"):
        objective.data("shards:none", stage, 0, True, print)
