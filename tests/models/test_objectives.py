"""What is trained in each stage, and for which losses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import batch, tiny_rife, tiny_sg_rife

from vfi.models import rife, sg_rife
from vfi.models.rife.training import RIFEObjective
from vfi.models.rife.training import taught as taught_by_the_teacher
from vfi.models.sg_rife.training import SGRIFEObjective
from vfi.training.losses import census, charbonnier, laplacian


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


def census_by_hand(result, truth):
    """Pixel by pixel."""
    grays = [(0.2989 * x[0] + 0.5870 * x[1] + 0.1140 * x[2]) for x in (result.numpy(), truth.numpy())]
    height, width = grays[0].shape
    distances = []
    for y in range(3, height - 3):
        for x in range(3, width - 3):
            for j in range(-3, 4):
                for i in range(-3, 4):
                    away = [gray[y + j, x + i] - gray[y, x] for gray in grays]
                    e = away[0] / np.sqrt(0.81 + away[0] ** 2) - away[1] / np.sqrt(0.81 + away[1] ** 2)
                    distances.append(e**2 / (0.1 + e**2))
    return np.mean(distances)


def test_census_and_charbonnier():
    torch.manual_seed(0)
    result, truth = torch.rand(2, 1, 3, 10, 12)
    assert abs(census(result, truth).item() - census_by_hand(result[0].double(), truth[0].double())) < 1e-5
    assert census(truth, truth).item() == 0
    assert census(truth * 0.5 + 0.25, truth) < census(result, truth) / 3, "a change of light counts for little"
    expected = ((result - truth).double() ** 2 + 1e-6).sqrt().mean()
    assert abs(charbonnier(result, truth).item() - expected.item()) < 1e-6
    result.requires_grad_(True)
    (census(result, truth) + charbonnier(result, truth.clone())).backward()
    assert result.grad.isfinite().all() and result.grad.any()


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
    grads = torch.autograd.grad(outcome.terms["dino"], network.unet.conv.weight, retain_graph=True)[0]
    assert grads.abs().sum() > 0
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
