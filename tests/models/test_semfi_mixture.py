"""One layer with adapters: merging, with and without a bias, and choices that are refused."""

import pytest
import torch

pytest.importorskip("diffusers")

from vfi.models import semfi


def mixture(bias):
    torch.manual_seed(3)
    layer = semfi.MixtureLinear(4, 5, 6, rank=2, bias=bias)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    return layer, torch.randn(3, 4)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_merging_needs_no_bias(bias):
    layer, x = mixture(bias)
    plain = {name: value.clone() for name, value in layer.state_dict().items()}
    for expert in (1, 6, 2):
        layer.choose(expert, "naive")
        wanted = layer(x)
        for mode in ("merged", "fused", "merged"):
            layer.choose(expert, mode)
            torch.testing.assert_close(layer(x), wanted, rtol=1e-5, atol=1e-5)
        assert all(torch.equal(value, plain[name]) for name, value in layer.state_dict().items())
    layer.choose(1, "naive")
    assert layer.merged_bias is None and torch.equal(layer.weight, plain["weight"])


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("mode", ["fused", "naive", "merged"])
def test_a_refused_choice_changes_nothing(mode, bias):
    layer, x = mixture(bias)
    layer.choose(2, mode)
    before = layer(x)
    for arguments in ((7, "fused"), (0, "merged"), (1, "quick"), (1.0, "merged"), (None, "naive"), (3, None)):
        with pytest.raises(ValueError, match="expected mode fused, merged, naive and expert in 1 to 6"):
            layer.choose(*arguments)
        assert (layer.expert, layer.mode) == (2, mode) and torch.equal(layer(x), before)
