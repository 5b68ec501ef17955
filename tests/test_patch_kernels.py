"""The ops on patches as a GPU runs them, on the CPU: CUDA kernels emulated, Triton kernels interpreted, each against
the reference. What the generic tests of every op do not reach: unused rows of a list, results in place, activations."""

import functools
import importlib
import itertools
import os

import pytest
import torch
import vfi_kernels_testing as native
from compare import assert_near
from emulation import EMULATED, emulated_op
from triton_interpreter import quick_interpreter  # noqa: F401
from worded import WordedOps

from vfi_kernels._autograd import NAMESPACE
from vfi_kernels.ops.patches import reference as patches
from vfi_kernels.ops.routed_conv2d import reference as routing

pytestmark = pytest.mark.in_turn
SEEDS = (0, 1, 7)
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
every_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
interpreted = pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="the interpreter is switched off")


def is_nightly(item):
    """The interpreter takes seconds for a call: by day single precision, as PyTorch lays tensors out, one patch size
    for each way, and every other way in each of two tests."""
    given = item.callspec.params if hasattr(item, "callspec") else {}
    if given.get("kernels") != "triton":
        return False
    usual = given.get("dtype", torch.float32) == torch.float32
    usual &= given.get("layout") in (None, torch.contiguous_format)
    number = list(WAYS).index(given["way"]) if "way" in given else 0
    parts = {
        "test_patches_of_any_size": given.get("patch") == (6, 1, 2)[number % 3],
        "test_only_listed_patches_are_written": number % 2 == 0,
        "test_no_channels_and_no_patches": number % 2 == 1,
    }
    return not (usual and parts.get(item.originalname, True))


@pytest.fixture(params=["cuda", pytest.param("triton", marks=interpreted)])
def kernels(request):
    """Gives the implementation of an op."""
    if request.param == "cuda":
        native.set_seed(3)
        yield emulated_op
        native.set_seed(0)
        return

    def triton_op(name):
        folder = "patches" if name.startswith("patch") else "routed_conv2d"
        return getattr(importlib.import_module(f"vfi_kernels.ops.{folder}.triton_kernels"), name)

    yield triton_op


def random(*shape, dtype=torch.float32, layout=torch.contiguous_format, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)
    return x.contiguous(memory_format=layout) if x.dim() == 4 else x


def listed(b=2, rows=2, columns=3):
    """Four of the cells in no order, among rows that name none: -1, and one past each end of the grid."""
    cells = [
        [-1, -1, -1],
        [b - 1, 1, 2],
        [b, 0, 0],
        [0, 0, 1],
        [0, rows, 0],
        [0, 0, 0],
        [0, 0, columns],
        [0, 1, 1],
        [0, -1, 0],
    ]
    return torch.tensor(cells, dtype=torch.int32)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 5), (3, 40, 37), (1, 0, 4), (0, 3, 3)], ids=str)
def test_the_list_is_sorted_and_filled_up(shape, kernels):
    generator = torch.Generator().manual_seed(1)
    for density in (0, 0.3, 1):
        route = torch.rand(shape, generator=generator) < density
        for capacity in (None, 0, 3, route.numel() + 5):
            result, expected = kernels("patch_indices")(route, capacity), patches.patch_indices(route, capacity)
            for got, wanted in zip(result, expected, strict=True):
                assert got.dtype == wanted.dtype and torch.equal(got, wanted)
    route = torch.rand(2, 5, 7, generator=generator).mT < 0.5  # not contiguous
    assert torch.equal(kernels("patch_indices")(route, None)[0], patches.patch_indices(route)[0])


@every_layout
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("channels, patch, halo", [(3, 4, 0), (16, 8, 8), (2, 2, 5)], ids=str)
@pytest.mark.in_turn(of=3)
def test_rows_that_name_no_patch_read_and_write_nothing(channels, patch, halo, dtype, layout, kernels):
    """16 channels, and 8 pixels, are moved in packs."""
    x, indices = random(2, channels, 2 * patch, 3 * patch, dtype=dtype, layout=layout), listed()
    side = patch + 2 * halo
    for last in (None, False, True):
        out = kernels("patch_gather")(x, indices, patch, halo, last)
        assert torch.equal(out, patches.patch_gather(x, indices, patch, halo, last))
    grad_out = random(len(indices), channels, side, side, dtype=dtype, layout=layout, seed=1)
    grad = kernels("patch_gather_grad")(grad_out, indices, x.shape, patch, halo, layout == torch.channels_last)
    wide = patches.patch_gather_grad(grad_out.double(), indices, x.shape, patch, halo, False)
    assert_near(grad, wide)
    tiles = random(len(indices), channels, patch, patch, dtype=dtype, seed=2)
    expected = patches.patch_scatter(tiles, indices, x)
    assert torch.equal(kernels("patch_scatter")(tiles, indices, x), expected)
    room = torch.full((2, channels, 2 * patch + 1, 6 * patch), 5.0, dtype=dtype)
    base = room[:, :, :-1, ::2].copy_(x)
    kernels("patch_scatter_")(tiles, indices, base)
    assert torch.equal(base, expected) and (room[:, :, -1] == 5).all() and (room[..., 1::2] == 5).all()
    for got, wanted in zip(
        kernels("patch_scatter_grad")(x, indices, patch, True, True, True),
        patches.patch_scatter_grad(x, indices, patch, True, True, True),
    ):
        assert torch.equal(got, wanted)


