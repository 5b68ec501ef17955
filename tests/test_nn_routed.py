"""The modules that compute active patches only: their results, gradients and lists."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from routed_block import PATCH, a_block, a_route, an_image, spread  # noqa: F401
from torch import nn

import vfi_kernels as vk


@pytest.mark.parametrize("chunk", [1, 5, 16])
def test_with_a_halo_active_patches_equal_the_dense_block(block, x, route, chunk):
    expected = torch.where(spread(route), block(x), 0)
    routed = vk.nn.RoutedBlock(block, PATCH, halo=16, chunk=chunk)
    torch.testing.assert_close(routed(x, route), expected, rtol=0, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(routed(x, vk.patch_indices(route)), expected, rtol=0, atol=1e-12)


def test_a_halo_that_is_too_small_shows(block, x, route):
    """The exactness above is the halo's: without enough of it the result differs."""
    expected = torch.where(spread(route), block(x), 0)
    assert (vk.nn.RoutedBlock(block, PATCH, halo=4)(x, route) - expected).abs().max() > 1e-3


def test_the_ring_outside_the_image_is_cleared(block, x):
    """Without that the bias of a layer would leak back in from outside, at corners most of all."""
    corner = torch.zeros(2, 3, 4, dtype=torch.bool)
    corner[:, 0, 0] = corner[:, 2, 3] = True
    routed = vk.nn.RoutedBlock(block, PATCH, halo=16)
    torch.testing.assert_close(routed(x, corner), torch.where(spread(corner), block(x), 0), rtol=0, atol=1e-12)


def test_without_a_halo_patches_are_images_of_their_own(block, x, route):
    indices = vk.patch_indices(route)
    expected = vk.patch_scatter(
        block(vk.patch_gather(x, indices, PATCH)), indices, torch.zeros(2, 2, *x.shape[2:]).double()
    )
    torch.testing.assert_close(vk.nn.RoutedBlock(block, PATCH, chunk=3)(x, route), expected, rtol=0, atol=1e-12)


def test_without_a_list_it_is_the_dense_block(block, x):
    assert torch.equal(vk.nn.RoutedBlock(block, PATCH, halo=16)(x), block(x))


