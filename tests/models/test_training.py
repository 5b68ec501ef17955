"""Losses, data, stages, the loop: what is trained, that it learns, goes on where it stopped, shares its work."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vfi_models import cli, rife, sg_rife
from vfi_models.errors import UserError
from vfi_models.images import write_image
from vfi_models.registry import load_objective
from vfi_models.rife.training import RIFEObjective
from vfi_models.rife.training import taught as taught_by_the_teacher
from vfi_models.sg_rife.model import ADAPTERS
from vfi_models.sg_rife.training import SGRIFEObjective, tiny_dino
from vfi_models.synthetic import triplet
from vfi_models.training import Job, Stage, data, train
from vfi_models.training.job import rate_at
from vfi_models.training.losses import laplacian, psnr


def tiny_rife(seed=0):
    torch.manual_seed(seed)
    return RIFEObjective(rife.RIFE(rife.config.TINY))


def tiny_sg_rife(seed=0):
    torch.manual_seed(seed)
    return SGRIFEObjective(sg_rife.SGRIFE(tiny_dino(), sg_rife.config.TINY))


def quick(folder, **options):
    usual = {"data": "synthetic:4", "epochs": 2, "batch": 2, "crop": 64, "learning_rate": 1e-3, "quiet": True}
    return Job("rife", 1, output=folder, **{**usual, **options})


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def batch(size=64, count=2):
    frames = torch.stack([triplet(seed, (size, size), max_motion=size / 8).frames for seed in range(count)])
    return frames.flip(2), torch.full((count,), 0.5)


# Losses


def pyramid_by_hand(x):
    """Of one plane, with NumPy and loops over the 25 taps."""
    row = np.array([1, 4, 6, 4, 1]) / 16

    def blur(a):
        padded, (h, w) = np.pad(a, 2, mode="reflect"), a.shape
        return sum(row[i] * row[j] * padded[i : i + h, j : j + w] for i in range(5) for j in range(5))

    total = 0.0
    for _ in range(5):
        small = blur(x)[::2, ::2]
        spread = np.zeros_like(x)
        spread[::2, ::2] = small
        total += np.abs(x - 4 * blur(spread)).mean()
        x = small
    return total


@pytest.mark.parametrize("size", [(64, 64), (49, 70)])
def test_laplacian_against_loops(size):
    torch.manual_seed(0)
    result, truth = torch.rand(2, 2, 3, *size, dtype=torch.float64)
    expected = np.mean([pyramid_by_hand(plane) for plane in (result - truth).flatten(0, 1).numpy()])
    assert abs(laplacian(result, truth).item() - expected) < 1e-12
    assert laplacian(truth, truth).item() == 0
    assert laplacian(truth + 0.25, truth).item() < 1e-12, "what all levels share does not count"


def test_the_teacher_is_followed_only_where_it_is_better():
    """Its flow is no target for gradients, and where the student is as good nothing pulls."""
    objective = tiny_rife()
    frames, times = batch()
    before, truth, after = frames.unbind(1)
    result = objective.network(before, after)
    terms = taught_by_the_teacher(objective.network, before, after, truth, times, result)
    gradient = torch.autograd.grad(
        terms["distillation"], list(objective.network.block_tea.parameters()), allow_unused=True
    )
    assert all(g is None for g in gradient)
    assert any(
        g.abs().sum() > 0 for g in torch.autograd.grad(terms["teacher"], list(objective.network.block_tea.parameters()))
    )
    # Of gray pictures student and teacher are both right: the distance of their flows does not count.
    flat = torch.full_like(frames, 0.5)
    assert objective.outcome(flat, times).terms["distillation"].item() == 0
    assert terms["distillation"].item() > 0


def test_semantic_and_offset_terms():
    """DINO's term is 0 for the truth itself; its gradient passes through DINO, whose weights stay."""
    objective = tiny_sg_rife()
    objective.begin(2)
    network = objective.network
    with torch.no_grad():
        for fusion in (network.unet.fusion_s2, network.unet.fusion_s3):
            fusion.gamma.fill_(0.5)
            fusion.conv_offset.bias.fill_(0.25)
    frames, times = batch()
    outcome = objective.outcome(frames, times)
    assert set(outcome.terms) == {"student", "dino", "offsets"}, "the flow is frozen: the teacher's terms are constants"
    expected = sum(objective.weights[name] * term for name, term in outcome.terms.items())
    assert torch.equal(outcome.loss, expected)
    assert abs(outcome.terms["offsets"].item() - 4 * 0.25) < 0.05, "mean |offset| of two fusions, past and future"
    found = torch.autograd.grad(outcome.terms["dino"], network.unet.conv.weight, retain_graph=True)[0]
    assert found.abs().sum() > 0
    assert not any(p.requires_grad for p in network.dino.parameters())
    maps = network.maps(frames[:, 1])
    by_hand = sum((a - b).abs().mean() for a, b in zip(network.maps(outcome.frames), maps, strict=True))
    torch.testing.assert_close(outcome.terms["dino"], by_hand)
    assert sum((a - b).abs().mean() for a, b in zip(network.maps(frames[:, 1]), maps, strict=True)) == 0


