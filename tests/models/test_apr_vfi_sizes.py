"""APR-VFI: parameters, operations, and the measure that routes by disagreement."""

import numpy as np
import pytest
import torch

from vfi.evaluation.macs import count_macs
from vfi.models import apr_vfi
from vfi.models.apr_vfi import misalignment, top_shares

KEEP = (0.1, 0.4, 0.6, 0.9)
PATCH = 16


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts():
    model = apr_vfi.load()
    parts = {"flow": 632_900, "context": 84_448, "router": 5_128, "synthesis": 1_514_180}
    assert {name: count(part) for name, part in model.named_children()} == parts
    assert sum(v.numel() for v in model.state_dict().values()) == 2_236_657, "and the size of a patch"
    assert count(model) == 2_236_656 and count(model.synthesis.blocks[0]) == 302_016
    assert count(model) - count(model.router) == 2_231_528


@pytest.mark.parametrize(
    ("size", "static", "routed"),
    [
        ((256, 448), 0.0886, 0.0647),
        ((576, 1024), 0.4565, 0.3334),
        ((1088, 2048), 1.7245, 1.2595),
        ((2304, 3840), 6.8478, 5.0015),
        ((2304, 4096), 7.3044, 5.3349),
    ],
)
def test_macs(size, static, routed):
    """1.730 T without routing and 27 % less with it, in the paper's table at 2048 x 1088."""
    model = apr_vfi.load()
    assert round(count_macs(model, size, routing="static").total / 1e12, 4) == static
    assert round(count_macs(model, size, routing="apr", keep=KEEP).total / 1e12, 4) == routed


def test_macs_of_the_parts():
    def found(convention, **options):
        parts = count_macs(apr_vfi.load(), (1088, 2048), convention, **options).parts
        return {name: round(macs / 1e9, 1) for name, macs in parts.items()}

    fixed = {"flow": 152.7, "context": 373.5}
    assert found("thop", routing="static") == {**fixed, "router": 0, "synthesis": 1198.3}
    assert found("thop", routing="patches") == {**fixed, "router": 0, "synthesis": 1198.3}
    assert found("thop", routing="apr", keep=KEEP) == {**fixed, "router": 10.7, "synthesis": 722.6}
    assert found("true", routing="static") == {**fixed, "router": 0, "synthesis": 787.6}
    assert found("true", routing="apr", keep=KEEP) == {**fixed, "router": 10.7, "synthesis": 476.2}


def test_misalignment_is_equation_5():
    generator = torch.Generator().manual_seed(0)
    warped0, warped1 = torch.rand(2, 1, 3, 64, 128, generator=generator)
    seen = torch.rand(1, 1, 64, 128, generator=generator) < 0.7
    difference = ((warped0 - warped1).abs().mean(1) * seen[:, 0]).numpy()[0]
    small = difference.reshape(16, 4, 32, 4).mean((1, 3))
    expected = small.reshape(1, 16, 2, 16).max((1, 3))
    np.testing.assert_allclose(misalignment(warped0, warped1, seen, 64)[0].numpy(), expected, rtol=1e-5)


def test_top_shares_rounds_and_takes_the_first_of_equals():
    scores = torch.zeros(1, 10, 10, 1)
    scores[0, 7, 3] = 1
    route = top_shares(scores.expand(1, 10, 10, 4), (0.01, 0.294, 0.004, 0.995))
    assert route.sum((0, 1, 2)).tolist() == [1, 29, 0, 100]
    assert route[0, 7, 3].tolist() == [True, True, False, True]
    assert route[0, ..., 1].flatten().nonzero().flatten().tolist() == [*range(28), 73]
    with pytest.raises(ValueError, match=r"expected 4 shares in \[0, 1\], got \(0.5, 1.5, 0, 0\)"):
        top_shares(scores, (0.5, 1.5, 0, 0))
