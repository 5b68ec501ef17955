"""A block on patches with a halo: functions and ops inside it, along channels, rows, columns, and of the input."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from halo_blocks import EVERY, PATCH, Call, an_image, conv  # noqa: F401
from torch import nn

import vfi_kernels as vk
from vfi_kernels.testing import load_cases, map_tensors, tensors

CASES = load_cases()


@pytest.mark.parametrize("case", [c for c in CASES.values() if not c.local], ids=lambda case: case.name)
def test_an_op_is_refused_unless_its_case_calls_it_local(case, x, rng):
    arguments = case.make_inputs(*case.small[-1], dtype=torch.float32, generator=rng)
    block = Call(lambda tile: tile * tensors(case.call(*arguments))[0].sum())
    with pytest.raises(RuntimeError, match=f"^RoutedBlock: expected .* where there is a halo, got another {case.op}"):
        vk.nn.RoutedBlock(block, PATCH, halo=4)(x, EVERY)


@pytest.mark.parametrize("case", [c for c in CASES.values() if c.local], ids=lambda case: case.name)
def test_a_local_op_equals_the_dense_call(case, rng):
    """The arguments that are images are the block's inputs."""
    last = case.local == "features"
    shape, size = ((1, 16, 16, 8), slice(1, 3)) if last else ((1, 8, 16, 16), slice(2, 4))
    arguments = case.make_inputs(*shape, dtype=torch.float64, generator=rng)
    images = {n: t for n, t in enumerate(tensors(arguments)) if t.shape[0] == 1 and t.shape[size] == (16, 16)}

    def call(*tiles):
        tile_of, count = dict(zip(images, (t.permute(0, 2, 3, 1) if last else t for t in tiles))), itertools.count()
        out = case.call(*map_tensors(lambda t: tile_of.get(next(count), t), arguments))
        return out.permute(0, 3, 1, 2) if last else out

    planes = [t.permute(0, 3, 1, 2) if last else t for t in images.values()]
    result = vk.nn.RoutedBlock(Call(call), PATCH, halo=8)(planes, EVERY[:, :2, :2])
    torch.testing.assert_close(result, call(*planes), rtol=1e-9, atol=1e-9)


OWN_WEIGHTS = {
    "conv2d": lambda x: F.conv2d(x, x, padding=8),
    "conv2d by names": lambda x: F.conv2d(weight=x, input=x, padding=8),
    "conv2d, bias": lambda x: F.conv2d(x, torch.ones(4, 4, 1, 1), x[0, :, 0, 0]),
    "conv_transpose2d": lambda x: F.conv_transpose2d(x, x[:4, :, :4, :4], stride=2, padding=1),
    "conv_transpose2d of itself": lambda x: F.conv_transpose2d(x, x, padding=8),
    "modulated_deform_conv2d": lambda x: vk.modulated_deform_conv2d(x, x.new_zeros(1, 2, 1, 1), None, x),
    "linear": lambda x: F.linear(x.permute(0, 2, 3, 1), x),
    "prelu": lambda x: F.prelu(x, x[0, :, 0, 0]),
}


@pytest.mark.parametrize("name", OWN_WEIGHTS)
def test_weights_made_of_the_input_are_refused(name, x):
    """Of one patch at a time too, whose number of channels a weight may happen to fit."""
    with pytest.raises(RuntimeError, match=r"^RoutedBlock: expected .* where there is a halo, got another"):
        vk.nn.RoutedBlock(Call(OWN_WEIGHTS[name]), PATCH, halo=4, chunk=1)(x, EVERY)


ALONG = {
    "mean of a plane": lambda x: x - x.mean((2, 3), keepdim=True),
    "largest of a row": lambda x: x - torch.amax(x, dim=-1, keepdim=True),
    "largest of all": lambda x: x / torch.max(x),
    "softmax along rows": lambda x: F.softmax(x, dim=2),
    "flip": lambda x: x.flip(2, 3),
    "roll": lambda x: torch.roll(x, (1, 1), (2, 3)),
    "roll of all": lambda x: x.roll(1),
    "sums of rows": lambda x: torch.cumsum(x, 3),
    "sorted rows": lambda x: x.sort().values,
    "norm": lambda x: F.normalize(x, dim=3),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x),
    "layer norm": lambda x: F.layer_norm(x, x.shape[1:]),
    "upside down": torch.flipud,
    "order": lambda x: x.argsort().to(x),
    "halves of rows": lambda x: F.glu(x, 3).repeat(1, 1, 1, 2),
    "spread": lambda x: torch.std_mean(x, (2, 3), keepdim=True)[0] * x,
    "largest so far": lambda x: torch.cummax(x, 2).values,
}
CHANNELS = {
    "mean": lambda x: x - x.mean(1, keepdim=True),
    "softmax": lambda x: F.softmax(x, dim=1),
    "largest": lambda x: torch.max(x, x.amax(-3, keepdim=True) / 2),
    "norm": lambda x: F.normalize(x),
    "sort": lambda x: x.sort(1).values.flip(1).roll(1, 1),
}


@pytest.mark.parametrize("name", ALONG)
def test_functions_along_rows_and_columns_are_refused(name, x):
    with pytest.raises(RuntimeError, match=r"^RoutedBlock: expected convolutions and layers of single pixels .*"):
        vk.nn.RoutedBlock(nn.Sequential(conv(), Call(ALONG[name])), PATCH, halo=4)(x, EVERY)


def test_padded_pooling_by_torchs_own_function_is_refused(x):
    with pytest.raises(RuntimeError, match=r"^RoutedBlock: expected pooling without padding .*"):
        pool = Call(lambda x: torch.max_pool2d(x, 3, 1, 1))
        vk.nn.RoutedBlock(nn.Sequential(conv(), pool), PATCH, halo=4)(x, EVERY)


@pytest.mark.parametrize("name", CHANNELS)
def test_functions_along_channels_are_layers_of_single_pixels(name, x):
    block = nn.Sequential(conv(), Call(CHANNELS[name]))
    with torch.no_grad():
        torch.testing.assert_close(vk.nn.RoutedBlock(block, PATCH, halo=4)(x, EVERY), block(x), rtol=0, atol=2e-5)