def test_with_a_trained_flow_the_teacher_counts():
    objective = tiny_sg_rife()
    objective.begin(2)
    objective.network.requires_grad_(True)
    assert set(objective.outcome(*batch()).terms) == set(objective.weights)


# What each stage trains


def test_stages_train_what_the_paper_says():
    with torch.device("meta"):
        objective = SGRIFEObjective(sg_rife.SGRIFE(torch.nn.Identity()))
    counts = []
    for stage in (1, 2):
        usual, slow = objective.begin(stage)
        assert (usual.factor, slow.factor) == (1, 0.25)
        names = {id(p): name for name, p in objective.network.named_parameters()}
        assert all(".conv_offset." in names[id(p)] for p in slow.parameters) and len(slow.parameters) == 4
        trained = {n for n, p in objective.network.named_parameters() if p.requires_grad}
        assert trained == {names[id(p)] for p in (*usual.parameters, *slow.parameters)}
        counts.append(sum(p.numel() for p in (*usual.parameters, *slow.parameters)))
        assert not objective.network.block0.training
    assert counts == [558_848 + 310_680 + 1_864_262, 5_691_665]
    assert [(s.epochs, s.batch, s.crop, s.learning_rate) for s in objective.stages] == [
        (5, 64, 224, 2e-4),
        (25, 64, 224, 1e-4),
    ]
    assert objective.weights == {"student": 0.1, "teacher": 0.1, "distillation": 0.01, "dino": 0.5, "offsets": 1e-6}


def test_rates():
    stage = Stage("", 1, 1, 64, learning_rate=1.0, final_rate=0.1, warm_up=10)
    rates = [rate_at(step, 400, stage) for step in range(400)]
    assert rates[0] == 0.1 and rates[9] == rates[10] == max(rates) == 1 and abs(rates[-1] - 0.1) < 1e-12
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert abs(rates[205] - 0.55) < 0.01, "half of the way is in the middle"
    assert rate_at(0, 20, stage) == 1, "a short training warms up for a twentieth at most"
    assert rate_at(5, 1000, replace(stage, final_rate=1.0)) == 0.6


# Data


