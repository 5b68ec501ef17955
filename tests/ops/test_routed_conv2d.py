"""What holds for routed_conv2d alone."""

import pytest
import torch
import torch._dynamo.testing
import torch.nn.functional as F
from compare import assert_near
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ops.routed_convolutions import KINDS, PATCH, dense, every_kind, make, route_of, spread

import vfi_kernels as vk

every_dtype = pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)


@every_kind
def test_all_patches_are_the_dense_convolution(backend, kind, rng):
    (x, weight, bias), options = make(kind, rng)
    indices = vk.patch_indices(torch.ones(2, 3, 5, dtype=torch.bool))
    out = vk.routed_conv2d(x, weight, bias, indices, PATCH, padding_mode="image", **options)
    torch.testing.assert_close(out, dense(x, weight, bias, **options), rtol=0, atol=1e-13)


@every_kind
@every_dtype
def test_a_route_is_the_dense_convolution_inside_and_the_base_outside(backend, kind, dtype, rng):
    data, options = make(kind, rng, c=6, c_out=34, dtype=dtype)
    for layout in (torch.contiguous_format, torch.channels_last):
        x, weight, bias = data[0].contiguous(memory_format=layout), *data[1:]
        route = route_of(x, rng)
        expected = dense(*(t.double() for t in data), **options)
        base = torch.randn(expected.shape, generator=rng).to(dtype).contiguous(memory_format=layout)
        before = base.clone()
        out = vk.routed_conv2d(
            x, weight, bias, vk.patch_indices(route), PATCH, padding_mode="image", base=base, **options
        )
        active = spread(route, expected.shape[2] // route.shape[1])
        assert out.dtype == dtype and out.is_contiguous(memory_format=layout)
        assert_near(torch.where(active, out, 0), torch.where(active, expected, 0))
        assert torch.equal(torch.where(active, 0, out), torch.where(active, 0, base)) and torch.equal(base, before)


@every_kind
def test_zeros_around_take_each_patch_for_an_image(backend, kind, rng):
    (x, weight, bias), options = make(kind, rng)
    indices = vk.patch_indices(route_of(x, rng))
    tiles = vk.patch_gather(x, indices, PATCH)
    alone = dense(tiles, weight, bias, **options)
    expected = vk.patch_scatter(alone, indices, torch.zeros_like(dense(x, weight, **options)))
    out = vk.routed_conv2d(x, weight, bias, indices, PATCH, **options)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-13)


@every_kind
@pytest.mark.parametrize("padding_mode", ["zeros", "image"])
@every_dtype
def test_gradients_are_those_of_the_composition(backend, kind, padding_mode, dtype, rng):
    """Gather with a halo, dense convolution, crop and scatter: every gradient, also where patches overlap."""
    data, options = make(kind, rng, c=6, c_out=4, dtype=dtype)
    indices = vk.patch_indices(route_of(data[0], rng, 0.7))
    halo = 2 if padding_mode == "image" else 0

    def composed(x, weight, bias):
        out = dense(vk.patch_gather(x, indices, PATCH, halo=halo), weight, bias, **options)
        cut = halo * out.shape[2] // (PATCH + 2 * halo)
        out = out[:, :, cut : out.shape[2] - cut, cut : out.shape[3] - cut]
        return vk.patch_scatter(out, indices, torch.zeros_like(dense(x, weight, **options)))

    def routed(x, weight, bias):
        return vk.routed_conv2d(x, weight, bias, indices, PATCH, padding_mode=padding_mode, **options)

    leaves = [t.requires_grad_() for t in data]
    wide = [t.detach().double().requires_grad_() for t in data]
    expected = composed(*wide)
    cotangent = torch.randn(expected.shape, generator=rng, dtype=torch.float64).to(dtype)
    wanted = torch.autograd.grad(expected, wide, cotangent.double())
    for got, owner, want in zip(torch.autograd.grad(routed(*leaves), leaves, cotangent), leaves, wanted):
        assert got.dtype == owner.dtype and got.shape == owner.shape
        assert_near(got, want, slack=4)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "prelu", "gelu", "prelu of one slope"])
