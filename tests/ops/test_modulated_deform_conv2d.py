"""What holds for the modulated deformable convolution alone."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from compare import assert_near
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shared_files import SHARED, needs_shared

import vfi_kernels as vk

GOLDEN = ("small", "no_mask", "sg_rife", "integer_offsets")


def double(*shape, rng):
    return torch.randn(shape, generator=rng, dtype=torch.float64)


def off_integers(*shape, rng):
    """Offsets up to some pixels, never an integer: every derivative exists."""
    return (double(*shape, rng=rng).mul(16).floor() + 0.5) / 8


@needs_shared
@pytest.mark.parametrize("name", GOLDEN)
def test_golden(backend, name):
    """Output and every gradient as torchvision computes them in float64, at integer positions and -1 too."""
    with np.load(SHARED / "golden" / f"deform_conv2d_{name}.npz") as file:
        data = {key: torch.from_numpy(file[key]) for key in file.files}
    names = [n for n in ("input", "offset", "mask", "weight", "bias") if n in data]
    leaves = {n: data[n].clone().requires_grad_() for n in names}
    options = {n: tuple(data[n].tolist()) for n in ("stride", "padding", "dilation")}
    args = [leaves.get(n) for n in ("input", "offset", "mask", "weight", "bias")]
    out = vk.modulated_deform_conv2d(*args, **options)
    torch.testing.assert_close(out, data["output"], rtol=0, atol=1e-10)
    grads = torch.autograd.grad(out, list(leaves.values()), data["grad_output"])
    for n, grad in zip(leaves, grads):
        torch.testing.assert_close(grad, data[f"grad_{n}"], rtol=0, atol=1e-10, msg=n)


@pytest.mark.parametrize("kernel", [(1, 1), (2, 3), (3, 3), (5, 1), (5, 5), (7, 7)], ids=str)
@pytest.mark.parametrize("stride, padding, dilation", [(1, 0, 1), (2, 1, 1), ((1, 3), (3, 2), (2, 1))], ids=str)
def test_no_offset_is_conv2d(backend, kernel, stride, padding, dilation, rng):
    x = double(2, 6, 17, 19, rng=rng)
    weight, bias = double(8, 3, *kernel, rng=rng), double(8, rng=rng)
    expected = F.conv2d(x, weight, bias, stride, padding, dilation, groups=2)
    b, _, h, w = expected.shape
    offset, mask = x.new_zeros(b, 2 * kernel[0] * kernel[1], h, w), x.new_ones(b, kernel[0] * kernel[1], h, w)
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    for m in (mask, None):
        out = vk.modulated_deform_conv2d(x, offset, m, weight, bias, **options)
        torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("offset_groups", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("groups", [1, 4])
def test_offset_groups(backend, offset_groups, groups, rng):
    """Each offset group alone, the others switched off by the mask, adds up to all of them."""
    x, weight = double(1, 16, 5, 7, rng=rng), double(8, 16 // groups, 3, 3, rng=rng)
    offset, mask = off_integers(1, 18 * offset_groups, 5, 7, rng=rng), double(1, 9 * offset_groups, 5, 7, rng=rng)
    whole = vk.modulated_deform_conv2d(x, offset, mask, weight, padding=1)
    total, each = 0, 16 // offset_groups
    for q in range(offset_groups):
        part = torch.zeros_like(x)
        part[:, q * each : (q + 1) * each] = x[:, q * each : (q + 1) * each]
        o, m = offset[:, 18 * q : 18 * (q + 1)], mask[:, 9 * q : 9 * (q + 1)]
        total = total + vk.modulated_deform_conv2d(part, o, m, weight, padding=1)
    torch.testing.assert_close(whole, total, rtol=1e-12, atol=1e-12)


def test_position_by_hand(backend):
    """The first channel of an offset is vertical; the mask multiplies what is read."""
    x = torch.arange(12.0).view(1, 1, 3, 4)
    offset = torch.zeros(1, 2, 3, 4)
    offset[0, 0, 0, 0], offset[0, 1, 0, 0] = 1.5, 0.25  # between rows 1 and 2, a quarter right of column 0
    offset[0, 1, 1, 2] = 5  # outside
    mask = torch.full((1, 1, 3, 4), 2.0)
    out = vk.modulated_deform_conv2d(x, offset, mask, torch.ones(1, 1, 1, 1), torch.tensor([1.0]))
    expected = 2 * x + 1
    expected[0, 0, 0, 0], expected[0, 0, 1, 2] = 1 + 2 * 6.25, 1
    assert torch.equal(out, expected)


@pytest.mark.parametrize("edge", ["torchvision", "mmcv"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_derivative_on_the_edge(backend, edge, dtype):
    """A coordinate of exactly -1 reads 0; its derivative is that of the right side, or 0. At H and W both have 0."""
    x = torch.tensor([[3.0, 5.0], [7.0, 11.0]], dtype=dtype).view(1, 1, 2, 2)
    offset = torch.zeros(1, 2, 2, 2, dtype=dtype)
    offset[0, 0, 0, 0] = -1  # y = -1, x = 0
    offset[0, 1, 1, 0] = -1  # x = -1, y = 1
    offset[0, :, 0, 1] = torch.tensor([2.0, 0.0])  # y = H
    offset[0, :, 1, 1] = torch.tensor([-1.0, 1.0])  # x = W
    offset.requires_grad_()
    out = vk.modulated_deform_conv2d(x, offset, None, torch.ones(1, 1, 1, 1, dtype=dtype), edge=edge)
    assert torch.equal(out, torch.zeros_like(out))
    (grad,) = torch.autograd.grad(out.sum(), offset)
    expected = torch.zeros_like(offset)
    if edge == "torchvision":
        expected[0, 0, 0, 0], expected[0, 1, 1, 0] = 3, 7
    assert torch.equal(grad, expected)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_an_offset_that_is_not_finite_reads_nothing(backend, value, rng):
    """Whatever the mask holds there; and its gradients are 0."""
    x, weight = torch.randn(1, 4, 5, 6, generator=rng), torch.randn(4, 4, 3, 3, generator=rng)
    offset, mask = torch.randn(1, 18, 5, 6, generator=rng), torch.rand(1, 9, 5, 6, generator=rng)
    off = mask.clone()
    offset[0, 8, 2, 3] = value
    off[0, 4, 2, 3], mask[0, 4, 2, 3] = 0, torch.nan
    leaves = [t.requires_grad_() for t in (x, offset, mask, weight)]
    out = vk.modulated_deform_conv2d(*leaves, padding=1)
    clean = torch.where(offset.isfinite(), offset, 0.5).detach()
    assert_near(out, vk.modulated_deform_conv2d(x, clean, off, weight, padding=1))
    grad_input, grad_offset, grad_mask, grad_weight = torch.autograd.grad(out.sum(), leaves)
    assert all(g.isfinite().all() for g in (grad_input, grad_weight))
    assert (grad_offset[0, 8:10, 2, 3] == 0).all() and grad_mask[0, 4, 2, 3] == 0


@pytest.mark.parametrize("place", ["input", "mask", "weight", "grad_out"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_reaches_the_same_gradients(backend, place, value, rng):
    shapes = {"input": (1, 20, 5, 6), "offset": (1, 36, 5, 6), "mask": (1, 18, 5, 6), "weight": (6, 20, 3, 3)}
    data = {name: double(*shape, rng=rng).float() for name, shape in shapes.items()}
    data["offset"] = off_integers(*shapes["offset"], rng=rng).float()
    data["grad_out"] = double(1, 6, 5, 6, rng=rng).float()
    data[place].view(-1)[data[place].numel() // 2 + 4] = value

    def finite():
        leaves = [data[name].clone().requires_grad_() for name in shapes]
        out = vk.modulated_deform_conv2d(*leaves, padding=1)
        return [t.isfinite() for t in (out, *torch.autograd.grad(out, leaves, data["grad_out"]))]

    result = finite()
    with vk.use_backend("reference"):
        expected = finite()
    assert all(torch.equal(a, b) for a, b in zip(result, expected)) and not all(a.all() for a in result)
    assert all(a.any() for a in result[: 4 if place in ("weight", "grad_out") else 1])


def test_a_corner_of_weight_zero_is_not_read(backend):
    x = torch.zeros(1, 20, 4, 5)
    x[:, :, 2, 2] = torch.inf
    offset = torch.zeros(1, 18, 4, 5)
    offset[0, 0::2] = -1
    weight = torch.zeros(3, 20, 3, 3)
    weight[:, :, 1, 1] = 1
    out = vk.modulated_deform_conv2d(x, offset, None, weight, padding=1)
    touched = torch.zeros(4, 5, dtype=torch.bool)
    touched[2:, 1:4] = True  # rows 2..4 shifted up by one meet the pixel: 0 * inf is NaN, as in conv2d
    assert out[..., ~touched].isfinite().all() and not out[..., 3, 2].isfinite().any()


@pytest.mark.parametrize("activation", ["relu", "prelu"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_fused_activation_and_bias(backend, activation, dtype, rng):
    x, weight = torch.randn(1, 5, 6, 35, generator=rng).to(dtype), torch.randn(21, 5, 3, 3, generator=rng).to(dtype)
    offset, bias = torch.randn(1, 18, 6, 35, generator=rng), torch.randn(21, generator=rng).to(dtype)
    for slopes in (torch.randn(21, generator=rng), torch.tensor([0.1])) if activation == "prelu" else (None,):
        slopes = None if slopes is None else slopes.to(dtype)
        fused = vk.modulated_deform_conv2d(
            x, offset, None, weight, bias, padding=1, activation=activation, activation_weight=slopes
        )
        with vk.use_backend("reference"):
            plain = vk.modulated_deform_conv2d(
                *(t.double() for t in (x, offset)), None, weight.double(), bias.double(), padding=1
            )
        expected = plain.relu() if slopes is None else F.prelu(plain, slopes.double())
        assert_near(fused, expected)
        apart = vk.modulated_deform_conv2d(
            x.clone().requires_grad_(), offset, None, weight, bias, padding=1, activation=activation,
            activation_weight=slopes,
        )  # fmt: skip
        assert apart.requires_grad
        assert_near(apart, expected, slack=2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_gradient_of_the_bias(backend, dtype, rng):
    x, weight = double(3, 4, 9, 11, rng=rng).to(dtype), double(6, 4, 3, 3, rng=rng).to(dtype)
    bias = torch.zeros(6, dtype=dtype, requires_grad=True)
    out = vk.modulated_deform_conv2d(x, off_integers(3, 18, 9, 11, rng=rng).to(dtype), None, weight, bias, padding=1)
    grad_out = torch.randint(-8, 8, out.shape, generator=rng).to(dtype)
    (grad,) = torch.autograd.grad(out, bias, grad_out)
    assert_near(grad, grad_out.double().sum((0, 2, 3)), slack=4)


@pytest.mark.parametrize("needed", range(5), ids=["input", "offset", "mask", "weight", "bias"])
def test_each_gradient_alone(backend, needed, rng):
    x, weight, bias = double(2, 8, 5, 7, rng=rng), double(4, 4, 3, 3, rng=rng), double(4, rng=rng)
    offset, mask = off_integers(2, 36, 5, 7, rng=rng), double(2, 18, 5, 7, rng=rng)
    arguments = [x, offset, mask, weight, bias]
    leaves = [t.clone().requires_grad_(n == needed) for n, t in enumerate(arguments)]
    every = [t.clone().requires_grad_() for t in arguments]
    cotangent = double(2, 4, 5, 7, rng=rng)
    (alone,) = torch.autograd.grad(vk.modulated_deform_conv2d(*leaves, padding=1), leaves[needed], cotangent)
    together = torch.autograd.grad(vk.modulated_deform_conv2d(*every, padding=1), every, cotangent)
    torch.testing.assert_close(alone, together[needed], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "shape, c_out, groups, offset_groups",
    [
        ((2, 128, 8, 14), 128, 4, 4),  # SG-RIFE at 1/8, cut to a few rows
        ((2, 256, 4, 7), 256, 8, 8),  # SG-RIFE at 1/16
        ((1, 128, 9, 20), 64, 1, 16),  # BasicVSR++
        ((1, 64, 9, 20), 64, 1, 8),  # EDVR, Zooming Slow-Mo
    ],
    ids=["sg-rife-8", "sg-rife-16", "basicvsr++", "edvr"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_shapes_in_use(backend, shape, c_out, groups, offset_groups, dtype, rng):
    b, c, h, w = shape
    x, weight = double(*shape, rng=rng), double(c_out, c // groups, 3, 3, rng=rng) / (c // groups * 9) ** 0.5
    offset, mask = (
        off_integers(b, 18 * offset_groups, h, w, rng=rng),
        double(b, 9 * offset_groups, h, w, rng=rng).sigmoid(),
    )
    small = [t.to(dtype) for t in (x, offset, mask, weight)]
    leaves, oracle = ([t.detach().to(d).requires_grad_() for t in small] for d in (dtype, torch.float64))
    cotangent = double(b, c_out, h, w, rng=rng).mul(8).round() / 8
    out = vk.modulated_deform_conv2d(*leaves, padding=1)
    with vk.use_backend("reference"):
        expected = vk.modulated_deform_conv2d(*oracle, padding=1)
        wanted = torch.autograd.grad(expected, oracle, cotangent)
    assert_near(out, expected)
    for got, grad in zip(torch.autograd.grad(out, leaves, cotangent.to(dtype)), wanted):
        assert_near(got, grad, slack=4)


@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    parts=st.sampled_from([(1, 1, 3), (2, 4, 4), (3, 3, 6), (4, 2, 8), (1, 5, 5)]),
    masked=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_geometry(backend, kernel, stride, padding, dilation, parts, masked, seed):
    """Forward and every gradient against the reference in float64."""
    rng, (groups, offset_groups, c) = torch.Generator().manual_seed(seed), parts
    x, weight = double(2, c, 9, 8, rng=rng), double(2 * groups, c // groups, *kernel, rng=rng)
    taps = kernel[0] * kernel[1]
    h, w = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in zip((9, 8), padding, dilation, kernel, stride))
    offset = off_integers(2, 2 * taps * offset_groups, h, w, rng=rng)
    mask = double(2, taps * offset_groups, h, w, rng=rng) if masked else None
    options = {"stride": stride, "padding": padding, "dilation": dilation}

    def run():
        leaves = [t.clone().requires_grad_() for t in (x, offset, mask, weight) if t is not None]
        args = leaves if masked else [*leaves[:2], None, leaves[2]]
        out = vk.modulated_deform_conv2d(*args, **options)
        return [out, *torch.autograd.grad(out.square().sum(), leaves)]

    result = run()
    with vk.use_backend("reference"):
        expected = run()
    for got, wanted in zip(result, expected):
        torch.testing.assert_close(got, wanted, rtol=1e-11, atol=1e-11)


def test_autocast_casts_as_conv2d_does(rng):
    """Input and weights to bfloat16; offset and mask stay float32, so that positions do not round."""
    x, weight, bias = (torch.randn(s, generator=rng) for s in ((1, 8, 6, 7), (4, 8, 3, 3), (4,)))
    offset, mask = torch.randn(1, 18, 6, 7, generator=rng), torch.rand(1, 9, 6, 7, generator=rng)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = vk.modulated_deform_conv2d(x, offset, mask, weight, bias, padding=1)
    half = [t.bfloat16() for t in (x, weight, bias)]
    assert torch.equal(out, vk.modulated_deform_conv2d(half[0], offset, mask, half[1], half[2], padding=1))
    assert out.dtype == torch.bfloat16


def test_offsets_far_from_zero_keep_their_fraction(backend):
    """Positions in float32 whatever the dtype of the image."""
    w = 4096
    x = torch.arange(float(w)).view(1, 1, 1, w) % 64
    offset = torch.zeros(1, 2, 1, w)
    offset[:, 1] = 0.25
    out = vk.modulated_deform_conv2d(x.half(), offset, None, torch.ones(1, 1, 1, 1).half())
    step = (x + 0.25)[..., :-1][..., x[0, 0, 0, :-1] < 63]
    assert torch.equal(out[..., :-1][..., x[0, 0, 0, :-1] < 63], step.half())


def test_vmap_over_nothing():
    x, weight = torch.zeros(0, 1, 4, 5, 6), torch.zeros(8, 4, 3, 3)
    out = torch.func.vmap(lambda a: vk.modulated_deform_conv2d(a, torch.zeros(1, 18, 5, 6), None, weight, padding=1))(x)
    assert out.shape == (0, 1, 8, 5, 6)
