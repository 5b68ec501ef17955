"""Training learns, goes on where it stopped, shares its work between processes, and stops with one sentence."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tiny import log_of, quick, tiny_rife, tiny_sg_rife, write_triplets

from vfi.commands import main
from vfi.errors import UserError
from vfi.models import rife, sg_rife
from vfi.models.registry import load_objective
from vfi.models.sg_rife.model import ADAPTERS
from vfi.training import Job, Stage, data, sources, train
from vfi.training.job import rate_at
from vfi.training.losses import psnr


def test_rates():
    stage = Stage("", 1, 1, 64, learning_rate=1.0, final_rate=0.1, warm_up=10)
    rates = [rate_at(step, 400, stage) for step in range(400)]
    assert rates[0] == 0.1 and rates[9] == rates[10] == max(rates) == 1 and abs(rates[-1] - 0.1) < 1e-12
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert abs(rates[205] - 0.55) < 0.01, "half of the way is in the middle"
    assert rate_at(0, 20, stage) == 1, "a short training warms up for a twentieth at most"
    assert rate_at(5, 1000, replace(stage, final_rate=1.0)) == 0.6


@pytest.mark.nightly
def test_a_tiny_network_overfits_eight_triplets(tmp_path):
    """From fresh weights; far above what averaging the two frames gives."""
    torch.manual_seed(0)
    job = quick(tmp_path, data="synthetic:8", batch=8, epochs=120, learning_rate=3e-3, augment=False)
    train(tiny_rife(), job)
    log = log_of(tmp_path)
    assert log[-1]["psnr"] > log[1]["psnr"] + 6
    samples = data.Augmented(sources.Synthetic(8), 64, 0, False)
    frames = torch.stack([samples[0, i].frames for i in range(8)]).float() / 255
    average = psnr((frames[:, 0] + frames[:, 2]) / 2, frames[:, 1]).item()
    assert log[-1]["psnr"] > average + 2
    model = rife.load(tmp_path / "weights.safetensors")
    with torch.no_grad():
        got = model.interpolate(frames[:, 0].flip(1), frames[:, 2].flip(1)).flip(1)
    assert abs(psnr(got, frames[:, 1]).item() - log[-1]["psnr"]) < 0.1, "the file holds what was trained"


@pytest.mark.nightly
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
    """Bit for bit, stopped in the middle of an epoch. In the log, a line of an epoch is of all its steps, and what was
    written after the state goes."""
    options = {"epochs": 3, "ema": ema}
    train(tiny_rife(), quick(tmp_path / "whole", **options))
    train(tiny_rife(), quick(tmp_path / "parts", stop_after=3, **options))
    with pytest.raises(UserError, match=r"holds a training already; add resume to go on, or overwrite"):
        train(tiny_rife(), quick(tmp_path / "parts", **options))
    with (tmp_path / "parts" / "log.jsonl").open("a") as log:
        log.write('{"step": 4, "loss": 9}\n{"step": 4, "lo')
    train(tiny_rife(seed=5), quick(tmp_path / "parts", resume=True, **options))
    whole, parts = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(value, parts[key]) for key, value in whole.items())
    assert log_of(tmp_path / "parts") == log_of(tmp_path / "whole")
    if ema:
        trained = torch.load(tmp_path / "whole" / "last.pt", weights_only=True)["network"]
        assert any(not torch.equal(value, trained[key]) for key, value in whole.items())


def test_steps_instead_of_epochs(tmp_path):
    train(tiny_rife(), quick(tmp_path, epochs=None, steps=3))
    log = log_of(tmp_path)
    assert [record["step"] for record in log] == [0, 2, 3] and log[-1]["epoch"] == 1.5
    assert abs(log[-1]["rate"] - 3e-6) < 1e-12, "the cosine ends with the last step"


def test_what_cannot_be_gone_on_with(tmp_path):
    with pytest.raises(UserError, match=r"nothing to resume: .*last\.pt does not exist"):
        train(tiny_rife(), quick(tmp_path / "none", resume=True))
    train(tiny_rife(), quick(tmp_path / "run", stop_after=1))
    with pytest.raises(UserError, match=r"last\.pt was trained with batch 2, not 4; take another folder"):
        train(tiny_rife(), quick(tmp_path / "run", resume=True, batch=4))
    (tmp_path / "run" / "last.pt").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"last\.pt is damaged, or not the state of a training"):
        train(tiny_rife(), quick(tmp_path / "run", resume=True))
    train(tiny_rife(), quick(tmp_path / "run", overwrite=True, stop_after=1))
    assert [record["step"] for record in log_of(tmp_path / "run")] == [0]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"crop": 100}, "expected crop to be a multiple of 32, at least 64, got 100"),
        ({"batch": 0}, "expected batch above 0, got 0"),
        ({"learning_rate": -1.0}, "expected learning_rate above 0, got -1.0"),
        ({"precision": "int8"}, "expected precision float32, bfloat16, float16, got int8"),
        ({"ema": 1.5}, "expected ema between 0 and 1, got 1.5"),
        ({"steps": 0, "epochs": None}, "expected steps above 0, got 0"),
        ({"workers": -1}, "expected workers of 0 or more, got -1"),
        ({"seed": -1}, "expected seed of 0 or more, got -1"),
        ({"resume": True, "overwrite": True}, "give only one of resume and overwrite"),
        ({"steps": 3}, "give only one of epochs and steps"),
        ({"batch": 64}, "expected at least 64 triplets or clips, one batch, got 4"),
    ],
)
def test_wrong_jobs(tmp_path, options, sentence):
    with pytest.raises(UserError, match=sentence):
        train(tiny_rife(), quick(tmp_path, **options))
    with pytest.raises(UserError, match="expected stage from 1 to 1 of the model rife, got 2"):
        train(tiny_rife(), replace(quick(tmp_path), stage=2))


def test_mixed_precision(tmp_path):
    train(tiny_rife(), quick(tmp_path / "float32"))
    full = load_file(tmp_path / "float32" / "weights.safetensors")
    for precision in ("bfloat16", "float16"):
        train(tiny_rife(), quick(tmp_path / precision, precision=precision))
        half = load_file(tmp_path / precision / "weights.safetensors")
        assert all(value.isfinite().all() and value.dtype == torch.float32 for value in half.values())
        assert any(not torch.equal(value, full[key]) for key, value in half.items())
        assert abs(log_of(tmp_path / precision)[-1]["loss"] / log_of(tmp_path / "float32")[-1]["loss"] - 1) < 0.1


def test_a_gradient_that_is_not_finite_stops_before_it_harms(tmp_path):
    objective = tiny_rife()
    train(objective, quick(tmp_path, stop_after=2))
    saved = load_file(tmp_path / "weights.safetensors")
    path = tmp_path / "last.pt"
    broken = torch.load(path, weights_only=True)
    broken["network"]["block0.lastconv.bias"].fill_(float("nan"))
    torch.save(broken, path)
    with pytest.raises(UserError, match=r"the gradient is not finite at step 3; last\.pt holds step 2: try a smaller"):
        train(objective, quick(tmp_path, resume=True))
    with torch.no_grad():
        objective.network.block0.lastconv.bias.fill_(float("nan"))
    with pytest.raises(UserError, match=r"the gradient is not finite at step 1; nothing was saved yet"):
        train(objective, quick(tmp_path, overwrite=True))
    assert all(value.isfinite().all() for value in saved.values())


def run_command(arguments, processes=1, **options):
    """The `vfi` command in processes of its own."""
    start = [sys.executable, "-m", "vfi"]
    if processes > 1:
        start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        start += ["-m", "vfi"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    return subprocess.Popen([*start, *map(str, arguments)], env=environment, text=True, **options)


def quick_arguments(folder, *more):
    usual = ["--data", "synthetic:8", "--batch", "4", "--crop", "64", "--learning-rate", "1e-3"]
    return ["train", "--model", "rife", "--tiny", *usual, "-o", folder, *more]


@pytest.mark.nightly
def test_two_processes_learn_what_one_does(tmp_path):
    runs = [run_command(quick_arguments(tmp_path / str(n), "--epochs", "2", "--ema", "0.9"), n) for n in (1, 2)]
    assert [run.wait(300) for run in runs] == [0, 0]
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("1", "2"))
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-3, atol=2e-5)
    first, second = (log_of(tmp_path / name) for name in ("1", "2"))
    assert len(first) == len(second) == 3
    assert abs(first[-1]["psnr"] - second[-1]["psnr"]) < 0.2 and abs(first[-1]["loss"] / second[-1]["loss"] - 1) < 1e-3


def test_interrupted_training_goes_on(tmp_path, threads):
    """Ctrl-C: the step is finished, the state written; --resume ends with what an undisturbed run ends with."""
    arguments = ["--epochs", "8"]
    process = run_command(quick_arguments(tmp_path / "a", *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (tmp_path / "a" / "last.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130 and "stopping after this step" in errors and "Traceback" not in errors
    assert 0 < torch.load(tmp_path / "a" / "last.pt", weights_only=True)["step"] < 16
    threads(1)
    torch.use_deterministic_algorithms(False)  # as in the process
    for folder, more in (("a", ["--resume"]), ("b", [])):
        assert main.main([*map(str, quick_arguments(tmp_path / folder, *arguments, *more))]) == 0
    parts, once = (load_file(tmp_path / name / "weights.safetensors") for name in ("a", "b"))
    assert all(torch.equal(value, parts[key]) for key, value in once.items())


def test_tiny_networks_and_weights(tmp_path, capsys):
    """A tiny RIFE is what a tiny SG-RIFE begins with; what does not go together is said."""

    def run(model, *more):
        usual = ["--data", "synthetic:2", "--batch", "2", "--crop", "64", "--steps", "1", "--quiet"]
        return main.main(["train", "--model", model, *usual, *map(str, more)]), capsys.readouterr().err

    weights = [tmp_path / name / "weights.safetensors" for name in ("rife", "sg")]
    assert run("rife", "--tiny", "-o", tmp_path / "rife") == (0, "")
    assert run("sg-rife", "--tiny", "--weights", weights[0], "-o", tmp_path / "sg") == (0, "")
    assert run("sg-rife", "--tiny", "--weights", weights[1], "--stage", 2, "-o", tmp_path / "sg2") == (0, "")
    assert os.stat(weights[0]).st_mode & 0o044 == os.stat(tmp_path / "rife" / "log.jsonl").st_mode & 0o044
    for model in ("rife", "apr-vfi"):
        assert "give either --tiny or" in run(model, "--tiny", "--weights", weights[0], "-o", tmp_path / "x")[1]
    assert "either --tiny or --dino" in run("sg-rife", "--tiny", "--dino", weights[0], "-o", tmp_path / "x")[1]
    assert "the state of a training" in run("rife", "--weights", tmp_path / "rife" / "last.pt", "-o", tmp_path / "x")[1]
    with pytest.raises(UserError, match="holds adapters for features of 32 channels, got a DINO of 384"):
        network = torch.nn.Identity()
        network.channels = 384
        sg_rife.load(weights[1], dino=network)
    assert not (tmp_path / "x").exists()


def test_the_command_trains_what_the_command_uses(tmp_path, capsys):
    assert main.main([*map(str, quick_arguments(tmp_path / "run", "--epochs", "1"))]) == 0
    printed = capsys.readouterr().out
    assert "rife, stage 1: the whole network" in printed and "at the start, held out" in printed
    assert "step 2 of 2: loss" in printed and "weights.safetensors" in printed
    write_triplets(tmp_path / "data", 1)
    scene = tmp_path / "data" / "0000"
    weights = ["--model", "rife", "--weights", str(tmp_path / "run" / "weights.safetensors")]
    output = tmp_path / "middle.png"
    assert main.main(["interpolate", str(scene / "im1.png"), str(scene / "im3.png"), "-o", str(output), *weights]) == 0
    assert output.is_file()
    assert main.main(["train", "--model", "flow-splat", "--data", "synthetic", "-o", str(tmp_path / "x")]) == 2
    assert (
        "expected a model that is trained: vfi-s, apr-vfi, rdvfi-d, rdvfi-u, semfi, rife, sg-rife; got 'flow-splat'"
        in capsys.readouterr().err
    )
    assert main.main(["train", "--model", "rife", "--data", "synthetic", "-o", str(tmp_path / "x"), "--dino", "y"]) == 2
    assert "--dino is not for the training of rife: it has --variant" in capsys.readouterr().err
    assert main.main(["train", "--model", "sg-rife", "--data", "synthetic", "-o", str(tmp_path / "x")]) == 2
    assert "give --weights, RIFE's flownet.pkl for stage 1" in capsys.readouterr().err
