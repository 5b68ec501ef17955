"""The variants of APR-VFI that its ablations compare: fusion, what ranks the patches, holes, patches, keep ratios."""

import pytest
import torch
import torch.nn.functional as F
from tiny import batch

from vfi.commands import main
from vfi.errors import UserError
from vfi.models import apr_vfi
from vfi.models.apr_vfi import APRConfig, misalignment, top_shares
from vfi.models.apr_vfi.routing import enclosed, kept
from vfi.models.apr_vfi.training import objective
from vfi.training import Job, train


def filled_by_hand(seen):
    """Pixel by pixel."""
    height, width = seen.shape
    return torch.tensor(
        [
            [all(side.any() for side in (seen[y, : x + 1], seen[y, x:], seen[: y + 1, x], seen[y:, x]))
             for x in range(width)]
            for y in range(height)
        ]
    )  # fmt: skip


def test_holes_along_the_edge_and_inside():
    seen = torch.rand(2, 1, 9, 12, generator=torch.Generator().manual_seed(0)) < 0.3
    for inside, plane in zip(enclosed(seen)[:, 0], seen[:, 0], strict=True):
        assert torch.equal(inside, filled_by_hand(plane))
    whole = torch.ones(1, 1, 6, 8, dtype=torch.bool)
    whole[..., :2] = False
    whole[..., 3, 4] = False
    assert torch.equal(enclosed(whole)[0, 0, :, 2:], torch.ones(6, 6, dtype=torch.bool)), "a hole inside is compared"
    assert not enclosed(whole)[..., :2].any(), "the edge is not"
    assert not enclosed(torch.zeros_like(whole)).any()


def test_holes_change_the_ratio_route(monkeypatch):
    """Of a hole inside, where the frames disagree most, the patch is first; with all holes left out it is last."""
    torch.manual_seed(0)
    model = apr_vfi.load(config=APRConfig.tiny())
    warped0, warped1 = torch.zeros(2, 1, 3, 32, 32)
    warped0[..., 20:24, 20:24] = 1
    seen = torch.ones(1, 1, 32, 32, dtype=torch.bool)
    seen[..., 20:24, 20:24] = False
    routes = {}
    for holes in ("edge", "all"):
        model.set_usual("ratio", (0.25,) * 4, holes)
        routes[holes], _, _ = model.routed(warped0, warped1, torch.zeros(1, 4, 32, 32), seen, "ratio", (0.25,) * 4)
    assert routes["edge"][0, :, :, 0].tolist() == [[False, False], [False, True]]
    assert routes["all"][0, :, :, 0].tolist() == [[True, False], [False, False]], "all are equal: the first wins"


def test_keep_ratios_are_rounded_to_the_nearest():
    assert [kept(share, 16) for share in (0.1, 0.4, 0.6, 0.9)] == [2, 6, 10, 14], (
        "two blocks of work a patch: as published"
    )
    assert [kept(share, 10) for share in (0, 0.04, 0.05, 0.25, 1)] == [0, 0, 1, 3, 10]
    assert kept(0.29, 50) == 15 and kept(0.29, 100) == 29


@pytest.mark.parametrize("supervision", ["warped", "image", "reconstruction"])
def test_what_ranks_the_patches(supervision):
    torch.manual_seed(0)
    whole = objective(None, True, supervision=supervision)
    for stage in (1, 2, 3):
        whole.begin(stage)
    frames, times = batch()
    torch.manual_seed(0)
    outcome = whole.outcome(frames, times)
    torch.manual_seed(0)
    result = whole.network(frames[:, 0], frames[:, 2])
    pair = {
        "warped": (result.warped0 - result.warped1) * enclosed(result.seen),
        "image": frames[:, 0] - frames[:, 2],
        "reconstruction": result.frame.detach() - frames[:, 1],
    }[supervision]
    scores = F.max_pool2d(F.avg_pool2d(pair.abs().mean(1, keepdim=True), 4), 4)[:, 0]
    wanted = top_shares(scores[..., None], whole.network.config.keep).float()
    assert outcome.terms["route"].item() == pytest.approx((result.route - wanted).abs().mean().item())
    if supervision == "warped":
        assert torch.equal(scores, misalignment(result.warped0, result.warped1, enclosed(result.seen), 16))


