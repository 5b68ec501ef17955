"""RDVFI: keyframes by one step, trajectories, frames; against formulas written a second time."""

import math
import pickle

import pytest
import torch
import torch.nn.functional as F

from vfi.evaluation.macs import macs_of

diffusers = pytest.importorskip("diffusers")

from rdvfi_parts import VARIANTS, made, pair, seeded  # noqa: E402

from vfi.models import rdvfi  # noqa: E402
from vfi.models.rdvfi import FrameSynthesis, TrajectoryEstimator  # noqa: E402


def test_parameters_of_the_published_sizes():
    with torch.device("meta"):
        counts = [
            sum(p.numel() for p in part.parameters())
            for part in (TrajectoryEstimator(16), TrajectoryEstimator(4), FrameSynthesis(16), FrameSynthesis(4))
        ]
    assert counts == [998_679, 991_767, 2_175_364, 2_095_492]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", [(64, 96), (144, 256), (100, 61), (1, 1)])
def test_frames_of_any_size_and_time(variant, size):
    net, (frame0, frame1) = made(variant), pair(*size, batch=2)
    several = net.interpolate(frame0, frame1, [0.0, 0.25, 0.5, 0.9, 1.0], seeded())
    assert all(frame.shape == frame0.shape and frame.isfinite().all() for frame in several)
    assert all(frame.min() >= 0 and frame.max() <= 1 for frame in several)
    assert torch.equal(several[0], frame0) and torch.equal(several[-1], frame1)
    assert torch.equal(net.interpolate(frame0, frame1, 0.5, seeded()), several[2])
    assert torch.equal(net(frame0, frame1, 0.5, seeded()), several[2])
    other = net.interpolate(frame0, frame1, 0.5, seeded(1))
    if size != (1, 1):
        assert not torch.equal(other, several[2])  # noise decides


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_frames_of_any_dtype(dtype):
    net, (frame0, frame1) = made(), pair()
    result = net.interpolate(frame0.to(dtype), frame1.to(dtype), 0.5, seeded())
    assert result.dtype == dtype
    torch.testing.assert_close(result.float(), net.interpolate(frame0, frame1, 0.5, seeded()), atol=0.03, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_half_network(variant):
    net, (frame0, frame1) = made(variant), pair()
    wanted = net.interpolate(frame0, frame1, 0.5, seeded())
    half = net.to(torch.bfloat16)
    torch.testing.assert_close(half.interpolate(frame0, frame1, 0.5, seeded()), wanted, atol=0.05, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_one_step_from_noise(variant):
    """Keyframes are what one step of the backbone gives, ends are the encoded frames."""
    net, (frame0, frame1) = made(variant), pair(64, 64)
    curve = net.trajectory(frame0, frame1, seeded(3))
    noise = torch.randn(1, 5, *curve.latents.shape[2:], generator=seeded(3))
    if variant == "d":
        mean, std = (
            torch.tensor(v).view(1, -1, 1, 1) for v in (net.vae.config.latents_mean, net.vae.config.latents_std)
        )
        z0, z1 = (
            (net.vae.encode(2 * f[:, :, None] - 1).latent_dist.mode()[:, :, 0] - mean) / std for f in (frame0, frame1)
        )
        ends_and_zeros = torch.stack((z0, *[torch.zeros_like(z0)] * 3, z1), 2)
        mask = torch.zeros(1, 4, 5, 8, 8)
        mask[:, :, [0, -1]] = 1
        small = F.interpolate(frame0, (32, 32), mode="bicubic")
        mean, std = (
            torch.tensor((0.48145466, 0.4578275, 0.40821073)),
            torch.tensor((0.26862954, 0.26130258, 0.27577711)),
        )
        seen = net.image_encoder((small - mean.view(3, 1, 1)) / std.view(3, 1, 1), output_hidden_states=True)
        text = torch.zeros(1, 512, 32)
        text[:, 0] = net.prompt.embedding
        velocity = net.denoiser(
            torch.cat((noise.transpose(1, 2), mask, ends_and_zeros), 1),
            torch.tensor([1000.0]),
            text,
            seen.hidden_states[-2],
        ).sample.transpose(1, 2)
        clean = noise - velocity
    else:
        sigma, raw = 700.0, [net.vae.encode(2 * f - 1).latent_dist.mode() for f in (frame0, frame1)]
        z0, z1 = (net.vae.config.scaling_factor * z for z in raw)
        both = torch.cat(raw, 1)[:, None].expand(-1, 5, -1, -1, -1)
        small = F.interpolate(torch.cat((frame0, frame1)), (32, 32), mode="bicubic", antialias=True).clamp(0, 1)
        mean, std = (
            torch.tensor((0.48145466, 0.4578275, 0.40821073)),
            torch.tensor((0.26862954, 0.26130258, 0.27577711)),
        )
        context = net.image_encoder((small - mean.view(3, 1, 1)) / std.view(3, 1, 1)).image_embeds[None]
        x = noise * math.sqrt(sigma**2 + 1)  # what Euler's scheduler scales to noise
        velocity = net.denoiser(
            torch.cat((noise, both), 2), torch.tensor([0.25 * math.log(sigma)]), context,
            added_time_ids=torch.tensor([[6.0, 127.0, 0.02]]),
        ).sample  # fmt: skip
        clean = x / (sigma**2 + 1) - velocity * sigma / math.sqrt(sigma**2 + 1)
    torch.testing.assert_close(curve.latents[:, 0], z0)
    torch.testing.assert_close(curve.latents[:, -1], z1)
    torch.testing.assert_close(curve.latents[:, 1:-1], clean[:, 1:-1], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_noise_and_velocity_belong_together(variant):
    """The clean latents come back from noisy ones and the wanted velocity, at every time."""
    diffusion = made(variant).diffusion
    latents, noise = torch.randn(2, 4, 5, 3, 2, 2, dtype=torch.float64, generator=seeded())
    time = torch.tensor([0.1, 0.4, 0.9, 1.0], dtype=torch.float64)
    noisy = diffusion.noisy(latents, noise, time)
    result = diffusion.clean(noisy, diffusion.wanted(latents, noise, time), time)
    torch.testing.assert_close(result, latents, atol=1e-6, rtol=0)
    torch.testing.assert_close(noisy[-1], noise[-1], atol=0.0 if variant == "d" else 7e-3, rtol=0)


def test_causal_layout():
    """Latents of a clip: five of 17 frames; the given ones are those of the clip with gray between."""
    net, (frame0, frame1) = made("d", latent_layout="causal"), pair(64, 64)
    curve = net.trajectory(frame0, frame1, seeded())
    assert curve.latents.shape == (1, 5, 16, 8, 8) and curve.motion.nodes0.shape == (1, 5, 2, 64, 64)
    ends = torch.stack((curve.latents[:, 0], curve.latents[:, -1]), 1)
    condition = net.diffusion.conditioning(ends, frame0, frame1, 5)
    assert condition[0, :, :4].mean((2, 3)).tolist() == [[1.0] * 4, [0.0] * 4, [0.0] * 4, [0.0] * 4, [0, 0, 0, 1.0]]
    clip = torch.full((1, 17, 3, 64, 64), 0.5)
    clip[:, 0], clip[:, -1] = frame0, frame1
    torch.testing.assert_close(condition[:, :, 4:], net.diffusion.encode_clip(clip))
    torch.testing.assert_close(condition[:, 0, 4:], ends[:, 0])  # causal: the first frame stands alone
    with pytest.raises(ValueError, match="expected latent_layout 'image' with a U-Net"):
        made("u", latent_layout="causal")


def operations(net, size):
    """Multiply-accumulates of all layers, in all that runs once for a pair."""
    total, hooks = [0], []
    for part in net.components.values():
        if not isinstance(part, torch.nn.Module):
            continue
        for layer in part.modules():

            def count(layer, inputs, output):
                if isinstance(layer, torch.nn.Conv3d):
                    total[0] += output.numel() * layer.in_channels * math.prod(layer.kernel_size)
                elif isinstance(output, torch.Tensor) and inputs:
                    total[0] += macs_of(layer, inputs[0], output, "true", False)

            hooks.append(layer.register_forward_hook(count))
    net.trajectory(*pair(*size), seeded())
    for hook in hooks:
        hook.remove()
    return total[0]


@pytest.mark.parametrize("variant", VARIANTS)
def test_first_phase_costs_the_same_at_every_resolution(variant):
    net = made(variant)
    counts = {operations(net, size) for size in ((64, 64), (144, 256), (288, 512), (90, 60))}
    assert len(counts) == 1 and counts.pop() > 10**6


def test_estimator_takes_what_the_paper_scale_needs():
    """64.6 GMAC for a pair at 256x448 with seven keyframes, counted without running it."""
    with torch.device("meta"):
        estimator = TrajectoryEstimator(16)
    total = 0

    def count(layer, inputs, output):
        nonlocal total
        total += macs_of(layer, inputs[0], output, "true", False)

    for layer in estimator.modules():
        if not list(layer.children()):
            layer.register_forward_hook(count)
    with torch.no_grad():
        motion = estimator(torch.empty(1, 9, 16, 32, 56, device="meta"))
    assert motion.nodes0.shape == (1, 9, 2, 256, 448)
    assert total == pytest.approx(64.6e9, rel=1e-3)


@pytest.mark.parametrize("variant", VARIANTS)
def test_saved_and_loaded(variant, tmp_path):
    net, (frame0, frame1) = made(variant, warp="backward", a=-0.6), pair()
    net.save_pretrained(tmp_path / "whole")
    again = rdvfi.load(tmp_path / "whole")
    assert (again.config.warp, again.config.a, again.variant) == ("backward", -0.6, variant)
    wanted = net.interpolate(frame0, frame1, 0.5, seeded())
    torch.testing.assert_close(again.interpolate(frame0, frame1, 0.5, seeded()), wanted, atol=1e-5, rtol=0)
    half = rdvfi.load(tmp_path / "whole", torch.bfloat16)
    assert half.synthesis.dtype == torch.bfloat16 and half.estimator.dtype == half.vae.dtype == torch.float32
    half.interpolate(frame0, frame1, 0.5, seeded())


@pytest.mark.parametrize("variant", VARIANTS)
def test_offload_moves_parts_and_changes_nothing(variant):
    """accelerate's hooks with the CPU as the device that works: the same frames, each part hooked."""
    net, (frame0, frame1) = made(variant), pair()
    wanted = net.interpolate(frame0, frame1, [0.2, 0.7], seeded())
    net.enable_model_cpu_offload(device="cpu")
    assert all(hasattr(part, "_hf_hook") for part in (net.denoiser, net.vae, net.image_encoder))
    assert not hasattr(net.estimator, "_hf_hook") and not hasattr(net.synthesis, "_hf_hook")
    for frame, expected in zip(net.interpolate(frame0, frame1, [0.2, 0.7], seeded()), wanted, strict=True):
        assert torch.equal(frame, expected)
    pickle.loads(pickle.dumps(net.trajectory(frame0, frame1, seeded())))


def test_portrait_pictures_turn_the_low_resolution():
    net = made(low_size=(64, 96))
    assert net.lowered(torch.rand(1, 3, 90, 120)).shape == (1, 3, 64, 96)
    assert net.lowered(torch.rand(1, 3, 120, 90)).shape == (1, 3, 96, 64)
    frame0, frame1 = pair(120, 90)
    assert net.trajectory(frame0, frame1, seeded()).motion.nodes0.shape == (1, 5, 2, 96, 64)


def test_gradients_reach_latents_through_trajectories():
    net, (frame0, frame1) = made(), pair(64, 64)
    net.estimator.requires_grad_(False)
    latents = torch.randn(1, 5, 16, 8, 8, generator=seeded(), requires_grad=True)
    pictures = net.along(frame0, frame1, latents).rendered(frame0, frame1, torch.tensor([[0.3]]))
    pictures.square().mean().backward()
    assert latents.grad.isfinite().all() and all(latents.grad[0, k].abs().max() > 0 for k in range(5))


def test_errors():
    net, (frame0, frame1) = made(), pair()
    for wrong, message in (
        ((frame0, frame1, 1.5), r"expected t in \[0, 1\], got 1.5"),
        ((frame0[:, :2], frame1[:, :2], 0.5), r"expected floating frames of shape \(B, 3, H, W\), got"),
        ((frame0, frame1[..., :-1], 0.5), "expected two frames of one shape and dtype"),
        ((frame0, frame1, "x"), "expected t to be a number or several, got 'x'"),
        ((frame0 / 0, frame1, 0.5), "expected frames of finite numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            net.interpolate(*wrong)
    curve = net.trajectory(frame0, frame1)
    with pytest.raises(ValueError, match="expected both frames or neither"):
        curve.frames(0.5, frame0)
    for size in (64, (0, 5), (3.5, 4)):
        with pytest.raises(ValueError, match="expected size to be a height and a width in pixels"):
            curve.flow(0.5, size)
    with pytest.raises(ValueError, match="expected frames of 1 pairs, got 2"):
        curve.frames(0.5, *pair(batch=2))
    for settings, message in (
        ({"warp": "sideways"}, "expected latent_layout image or causal and warp forward or backward"),
        ({"low_size": (60, 64)}, r"expected a low_size of multiples of 16, got \(60, 64\)"),
        ({"keyframes": 0}, "expected keyframes of 1 or more, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            made(**settings)
    parts = dict(net.components)
    with pytest.raises(ValueError, match="expected the embedding of the empty prompt"):
        rdvfi.RDVFI(**{**parts, "prompt": None}, low_size=(64, 64))
    narrow = diffusers.WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, in_channels=16, num_layers=1, text_dim=8, freq_dim=8, ffn_dim=8
    )
    with pytest.raises(ValueError, match="expected a WanTransformer3DModel of 36 input channels, got 16"):
        rdvfi.RDVFI(**{**parts, "denoiser": narrow}, low_size=(64, 64))
