"""Training of RDVFI: what each stage trains, that it learns, and that the trajectories teach the denoiser."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

pytest.importorskip("diffusers")

from vfi.commands.main import main
from vfi.data.synthetic import clip
from vfi.errors import UserError
from vfi.files import checkpoints
from vfi.models import rdvfi
from vfi.models.rdvfi.training import RDVFIObjective, chosen, objective
from vfi.networks import lpips
from vfi.training import Job, train
from vfi.training.losses import laplacian

PARTS = ("estimator", "synthesis", "denoiser")


def fresh(variant="d", **settings):
    torch.manual_seed(0)
    return RDVFIObjective(rdvfi.tiny(variant, **settings))


def clips(whole, count=2):
    """Pictures that move as a whole, faster and faster."""
    settings = {"motion": "accelerated", "max_motion": 6.0, "layers": 1}
    frames = [clip(seed, (64, 64), whole.frames, **settings).frames for seed in range(count)]
    return torch.stack(frames), torch.full((count,), 0.5)


def test_clips_hold_the_keyframes():
    assert fresh().frames == 25  # three keyframes: every sixth frame
    assert fresh(keyframes=7).frames == 25
    assert fresh(latent_layout="causal").frames == 17


@pytest.mark.parametrize("variant", ["d", "u"])
@pytest.mark.parametrize("stage", [1, 2])
def test_stages_train_their_part(variant, stage):
    whole = fresh(variant)
    (group,) = whole.begin(stage)
    chosen = {name for name, value in whole.network.named_parameters() if value.requires_grad}
    assert {name.split(".")[0] for name in chosen} == ({"estimator", "synthesis"} if stage == 1 else {"denoiser"})
    assert len(group.parameters) == len(chosen)
    assert not any(
        p.requires_grad for p in (*whole.pipeline.vae.parameters(), *whole.pipeline.image_encoder.parameters())
    )
    outcome = whole.outcome(*clips(whole))
    outcome.loss.backward()
    # Nothing is trained that has no gradient; in stage 1 the heads begin at 0, and what is behind them waits
    assert all(p.grad is not None for p in group.parameters)
    assert all(p.grad.isfinite().all() for p in group.parameters)


def test_loss_is_the_papers():
    whole = fresh()
    whole.begin(2)
    frames, times = clips(whole)
    outcome = whole.outcome(frames, times)
    terms = outcome.terms
    assert set(terms) == {"latent", "laplacian", "l2"}
    torch.testing.assert_close(outcome.loss, terms["latent"] + 0.5 * (0.2 * terms["laplacian"] + terms["l2"]))
    torch.testing.assert_close(terms["laplacian"], laplacian(outcome.frames, outcome.truth))
    roots = (outcome.frames - outcome.truth).square().flatten(1).mean(1).sqrt()
    torch.testing.assert_close(terms["l2"], roots.mean())
    assert any((outcome.truth[0] == frame).all() for frame in frames[0, 1:-1])


def test_the_bound_of_the_noise_rises():
    whole = fresh()
    for progress in (0.0, 0.4, 0.99):
        whole.progress = progress
        drawn = whole.drawn_times(2000, torch.device("cpu"))
        assert progress <= drawn.min() < progress + 0.01 and 0.99 < drawn.max() <= 1
        assert drawn.mean().item() == pytest.approx((1 + progress) / 2, abs=0.02)


@pytest.mark.parametrize("variant", ["d", "u"])
def test_trajectories_teach_the_denoiser(variant):
    """The reconstruction alone has gradients in the denoiser, through latents, estimator and splatting."""
    whole = fresh(variant)
    with torch.no_grad():
        for head in (whole.network.estimator.adjacent.head, whole.network.estimator.fusion.flow):
            nn.init.normal_(head.weight, std=0.1)
    whole.begin(2)
    outcome = whole.outcome(*clips(whole))
    outcome.terms["l2"].backward()
    grads = [p.grad for p in whole.network.denoiser.parameters()]
    assert all(grad is None or grad.isfinite().all() for grad in grads)
    assert sum(grad is not None and bool(grad.abs().max() > 0) for grad in grads) > 0.8 * len(grads)


def loss_of(whole, frames, times):
    """The mean over the same draws."""
    with torch.no_grad():
        losses = []
        for seed in range(6):
            torch.manual_seed(1000 + seed)
            losses.append(whole.outcome(frames, times).loss)
    return torch.stack(losses).mean().item()


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["d", pytest.param("u", marks=pytest.mark.nightly)])
def test_both_stages_learn(variant):
    whole = fresh(variant)
    frames, times = clips(whole)
    for stage, steps, rate, share in ((1, 40, 3e-3, 0.9), (2, 15, 3e-3, 0.8)):
        (group,) = whole.begin(stage)
        before = loss_of(whole, frames, times)
        optimizer = torch.optim.AdamW(group.parameters, rate)
        for step in range(steps):
            whole.progress = step / steps
            torch.manual_seed(step)
            outcome = whole.outcome(frames, times)
            optimizer.zero_grad()
            outcome.loss.backward()
            nn.utils.clip_grad_norm_(group.parameters, 1.0)
            optimizer.step()
        whole.progress = 0.0
        after = loss_of(whole, frames, times)
        assert after < share * before, (stage, before, after)
        whole = RDVFIObjective(whole.pipeline)


def test_trained_stopped_and_gone_on(tmp_path):
    """A training that is stopped ends with the same weights; the second stage begins with those of the first."""
    usual = {"data": "synthetic:4", "steps": 4, "batch": 2, "crop": 64, "quiet": True}

    def job(name, stage, **more):
        return Job("rdvfi-d", stage, output=tmp_path / name, **{**usual, **more})

    train(fresh(), job("one", 1))
    train(fresh(), job("parts", 1, stop_after=2))
    train(fresh(), job("parts", 1, resume=True))
    one, parts = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "parts"))
    assert {key.split(".")[0] for key in one} == {"estimator", "synthesis", "prompt"}
    assert all(torch.equal(value, parts[key]) for key, value in one.items())
    weights = str(tmp_path / "one" / "weights.safetensors")
    train(objective(weights, True, "d"), job("two", 2, ema=0.5))
    two = load_file(tmp_path / "two" / "weights.safetensors")
    assert {key.split(".")[0] for key in two} == {"estimator", "synthesis", "prompt", "denoiser"}
    assert all(torch.equal(value, two[key]) for key, value in one.items())  # frozen
    trained = rdvfi.tiny("d", tmp_path / "two" / "weights.safetensors")
    assert torch.equal(trained.denoiser.proj_out.weight, two["denoiser.proj_out.weight"])
    log = [json.loads(line) for line in (tmp_path / "two" / "log.jsonl").read_text().splitlines()]
    assert all(math.isfinite(line["held_out_psnr"]) for line in log)


def test_by_command(tmp_path):
    words = ("train", "--model", "rdvfi-u", "--tiny", "--data", "synthetic:2", "--batch", 2, "--crop", 64, "--steps", 1)
    assert main([str(word) for word in (*words, "-o", tmp_path / "u", "--quiet")]) == 0
    assert (tmp_path / "u" / "weights.safetensors").is_file()


def test_wrong_requests(tmp_path):
    with pytest.raises(UserError, match=r"needs backbone, the folder of Wan2.1-Fun-1.3B-InP; nothing is downloaded"):
        objective(None, False, "d")
    with pytest.raises(UserError, match="stage 2 begins with weights of stage 1"):
        objective(None, True, "d").begin(2)
    with pytest.raises(UserError, match="give either tiny or backbone"):
        objective(None, True, "u", backbone=str(tmp_path))


def alexnet(seed=0):
    """AlexNet's convolutions and LPIPS' heads under their published names."""
    generator = torch.Generator().manual_seed(seed)
    sizes = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
    backbone = {"classifier.1.weight": torch.zeros(2, 2)}
    for place, (out, inside, side) in sizes.items():
        weight = torch.randn(out, inside, side, side, generator=generator) / (inside * side**2) ** 0.5
        backbone |= {f"features.{place}.weight": weight, f"features.{place}.bias": torch.zeros(out)}
    heads = {
        f"lin{i}.model.1.weight": torch.rand(1, out, 1, 1, generator=generator)
        for i, (out, _, _) in enumerate(sizes.values())
    }
    return backbone, heads


def lpips_by_hand(backbone, heads, first, second):
    shift, scale = (torch.tensor(v).view(3, 1, 1) for v in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))
    total = 0.0
    x, y = (((2 * frame - 1) - shift) / scale for frame in (first, second))
    for i, (place, stride, padding) in enumerate(((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1))):
        weight, bias = backbone[f"features.{place}.weight"], backbone[f"features.{place}.bias"]
        distances = []
        for value in (x, y):
            value = nn.functional.max_pool2d(value, 3, 2) if i in (1, 2) else value
            distances.append(nn.functional.conv2d(value, weight, bias, stride, padding).relu())
        x, y = distances
        a, b = (v / (v.norm(dim=1, keepdim=True) + 1e-10) for v in distances)
        total = total + ((a - b) ** 2 * heads[f"lin{i}.model.1.weight"]).sum(1).mean((1, 2))
    return total


def test_lpips(tmp_path):
    backbone, heads = alexnet()
    paths = [tmp_path / "alexnet.pth", tmp_path / "alex.pth"]
    for state, path in zip((backbone, heads), paths, strict=True):
        torch.save(state, path)
    measure = lpips.load(*paths)
    first, second = torch.rand(2, 2, 3, 64, 72, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(measure(first, second), lpips_by_hand(backbone, heads, first, second))
    assert not measure(first, first).any()
    second.requires_grad_(True)
    measure(second, second.detach()).sum().backward()
    assert second.grad.isfinite().all()
    whole = objective(None, True, "d", lpips=[str(path) for path in paths])
    whole.begin(1)
    outcome = whole.outcome(*clips(whole))
    torch.testing.assert_close(outcome.terms["lpips"], measure(outcome.frames, outcome.truth).mean())
    save_file(heads, tmp_path / "heads.safetensors")
    with pytest.raises(UserError, match="is no AlexNet"):
        lpips.load(tmp_path / "heads.safetensors", paths[1])
    with pytest.raises(UserError, match="does not fit LPIPS' linear layers:"):
        lpips.load(paths[0], paths[0])


def test_settings_of_a_stage_are_kept(tmp_path):
    whole = fresh()
    assert [stage.crop for stage in whole.stages] == [(256, 448), (256, 448)]
    assert all(side % whole.multiple == 0 for side in whole.stages[0].crop)
    assert fresh("u").multiple == 64 and 448 % 64 == 0


def test_losses_of_the_ablation():
    """Of the second stage: the latents' alone, with the frames' error, with the perceptual one."""
    for losses, names in (("latent", {"latent"}), ("l2", {"latent", "l2"}), ("full", {"latent", "l2", "laplacian"})):
        whole = objective(None, True, "d", losses=losses)
        whole.fresh = False
        whole.begin(2)
        torch.manual_seed(0)
        outcome = whole.outcome(*clips(whole))
        terms = outcome.terms
        assert set(terms) == names
        expected = terms["latent"] + 0.5 * (terms.get("l2", 0) + 0.2 * terms.get("laplacian", 0))
        torch.testing.assert_close(outcome.loss, expected)
        assert outcome.frames.requires_grad == (losses != "latent")
        assert (whole.remarks != ()) == (losses == "full"), "it is told what stands in for LPIPS"
    with pytest.raises(UserError, match=r"^losses l2 is for stage 2, got stage 1$"):
        objective(None, True, "d", losses="l2").begin(1)


def test_direct_warping_sees_one_keyframe_at_a_time():
    """Another keyframe changes the flow to its successors only where flows are passed on."""
    for direct in (False, True):
        pipeline = rdvfi.tiny("d", direct=direct)
        with torch.no_grad():
            for head in (pipeline.estimator.adjacent.head, pipeline.estimator.fusion.flow):
                nn.init.normal_(head.weight, std=0.1, generator=torch.Generator().manual_seed(0))
            latents = torch.randn(1, 5, 16, 8, 8, generator=torch.Generator().manual_seed(1))
            other = latents.clone()
            other[:, 1] += 1
            before, after = (pipeline.estimator(each).nodes0 for each in (latents, other))
        changed = [not torch.allclose(before[:, k], after[:, k]) for k in range(5)]
        assert changed == ([False, True, False, False, False] if direct else [False, True, True, True, True])


def test_causal_latents_by_command(tmp_path, capsys):
    """What the file says of itself is what later stages, and interpolation, take."""
    usual = ["train", "--model", "rdvfi-d", "--tiny", "--data", "synthetic:2", "--batch", "2", "--crop", "64", "96"]
    usual += ["--steps", "1"]
    words = [*usual, "-o", str(tmp_path / "1"), "--latent-layout", "causal", "--direct"]
    assert main(words) == 0
    assert "distance of Laplacian pyramids takes its place in the loss" in capsys.readouterr().out
    weights = tmp_path / "1" / "weights.safetensors"
    told = {"model": "rdvfi-d", "stage": "1", "latent_layout": "causal", "keyframes": "3", "direct": "True"}
    assert checkpoints.notes(weights) == told
    later = objective(str(weights), True, "d")
    assert later.frames == 17 and later.pipeline.config.latent_layout == "causal"
    assert later.network.estimator.config.direct and rdvfi.tiny("d", weights).estimator.config.direct
    with pytest.raises(UserError, match="was trained with latent_layout causal, not image"):
        objective(str(weights), True, "d", latent_layout="image")
    assert main([*usual, "--weights", str(weights), "--stage", "2", "-o", str(tmp_path / "2"), "--quiet"]) == 0
    capsys.readouterr()
    assert main([*usual, "-o", str(tmp_path / "u"), "--model", "rdvfi-u", "--latent-layout", "causal"]) == 2
    assert "expected latent_layout 'image' with a U-Net" in capsys.readouterr().err


def test_published_sizes_have_seven_causal_latents():
    assert chosen(None, "causal", False, tiny=False) == {"latent_layout": "causal", "keyframes": 5}
    assert fresh(latent_layout="causal", keyframes=5).frames == 25