def test_batches_are_the_same_however_they_are_shared():
    whole = list(data.Batches(10, 4, 7, 0, 6))
    assert [len(b) for b in whole] == [4] * 6 and [b[0][0] for b in whole] == [0, 0, 1, 1, 2, 2]
    for epoch in range(3):
        seen = [index for b in whole for e, index in b if e == epoch]
        assert len(set(seen)) == 8 and set(seen) <= set(range(10))
    assert [i for _, i in whole[0]] != [i for _, i in whole[2]], "each epoch has its own order"
    halves = [list(data.Batches(10, 4, 7, 0, 6, rank, 2)) for rank in (0, 1)]
    assert [a + b for a, b in zip(*halves)] == whole
    assert list(data.Batches(10, 4, 7, 3, 6)) == whole[3:]
    assert list(data.Batches(10, 4, 8, 0, 6)) != whole
    with pytest.raises(UserError, match="expected at least 4 triplets, one batch, got 3"):
        data.Batches(3, 4, 0, 0, 1)


class Ramp:
    """Every pixel says where it was: red is the row, green the column, blue the frame."""

    def __len__(self):
        return 3

    def read(self, index, size):
        frames = np.zeros((3, 70, 90, 3), dtype=np.uint8)
        frames[..., 0], frames[..., 1] = np.arange(70)[:, None], np.arange(90)
        frames[..., 2] = np.arange(3)[:, None, None]
        return frames, 0.25


def test_augmentation():
    """One square of all three frames, in all eight orientations and both directions of time; by the seed alone."""
    samples = data.Augmented(Ramp(), 64, seed=3)
    kinds, corners = set(), set()
    for epoch in range(60):
        sample = samples[epoch, 1]
        frames = sample.frames.int()
        assert frames.shape == (3, 3, 64, 64) and sample.frames.dtype == torch.uint8
        assert (frames[:, :2] == frames[:1, :2]).all(), "the three frames are cut alike"
        rows, columns = frames[0, 0], frames[0, 1]
        steps = tuple((plane[1, 0] - plane[0, 0]).item() for plane in (rows, columns))
        steps += tuple((plane[0, 1] - plane[0, 0]).item() for plane in (rows, columns))
        assert rows.max() - rows.min() == columns.max() - columns.min() == 63
        order = tuple(frames[:, 2, 0, 0].tolist())
        assert (order, sample.time) in (((0, 1, 2), 0.25), ((2, 1, 0), 0.75))
        kinds.add((steps, order))
        corners.add((rows.min().item(), columns.min().item()))
    assert len(kinds) == 16 and len(corners) > 30
    again = data.Augmented(Ramp(), 64, seed=3)[5, 1]
    assert torch.equal(again.frames, samples[5, 1].frames)
    assert not torch.equal(data.Augmented(Ramp(), 64, seed=4)[5, 1].frames, again.frames)
    plain = data.Augmented(Ramp(), 64, seed=3, augment=False)[5, 1]
    assert plain.time == 0.25 and plain.frames[0, 0, 0, 0] == 3 and plain.frames[0, 1, 0, 0] == 13


def write_triplets(root, count, size=(64, 64)):
    for number in range(count):
        folder = root / f"{number:04}"
        folder.mkdir(parents=True)
        frames = (triplet(number, size).frames.permute(0, 2, 3, 1) * 255).byte().numpy()
        for name, frame in zip(("im1", "im2", "im3"), frames):
            write_image(folder / f"{name}.png", frame)