WAYS = {  # kernel, stride, transposed, border
    "zero": (3, 1, False, "zeros"),
    "image": (3, 1, False, "image"),
    "stride": (3, 2, False, "image"),
    "1x1": (1, 2, False, "zeros"),
    "transposed-zero": (4, 2, True, "zeros"),
    "transposed-image": (4, 2, True, "image"),
}
every_way = pytest.mark.parametrize("way", WAYS)


def arguments(way, c, c_out, patch=4, dtype=torch.float32, layout=torch.contiguous_format):
    """x, weight, bias, the options that follow, and the output's sizes: of a patch, of a whole sample."""
    kernel, stride, transposed, border = WAYS[way]
    x = random(2, c, 2 * patch, 3 * patch, dtype=dtype, layout=layout)
    size = (c, c_out, kernel, kernel) if transposed else (c_out, c, kernel, kernel)
    weight = (random(*size, seed=1, dtype=torch.float64) / (c * kernel**2) ** 0.5).to(dtype)
    outer = 2 * patch if transposed else patch // stride
    return x, weight, random(c_out, dtype=dtype, seed=2), (listed(), patch, stride, transposed, border), outer


def double(t):
    return t.double() if isinstance(t, torch.Tensor) and t.is_floating_point() else t


@every_way
@every_layout
def test_only_listed_patches_are_written(way, layout, kernels):
    activations = itertools.cycle([("gelu", None), ("leaky_relu", None), ("prelu", 5), ("relu", None), ("prelu", 1)])
    for dtype in (torch.float32, torch.float16, torch.float64):
        x, weight, bias, options, outer = arguments(way, 3, 5, dtype=dtype, layout=layout)
        activation, count = next(activations)
        slopes = None if count is None else random(count, dtype=dtype, seed=4)
        room = random(2, 5, 2 * outer + 1, 6 * outer, dtype=dtype, seed=5)
        before = room.clone()
        base, rest = room[:, :, :-1, ::2], (activation, slopes, 0.2, False)
        kernels("routed_conv2d_")(x, weight, bias, *options, *rest, base)
        expected = before.double()[:, :, :-1, ::2]
        routing.routed_conv2d_(
            *map(double, (x, weight, bias)), *options, activation, double(slopes), 0.2, False, expected
        )
        assert_near(base, expected)
        untouched = patches.patch_scatter(torch.zeros(9, 5, outer, outer), options[0], torch.ones(base.shape)) == 1
        assert torch.equal(base[untouched], before[:, :, :-1, ::2][untouched])
        assert torch.equal(room[..., 1::2], before[..., 1::2])


@every_way
def test_patches_and_gradients_of_a_list_with_unused_rows(way, kernels):
    x, weight, bias, options, outer = arguments(way, 3, 5)
    grad_out = random(9, 5, outer, outer, seed=3)
    expected = routing.routed_conv2d(*map(double, (x, weight, bias)), *options, False)
    assert_near(kernels("routed_conv2d")(x, weight, bias, *options, False), expected)
    grads = routing.routed_conv2d_grad(*map(double, (grad_out, x, weight)), *options, False, True, True, True)
    nan = torch.where(expected.flatten(1).any(1).view(-1, 1, 1, 1), grad_out, torch.nan)  # of rows that name none
    for got, wanted in zip(kernels("routed_conv2d_grad")(nan, x, weight, *options, False, True, True, True), grads):
        assert_near(got, wanted, slack=4)


@every_way
@pytest.mark.parametrize("patch", [1, 2, 6, 17, 20])
@pytest.mark.in_turn(of=3)
def test_patches_of_any_size(way, patch, kernels):
    """Several patches of a block, parts of one, and rectangles at its end that are not full."""
    stride, transposed = WAYS[way][1:3]
    if not transposed and patch % stride:
        pytest.skip("no multiple of the stride")
    x, weight, bias, options, outer = arguments(way, 3, 5, patch)
    expected = routing.routed_conv2d(*map(double, (x, weight, bias)), *options, False)
    assert_near(kernels("routed_conv2d")(x, weight, bias, *options, False), expected)
    grad_out = random(9, 5, outer, outer, seed=3)
    grads = routing.routed_conv2d_grad(*map(double, (grad_out, x, weight)), *options, False, True, True, True)
    for got, wanted in zip(
        kernels("routed_conv2d_grad")(grad_out, x, weight, *options, False, True, True, True), grads
    ):
        assert_near(got, wanted, slack=4)