@every_dtype
def test_activations(backend, activation, dtype, rng):
    """Fused without gradients, differentiable with them; patches that are not listed keep the base as it is."""
    (x, weight, bias), _ = make("3x3", rng, dtype=dtype)
    activation, _, one = activation.partition(" ")
    slopes = torch.randn(1 if one else 7, generator=rng).to(dtype) if activation == "prelu" else None
    indices, base = vk.patch_indices(route_of(x, rng)), torch.randn(2, 7, 12, 20, generator=rng).to(dtype)
    options = {"activation": activation, "activation_weight": slopes, "negative_slope": 0.1, "base": base}
    plain = vk.routed_conv2d(x.double(), weight.double(), bias.double(), indices, PATCH, base=base.double())
    reference = {
        "relu": F.relu, "leaky_relu": lambda t: F.leaky_relu(t, 0.1), "gelu": F.gelu,
        "prelu": lambda t: F.prelu(t, slopes.double()),
    }[activation]  # fmt: skip
    expected = vk.patch_scatter(reference(vk.patch_gather(plain, indices, PATCH)), indices, base.double())
    fused = vk.routed_conv2d(x, weight, bias, indices, PATCH, **options)
    assert_near(fused, expected)
    apart = vk.routed_conv2d(x.requires_grad_(), weight, bias, indices, PATCH, **options)
    assert_near(apart, expected, slack=2)
    if slopes is not None:
        slopes.requires_grad_()
        out = vk.routed_conv2d(x, weight, bias, indices, PATCH, **options)
        (grad,) = torch.autograd.grad(out.double().sum(), slopes)
        kept = vk.patch_gather(plain, indices, PATCH).clamp(max=0).sum((0, 2, 3))
        assert_near(grad, kept.sum()[None] if one else kept, slack=8)


def test_gelu_holds_where_erf_nearly_cancels():
    x = torch.linspace(-9, 9, 1600).view(1, 1, 40, 40)
    one = torch.ones(1, 1, 1, 1)
    out = vk.routed_conv2d(x, one, None, torch.zeros(1, 3, dtype=torch.int32), 40, activation="gelu").double()
    expected = 0.5 * x.double() * torch.special.erfc(-x.double() / 2**0.5)
    torch.testing.assert_close(out, expected, rtol=1e-6, atol=5e-7)
    torch.testing.assert_close(out, expected, rtol=0.02, atol=0)


@every_kind
@pytest.mark.parametrize("padding_mode", ["zeros", "image"])
def test_a_patch_does_not_depend_on_which_others_are_listed(kind, padding_mode, rng):
    """To the last bit."""
    data, options = make(kind, rng, dtype=torch.float32)
    every = vk.patch_indices(torch.ones(2, 3, 5, dtype=torch.bool))
    options |= {"padding_mode": padding_mode}
    whole = vk.routed_conv2d(*data, every, PATCH, **options)
    side = whole.shape[2] // 3
    for row in (0, 7, 14, 29):
        b, y, x = every[row].tolist()
        alone = vk.routed_conv2d(*data, every[row : row + 1], PATCH, **options)
        cut = (b, slice(None), slice(y * side, (y + 1) * side), slice(x * side, (x + 1) * side))
        assert torch.equal(alone[cut], whole[cut])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(list(KINDS)), st.integers(1, 40), st.integers(1, 40), st.integers(1, 5), st.integers(0, 99))
def test_any_channels_and_patch(backend, kind, c, c_out, half, seed):
    rng = torch.Generator().manual_seed(seed)
    patch = 2 * half
    (x, weight, bias), options = make(kind, rng, c, c_out, (1, 2 * patch, 3 * patch))
    route = torch.rand(1, 2, 3, generator=rng) < 0.5
    out = vk.routed_conv2d(x, weight, bias, vk.patch_indices(route), patch, padding_mode="image", **options)
    expected = dense(x, weight, bias, **options)
    active = spread(route, expected.shape[2] // 2)
    torch.testing.assert_close(out, torch.where(active, expected, 0), rtol=0, atol=1e-12)


def test_patches_of_one_pixel(backend, rng):
    x, weight = torch.randn(1, 2, 3, 4, generator=rng).double(), torch.randn(3, 2, 3, 3, generator=rng).double()
    indices = vk.patch_indices(torch.ones(1, 3, 4, dtype=torch.bool))
    leaves = [x.requires_grad_(), weight.requires_grad_()]
    out, expected = vk.routed_conv2d(*leaves, None, indices, 1, padding_mode="image"), F.conv2d(*leaves, padding=1)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-13)
    cotangent = torch.randn(expected.shape, generator=rng, dtype=torch.float64)
    for got, want in zip(*(torch.autograd.grad(o, leaves, cotangent) for o in (out, expected))):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("capacity", [0, 4, 7, 20])