def test_sources(tmp_path):
    write_triplets(tmp_path / "sequences" / "00001", 21)
    source, held_out = data.sources(str(tmp_path))
    assert (len(source), len(held_out)) == (20, 1)
    frames, moment = source.read(0, 64)
    assert frames.shape == (3, 64, 64, 3) and moment == 0.5
    lines = [f"00001/{number:04}" for number in range(20)]
    (tmp_path / "tri_trainlist.txt").write_text("\n".join(lines) + "\n\n")
    source, held_out = data.sources(str(tmp_path))
    assert (len(source), len(held_out)) == (19, 1), "the first 95 % of Vimeo90K's list"
    assert held_out.triplets[0][0].parent.name == "0019"
    source, held_out = data.sources("synthetic:40", any_time=True)
    assert len(source) == 40 and len({source.read(i, 64)[1] for i in range(3)}) == 3
    assert not np.array_equal(source.read(0, 64)[0], held_out.read(0, 64)[0])
    for wrong in ("synthetic:x", "synthetic:0", str(tmp_path / "none")):
        with pytest.raises(UserError, match="expected"):
            data.sources(wrong)
    with pytest.raises(UserError, match=r"expected frames of at least 96x96 in .*0000, got 64x64"):
        source, _ = data.sources(str(tmp_path))
        source.read(0, 96)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_picture_is_one_sentence(tmp_path, workers):
    write_triplets(tmp_path / "data", 2)
    (tmp_path / "data" / "0001" / "im2.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"^cannot read .*0001/im2.png: it is not an image, or it is damaged$"):
        train(tiny_rife(), quick(tmp_path / "run", data=str(tmp_path / "data"), workers=workers))


# The loop


def test_a_tiny_network_overfits_eight_triplets(tmp_path):
    """From fresh weights; far above what averaging the two frames gives."""
    torch.manual_seed(0)
    job = quick(tmp_path, data="synthetic:8", batch=8, epochs=120, learning_rate=3e-3, augment=False)
    train(tiny_rife(), job)
    log = log_of(tmp_path)
    assert log[-1]["psnr"] > log[1]["psnr"] + 6
    frames = torch.stack([data.Augmented(data.Synthetic(8), 64, 0, False)[0, i].frames for i in range(8)]).float() / 255
    average = psnr((frames[:, 0] + frames[:, 2]) / 2, frames[:, 1]).item()
    assert log[-1]["psnr"] > average + 2
    model = rife.load(tmp_path / "weights.safetensors")
    with torch.no_grad():
        got = model.interpolate(frames[:, 0].flip(1), frames[:, 2].flip(1)).flip(1)
    assert abs(psnr(got, frames[:, 1]).item() - log[-1]["psnr"]) < 0.1, "the file holds what was trained"


def test_both_stages_of_sg_rife(tmp_path):
    """What is frozen stays as it was; the loss falls; the second stage begins where the first ended."""
    torch.manual_seed(0)
    objective = tiny_sg_rife()
    before = {k: v.clone() for k, v in objective.network.state_dict().items()}
    usual = {"data": "synthetic:4", "batch": 4, "crop": 64, "quiet": True, "augment": False, "learning_rate": 2e-3}
    train(objective, Job("sg-rife", 1, output=tmp_path / "1", epochs=15, **usual))
    first = load_file(tmp_path / "1" / "weights.safetensors")
    changed = {k for k, v in first.items() if not torch.equal(v, before[k])}
    assert changed and all(k.startswith(ADAPTERS) for k in changed)
    assert {k for k in first if k.startswith(ADAPTERS)} - changed == set(), "every adapter learns"
    second = load_objective("sg-rife", str(tmp_path / "1" / "weights.safetensors"), tiny=True)
    train(second, Job("sg-rife", 2, output=tmp_path / "2", epochs=25, **usual))
    log = log_of(tmp_path / "2")
    assert log[-1]["loss"] < 0.8 * log[1]["loss"] and log[-1]["psnr"] > log[1]["psnr"] + 1
    after = load_file(tmp_path / "2" / "weights.safetensors")
    moved = {k for k, v in after.items() if not torch.equal(v, first[k])}
    assert {
        k for k in moved if not k.startswith(("unet.", *ADAPTERS))
    } == set() and "unet.down0.conv1.0.weight" in moved


@pytest.mark.parametrize("ema", [None, 0.9])
def test_going_on_gives_what_one_go_gives(tmp_path, ema):
    """Bit for bit, stopped in the middle of an epoch."""
    options = {"data": "synthetic:8", "epochs": 2, "ema": ema}
    train(tiny_rife(), quick(tmp_path / "whole", **options))
    train(tiny_rife(), quick(tmp_path / "parts", steps=3, **options))
    with pytest.raises(UserError, match=r"holds a training already; add --resume to go on, or --overwrite"):
        train(tiny_rife(), quick(tmp_path / "parts", **options))
    train(tiny_rife(seed=5), quick(tmp_path / "parts", resume=True, **options))
    whole, parts = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(value, parts[key]) for key, value in whole.items())
    assert log_of(tmp_path / "parts")[-1]["held_out_psnr"] == log_of(tmp_path / "whole")[-1]["held_out_psnr"]
    if ema:
        trained = torch.load(tmp_path / "whole" / "last.pt", weights_only=True)["network"]
        assert any(not torch.equal(value, trained[key]) for key, value in whole.items())