@pytest.mark.parametrize("fusion", ["add", "concat", "none"])
def test_fusions_are_trained_kept_and_routed(tmp_path, fusion):
    job = Job("apr-vfi", 1, data="synthetic:2", batch=2, crop=64, steps=1, quiet=True, output=tmp_path / "1")
    torch.manual_seed(0)
    train(objective(None, True, fusion=fusion), job)
    weights = tmp_path / "1" / "weights.safetensors"
    model = apr_vfi.load(weights)
    assert model.config == APRConfig(8, 16, 16, fusion=fusion)
    frames = torch.rand(2, 1, 3, 64, 64)
    with torch.no_grad():
        ways = (("patches", None), ("apr", [1.0] * 4))
        patches, all_kept = (model(*frames, routing=routing, keep=keep).frame for routing, keep in ways)
    assert torch.equal(patches, all_kept)
    graded = model(*frames, routing="patches").frame
    torch.testing.assert_close(graded.detach(), patches, rtol=0, atol=1e-6)
    count = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in configured("none").parameters())
    assert (count > 0) == (fusion == "concat")
    with pytest.raises(UserError, match=f"was trained with fusion {fusion}, not "):
        objective(weights, False, fusion="none" if fusion == "add" else "add")


def configured(fusion):
    return apr_vfi.APRVFI(APRConfig(8, 16, 16, fusion=fusion))


def test_the_last_block_alone_is_what_no_fusion_sees():
    torch.manual_seed(0)
    plain = configured("none").eval()
    seen = []
    plain.synthesis.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    plain.synthesis.blocks[-1].register_forward_hook(lambda _, __, output: seen.append(output))
    with torch.no_grad():
        plain(*torch.rand(2, 1, 3, 32, 32), routing="static")
    last, given = seen
    assert torch.equal(given, last)


def test_patches_of_another_size(tmp_path):
    """A later stage takes them of the command, not of the weights, which do not depend on them; and says so itself."""
    job = Job("apr-vfi", 1, data="synthetic:2", batch=2, crop=64, steps=1, quiet=True, output=tmp_path / "1")
    torch.manual_seed(0)
    train(objective(None, True), job)
    words = ["train", "--model", "apr-vfi", "--stage", "2", "--weights", tmp_path / "1" / "weights.safetensors"]
    words += ["--data", "synthetic:2", "--batch", "2", "--crop", "64", "--steps", "1", "-o", tmp_path / "2", "--quiet"]
    assert main.main([*map(str, words), "--patch", "32", "--keep", "0.5", "0.5", "0.5", "0.5"]) == 0
    second = objective(tmp_path / "2" / "weights.safetensors", False)
    assert second.multiple == 32 and second.network.patch.tolist() == [32] and second.network.config.patch == 32
    frames = torch.rand(2, 1, 3, 64, 64)
    assert apr_vfi.load(tmp_path / "2" / "weights.safetensors")(*frames, routing="patches").route.shape == (1, 2, 2, 4)
    kept_by = objective(tmp_path / "2" / "weights.safetensors", False, keep=(0.5, 0.5, 0.5, 0.5)).network.config.keep
    assert kept_by == (0.5, 0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--patch", "6"], "expected patch to be a multiple of 4, got 6"),
        (["--patch", "0"], "expected --patch of 4 or more, got 0"),
        (["--keep", "1", "1", "1", "2"], "expected --keep to be shares in [0, 1], got 1 1 1 2"),
        (["--fusion", "sum"], "expected --fusion add, concat, none, got sum"),
    ],
)
def test_wrong_variants_are_one_sentence(tmp_path, capsys, words, sentence):
    usual = ["train", "--model", "apr-vfi", "--tiny", "--data", "synthetic:2", "-o", str(tmp_path / "x")]
    code = main.main([*usual, *words])
    said = capsys.readouterr().err
    assert code == 2 and sentence in said and not (tmp_path / "x").exists(), said