def test_base_in_place_and_several_inputs(block, x, route, rng):
    routed = vk.nn.RoutedBlock(block, PATCH)
    base = torch.randn(2, 2, *x.shape[2:], generator=rng, dtype=torch.float64)
    with torch.no_grad():
        expected = routed(x, route, base)
        assert torch.equal(torch.where(spread(route), 0, expected), torch.where(spread(route), 0, base))
        target = base.clone()
        parts = [x[:, :1].contiguous(), x[:, 1:].contiguous(memory_format=torch.channels_last)]
        assert routed(parts, route, target, inplace=True) is target
    torch.testing.assert_close(target, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("halo", [0, 16])
def test_gradients_are_those_of_the_dense_block_inside(block, x, route, halo, rng):
    base = torch.randn(2, 2, *x.shape[2:], generator=rng, dtype=torch.float64).requires_grad_()
    leaves = [x.requires_grad_(), base, *block.parameters()]
    got = vk.nn.RoutedBlock(block, PATCH, halo=halo, chunk=3)(x, route, base)
    if halo:
        expected = torch.where(spread(route), block(x), base)
    else:
        indices = vk.patch_indices(route)
        expected = vk.patch_scatter(block(vk.patch_gather(x, indices, PATCH)), indices, base)
    cotangent = torch.randn(expected.shape, generator=rng, dtype=torch.float64)
    for a, b in zip(torch.autograd.grad(got, leaves, cotangent), torch.autograd.grad(expected, leaves, cotangent)):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_nothing_active(block, x):
    none = torch.zeros(2, 3, 4, dtype=torch.bool)
    for halo in (0, 16):
        routed = vk.nn.RoutedBlock(block, PATCH, halo=halo)
        out = routed(x, none)
        assert out.shape == (2, 2, *x.shape[2:]) and not out.any()
        with torch.no_grad():
            assert not routed(x, none).any()


def test_copies_and_pickles_keep_the_halo(block, x, route):
    routed = vk.nn.RoutedBlock(block, PATCH, halo=16)
    expected = routed(x, route)
    for again in (copy.deepcopy(routed), pickle.loads(pickle.dumps(routed))):
        assert torch.equal(again(x, route), expected)
    assert routed.state_dict().keys() == {f"module.{name}" for name in block.state_dict()}


def test_the_blocks_own_calls_are_left_alone(block, x):
    before = block(x)
    vk.nn.RoutedBlock(block, PATCH, halo=16)
    assert torch.equal(block(x), before)


def test_a_halo_that_the_stride_does_not_divide_is_refused(block, x, route):
    with pytest.raises(
        RuntimeError, match="RoutedBlock: expected a halo that is a multiple of the block's stride of 4"
    ):
        vk.nn.RoutedBlock(block, PATCH, halo=14)(x, route)


def test_a_block_that_changes_the_resolution(x, route):
    for layer, scale in ((nn.Conv2d(3, 5, 3, 2, 1), 0.5), (nn.ConvTranspose2d(3, 5, 4, 2, 1), 2)):
        layer = layer.double()
        out = vk.nn.RoutedBlock(layer, PATCH, halo=2)(x, route)
        expected = layer(x)
        torch.testing.assert_close(out, torch.where(spread(route, int(PATCH * scale)), expected, 0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("halo", [0, 2])
@pytest.mark.parametrize(
    "read, write",
    [
        (lambda t: t[:, :3, :, :64], lambda t: t[:, :3, :, :64]),
        (lambda t: t[:, :3, :, :64], lambda t: t[:, 1:, :, :64]),
        (lambda t: t[:, :3, :, :64], lambda t: t[:, :3, :, 16:]),
        (lambda t: t[:, :3, :, :64], lambda t: t[:, :3, :, :64].flip(3).flip(3)),
    ],
    ids=["itself", "other channels", "other columns", "a copy"],
)
def test_in_place_into_what_is_read(halo, read, write, rng):
    """The patches of a later chunk are those of the image as it was."""
    layer = nn.Conv2d(3, 3, 3, padding=1)
    wide = torch.randn(2, 4, 48, 80, generator=rng)
    routed, every = vk.nn.RoutedBlock(layer, PATCH, halo, chunk=2), torch.ones(2, 3, 4, dtype=torch.bool)
    with torch.no_grad():
        expected = routed(read(wide.clone()), every)
        target = write(wide)
        assert routed(read(wide), every, target, inplace=True) is target
    assert torch.equal(target, expected)


def test_the_dense_switch_keeps_to_the_base(block, x):
    layer = vk.nn.RoutedConv2d(3, 2, 3, PATCH, activation="relu").double()
    for routed in (vk.nn.RoutedBlock(block, PATCH, halo=16), layer):
        with torch.no_grad():
            expected, base = routed(x), torch.zeros(2, 2, *x.shape[2:], dtype=torch.float64)
            assert routed(x, None, base, inplace=True) is base and torch.equal(base, expected)
            assert torch.equal(routed(x, None, torch.zeros_like(base)), expected)
            for wrong, message in (
                (None, "base to be a tensor, got NoneType"),
                (base[:, :, :16], r"base of shape \(2, 2, 48, 64\) as the output has, got \(2, 2, 16, 64\)"),
                (base[:, :, :1].expand_as(base), "base whose elements do not share memory"),
            ):
                with pytest.raises(RuntimeError, match=f"^Routed[A-Za-z0-9]+: expected {message}"):
                    routed(x, None, wrong, inplace=True)
        with pytest.raises(RuntimeError, match=r"expected tensors without requires_grad.* use inplace=False"):
            routed(x, None, base, inplace=True)


def test_unused_rows_are_not_computed_on_the_cpu(x, route):
    """Nor do they enter the statistics of a normalisation that is being trained."""
    seen, norm = [], nn.BatchNorm2d(3, momentum=1.0).double()
    norm.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    routed = vk.nn.RoutedBlock(norm, PATCH, chunk=32)
    routed(x, vk.patch_indices(route, capacity=24))
    assert seen == [int(route.sum())]
    pixels = x.transpose(0, 1)[:, spread(route)[:, 0]]
    torch.testing.assert_close(norm.running_mean, pixels.mean(1))


@pytest.mark.parametrize("padding_mode", ["zeros", "image"])
@pytest.mark.parametrize(
    "kernel, options", [(1, {}), (3, {}), (3, {"stride": 2}), (4, {"stride": 2, "transposed": True})]
)
def test_routed_conv2d_is_the_op_and_the_dense_layer(kernel, options, padding_mode, x, route, rng):
    layer = vk.nn.RoutedConv2d(3, 5, kernel, PATCH, padding_mode=padding_mode, activation="prelu", **options).double()
    slopes = torch.randn(5, generator=rng, dtype=torch.float64)
    layer.load_state_dict({**layer.state_dict(), "activation_weight": slopes})
    plain = (
        nn.ConvTranspose2d(3, 5, 4, 2, 1)
        if kernel == 4
        else nn.Conv2d(3, 5, kernel, options.get("stride", 1), kernel // 2)
    )
    plain.double().load_state_dict({k: v for k, v in layer.state_dict().items() if k != "activation_weight"})
    torch.testing.assert_close(layer(x), F.prelu(plain(x), slopes), rtol=0, atol=1e-12)
    indices = vk.patch_indices(route)
    call = (layer.weight, layer.bias, indices, PATCH)
    expected = vk.routed_conv2d(
        x, *call, padding_mode=padding_mode, activation="prelu", activation_weight=slopes, **options
    )
    assert torch.equal(layer(x, route), expected)
    with torch.no_grad():
        base = torch.zeros_like(expected)
        assert layer(x, indices, base, inplace=True) is base
    torch.testing.assert_close(base, expected, rtol=0, atol=1e-12)