def test_capacity_below_at_and_above_the_count(backend, capacity, rng):
    (x, weight, bias), _ = make("3x3", rng)
    route = torch.zeros(2, 3, 5, dtype=torch.bool)
    route.view(-1)[[0, 3, 4, 11, 17, 22, 28]] = True
    leaves = [t.requires_grad_() for t in (x, weight, bias)]

    def run(indices):
        out = vk.routed_conv2d(*leaves, indices, PATCH, padding_mode="image", activation="relu")
        return out, *torch.autograd.grad(out.square().sum(), leaves)

    listed = vk.patch_indices(route, capacity=capacity)
    for got, expected in zip(run(listed), run(vk.patch_indices(route)[:capacity])):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


def test_nothing_listed_is_the_base(backend, rng):
    (x, weight, bias), _ = make("3x3", rng)
    base = torch.randn(2, 7, 12, 20, generator=rng, dtype=torch.float64)
    none = torch.zeros(0, 3, dtype=torch.int32)
    assert torch.equal(vk.routed_conv2d(x, weight, bias, none, PATCH, base=base), base)
    assert not vk.routed_conv2d(x, weight, bias, none, PATCH).any()
    leaves = [t.requires_grad_() for t in (x, weight, bias)]
    for grad in torch.autograd.grad(vk.routed_conv2d(*leaves, none, PATCH).sum(), leaves):
        assert not grad.any()


def test_one_graph_whatever_is_active():
    def block(route, x, weight, bias):
        indices = vk.patch_indices(route, capacity=10)
        y = vk.routed_conv2d(x, weight, bias, indices, PATCH, activation="gelu", base=x)
        return vk.routed_conv2d_(y, weight, bias, indices, PATCH, base=torch.zeros_like(y))

    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(block, fullgraph=True, backend=counter)
    x, weight, bias = torch.randn(1, 3, 8, 20), torch.randn(3, 3, 3, 3), torch.randn(3)
    for seed in range(3):
        route = torch.rand(1, 2, 5, generator=torch.Generator().manual_seed(seed)) < 0.4
        torch.testing.assert_close(compiled(route, x, weight, bias), block(route, x, weight, bias))
    assert counter.frame_count == 1


def test_a_list_of_unknown_length_trains_in_one_graph(rng):
    def loss(route, x, weight):
        out = vk.routed_conv2d(x, weight, None, vk.patch_indices(route), PATCH, padding_mode="image", activation="relu")
        return out.square().mean()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for seed in range(3):
        route = torch.rand(1, 2, 5, generator=torch.Generator().manual_seed(seed)) < 0.5
        leaves = [torch.randn(s, generator=rng).requires_grad_() for s in ((1, 3, 8, 20), (4, 3, 3, 3))]
        grads = torch.autograd.grad(compiled(route, *leaves), leaves)
        for got, expected in zip(grads, torch.autograd.grad(loss(route, *leaves), leaves)):
            torch.testing.assert_close(got, expected)


def test_autocast_is_that_of_a_convolution(backend, rng):
    (x, weight, bias), _ = make("3x3", rng, dtype=torch.float32)
    indices, base = vk.patch_indices(route_of(x, rng)), torch.randn(2, 7, 12, 20, generator=rng)
    half = [t.bfloat16() for t in (x, weight, bias)]
    expected = vk.routed_conv2d(*half, indices, PATCH, base=base.bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = vk.routed_conv2d(x, weight, bias, indices, PATCH, base=base)
    assert out.dtype == torch.bfloat16 and torch.equal(out, expected)


def test_vmap_over_lists(rng):
    """Of lists alone, and in place of lists and bases."""
    (x, weight, bias), _ = make("3x3", rng, dtype=torch.float32)
    lists = torch.stack([vk.patch_indices(route_of(x, rng), capacity=9) for _ in range(3)])
    expected = torch.stack([vk.routed_conv2d(x, weight, bias, listed, PATCH) for listed in lists])
    result = torch.vmap(lambda listed: vk.routed_conv2d(x, weight, bias, listed, PATCH))(lists)
    torch.testing.assert_close(result, expected)
    bases = torch.zeros_like(expected)
    torch.vmap(lambda listed, base: vk.routed_conv2d_(x, weight, bias, listed, PATCH, base=base))(lists, bases)
    torch.testing.assert_close(bases, expected)
