"""The modules that compute active patches only."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import vfi_kernels as vk

PATCH = 16


class Refine(nn.Module):
    """A small block of the kind that APR-VFI routes: two lower resolutions, skips, transposed layers."""

    def __init__(self, c=3, width=4):
        super().__init__()
        self.first = nn.Conv2d(c, width, 3, padding=1)
        self.down = nn.Sequential(nn.Conv2d(width, width, 3, 2, 1), nn.PReLU(width), nn.Conv2d(width, width, 3, 1, 1))
        self.quarter = nn.Sequential(nn.Conv2d(width, width, 3, 2, 1), nn.PReLU(width))
        self.up = nn.ConvTranspose2d(width, width, 4, 2, 1)
        self.up_again = nn.ConvTranspose2d(width, width, 4, 2, 1)
        self.last = nn.Conv2d(width, 2, 3, padding=1)

    def forward(self, *x):
        a = F.relu(self.first(torch.cat(x, 1)))
        b = self.down(a)
        return self.last(F.gelu(self.up_again(self.up(self.quarter(b)) + b)) + a)


@pytest.fixture
def block():
    torch.manual_seed(1)
    return Refine().double()


@pytest.fixture
def x(rng):
    return torch.randn(2, 3, 3 * PATCH, 4 * PATCH, generator=rng, dtype=torch.float64)


@pytest.fixture
def route(rng):
    return torch.rand(2, 3, 4, generator=rng) < 0.5


def spread(route, side=PATCH):
    return route.repeat_interleave(side, 1).repeat_interleave(side, 2)[:, None]


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


def test_capacity_in_one_graph(block, x, rng):
    routed = vk.nn.RoutedBlock(block, PATCH, halo=16, chunk=4)

    def run(route, x):
        return routed(
            x, vk.patch_indices(route, capacity=8), torch.zeros(2, 2, *x.shape[2:], dtype=x.dtype), inplace=True
        )

    with torch.no_grad():
        compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
        for seed in range(2):
            route = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(seed)) < 0.3
            torch.testing.assert_close(compiled(route, x), torch.where(spread(route), block(x), 0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("halo", [0, 16])
def test_a_list_of_unknown_length_in_one_graph(block, x, halo):
    routed = vk.nn.RoutedBlock(block, PATCH, halo=halo, chunk=4)
    compiled = torch.compile(routed, fullgraph=True, backend="aot_eager")
    for seed in range(2):
        route = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(seed)) < 0.5
        torch.testing.assert_close(compiled(x, route), routed(x, route), rtol=0, atol=1e-12)


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


def test_a_capacity_without_waiting_in_one_graph_of_inductor(x):
    routed = vk.nn.RoutedBlock(nn.Conv2d(3, 2, 3, padding=1).double(), PATCH, halo=2)
    route = torch.zeros(2, 3, 4, dtype=torch.bool)
    route[:, 0, 1] = True
    with torch.no_grad():
        compiled = torch.compile(lambda x, route: routed(x, vk.patch_indices(route, capacity=5)), fullgraph=True)
        torch.testing.assert_close(compiled(x, route), routed(x, route), rtol=0, atol=1e-12)


def test_vmap_over_images_and_lists(block, x, route):
    routed = vk.nn.RoutedBlock(block, PATCH, halo=16, chunk=5)
    images, listed = torch.stack([x, 2 * x]), torch.stack([vk.patch_indices(r, capacity=24) for r in (route, ~route)])
    with torch.no_grad():
        expected = torch.stack([routed(image, indices) for image, indices in zip(images, listed)])
        torch.testing.assert_close(torch.vmap(routed)(images, listed), expected, rtol=0, atol=1e-12)


def test_one_graph_for_images_of_any_size(block):
    """Sizes are symbols there, of which no sentence can be made."""
    routed = vk.nn.RoutedBlock(block, PATCH, halo=16)
    compiled = torch.compile(routed, fullgraph=True, backend="aot_eager", dynamic=True)
    for rows in (2, 3):
        x, base = torch.randn(1, 3, 16 * rows, 48).double(), torch.randn(1, 2, 16 * rows, 48).double()
        listed = vk.patch_indices(torch.ones(1, rows, 3, dtype=torch.bool), capacity=7)
        torch.testing.assert_close(compiled(x, listed, base), routed(x, listed, base), rtol=0, atol=1e-12)


def test_blocks_run_under_autocast(block, x, route):
    routed = vk.nn.RoutedBlock(block.float(), PATCH, halo=16)
    base = torch.zeros(2, 2, *x.shape[2:])
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert routed(x.float(), route).dtype == torch.bfloat16
        assert routed(x.float(), route, base).dtype == torch.float32


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


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: vk.nn.RoutedConv2d(3, 5, 5, 8), "kernel_size 1 or 3, got 5"),
        (lambda: vk.nn.RoutedConv2d(3, 5, 3, 8, transposed=True), "kernel_size 4 for a transposed convolution, got 3"),
        (lambda: vk.nn.RoutedConv2d(3, 5, 4, 8, transposed=True), "stride 2, got 1"),
        (lambda: vk.nn.RoutedConv2d(3, 5, "3", 8), "kernel_size 1 or 3, got '3'"),
        (lambda: vk.nn.RoutedConv2d(3, 5, 3, 0), "patch"),
        (lambda: vk.nn.RoutedConv2d(3, 5, 3, 2**70), "patch to be an integer below 2"),
        (lambda: vk.nn.RoutedConv2d(3, 5, 3, 8, negative_slope="a"), "negative_slope to be a finite number"),
        (lambda: vk.nn.RoutedConv2d(3, 5, 3, 8, activation="tanh"), "activation"),
        (lambda: vk.nn.RoutedBlock(nn.Identity(), 8, halo=-1), "halo"),
        (lambda: vk.nn.RoutedBlock(nn.Identity(), 8, chunk=0), "chunk"),
    ],
)
def test_wrong_arguments_get_one_sentence(make, message):
    with pytest.raises(RuntimeError, match=f"Routed[A-Za-z0-9]+: expected .*{message}"):
        make()


X, ROUTE = torch.zeros(1, 3, 32, 32), torch.ones(1, 4, 4, dtype=torch.bool)
LAYER = nn.Conv2d(3, 3, 3, padding=1)


class Returns(nn.Module):
    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, *x):
        return self.call(*x)


def run(x, *rest, module=LAYER, **options):
    return vk.nn.RoutedBlock(module, 8, halo=2)(x, *rest, **options)


WRONG = [
    (lambda: run((), ROUTE), "at least one input, got none"),
    (lambda: run(None, ROUTE), "x to be a tensor, got NoneType"),
    (lambda: run(X.numpy(), ROUTE), "x to be a tensor, got ndarray"),
    (lambda: run(X[0], ROUTE), r"input of shape \(B, C, H, W\), got \(3, 32, 32\)"),
    (lambda: run(X[..., :30], ROUTE), "input whose height and width are multiples of the patch of 8 pixels"),
    (lambda: run([X, X[:, :, :16]], ROUTE), r"inputs of one .* \(1, 32, 32\), got \(1, 3, 16, 32\)"),
    (lambda: run([X, X.expand(2, -1, -1, -1)], ROUTE), r"inputs of one .* \(1, 32, 32\), got \(2, 3, 32, 32\)"),
    *((lambda size=size: run(X, torch.ones(size, dtype=torch.bool)),
       rf"a route of shape \(B, H / patch, W / patch\) = \(1, 4, 4\), got \({', '.join(map(str, size))}\)")
      for size in ((1, 2, 2), (2, 4, 4), (1, 4, 5), (4, 4))),
    (lambda: vk.nn.RoutedConv2d(3, 3, 3, 8)(X, ROUTE[:, :2]), "a route of shape .*, got"),
    (lambda: run(X, ROUTE.int()), "a route of dtype bool, got int32"),
    (lambda: run(X, ROUTE.float()), "a route of dtype bool, got float32"),
    (lambda: run(X, vk.patch_indices(ROUTE).long()), "indices of dtype int32, got int64"),
    (lambda: run(X, ROUTE.numpy()), "indices to be a tensor, got ndarray"),
    (lambda: run(X, ROUTE, 0.0), "base to be a tensor, got float"),
    (lambda: run(X, ROUTE, X.numpy()), "base to be a tensor, got ndarray"),
    (lambda: run(X, ROUTE, X[:, :, :16]), r"base of shape \(1, 3, 32, 32\) as the output has, got \(1, 3, 16, 32\)"),
    (lambda: run(X, ROUTE, X.expand(2, -1, -1, -1)), r"base of shape \(1, 3, 32, 32\) as the output has, got \(2, 3"),
    (lambda: run(X, ROUTE, X.double()), "base of dtype float32 as x and the output have, got float64"),
    (lambda: run(X, ROUTE, module=Returns(lambda t: (t, t))), "a block that returns a tensor, got tuple"),
    (lambda: run(X, ROUTE, module=Returns(lambda t: None)), "a block that returns a tensor, got NoneType"),
]  # fmt: skip


@pytest.mark.parametrize("call, message", WRONG, ids=range(len(WRONG)))
@pytest.mark.parametrize("recording", [True, False])
def test_wrong_calls_get_one_sentence(call, message, recording):
    with (
        torch.set_grad_enabled(recording),
        pytest.raises(RuntimeError, match=f"^Routed[A-Za-z0-9]+: expected {message}"),
    ):
        call()
