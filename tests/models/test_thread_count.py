"""What no network makes does not depend on how many threads make it: parts that several machines render have no seam.

Convolutions of torch do, in their last bit: `vfi interpolate --ray` gives every task the same number.
"""

import itertools

import pytest
import torch
from test_export import frames

from vfi.models.registry import load_model
from vfi.networks.layers import softmax

COUNTS = (1, 2, 3, 5)


@pytest.mark.parametrize("size", [(70, 101), (128, 96), (180, 320)], ids=str)
@pytest.mark.parametrize("t", [0.5, 0.2])
def test_a_frame_of_flow_splat(size, t, threads):
    model = load_model("flow-splat", device="cpu")
    made = []
    for count in COUNTS:
        threads(count)
        made.append(model.interpolate(*frames(*size), t))
    assert all(map(torch.equal, made, itertools.repeat(made[0])))


@pytest.mark.parametrize("size", [(45, 80), (33, 71), (7, 13)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_softmax(size, dtype, layout, threads):
    x = torch.randn(1, 4, *size, generator=torch.Generator().manual_seed(0)).to(dtype).contiguous(memory_format=layout)
    made = []
    for count in COUNTS:
        threads(count)
        made.append(softmax(x, 1))
    assert all(map(torch.equal, made, itertools.repeat(made[0])))


def test_softmax_is_that_of_torch():
    x = 30 * torch.randn(2, 5, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(softmax(x, 1), x.softmax(1))
    assert torch.autograd.gradcheck(lambda x: softmax(x, 1), x.requires_grad_())
    assert softmax(torch.tensor([[1e4, -1e4, 0.0]]), 1).tolist() == [[1, 0, 0]]
