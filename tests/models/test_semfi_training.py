"""Training of SemFi's adapters, and SemFi by the `vfi` command."""

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("diffusers")

from vfi.commands.main import main
from vfi.data.captioned.clips import SyntheticClips
from vfi.errors import UserError
from vfi.files.images import read_image, write_image
from vfi.models import semfi
from vfi.models.registry import load_model, load_objective
from vfi.models.semfi.interpolator import frames_with
from vfi.models.semfi.training import SHIFT, clips_of, encoded, objective, sides
from vfi.training import Job, train


def fresh():
    torch.manual_seed(0)
    return objective(None, True)


def batch(whole, frames, count=2):
    source = SyntheticClips(count, (64, 112), (frames,))
    clips, captions = zip(*(source.read(i) for i in range(count)))
    return torch.stack(clips).float() / 255, captions


def test_only_adapters_are_trained():
    whole = fresh()
    (group,) = whole.begin(1)
    assert len(group.parameters) == 2 * 10 * 7 * 4
    assert {id(p) for p in group.parameters} == {id(p) for p in whole.pipeline.transformer.adapter_parameters()}
    trained = [p for part in whole.pipeline.components.values() if isinstance(part, torch.nn.Module)
               for p in part.parameters() if p.requires_grad]  # fmt: skip
    assert len(trained) == len(group.parameters)
    (stage,) = whole.stages
    assert (stage.learning_rate, stage.final_rate, stage.batch, stage.epochs, stage.crop) == (1e-4, 1e-4, 32, 1, 480)
    assert sides(480) == (480, 832)


def test_the_expert_of_the_batch_learns():
    """A step moves the universal adapter and one expert; the others stay, also without weight decay."""
    whole = fresh()
    (group,) = whole.begin(1)
    before = [p.detach().clone() for p in group.parameters]
    names = [name for name, _ in whole.network.named_parameters()]
    optimizer = torch.optim.AdamW(group.parameters, 1e-2, weight_decay=0.1)
    for _ in range(2):  # in the first, A has no gradient while B is 0
        torch.manual_seed(0)
        outcome = whole.outcome(*batch(whole, 9))
        optimizer.zero_grad()
        outcome.loss.backward()
        optimizer.step()
    for name, old, new in zip(names, before, group.parameters, strict=True):
        acts = ".adapters.0." in name or ".adapters.2." in name
        assert torch.equal(old, new) != acts, name


def test_the_loss_is_that_of_rectified_flow():
    whole = fresh()
    whole.begin(1)
    frames, captions = batch(whole, 5)
    torch.manual_seed(7)
    with torch.no_grad():
        outcome = whole.outcome(frames, captions)
    latents, condition = encoded(whole.pipeline, frames)
    torch.manual_seed(7)
    noise, drawn = torch.randn_like(latents), torch.rand(2)
    sigma = (SHIFT * drawn / (1 + (SHIFT - 1) * drawn)).view(2, 1, 1, 1, 1)
    seen = []
    whole.pipeline.transformer.register_forward_pre_hook(lambda _, __, inputs: seen.append(inputs), with_kwargs=True)
    torch.manual_seed(7)
    with torch.no_grad():
        whole.outcome(frames, captions)
        inputs = seen[0]
        torch.testing.assert_close(inputs["hidden_states"][:, :16], (1 - sigma) * latents + sigma * noise)
        torch.testing.assert_close(inputs["hidden_states"][:, 16:], condition)
        torch.testing.assert_close(inputs["timestep"], 1000 * sigma.flatten())
        velocity = whole.pipeline.transformer(**inputs)[0]
    torch.testing.assert_close(outcome.loss, (velocity - (noise - latents)).square().mean())
    mask = condition[0, :4].mean((2, 3))
    assert mask.tolist() == [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 1.0]]


def test_it_learns():
    whole = fresh()
    (group,) = whole.begin(1)
    data = batch(whole, 5)

    def loss():
        torch.manual_seed(1)
        return whole.outcome(*data).loss

    with torch.no_grad():
        before = loss().item()
    optimizer = torch.optim.AdamW(group.parameters, 1e-2)
    for _ in range(15):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    with torch.no_grad():
        assert loss().item() < 0.95 * before


