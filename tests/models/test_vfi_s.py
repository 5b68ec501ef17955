"""vfi-s: what holds for any weights, its files, and that it learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scripts_of_the_tree import script
from tiny import log_of

import vfi
from vfi.data.synthetic import triplet
from vfi.errors import UserError
from vfi.files import checkpoints
from vfi.models.flow_splat import FlowSplat
from vfi.models.registry import MODELS, load_model, load_objective
from vfi.models.vfi_s import VFIS, Network
from vfi.models.vfi_s.files import load_network, notes, widths_of
from vfi.models.vfi_s.motion import begun
from vfi.models.vfi_s.network import TINY, Widths, larger
from vfi.models.vfi_s.training import VFISObjective, motion
from vfi.networks.layers import resized
from vfi.training import Job, shards, train


def untrained(seed=0, strength=0.0):
    """A tiny one; with a strength its last layers are noise of that size."""
    torch.manual_seed(seed)
    network = Network(TINY)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "answer" in name or name.startswith("colours.body.2"):
                parameter.normal_(0, strength)
    return VFIS(network).eval()


def scene(seed=0, size=(96, 128), **more):
    return triplet(seed, size, max_motion=8, **more)


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (30, 200), (1, 1), (17, 16)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_any_size_and_dtype(size, dtype, rng):
    frames = [torch.rand(2, 3, *size, generator=rng).to(dtype) for _ in range(2)]
    results = untrained(strength=0.1).interpolate_many(*frames, [0, 0.25, 0.5, 1])
    assert all(r.shape == frames[0].shape and r.dtype == dtype and r.min() >= 0 and r.max() <= 1 for r in results)
    assert torch.equal(results[0], frames[0]) and torch.equal(results[3], frames[1])
    assert torch.equal(results[1], untrained(strength=0.1).interpolate(*frames, 0.25))


def test_equal_frames_are_given_back(rng):
    """Whatever the weights: to rounding, as the doubled picture is read at whole places."""
    frame = torch.rand(1, 3, 80, 96, generator=rng)
    for t in (0.1, 0.5, 0.9):
        torch.testing.assert_close(untrained(strength=0.3).interpolate(frame, frame, t), frame, rtol=0, atol=1e-6)


def test_what_is_equal_far_around_stays():
    """Beside a moving square, beyond the surroundings that count."""
    frames = torch.full((2, 3, 192, 320), 0.25)
    frames[:, :, :, 160:] += torch.rand(1, 1, 192, 160)[0] / 2
    for i in (0, 1):
        frames[i, :, 80:112, 8 + 6 * i : 40 + 6 * i] = torch.rand(1)
    result = untrained(strength=0.3).interpolate(frames[:1], frames[1:], 0.5)
    torch.testing.assert_close(result[..., 208:], frames[:1, ..., 208:], rtol=0, atol=1e-6)


def test_untrained_it_follows_the_motion_found():
    """It begins well above the mean of both frames, and at any time."""
    for time in (0.3, 0.5):
        sample = scene(3, (128, 160), time=time)
        made = untrained().interpolate(sample.frames[:1], sample.frames[2:], time)[0]
        mean = (1 - time) * sample.frames[0] + time * sample.frames[2]
        error, of_mean = ((x - sample.frames[1]).square().mean() for x in (made, mean))
        assert error < of_mean / 2


def test_a_batch_is_its_samples(rng):
    model = untrained(strength=0.1)
    samples = [scene(seed).frames for seed in (1, 2)]
    first, second = (torch.stack([s[i] for s in samples]) for i in (0, 2))
    together = model.interpolate(first, second, 0.5)
    for i, sample in enumerate(samples):
        alone = model.interpolate(sample[:1], sample[2:], 0.5)
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-5)


def test_larger_begins_bilinear(rng):
    flow = torch.rand(2, 4, 5, 7, generator=rng)
    logits = torch.zeros(2, 36, 5, 7)
    torch.testing.assert_close(larger(flow, logits), resized(flow, 2), rtol=0, atol=1e-3)
    logits[:, 16:20] = 1000.0  # of the pixel itself
    torch.testing.assert_close(larger(flow, logits), flow.repeat_interleave(2, 2).repeat_interleave(2, 3))


def write(path, network=None, told=None):
    state = {name: value.half().contiguous() for name, value in (network or Network(TINY)).state_dict().items()}
    save_file(state, path, told)
    return path


def test_weights_there_and_back(tmp_path):
    network = Network(replace(TINY, told=(5, 6)))
    loaded, step = load_network(write(tmp_path / "w.safetensors", network, notes(1234)))
    assert step == 1234 and loaded.widths == network.widths
    assert all(torch.equal(a.half(), b.half()) for a, b in zip(loaded.state_dict().values(),
                                                               network.state_dict().values()))  # fmt: skip
    assert widths_of(Network().state_dict()) == Widths()


def test_weights_of_another_version(tmp_path):
    path = write(tmp_path / "w.safetensors", told={**notes(1), "version": "0"})
    with pytest.raises(UserError, match=r"w\.safetensors holds vfi-s of version 0; this package reads version 1$"):
        load_model("vfi-s", path)


@pytest.mark.parametrize("held", [None, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 2500000\n"])
def test_without_its_weights_another_model_is_used(tmp_path, monkeypatch, held):
    """Where there is no file, and where Git LFS left a pointer to it."""
    monkeypatch.setitem(MODELS, "vfi-s", replace(MODELS["vfi-s"], ships=tmp_path / "none.safetensors"))
    if held is not None:
        MODELS["vfi-s"].ships.write_bytes(held)
    model = vfi.load_model("vfi-s")
    assert isinstance(model, FlowSplat) and "flow-splat is used" in model.notices[0]
    with pytest.raises(UserError, match=r"flow-splat has no network .*the weights of vfi-s are not in this package"):
        vfi.load_model("vfi-s", engine="openvino")


def test_damaged_weights(tmp_path):
    path = write(tmp_path / "w.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"w\.safetensors is not a checkpoint that can be read safely"):
        load_model("vfi-s", path)


@pytest.mark.skipif(MODELS["vfi-s"].shipped is None, reason="the weights are not in this tree")
def test_the_shipped_weights():
    shipped = MODELS["vfi-s"].ships
    assert shipped.stat().st_size < 4_200_000
    assert all(value.dtype == torch.float16 for value in load_file(shipped).values())
    model = load_model("vfi-s")
    assert isinstance(model, VFIS) and model.network.widths == Widths()


def write_shards(folder, seeds, per_shard=2, known=True):
    for number in range(0, len(seeds), per_shard):
        samples = [triplet(seed, (64, 64), max_motion=12, time=0.4) for seed in seeds[number : number + per_shard]]
        arrays = {
            "frames": np.stack([(s.frames.permute(0, 2, 3, 1) * 255).round().byte().numpy() for s in samples]),
            "time": np.full(len(samples), 0.4, np.float32),
            "flow": np.stack([s.flow.half().numpy() if known else np.full((4, 64, 64), np.nan, np.float16)
                              for s in samples]),
            "visible": np.stack([s.visible.byte().numpy() for s in samples]),
        }  # fmt: skip
        shard = folder / f"shard-{number:05}"
        shard.mkdir(parents=True)
        for name, array in arrays.items():
            np.save(shard / f"{name}.npy", array)
    return folder


def tiny_job(folder, data, **more):
    usual = {"steps": 4, "batch": 2, "crop": 64, "learning_rate": 3e-3, "quiet": True}
    return Job("vfi-s", 1, f"shards:{data}", folder, **{**usual, **more})


def objective(seed=0):
    torch.manual_seed(seed)
    return VFISObjective(Network(TINY))


def test_true_motion_costs_nothing(tmp_path):
    folder = write_shards(tmp_path / "train", range(2))
    sample, beside = shards.collated([shards.Samples(begun, 64)[(folder / "shard-00000", i, None)] for i in (0, 1)])
    known = beside.to(torch.device("cpu"))
    flows = [torch.nn.functional.avg_pool2d(known.flow, n) / n for n in (4, 2)]
    assert motion(flows, known).item() < 1e-3
    assert motion([f + 1 for f in flows], known).item() > 1
    assert sample.shape == (2, 3, 3, 64, 64)


@pytest.mark.parametrize("chance", range(12))
def test_turned_samples_are_true_samples(tmp_path, chance):
    """Frame 0 warped along the turned flow still is the turned frame between, where it is seen."""
    import vfi_kernels as vk

    folder = write_shards(tmp_path / "train", [5])
    samples = shards.Samples(begun, 64)
    frames, beside = samples[(folder / "shard-00000", 0, (0, 0, chance))]
    frames = frames.float() / 255
    plain, _ = samples[(folder / "shard-00000", 0, None)]
    assert abs(frames.mean() - plain.float().mean() / 255) < 1e-5
    for i, other in ((0, 0), (1, 2)):
        flow, seen = beside.flow[None, 2 * i : 2 * i + 2].float(), beside.visible[i] > 0
        error = (vk.backward_warp(frames[other : other + 1], flow)[0] - frames[1]).abs().mean(0)[seen].mean()
        unmoved = (frames[other] - frames[1]).abs().mean(0)[seen].mean()
        assert error < unmoved / 2
    found = begun(frames[:1], frames[2:], torch.tensor([0.4]))[0][0]
    assert (found - beside.quick.float()).abs().mean() < 0.3 * found.abs().mean()


def test_it_says_that_new_samples_are_prepared(tmp_path):
    data, said = write_shards(tmp_path / "train", range(2)), []
    write_shards(tmp_path / "held", [9])
    for _ in range(2):
        shards.data(f"shards:{data}", 2, 64, 1, 0, True, begun, said.append)
    assert len(said) == 1 and said[0].startswith("preparing 2 of the shards in")


def test_it_learns(tmp_path):
    data = write_shards(tmp_path / "train", range(4))
    write_shards(tmp_path / "held", [9], known=True)
    train(objective(), tiny_job(tmp_path / "run", data, steps=40, batch=4, augment=False, ema=0.5))
    log = log_of(tmp_path / "run")
    assert log[-1]["held_out_psnr made up"] == log[-1]["held_out_psnr"]
    with torch.no_grad():
        before, after = objective(), VFISObjective(load_network(tmp_path / "run/weights.safetensors")[0])
        batch = shards.collated([shards.Samples(begun, 64)[(data / f"shard-{n:05}", i, None)]
                                 for n in (0, 2) for i in (0, 1)])  # fmt: skip
        losses = [each.outcome(batch[0].float() / 255, batch[1]).loss.item() for each in (before, after)]
    assert losses[1] < 0.95 * losses[0]


def test_going_on(tmp_path):
    """With the state as if it had not been left; with weights alone from the step that they name. Shards may be added
    meanwhile."""
    data = write_shards(tmp_path / "train", range(4))
    train(objective(), tiny_job(tmp_path / "whole", data))
    train(objective(), tiny_job(tmp_path / "parts", data, minutes=1e-6))
    assert torch.load(tmp_path / "parts/last.pt", weights_only=True)["step"] == 1
    train(objective(1), tiny_job(tmp_path / "parts", data, resume=True))
    whole, parts = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    train(objective(), tiny_job(tmp_path / "first", data, stop_after=2))
    write_shards(tmp_path / "more", [7])
    (tmp_path / "more/shard-00000").rename(data / "shard-00007")
    going_on = load_objective("vfi-s", tmp_path / "first/weights.safetensors", False)
    assert going_on.first_step == 2
    train(going_on, tiny_job(tmp_path / "second", data))
    assert [record["step"] for record in log_of(tmp_path / "second")][-1] == 4


def test_what_shards_lack(tmp_path):
    with pytest.raises(UserError, match=r"expected shards, .* got none"):
        train(objective(), tiny_job(tmp_path / "run", tmp_path))
    data = write_shards(tmp_path / "train", range(2))
    np.save(data / "shard-00000/frames.npy", np.zeros((2, 3), np.uint8))
    with pytest.raises(UserError, match=r"expected .*frames\.npy to be uint8 \(N, 3, H, W, 3\), got uint8 \(2, 3\)"):
        train(objective(), tiny_job(tmp_path / "run", data))


def test_what_ships_is_what_was_trained(tmp_path, monkeypatch):
    """In half the bytes, with the step; the log of a later stretch takes the place of what it made again."""
    ship = script("ship_vfi_s")
    shipped = tmp_path / "vfi-s.safetensors"
    monkeypatch.setitem(MODELS, "vfi-s", replace(MODELS["vfi-s"], ships=shipped))
    data = write_shards(tmp_path / "train", range(2))
    train(objective(), tiny_job(tmp_path / "run", data))
    assert "step 4" in ship.ship(tmp_path / "run", "what it saw")
    state = load_file(shipped)
    assert all(value.dtype == torch.float16 for value in state.values())
    trained = load_file(tmp_path / "run/weights.safetensors")
    assert all(torch.equal(value, trained[name].half()) for name, value in state.items())
    assert load_network(shipped)[1] == 4 and isinstance(load_model("vfi-s", shipped), VFIS)
    assert checkpoints.notes(shipped)["data"] == "what it saw"
    for name, steps in (("a", (0, 2, 4)), ("b", (2, 3))):
        (tmp_path / name).write_text("".join(f'{{"step": {step}, "of": "{name}"}}\n' for step in steps))
    assert [(r["step"], r["of"]) for r in ship.joined([tmp_path / "a", tmp_path / "b"])] == [
        (0, "a"),
        (2, "b"),
        (3, "b"),
    ]
    monkeypatch.setattr(ship, "MOST", 100)
    with pytest.raises(UserError, match="expected at most 100 bytes"):
        ship.ship(tmp_path / "run", "")