@pytest.mark.parametrize("bad", [torch.inf, torch.nan], ids=str)
def test_what_is_not_finite_stays_where_it_is_read(bad):
    """A pixel of the input reaches the outputs that read it, and the gradients of the taps that do; no others."""
    for way, dtype in itertools.product(WAYS, (torch.float32, torch.float16)):
        x, weight, bias, options, outer = arguments(way, 8, 8, 5 if way != "stride" and way != "1x1" else 6, dtype)
        x[0, 3, 4, 4] = bad
        expected = routing.routed_conv2d(*map(double, (x, weight, bias)), *options, False)
        result = emulated_op("routed_conv2d")(x, weight, bias, *options, False)
        assert torch.equal(result.isfinite(), expected.isfinite())
        grad_out = random(9, 8, outer, outer, dtype=dtype, seed=3)
        got, wanted = (
            op.routed_conv2d_grad(grad_out, x, weight, *options, False, False, True, False)[1]
            for op in (WordedOps(EMULATED), WordedOps(NAMESPACE))
        )
        assert torch.equal(got.isfinite(), wanted.isfinite())


@every_way
def test_no_channels_and_no_patches(way, kernels):
    for c, c_out in ((0, 3), (3, 0)):
        x, weight, bias, options, outer = arguments(way, c, c_out)
        expected = routing.routed_conv2d(x, weight, bias, *options, False)
        assert torch.equal(kernels("routed_conv2d")(x, weight, bias, *options, False), expected)
        grad_out = torch.ones(9, c_out, outer, outer)
        grads = kernels("routed_conv2d_grad")(grad_out, x, weight, *options, False, True, True, True)
        for got, wanted in zip(
            grads, routing.routed_conv2d_grad(grad_out, x, weight, *options, False, True, True, True)
        ):
            assert_near(got, wanted)
    x, weight, _, (indices, *options), outer = arguments(way, 2, 3)
    empty = (indices[:0], *options)
    assert kernels("routed_conv2d")(x, weight, None, *empty, False).shape == (0, 3, outer, outer)
    for grad in kernels("routed_conv2d_grad")(
        torch.ones(0, 3, outer, outer), x, weight, *empty, False, True, True, True
    ):
        assert (grad == 0).all()


@pytest.mark.slow
@every_layout
@pytest.mark.parametrize(
    "dtype, tf32", [(torch.float32, False), (torch.float32, True), (torch.float16, False)], ids=str
)
@pytest.mark.parametrize("way", ["image", "transposed-zero"])
def test_more_channels_than_a_block_has(way, dtype, tf32, layout, kernels):
    """64 rows, 128 rows and two blocks of them; channels in packs of 16 bytes, and a tail."""
    for c, c_out in ((40, 48), (36, 130)) if dtype == torch.float16 else ((36, 130),):
        x, weight, bias, options, outer = arguments(way, c, c_out, dtype=dtype, layout=layout)
        result = kernels("routed_conv2d")(x, weight, bias, *options, tf32)
        wide = functools.partial(assert_near, dtype=torch.float16) if tf32 else assert_near
        wide(result, routing.routed_conv2d(*map(double, (x, weight, bias)), *options, False), slack=2)
        grad_out = random(9, c_out, outer, outer, dtype=dtype, layout=layout, seed=3)
        grads = routing.routed_conv2d_grad(*map(double, (grad_out, x, weight)), *options, False, True, True, True)
        for got, wanted in zip(
            kernels("routed_conv2d_grad")(grad_out, x, weight, *options, tf32, True, True, True), grads
        ):
            wide(got, wanted, slack=8)


@every_way
def test_sums_do_not_depend_on_the_thread_order(way):
    x, weight, _, options, outer = arguments(way, 5, 7)
    grad_out, results = random(9, 7, outer, outer, seed=3), []
    for seed in SEEDS:
        native.set_seed(seed)
        grads = emulated_op("routed_conv2d_grad")(grad_out, x, weight, *options, False, True, True, True)
        spread = emulated_op("patch_gather_grad")(random(9, 7, 14, 14), listed(), (2, 7, 8, 12), 4, 5, False)
        results.append([*grads, spread])
        native.set_seed(0)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))