def test_trained_stopped_and_gone_on(tmp_path):
    usual = {"data": "synthetic:12", "steps": 2, "batch": 2, "crop": 64, "quiet": True}

    def job(name, **more):
        return Job("semfi", 1, output=tmp_path / name, **{**usual, **more})

    train(fresh(), job("one"))
    train(fresh(), job("parts", stop_after=1))
    train(fresh(), job("parts", resume=True))
    one, parts = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "parts"))
    assert len(one) == 560 and all(torch.equal(value, parts[key]) for key, value in one.items())
    pipeline = semfi.tiny()
    semfi.load_adapters(pipeline.transformer, tmp_path / "one" / "weights.safetensors")
    assert torch.equal(pipeline.transformer.blocks[0].ffn.net[2].adapters[0].lora_B.bias,
                       one["blocks.0.ffn.net.2.adapters.0.lora_B.bias"])  # fmt: skip
    # It goes on from adapters
    train(objective(str(tmp_path / "one" / "weights.safetensors"), True), job("more", steps=1, precision="bfloat16"))


def test_wrong_requests(tmp_path):
    with pytest.raises(UserError, match="the model semfi needs backbone, the folder of Wan2"):
        objective(None, False)
    with pytest.raises(UserError, match="give either tiny or backbone"):
        objective(None, True, backbone=str(tmp_path))
    with pytest.raises(UserError, match="expected dtype float32, bfloat16, float16, got int8"):
        objective(None, True, dtype="int8")
    with pytest.raises(UserError, match="expected a manifest of clips"):
        clips_of(str(tmp_path), (64, 112))
    with pytest.raises(UserError, match="expected at least 32 clips of one length"):
        train(fresh(), Job("semfi", 1, "synthetic:6", tmp_path / "x", steps=1, crop=64, quiet=True))


def test_the_fewest_frames_with_one_at_each_time():
    assert frames_with([0.5]) == frames_with([0.25, 0.75]) == 5
    assert frames_with([1 / 3, 2 / 3]) == 13
    assert frames_with([i / 80 for i in range(1, 80)]) == 81
    assert frames_with([0.123456]) == 81


@pytest.fixture
def command(tmp_path, sliding):
    semfi.tiny().save_pretrained(tmp_path / "whole")
    for name, x in (("a", 20), ("b", 28)):
        write_image(tmp_path / f"{name}.png", sliding(x, width=75, height=61))

    def run(*options, code=0):
        words = ["interpolate", tmp_path / "a.png", tmp_path / "b.png", "--model", "semfi", "--overwrite"]
        words += ["--weights", tmp_path / "whole", "--steps", 1]
        assert main([str(word) for word in (*words, *options)]) == code

    return run


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr("vfi.models.semfi.pipeline.AREA", 64 * 80)


def test_by_command(command, tmp_path, capsys):
    command("-o", tmp_path / "f_%d.png", "--num-frames", 7, "--prompt", "a cat jumps.", "--seed", 1)
    assert "makes 9 frames, not 7" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.glob("f_*.png")) == [f"f_{i}.png" for i in range(1, 8)]
    assert read_image(tmp_path / "f_1.png").rgb.shape == (61, 75, 3)
    command("-o", tmp_path / "middle.png")  # classic interpolation: five frames, no text
    command("-o", tmp_path / "clip.mp4", "--num-frames", 9, "--dtype", "bfloat16", "--cfg", 1)
    assert (tmp_path / "clip.mp4").stat().st_size > 0


