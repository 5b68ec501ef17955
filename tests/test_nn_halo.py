"""A block on patches with a halo: which blocks equal the dense one at the edges of an image, and which are refused."""

import gc
import threading

import pytest
import torch
import torch.nn.functional as F
from halo_blocks import EVERY, INNER, PATCH, an_image, conv  # noqa: F401
from torch import nn
from torch.utils.checkpoint import checkpoint

import vfi_kernels as vk


class Functional(nn.Module):
    """Its own parameters, and the input by its name."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(4, 4, 3, 3) / 6), nn.Parameter(torch.randn(4))

    def forward(self, x):
        x = F.conv2d(input=x, weight=self.weight, bias=self.bias, padding=1)
        return F.conv2d(x, self.weight, self.bias, 1, 1)


def deformable():
    block = nn.Sequential(conv(), vk.nn.ModulatedDeformConv2dPack(4, 4, 3, padding=1))
    nn.init.normal_(block[1].conv_offset.weight, std=0.1)
    return block


def up_and_down(bottom=nn.Identity):
    return nn.Sequential(conv(stride=2), bottom(), nn.ConvTranspose2d(4, 4, 4, 2, 1), conv())


COVERED = {
    "functions": Functional,
    "deformable": deformable,
    "routed layers called densely": lambda: nn.Sequential(
        vk.nn.RoutedConv2d(4, 4, 3, PATCH), vk.nn.RoutedConv2d(4, 4, 3, PATCH, activation="gelu")
    ),
    "strides": up_and_down,
    "pooling": lambda: nn.Sequential(conv(), nn.MaxPool2d(2), conv(), nn.Upsample(scale_factor=2), conv()),
    "factors": lambda: nn.Sequential(
        conv(), nn.Upsample(scale_factor=3.0), nn.Upsample(scale_factor=(1 / 3, 1 / 3), mode="nearest-exact"), conv()
    ),
    "shuffles": lambda: nn.Sequential(
        conv(), nn.PixelUnshuffle(2), nn.Conv2d(16, 16, 3, padding=1), nn.PixelShuffle(2)
    ),
    "groups and dilation": lambda: nn.Sequential(conv(groups=2, dilation=2, padding="same"), conv()),
    "batch norm": lambda: nn.Sequential(conv(), nn.BatchNorm2d(4), conv()).eval(),
    "compiled": lambda: torch.compile(nn.Sequential(conv(), nn.ReLU(), conv()), backend="aot_eager"),
}
REFUSED = {
    "reflect": (lambda: conv(padding_mode="reflect"), "convolutions that pad with zeros .*, got another pad"),
    "circular": (lambda: conv(padding_mode="circular"), "convolutions that pad with zeros .*, got another pad"),
    "padded pooling": (lambda: nn.MaxPool2d(3, 1, 1), "pooling without padding .*, got another max_pool2d"),
    "bilinear": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), "interpolation to the nearest pixel"),
    **{
        f"interpolated by {options}": (
            lambda options=options: nn.Upsample(**options),
            r"interpolation by a scale_factor",
        )
        for options in (
            {"scale_factor": 2.02, "mode": "nearest-exact"},
            {"scale_factor": 0.51},
            {"scale_factor": 1.5},
            {"scale_factor": (2, 1)},
            {"scale_factor": 41},
            {"size": 32},
            {"size": (16, 16)},
            {"size": 8},
        )
    },
    "group norm": (lambda: nn.GroupNorm(2, 4), "convolutions and layers of single pixels .*, got another group_norm"),
    "global": (lambda: nn.AdaptiveAvgPool2d(1), "convolutions and layers of single pixels"),
    "padding apart": (
        lambda: nn.Sequential(nn.ZeroPad2d(1), conv(padding=0)),
        "convolutions that pad with zeros by themselves .*, got another pad",
    ),
    "no padding": (
        lambda: nn.Sequential(conv(padding=0), conv()),
        r"layers that scale the 16 pixels .* pad by themselves, got an output of shape \(\d+, 4, 14, 14\)",
    ),
    "pooling of odd halos": (lambda: nn.MaxPool2d(8), "a halo that is a multiple of the block's stride of 8, got 4"),
}


@pytest.mark.parametrize("name", COVERED)
def test_covered_blocks_equal_the_dense_one_everywhere(name, x):
    block = COVERED[name]()
    with torch.no_grad():
        torch.testing.assert_close(vk.nn.RoutedBlock(block, PATCH, halo=8)(x, EVERY), block(x), rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("route", [EVERY, INNER], ids=["at the edge", "inside"])
def test_others_are_refused_whatever_the_route(name, route, x):
    make, message = REFUSED[name]
    with pytest.raises(RuntimeError, match=f"^RoutedBlock: expected {message}"):
        vk.nn.RoutedBlock(nn.Sequential(conv(), make()), PATCH, halo=4)(x, route)


@pytest.mark.parametrize("name", ["reflect", "padded pooling", "group norm", "bilinear"])
def test_without_a_halo_patches_are_images_of_their_own_with_any_layer(name, x):
    block = nn.Sequential(conv(), REFUSED[name][0]())
    tiles = block(vk.patch_gather(x, vk.patch_indices(EVERY), PATCH))
    result = vk.nn.RoutedBlock(block, PATCH)(x, EVERY)
    torch.testing.assert_close(vk.patch_gather(result, vk.patch_indices(EVERY), tiles.shape[2]), tiles)


@pytest.mark.parametrize("halo", [3, 5, 7])
@pytest.mark.parametrize("route", [EVERY, INNER], ids=["at the edge", "inside"])
def test_a_halo_must_be_a_multiple_of_the_stride_whatever_the_route(halo, route, x):
    with pytest.raises(
        RuntimeError, match=f"^RoutedBlock: expected a halo that is a multiple .* stride of 2, got {halo}"
    ):
        vk.nn.RoutedBlock(up_and_down(), PATCH, halo)(x, route)


def test_a_patch_must_be_a_multiple_of_the_stride(rng):
    image = torch.randn(1, 4, 30, 30, generator=rng)
    for halo in (0, 2):
        with pytest.raises(
            RuntimeError, match=r"^RoutedBlock: expected a patch that is a multiple .* stride of 2, got 15"
        ):
            vk.nn.RoutedBlock(up_and_down(), 15, halo)(image, torch.ones(1, 2, 2, dtype=torch.bool))


def test_layers_that_come_later_are_covered(x):
    block = nn.Sequential(conv())
    routed = vk.nn.RoutedBlock(block, PATCH, halo=4)
    block.append(conv())
    torch.testing.assert_close(routed(x, EVERY), block(x), rtol=0, atol=1e-5)


def test_nothing_stays_on_the_layers(x):
    block = nn.Sequential(conv(), conv())
    for _ in range(3):
        vk.nn.RoutedBlock(block, PATCH, halo=2)(x, EVERY)
    gc.collect()
    assert not any(layer._forward_pre_hooks or layer._forward_hooks for layer in block.modules())
    with pytest.raises(RuntimeError, match="pad by themselves"):
        vk.nn.RoutedBlock(nn.Sequential(conv(padding=0), conv()), PATCH, halo=2)(x, EVERY)
    assert not torch.overrides._get_current_function_mode_stack()  # also after an error


def test_threads_share_a_block(x):
    """Two that route and one that calls the block itself."""
    block = nn.Sequential(conv(), nn.ReLU(), conv())
    routed, wrong = vk.nn.RoutedBlock(block, PATCH, halo=2, chunk=3), []

    def work(call, seed):
        image = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            expected = F.conv2d(F.relu(F.conv2d(image, block[0].weight, block[0].bias, padding=1)), block[2].weight,
                                block[2].bias, padding=1)  # fmt: skip
            wrong.extend(seed for _ in range(20) if (call(image) - expected).abs().max() > 1e-5)

    calls = [lambda t: routed(t, EVERY), lambda t: routed(t, EVERY), block]
    threads = [threading.Thread(target=work, args=(call, seed)) for seed, call in enumerate(calls)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


class Checkpointed(nn.Module):
    def __init__(self, block, reentrant):
        super().__init__()
        self.block, self.reentrant = block, reentrant

    def forward(self, *x):
        return checkpoint(self.block, *x, use_reentrant=self.reentrant)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints_are_for_the_whole_call(reentrant, x):
    """One inside would run its layers in backward without what the halo needs; without a halo nothing is needed."""
    block = nn.Sequential(conv(), nn.ReLU(), conv())
    leaf = x.requires_grad_()
    with pytest.raises(RuntimeError, match=r"^RoutedBlock: expected torch.utils.checkpoint around the call of a block"):
        vk.nn.RoutedBlock(Checkpointed(block, reentrant), PATCH, halo=2)(leaf, EVERY)
    for halo in (0, 2):
        plain = vk.nn.RoutedBlock(block, PATCH, halo)
        inside = vk.nn.RoutedBlock(Checkpointed(block, reentrant), PATCH, halo)
        around = Checkpointed(plain, reentrant)
        plain(leaf, EVERY).square().sum().backward()
        expected, leaf.grad = leaf.grad, None
        for call in (around, inside) if halo == 0 else (around,):
            call(leaf, EVERY).square().sum().backward()
            torch.testing.assert_close(leaf.grad, expected)
            leaf.grad = None
    with torch.no_grad():  # and where nothing is recorded nothing is run again
        vk.nn.RoutedBlock(Checkpointed(block, reentrant), PATCH, halo=2)(leaf, EVERY)
