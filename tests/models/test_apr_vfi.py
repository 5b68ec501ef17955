"""APR-VFI: its published figures, its routes, and its patches against plain torch."""

import pytest
import torch
import torch.nn.functional as F
from shared_files import SHARED, needs_shared

import vfi_kernels as vk
from vfi.files.images import to_tensor
from vfi.models import apr_vfi, ebme
from vfi.models.apr_vfi import APRConfig, misalignment, top_shares
from vfi.models.apr_vfi.config import BLOCKS, ROUTED

KEEP = (0.1, 0.4, 0.6, 0.9)
PATCH = 16


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    model = apr_vfi.load(config=APRConfig.tiny())
    for block in model.synthesis.blocks:  # fresh weights hardly change anything
        for parameter in block.parameters():
            parameter.data.mul_(2)
    return model


@pytest.fixture
def frames():
    return torch.rand(2, 2, 3, 64, 80, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def some_route():
    return torch.rand(2, 4, 5, ROUTED, generator=torch.Generator().manual_seed(4)) < 0.5


def in_plain_torch(model, frame0, frame1, t, route):
    """The forward patch by patch, without our lists; from the flow and the context features of the model."""
    motion = model.motion(frame0, frame1)
    flow0, flow1 = t * motion.flow[:, :2], (1 - t) * motion.flow[:, 2:]
    with vk.use_backend("reference"):
        warped0, warped1 = (vk.splat(f, w, mode="average") for f, w in ((frame0, flow0), (frame1, flow1)))
        contexts = [
            [vk.splat(c, w, mode="average") for c, w in zip(both, (flow0, flow1), strict=True)]
            for both in zip(*motion.contexts, strict=True)
        ]
    features = model.synthesis.stem(torch.cat((warped0, warped1, flow0, flow1), 1))
    total = torch.zeros_like(features)
    for k, block in enumerate(model.synthesis.blocks):
        refined = features.clone()
        for b in range(len(frame0)):
            for y in range(0, frame0.shape[2], PATCH):
                for x in range(0, frame0.shape[3], PATCH):
                    if k == 0 or route[b, y // PATCH, x // PATCH, k - 1]:
                        window = (slice(b, b + 1), slice(None), slice(y, y + PATCH), slice(x, x + PATCH))
                        refined[window] = block(*(c[window] for c in (*contexts[k], features)))
        features = refined
        total = total + features
    total = total - total.mean(1, keepdim=True)
    logits = model.synthesis.head(total / (total.square().mean(1, keepdim=True) + 1e-5).sqrt())
    mask = logits[:, 3:].sigmoid()
    return (mask * warped0 + (1 - mask) * warped1 + 2 * logits[:, :3].sigmoid() - 1).clamp(0, 1)


@pytest.mark.parametrize("backend", ["cpp", "reference"])
@pytest.mark.parametrize("gradient", [False, True])
def test_a_route_against_plain_torch(tiny, frames, some_route, backend, gradient):
    with torch.no_grad():
        expected = in_plain_torch(tiny, *frames, 0.3, some_route)
    with vk.use_backend(backend), torch.set_grad_enabled(gradient):
        result = tiny(*frames, 0.3, some_route)
    assert torch.equal(result.route, some_route) and result.frame.requires_grad == gradient
    torch.testing.assert_close(result.frame.detach(), expected, rtol=0, atol=2e-5)
    with torch.no_grad():
        other = tiny(*frames, 0.3, ~some_route).frame
    assert (other - expected).abs().mean() > 1e-3, "the route matters"


@torch.no_grad()
def test_all_patches_kept_is_the_patch_mode(tiny, frames):
    patches = tiny(*frames, routing="patches")
    assert patches.route.all()
    for routing, keep in (
        (torch.ones(2, 4, 5, ROUTED, dtype=torch.bool), None),
        ("ratio", [1.0] * 4),
        ("apr", [1] * 4),
    ):
        result = tiny(*frames, routing=routing, keep=keep)
        assert result.route.all() and torch.equal(result.frame, patches.frame)
    static = tiny(*frames, routing="static")
    assert static.route is None
    # In patches zeros surround each of them: other pixels, but away from their borders only through deep layers.
    assert 0 < (static.frame - patches.frame).abs().mean() < 0.1


@torch.no_grad()
def test_one_patch_is_the_image(tiny):
    frames = torch.rand(2, 1, 3, PATCH, PATCH)
    static, patches = (tiny(*frames, routing=routing).frame for routing in ("static", "patches"))
    torch.testing.assert_close(static, patches, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("halo", "equal"), [(16, False), (20, True)])
def test_with_a_halo_patches_are_the_image(tiny, frames, halo, equal):
    tiny.synthesis.halo = halo
    static, patches = (tiny(*frames, routing=routing).frame for routing in ("static", "patches"))
    assert torch.allclose(static, patches, rtol=0, atol=1e-6) == equal


@torch.no_grad()
def test_seen_is_where_both_frames_land(tiny, frames, monkeypatch):
    """A slide to the right by 8 pixels."""
    flow = torch.tensor([8.0, 0, -8, 0]).view(1, 4, 1, 1).expand(2, 4, 64, 80)
    monkeypatch.setattr(tiny.flow, "forward", lambda *arguments: flow)
    for t, left, right in ((0.5, 4, 76), (0.25, 2, 74)):
        seen = tiny(*frames, t, "ratio").seen
        assert seen[..., left:right].all() and seen.sum() == 2 * 64 * (right - left)


@torch.no_grad()
def test_the_router_pools_by_mean_and_maximum(tiny):
    warped0, warped1 = torch.rand(2, 1, 3, 32, 48)
    flow = torch.randn(1, 4, 32, 48)
    x = tiny.router.features(torch.cat(((warped0 - warped1).abs(), flow, warped0, warped1), 1))
    pooled = [patch.mean((1, 2)) + patch.amax((1, 2)) for row in x[0].split(PATCH, 1) for patch in row.split(PATCH, 2)]
    expected = tiny.router.choice(torch.stack(pooled)).view(1, 2, 3, ROUTED, 2)
    torch.testing.assert_close(tiny.router(warped0, warped1, flow), expected)


@torch.no_grad()
def test_the_network_chooses_its_route(tiny, frames):
    torch.nn.init.normal_(tiny.router.choice.weight)
    result = tiny(*frames)
    logits = tiny.router(result.warped0, result.warped1, result.flow / 2)
    assert torch.equal(result.route, logits.argmax(-1).bool()) and 0 < result.route.float().mean() < 1
    assert torch.equal(tiny(*frames, routing=result.route).frame, result.frame)
    liked = tiny(*frames, keep=KEEP).route
    assert liked.flatten(1, 2).sum(1).tolist() == [[2, 8, 12, 18]] * 2
    margin = logits[..., 1] - logits[..., 0]
    for b in range(2):
        for k in range(ROUTED):
            assert margin[b, ..., k][liked[b, ..., k]].min() >= margin[b, ..., k][~liked[b, ..., k]].max()


@torch.no_grad()
def test_ratio_takes_the_patches_that_disagree(tiny, frames):
    result = tiny(*frames, routing="ratio")
    scores = misalignment(result.warped0, result.warped1, result.seen, PATCH)
    assert torch.equal(result.route, top_shares(scores[..., None].expand(-1, -1, -1, ROUTED), KEEP))
    assert result.route.flatten(1, 2).sum(1).tolist() == [[2, 8, 12, 18]] * 2
    for fewer, more in zip(result.route.unbind(-1)[:-1], result.route.unbind(-1)[1:], strict=True):
        assert (fewer <= more).all(), "who is seen early is seen later"


def test_training_samples_a_route_and_everything_learns(tiny, frames):
    tiny.train()
    result = tiny(*frames)
    assert set(result.route.unique().tolist()) == {0, 1} and result.route.requires_grad
    with torch.no_grad():
        expected = in_plain_torch(tiny, *frames, 0.5, result.route)
    torch.testing.assert_close(result.frame.detach().clamp(0, 1), expected, rtol=0, atol=2e-5)
    with torch.no_grad():
        sample = tiny(*frames)
        expected = in_plain_torch(tiny, *frames, 0.5, sample.route)
    torch.testing.assert_close(sample.frame.clamp(0, 1), expected, rtol=0, atol=2e-5)
    assert tiny(*frames, keep=KEEP).route.dtype == torch.bool, "forced, in training too"
    (result.frame.square().mean() + result.route.mean()).backward()
    for name, parameter in tiny.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


@torch.no_grad()
def test_without_residual_it_is_the_blend_of_the_splatted_frames(tiny, frames):
    """Equations 1 and 2."""
    tiny.synthesis.head.weight.zero_()
    tiny.synthesis.head.bias.copy_(torch.tensor([0, 0, 0, 1.0]))
    for t in (0.5, 0.2):
        result = tiny(*frames, t, "ratio")
        warped0 = vk.splat(frames[0], t * result.flow[:, :2], mode="average")
        warped1 = vk.splat(frames[1], (1 - t) * result.flow[:, 2:], mode="average")
        share = torch.tensor(1.0).sigmoid()
        torch.testing.assert_close(result.frame, share * warped0 + (1 - share) * warped1, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("size", [(1, 1), (37, 50), (64, 64)])
def test_any_size_and_time(tiny, size):
    frame0, frame1 = torch.rand(2, 2, 3, *size)
    start, early, late = tiny.interpolate_many(frame0, frame1, [0, 0.25, 0.75])
    assert torch.equal(start, frame0) and early.shape == late.shape == (2, 3, *size)
    assert early.isfinite().all() and early.min() >= 0 and early.max() <= 1
    torch.testing.assert_close(tiny.interpolate(frame0, frame1, 0.75), late, rtol=0, atol=1e-6)
    for b in range(2):
        one = tiny.interpolate(frame0[b : b + 1], frame1[b : b + 1], 0.25)
        torch.testing.assert_close(one, early[b : b + 1], rtol=0, atol=1e-5)


@torch.no_grad()
def test_one_splat_moves_a_frame_and_its_features(tiny, frames, monkeypatch):
    calls = []

    def splat(values, *rest, **options):
        calls.append(len(values) if isinstance(values, list) else 1)
        return original(values, *rest, **options)

    original = vk.splat
    motion = tiny.motion(*frames)
    monkeypatch.setattr(vk, "splat", splat)
    tiny.between(motion, *frames, 0.5, "static")
    assert calls == [1 + BLOCKS] * 2


def test_wrong_arguments(tiny, frames):
    for arguments, sentence in (
        ((0.5, "all"), "expected routing apr, static, patches, ratio or a route, got 'all'"),
        ((1.5,), r"expected t in \[0, 1\], got 1.5"),
        ((0.5, "static", KEEP), "expected keep with routing 'apr' or 'ratio' only"),
        (
            (0.5, torch.ones(2, 4, 5)),
            r"expected a route \(B, rows, columns, blocks\) of shape \(2, 4, 5, 4\), bool, got \(2, 4, 5\), float32",
        ),
    ):
        with pytest.raises(ValueError, match=sentence):
            tiny(*frames, *arguments)
    with pytest.raises(ValueError, match="expected height and width to be multiples of 16, got 64 and 72"):
        tiny(*frames[..., :72])
    with pytest.raises(ValueError, match="expected patch to be a multiple of 4, got 10"):
        APRConfig(patch=10)
    with pytest.raises(ValueError, match="expected halo to be a multiple of 4, got 2"):
        APRConfig(halo=2)
    with pytest.raises(ValueError, match="expected keep to be 4 shares"):
        APRConfig(keep=(0.5,))


@pytest.mark.parametrize("wrong", [["static"], 5, True, None])
def test_what_is_no_routing(tiny, frames, wrong):
    """Also where the frames themselves are the answer."""
    with pytest.raises(ValueError, match="expected routing"):
        tiny(*frames, routing=wrong)
    if wrong is not None:  # the usual one
        with pytest.raises(ValueError, match="expected routing"):
            tiny.interpolate(*frames, 0, wrong)
    with pytest.raises(ValueError, match="expected two frames of one shape"):
        tiny.interpolate(frames[0], frames[1][..., :16], 1)
    for keep in (0.5, ["a"] * 4, [0.5] * 3, [2, 0, 0, 0]):
        with pytest.raises(ValueError, match=r"APRVFI: expected keep to be 4 shares in \[0, 1\]"):
            tiny.interpolate(*frames, 0.5, "ratio", keep)


@torch.no_grad()
def test_several_times_and_autocast(tiny, frames):
    quarter, middle = tiny.interpolate(*frames, [0.25, 0.5], "static")
    assert torch.equal(middle, tiny.interpolate(*frames, 0.5, "static"))
    assert torch.equal(quarter, tiny.interpolate(*frames, torch.tensor(0.25), "static"))
    with torch.autocast("cpu", torch.bfloat16):
        half = tiny.interpolate(*frames, 0.5, "static")
    assert half.dtype == middle.dtype
    torch.testing.assert_close(half, middle, rtol=0, atol=0.1)


def test_the_flow_network_loads_alone(tmp_path):
    torch.save(ebme.load().state_dict(), tmp_path / "bi-flownet.pkl")
    model = apr_vfi.load(flow=tmp_path / "bi-flownet.pkl")
    assert not model.training and count(model) == 2_236_656


@needs_shared
@torch.no_grad()
def test_the_flow_is_ebmes(sliding):
    weights = SHARED / "weights" / "ebme" / "bi-flownet.pkl"
    frames = [F.pad(to_tensor(sliding(x)).flip(1), (0, 32, 0, 0), mode="replicate") for x in (20, 24)]
    expected = ebme.load(weights)(*frames)
    assert torch.equal(apr_vfi.load(flow=weights)(*frames, routing="ratio").flow, expected)
