"""vfi.networks.layers against torch's own."""

import pytest
import torch
from torch import nn

from vfi.networks.layers import PReLU

LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("size", [(2, 5, 6, 7), (1, 16, 1, 9), (1, 3, 8, 1), (1, 1, 4, 4), (2, 7, 1, 1), (0, 3, 2, 2)])
def test_a_prelu_and_its_gradients_are_those_of_torch(size: tuple[int, ...], dtype: torch.dtype, layout: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(size).to(dtype).to(memory_format=LAYOUTS[layout])
    results = []
    for kind in (PReLU, nn.PReLU):
        layer = kind(size[1]).to(dtype)
        with torch.no_grad():
            layer.weight.copy_(torch.linspace(-0.5, 0.9, size[1]))
        given = x.clone(memory_format=torch.preserve_format).requires_grad_()
        out = layer(given)
        out.backward(torch.ones_like(out))
        results.append((out, given.grad, layer.weight.grad))
    ours, theirs = results
    assert torch.equal(ours[0], theirs[0])
    assert ours[0].stride() == theirs[0].stride()
    assert torch.equal(ours[1], theirs[1])
    torch.testing.assert_close(ours[2], theirs[2], rtol=0.02 if dtype.itemsize == 2 else 1e-6, atol=1e-2)


def test_a_prelu_takes_nan_and_what_autocast_makes() -> None:
    layer = PReLU(3)
    x = torch.randn(1, 3, 4, 5).to(memory_format=torch.channels_last)
    x[0, 1, 2, 3] = torch.nan
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x.bfloat16())
    assert out.dtype == torch.bfloat16
    assert out.isnan().sum() == 1
    torch.testing.assert_close(out.float(), nn.functional.prelu(x, layer.weight), atol=0.02, rtol=0.01, equal_nan=True)


def test_a_prelu_is_one_graph() -> None:
    x = torch.randn(1, 3, 4, 5).bfloat16().to(memory_format=torch.channels_last)
    layer = PReLU(3).bfloat16()
    exported = torch.export.export(layer, (x,)).module()
    assert torch.equal(exported(x), layer(x))