def test_what_cannot_be_gone_on_with(tmp_path):
    with pytest.raises(UserError, match=r"nothing to resume: .*last\.pt does not exist"):
        train(tiny_rife(), quick(tmp_path / "none", resume=True))
    train(tiny_rife(), quick(tmp_path / "run", steps=1))
    with pytest.raises(UserError, match=r"last\.pt was trained with batch 2, not 4; take another folder"):
        train(tiny_rife(), quick(tmp_path / "run", resume=True, batch=4))
    (tmp_path / "run" / "last.pt").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"last\.pt cannot be read"):
        train(tiny_rife(), quick(tmp_path / "run", resume=True))
    train(tiny_rife(), quick(tmp_path / "run", overwrite=True, steps=1))
    assert [record["step"] for record in log_of(tmp_path / "run")] == [0, 1]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"crop": 100}, "expected --crop to be a multiple of 32, at least 64, got 100"),
        ({"batch": 0}, "expected --batch above 0, got 0"),
        ({"learning_rate": -1.0}, "expected --learning-rate above 0, got -1"),
        ({"precision": "int8"}, "expected --precision float32, bfloat16, float16, got int8"),
        ({"ema": 1.5}, "expected --ema between 0 and 1, got 1.5"),
        ({"steps": 0}, "expected --steps above 0, got 0"),
        ({"batch": 64}, "expected at least 64 triplets, one batch, got 4"),
    ],
)
def test_wrong_jobs(tmp_path, options, sentence):
    with pytest.raises(UserError, match=sentence):
        train(tiny_rife(), quick(tmp_path, **options))
    with pytest.raises(UserError, match="the model rife has 1 stages of training, got --stage 2"):
        train(tiny_rife(), replace(quick(tmp_path), stage=2))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision(tmp_path, precision):
    train(tiny_rife(), quick(tmp_path / "half", precision=precision))
    train(tiny_rife(), quick(tmp_path / "full"))
    half, full = (load_file(tmp_path / name / "weights.safetensors") for name in ("half", "full"))
    assert all(value.isfinite().all() and value.dtype == torch.float32 for value in half.values())
    assert any(not torch.equal(value, full[key]) for key, value in half.items())
    assert abs(log_of(tmp_path / "half")[-1]["loss"] / log_of(tmp_path / "full")[-1]["loss"] - 1) < 0.1


def test_a_gradient_that_is_not_finite_stops_before_it_harms(tmp_path):
    objective = tiny_rife()
    train(objective, quick(tmp_path, steps=1))
    saved = load_file(tmp_path / "weights.safetensors")
    with torch.no_grad():
        objective.network.block0.lastconv.bias.fill_(float("nan"))
    with pytest.raises(UserError, match=r"the gradient is not finite at step 1; last\.pt holds an earlier step"):
        train(objective, quick(tmp_path, overwrite=True))
    assert all(value.isfinite().all() for value in saved.values())


