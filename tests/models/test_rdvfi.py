"""RDVFI: keyframes by one step, trajectories, frames; against formulas written a second time."""

import math
import pickle

import pytest
import torch
import torch.nn.functional as F

import vfi_kernels as vk
from vfi.evaluation.macs import macs_of

diffusers = pytest.importorskip("diffusers")

from vfi.models import rdvfi  # noqa: E402
from vfi.models.rdvfi import EstimatedMotion, FrameSynthesis, Trajectory, TrajectoryEstimator  # noqa: E402
from vfi.models.rdvfi.estimator import upsampled  # noqa: E402
from vfi.models.rdvfi.trajectory import resized_flow  # noqa: E402

VARIANTS = ("d", "u")


def made(variant="d", **settings):
    """Tiny, with random numbers where a fresh network has zeros."""
    torch.manual_seed(0)
    net = rdvfi.tiny(variant, **settings)
    with torch.no_grad():
        for head in (net.estimator.adjacent.head, net.estimator.fusion.flow, net.estimator.fusion.metric):
            torch.nn.init.normal_(head.weight, std=0.1)
        torch.nn.init.normal_(net.synthesis.head.weight, std=0.02)
    return net


def pair(height=70, width=101, batch=1, seed=1):
    return torch.rand(2, batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


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
    found = net.trajectory(frame0, frame1, seeded(3))
    noise = torch.randn(1, 5, *found.latents.shape[2:], generator=seeded(3))
    if variant == "d":
        mean, std = (
            torch.tensor(v).view(1, -1, 1, 1) for v in (net.vae.config.latents_mean, net.vae.config.latents_std)
        )
        z0, z1 = (
            (net.vae.encode(2 * f[:, :, None] - 1).latent_dist.mode()[:, :, 0] - mean) / std for f in (frame0, frame1)
        )
        given = torch.stack((z0, *[torch.zeros_like(z0)] * 3, z1), 2)
        mask = torch.zeros(1, 4, 5, 8, 8)
        mask[:, :, [0, -1]] = 1
        small = F.interpolate(frame0, (32, 32), mode="bicubic", antialias=True).clamp(0, 1)
        mean, std = (
            torch.tensor((0.48145466, 0.4578275, 0.40821073)),
            torch.tensor((0.26862954, 0.26130258, 0.27577711)),
        )
        seen = net.image_encoder((small - mean.view(3, 1, 1)) / std.view(3, 1, 1), output_hidden_states=True)
        text = torch.zeros(1, 512, 32)
        text[:, 0] = net.prompt.embedding
        velocity = net.denoiser(
            torch.cat((noise.transpose(1, 2), mask, given), 1), torch.tensor([1000.0]), text, seen.hidden_states[-2]
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
    torch.testing.assert_close(found.latents[:, 0], z0)
    torch.testing.assert_close(found.latents[:, -1], z1)
    torch.testing.assert_close(found.latents[:, 1:-1], clean[:, 1:-1], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_noise_and_velocity_belong_together(variant):
    """The clean latents come back from noisy ones and the wanted velocity, at every time."""
    diffusion = made(variant).diffusion
    latents, noise = torch.randn(2, 4, 5, 3, 2, 2, dtype=torch.float64, generator=seeded())
    time = torch.tensor([0.1, 0.4, 0.9, 1.0], dtype=torch.float64)
    noisy = diffusion.noisy(latents, noise, time)
    found = diffusion.clean(noisy, diffusion.wanted(latents, noise, time), time)
    torch.testing.assert_close(found, latents, atol=1e-6, rtol=0)
    torch.testing.assert_close(noisy[-1], noise[-1], atol=0.0 if variant == "d" else 7e-3, rtol=0)


def test_causal_layout():
    """Latents of a clip: five of 17 frames; the given ones are those of the clip with gray between."""
    net, (frame0, frame1) = made("d", latent_layout="causal"), pair(64, 64)
    found = net.trajectory(frame0, frame1, seeded())
    assert found.latents.shape == (1, 5, 16, 8, 8) and found.motion.nodes0.shape == (1, 5, 2, 64, 64)
    ends = torch.stack((found.latents[:, 0], found.latents[:, -1]), 1)
    known = net.diffusion.conditioning(ends, frame0, frame1, 5)
    assert known[0, :, :4].mean((2, 3)).tolist() == [[1.0] * 4, [0.0] * 4, [0.0] * 4, [0.0] * 4, [0, 0, 0, 1.0]]
    clip = torch.full((1, 17, 3, 64, 64), 0.5)
    clip[:, 0], clip[:, -1] = frame0, frame1
    torch.testing.assert_close(known[:, :, 4:], net.diffusion.encode_clip(clip))
    torch.testing.assert_close(known[:, 0, 4:], ends[:, 0])  # causal: the first frame stands alone
    with pytest.raises(ValueError, match="expected latent_layout 'image' with a U-Net"):
        made("u", latent_layout="causal")


def test_estimator_fuses_neighbouring_motion():
    """With the heads at 0 but for a constant motion between neighbours, flows add up along the way."""
    estimator = TrajectoryEstimator(4, 16, 2)
    with torch.no_grad():
        estimator.adjacent.head.bias.copy_(torch.tensor([0.5, -0.25, -0.5, 0.25]))
    motion = estimator(torch.randn(2, 5, 4, 8, 10, generator=seeded()))
    assert motion.nodes0.shape == (2, 5, 2, 64, 80)
    for k in range(5):
        wanted = torch.tensor([0.5, -0.25]) * 4 * k  # px of a grid four times as fine
        torch.testing.assert_close(motion.nodes0[:, k], wanted.view(1, 2, 1, 1).expand(2, 2, 64, 80))
        torch.testing.assert_close(motion.nodes1[:, 4 - k], -wanted.view(1, 2, 1, 1).expand(2, 2, 64, 80))
    torch.testing.assert_close(motion.adjacent[0, 2, :, 3, 3], torch.tensor([0.25, -0.125, -0.25, 0.125]))


def test_ends_do_not_move():
    motion = made().estimator(torch.randn(1, 5, 16, 8, 8, generator=seeded()))
    assert not motion.nodes0[:, 0].any() and not motion.nodes1[:, -1].any()
    assert motion.nodes0[:, 1:].any() and motion.nodes1[:, :-1].any()


def test_composition_follows_the_moved_pixel():
    """phi2 looks the next motion up where the pixel is by then."""
    fusion = TrajectoryEstimator(4, 16, 2).fusion
    flow = torch.full((1, 2, 6, 8), 1.0)
    adjacent = torch.arange(8.0).expand(1, 2, 6, 8)
    features = torch.zeros(1, 16, 6, 8)
    composed, *_ = fusion(flow, adjacent, features, features, features)
    torch.testing.assert_close(composed[0, 0, 2], 1 + torch.arange(1.0, 9.0).clamp(max=7))


def test_upsampling_is_convex():
    flow, mask = torch.randn(1, 2, 5, 6, generator=seeded()), torch.randn(1, 144, 5, 6, generator=seeded(1))
    fine = upsampled(flow, mask)
    padded = F.pad(4 * flow, (1, 1, 1, 1), "replicate")
    for y, x in ((0, 0), (7, 13), (19, 23)):
        weights = mask[0].view(9, 4, 4, 5, 6)[:, y % 4, x % 4, y // 4, x // 4].softmax(0)
        around = padded[0, :, y // 4 : y // 4 + 3, x // 4 : x // 4 + 3].flatten(1)
        torch.testing.assert_close(fine[0, :, y, x], (around * weights).sum(1))


def trajectory_of(nodes0, nodes1, frame0, frame1, warp="forward"):
    """With a fresh synthesis, which blends."""
    batch, count = nodes0.shape[:2]
    metric, adjacent = torch.zeros(batch, 1, 4, 4), torch.zeros(batch, count - 1, 4, 2, 2)
    motion = EstimatedMotion(nodes0, nodes1, metric, metric, adjacent)
    return Trajectory(frame0, frame1, motion, torch.zeros(batch, count, 4, 2, 2), FrameSynthesis(4, 8), warp)


@pytest.mark.parametrize("warp", ["forward", "backward"])
def test_a_sliding_picture(warp):
    """Motion of 8 px to the right, quadratic in time; in the middle the frames agree with the truth."""
    texture = F.avg_pool2d(torch.rand(1, 3, 40, 140, generator=seeded()), 5, 1)
    frame0, frame1 = texture[..., 20:84], texture[..., 12:76]
    knots = torch.linspace(0, 1, 5)
    distance = 8 * knots**2
    nodes0, nodes1 = torch.zeros(2, 1, 5, 2, 36, 64)
    nodes0[:, :, 0], nodes1[:, :, 0] = distance.view(1, 5, 1, 1), (distance - 8).view(1, 5, 1, 1)
    found = trajectory_of(nodes0, nodes1, frame0, frame1, warp)
    tau = math.sqrt(0.5)  # 4 px
    torch.testing.assert_close(found.flow(tau)[0][0, 0], torch.full((36, 64), 4.0))
    torch.testing.assert_close(found.flow(tau, (72, 32))[1][0, 0], torch.full((72, 32), -2.0))
    result = found.frames(tau)
    torch.testing.assert_close(result[..., 8:-8], texture[..., 16:80][..., 8:-8], atol=1e-5, rtol=0)
    wide = found.frames(tau, *(F.interpolate(f, scale_factor=2, mode="nearest") for f in (frame0, frame1)))
    wanted = F.interpolate(texture[..., 16:80], scale_factor=2, mode="nearest")
    torch.testing.assert_close(wide[..., 16:-16], wanted[..., 16:-16], atol=1e-5, rtol=0)


def test_flows_between_nodes_are_cubic_in_time():
    nodes = torch.randn(1, 9, 2, 6, 8, generator=seeded())
    frame = torch.rand(1, 3, 12, 24)
    found = trajectory_of(nodes, nodes.flip(1), frame, frame)
    flows = found.flow([0.1, 0.5], (12, 24))[0]
    wanted = resized_flow(vk.sample_trajectory(nodes, [0.1])[:, 0], (12, 24))
    torch.testing.assert_close(flows[:, 0], wanted)
    torch.testing.assert_close(found.flow(0.5)[0], resized_flow(nodes[:, 4], (12, 24)))


def test_where_one_frame_covers_nothing_the_other_counts():
    """Frame 0 moves out of the picture altogether: the result is frame 1."""
    frame0, frame1 = pair(32, 48)
    nodes0 = torch.zeros(1, 3, 2, 32, 48)
    nodes0[:, 1:] = 1000
    found = trajectory_of(nodes0, torch.zeros_like(nodes0), frame0, frame1).frames(0.5)
    torch.testing.assert_close(found, frame1, atol=2e-3, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_trajectory_is_kept_and_used_again(variant):
    net, (frame0, frame1) = made(variant), pair()
    found = net.trajectory(frame0, frame1, seeded())
    wanted = net.interpolate(frame0, frame1, [0.3, 0.6], seeded())
    again = pickle.loads(pickle.dumps(found))
    for kept in (found, again, again.to("cpu")):
        for frame, expected in zip(kept.frames([0.3, 0.6]), wanted, strict=True):
            assert torch.equal(frame, expected)
    large = F.interpolate(frame0, scale_factor=2), F.interpolate(frame1, scale_factor=2)
    assert again.frames(0.3, *large).shape == (1, 3, 140, 202)


def test_many_times_are_worked_on_in_parts(monkeypatch):
    net, (frame0, frame1) = made(), pair()
    found = net.trajectory(frame0, frame1, seeded())
    times = [i / 24 for i in range(25)]
    whole = found.frames(times)
    monkeypatch.setattr("vfi.models.rdvfi.trajectory.PIXELS_AT_ONCE", 5 * 70 * 101)
    for one, other in zip(whole, found.frames(times), strict=True):
        torch.testing.assert_close(one, other)


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
    found = net.along(frame0, frame1, latents).rendered(frame0, frame1, torch.tensor([[0.3]]))
    found.square().mean().backward()
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
    found = net.trajectory(frame0, frame1)
    with pytest.raises(ValueError, match="expected both frames or neither"):
        found.frames(0.5, frame0)
    for size in (64, (0, 5), (3.5, 4)):
        with pytest.raises(ValueError, match="expected size to be a height and a width in pixels"):
            found.flow(0.5, size)
    with pytest.raises(ValueError, match="expected frames of 1 pairs, got 2"):
        found.frames(0.5, *pair(batch=2))
    for settings, message in (
        ({"warp": "sideways"}, "expected latent_layout image or causal and warp forward or backward"),
        ({"low_size": (60, 64)}, r"expected a low_size of multiples of 16, got \(60, 64\)"),
        ({"keyframes": 0}, "expected 1 or more keyframes, got 0"),
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