def test_wrong_commands_are_one_sentence(command, tmp_path, capsys):
    out = ("-o", tmp_path / "m.png")
    (tmp_path / "semfi.ckpt").write_bytes(b"nothing")
    adapters = tmp_path / "adapters.ckpt"
    torch.save({"blocks.0.self_attn.q.lora_A.weight": torch.zeros(2, 2)}, adapters)
    for options, sentence in (
        (("--dtype", "int8"), "expected --dtype float32, bfloat16, float16, got int8"),
        (("--steps", 0), "expected --steps of 1 or more, got 0"),
        (("--cfg", "nan"), "expected --cfg of 1 or more, got nan"),
        (("--size", 60, 64), "expected --size of multiples of 16, got 60 64"),
        (("--backbone", tmp_path / "whole", "--weights", tmp_path / "a.png"), "holds a whole SemFi: give it"),
        (("--num-frames", 2), "--num-frames must be at least 3"),
        (("--num-frames", 5, "--factor", 2), "give only one of --t, --factor and --num-frames"),
        (("--weights", adapters), "the model semfi needs --backbone, the folder of Wan2.1-I2V-14B-720P"),
        (("--weights", tmp_path / "semfi.ckpt", "--backbone", tmp_path), "is not a checkpoint that can be read safely"),
        (("--weights", tmp_path), "expected a folder with model_index.json"),
        (("--warp", "backward"), "--warp is not for the model semfi"),
    ):
        command(*out, *options, code=2)
        captured = capsys.readouterr().err
        assert sentence in captured and len(captured.strip().splitlines()) == 1, captured


def test_a_single_adapter_for_every_number_of_frames(tmp_path):
    """The paper's ablation without the mixture: the universal adapter learns, the experts stay 0."""
    job = Job("semfi", 1, "synthetic:12", tmp_path / "one", steps=2, batch=2, crop=64, quiet=True, learning_rate=1e-2)
    torch.manual_seed(0)
    train(objective(None, True, experts=False), job)
    state = load_file(tmp_path / "one" / "weights.safetensors")
    changed = {name for name, value in state.items() if ".lora_B." in name and value.any()}
    assert changed and all(".adapters.0." in name for name in changed) and len(state) == 560
    again = str(tmp_path / "one" / "weights.safetensors")
    assert len(objective(again, True, experts=False).begin(1)[0].parameters) == 2 * 10 * 4
    torch.manual_seed(0)
    train(fresh(), Job("semfi", 1, "synthetic:12", tmp_path / "all", steps=2, batch=2, crop=64, quiet=True))
    with pytest.raises(UserError, match="holds experts that were trained; without experts begin with fresh adapters"):
        objective(str(tmp_path / "all" / "weights.safetensors"), True, experts=False)


def test_one_number_of_frames_alone(tmp_path):
    """The ablation without several lengths: 65 in the paper."""
    whole = objective(None, True, frames=5)
    train(whole, Job("semfi", 1, "synthetic:12", tmp_path, steps=2, batch=2, crop=(64, 96), quiet=True))
    state = load_file(tmp_path / "weights.safetensors")
    moved = {name.split(".adapters.")[1][0] for name, value in state.items() if ".lora_B." in name and value.any()}
    assert moved == {"0", "1"}
    assert clips_of("synthetic:12", (64, 96), whole.counts).counts == {5: list(range(12))}
    with pytest.raises(UserError, match="expected frames 5, 9, 17, 33, 65, 81, got 6"):
        load_objective("semfi", None, True, frames=6)


def test_wan_alone(command, tmp_path, capsys):
    """The paper's row of the backbone: as SemFi whose adapters are 0."""
    pipeline = semfi.tiny()
    pipeline.transformer.reset_adapters()
    first, last = torch.rand(2, 1, 3, 64, 80)
    wanted = pipeline.generate(first, last, num_frames=5, steps=1, size=(64, 80))
    own, bare = (
        load_model("semfi", tmp_path / "whole", adapters=adapters, steps=1, size=(64, 80)) for adapters in (True, False)
    )
    assert torch.equal(bare.generate(first, last, "", 5), wanted)
    assert not torch.allclose(own.generate(first, last, "", 5), wanted)
    command("-o", tmp_path / "m.png", "--no-adapters")
    words = ["interpolate", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "-o", str(tmp_path / "n.png")]
    capsys.readouterr()
    assert main([*words, "--model", "semfi", "--no-adapters"]) == 2
    assert "the model semfi without --adapters needs --backbone, the folder of Wan2" in capsys.readouterr().err


def test_training_by_command(tmp_path):
    words = ("train", "--model", "semfi", "--tiny", "--data", "synthetic:6", "--batch", 1, "--crop", 64, "--steps", 1)
    assert main([str(word) for word in (*words, "-o", tmp_path / "s", "--quiet")]) == 0
