"""A block on patches with a halo: which blocks equal the dense one at the edges of an image, and which are refused."""

import gc
import itertools
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import vfi_kernels as vk
from vfi_kernels.testing import load_cases, map_tensors, tensors

PATCH = 8


def conv(**options):
    return nn.Conv2d(4, 4, 3, **{"padding": 1, **options})


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


@pytest.fixture
def x(rng):
    torch.manual_seed(3)
    return torch.randn(1, 4, 4 * PATCH, 4 * PATCH, generator=rng)


EVERY = torch.ones(1, 4, 4, dtype=torch.bool)
INNER = torch.zeros(1, 4, 4, dtype=torch.bool)
INNER[:, 1:3, 1:3] = True


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
        given, count = dict(zip(images, (t.permute(0, 2, 3, 1) if last else t for t in tiles))), itertools.count()
        out = case.call(*map_tensors(lambda t: given.get(next(count), t), arguments))
        return out.permute(0, 3, 1, 2) if last else out

    planes = [t.permute(0, 3, 1, 2) if last else t for t in images.values()]
    found = vk.nn.RoutedBlock(Call(call), PATCH, halo=8)(planes, EVERY[:, :2, :2])
    torch.testing.assert_close(found, call(*planes), rtol=1e-9, atol=1e-9)


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


class Call(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *tiles):
        return self.function(*tiles)


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


@pytest.mark.parametrize("name", ["reflect", "padded pooling", "group norm", "bilinear"])
def test_without_a_halo_patches_are_images_of_their_own_with_any_layer(name, x):
    block = nn.Sequential(conv(), REFUSED[name][0]())
    tiles = block(vk.patch_gather(x, vk.patch_indices(EVERY), PATCH))
    found = vk.nn.RoutedBlock(block, PATCH)(x, EVERY)
    torch.testing.assert_close(vk.patch_gather(found, vk.patch_indices(EVERY), tiles.shape[2]), tiles)


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