def run_command(arguments, processes=1, **options):
    """The `vfi` command in processes of its own."""
    start = [sys.executable, "-m", "vfi_models.cli"]
    if processes > 1:
        start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        start += ["-m", "vfi_models.cli"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    return subprocess.Popen([*start, *map(str, arguments)], env=environment, text=True, **options)


def quick_arguments(folder, *more):
    usual = ["--data", "synthetic:8", "--batch", "4", "--crop", "64", "--learning-rate", "1e-3"]
    return ["train", "--model", "rife", "--tiny", *usual, "-o", folder, *more]


def test_two_processes_learn_what_one_does(tmp_path):
    runs = [run_command(quick_arguments(tmp_path / str(n), "--epochs", "2", "--ema", "0.9"), n) for n in (1, 2)]
    assert [run.wait(300) for run in runs] == [0, 0]
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("1", "2"))
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-3, atol=2e-5)
    first, second = (log_of(tmp_path / name) for name in ("1", "2"))
    assert len(first) == len(second) == 3
    assert abs(first[-1]["psnr"] - second[-1]["psnr"]) < 0.2 and abs(first[-1]["loss"] / second[-1]["loss"] - 1) < 1e-3


def test_interrupted_training_goes_on(tmp_path):
    """Ctrl-C: the step is finished, the state written; --resume ends with what an undisturbed run ends with."""
    process = run_command(
        quick_arguments(tmp_path / "a", "--epochs", "60"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "a" / "last.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130 and "stopping after this step" in errors and "Traceback" not in errors
    step = torch.load(tmp_path / "a" / "last.pt", weights_only=True)["step"]
    assert 0 < step < 120
    steps = str(step + 3)
    resume = run_command(quick_arguments(tmp_path / "a", "--epochs", "60", "--resume", "--steps", steps))
    whole = run_command(quick_arguments(tmp_path / "b", "--epochs", "60", "--steps", steps))
    assert (resume.wait(300), whole.wait(300)) == (0, 0)
    parts, once = (load_file(tmp_path / name / "weights.safetensors") for name in ("a", "b"))
    assert all(torch.equal(value, parts[key]) for key, value in once.items())


def test_the_command_trains_what_the_command_uses(tmp_path, capsys):
    assert cli.main([*map(str, quick_arguments(tmp_path / "run", "--epochs", "1"))]) == 0
    printed = capsys.readouterr().out
    assert "rife, stage 1: the whole network" in printed and "at the start, held out" in printed
    assert "epoch 1 of 1: loss" in printed and "weights.safetensors" in printed
    write_triplets(tmp_path / "data", 1)
    scene = tmp_path / "data" / "0000"
    weights = ["--model", "rife", "--weights", str(tmp_path / "run" / "weights.safetensors")]
    output = tmp_path / "middle.png"
    assert cli.main(["interpolate", str(scene / "im1.png"), str(scene / "im3.png"), "-o", str(output), *weights]) == 0
    assert output.is_file()
    assert cli.main(["train", "--model", "flow-splat", "--data", "synthetic", "-o", str(tmp_path / "x")]) == 2
    assert "expected a model that is trained: rife, sg-rife; got 'flow-splat'" in capsys.readouterr().err
    assert cli.main(["train", "--model", "rife", "--data", "synthetic", "-o", str(tmp_path / "x"), "--dino", "y"]) == 2
    assert "--dino is not for the model rife" in capsys.readouterr().err
    assert cli.main(["train", "--model", "sg-rife", "--data", "synthetic", "-o", str(tmp_path / "x")]) == 2
    assert "give --weights, RIFE's flownet.pkl for stage 1" in capsys.readouterr().err


def test_any_time_networks_learn_times():
    """Each picture of a batch has its own time."""
    torch.manual_seed(0)
    objective = RIFEObjective(rife.RIFE(replace(rife.config.TINY, variant="rife_m")))
    objective.begin(1)
    frames, _ = batch()
    times = torch.tensor([0.25, 0.75])
    with torch.no_grad():
        together = objective.outcome(frames, times).frames
        alone = [objective.network(frames[i : i + 1, 0], frames[i : i + 1, 2], times[i].item()).frame for i in (0, 1)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-6)
