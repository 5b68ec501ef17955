"""Gradients of splats over tiny weights: those of the definition in float64, or 0 where they are only rounding."""

import pytest
import torch
from compare import ROUNDING
from emulation import emulated_cuda

import vfi_kernels as vk
from vfi_kernels.ops._shared.reference_math import splatting

pytestmark = pytest.mark.in_turn
SCALES = (1.0, 1e-6, 1e-12, 1e-30)
H, W = 3, 8
WAYS = ("reference", "cpp", "cuda emulated", "triton")


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: False)
    if request.param == "cuda emulated":
        with emulated_cuda():
            yield request.param
    else:
        with vk.use_backend(request.param):
            yield request.param


def along_flow(x, flow, metric, **options):
    return vk.splat(x, flow, metric, **options)


def channels_along_flow(x, flow, metric, **options):
    return torch.cat(vk.splat(x.split(1, 1), flow, metric, **options), 1)


def along_path(x, flow, metric, **options):
    return vk.trajectory_splat(x, flow[:, None], [0.0], metric, **options)[:, 0]


every_op = pytest.mark.parametrize("call", [along_flow, along_path], ids=["splat", "trajectory_splat"])


def moves(kind):
    """One pixel on each target; alone on the corners of a fraction; two, or all, on a target; fractions of all."""
    flow = torch.zeros(1, 2, H, W)
    if kind == "alone, between pixels":
        flow[:] = 50.0
        flow[:, :, 1, 3] = torch.tensor([0.4, 0.3])
    elif kind == "two":
        flow[:, 0, :, ::2] = 1
    elif kind == "all":
        flow[:, 0], flow[:, 1] = 3.25 - torch.arange(W), (1.5 - torch.arange(H))[:, None]
    elif kind == "fractions":
        flow = torch.randn(1, 2, H, W, generator=torch.Generator().manual_seed(4))
    return flow


def gradients(call, tensors, g, dtype=None, **options):
    leaves = [t.to(dtype or t.dtype).requires_grad_() for t in tensors if t is not None]
    out = call(*leaves, *[None] * (3 - len(leaves)), **options)
    return torch.autograd.grad(out, leaves, g.to(out.dtype))


def make(kind, mode, scale, flat, channels=3, dtype=torch.float32):
    rng = torch.Generator().manual_seed(1)
    x = torch.rand(1, channels, 1, 1, generator=rng).expand(1, channels, H, W).clone()
    x = x if flat else torch.rand(1, channels, H, W, generator=rng)
    metric = torch.rand(1, 1, H, W, generator=rng) * (scale if mode == "linear" else 8)
    metric = None if mode == "average" else metric + scale / 10
    return (x.to(dtype), moves(kind), metric), torch.randn(1, channels, H, W, generator=rng)


@every_op
@pytest.mark.parametrize("mode", ["average", "linear", "softmax"])
@pytest.mark.parametrize("kind, flat", [
    ("one", False), ("alone, between pixels", False), ("two", True), ("all", True), ("fractions", True),
])  # fmt: skip
def test_a_result_that_does_not_move_has_gradient_zero(kind, flat, mode, call, way):
    """One pixel on a target, or several of one value: in the definition flow and metric change nothing. (A right-hand
    derivative beside an empty target is that of a new pixel there: of these only the metric's.)"""
    scales = SCALES if mode == "linear" and way != "triton" else SCALES[:1] if mode != "linear" else SCALES[2:3]
    for scale in scales:
        tensors, g = make(kind, mode, scale, flat)
        _, flow, *metric = gradients(call, tensors, g, mode=mode)
        assert not any(t.any() for t in metric), (scale, metric)
        if kind in ("alone, between pixels", "all"):
            assert not flow.any(), (scale, flow)


@every_op
@pytest.mark.parametrize("holes", ["zero", "clip"])
@pytest.mark.parametrize("kind", ["two", "fractions"])
def test_gradients_over_tiny_weights_are_those_of_the_definition(kind, holes, call, way):
    for scale in SCALES if way != "triton" else SCALES[2:3]:
        tensors, g = make(kind, "linear", scale, flat=False)
        grads = gradients(call, tensors, g, mode="linear", holes=holes)
        with vk.use_backend("reference"):
            expected = gradients(call, tensors, g, torch.float64, mode="linear", holes=holes)
        for got, wanted in zip(grads, expected):
            # Sums over corners and channels may cancel further: one part in 100,000 of the largest is exact enough.
            near = (got - wanted).abs() <= 1e-3 * wanted.abs() + 1e-5 * wanted.abs().max()
            assert (near | (got == 0)).all(), (scale, got, wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_what_a_half_image_rounds_is_no_gradient(dtype, way):
    """Two pixels whose mean their dtype cannot tell from either."""
    step = torch.finfo(dtype).eps / 2
    x = torch.full((1, 1, 1, 2), 0.75)
    x[..., 1] += step
    flow = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2) * torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    metric = torch.tensor([1e-12, 3e-12]).view(1, 1, 1, 2)
    _, _, grads = gradients(along_flow, (x.to(dtype), flow, metric), torch.ones(1, 1, 1, 2), mode="linear")
    assert not grads.any()


@pytest.mark.parametrize("channels", [1, 5, 20])
@pytest.mark.parametrize("last", [False, True], ids=["planes", "channels_last"])
def test_differences_that_are_no_rounding_stay(channels, last, way):
    """Of large numbers, such as coordinates: a tenth beside 4000."""
    x = torch.full((1, channels, 1, 2), 4000.0)
    x[..., 1] += 0.1
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    flow, metric = torch.zeros(1, 2, 1, 2), torch.ones(1, 1, 1, 2)
    flow[0, 0, 0, 0] = 1
    _, _, grads = gradients(along_flow, (x, flow, metric), torch.ones(1, channels, 1, 2), mode="linear")
    expected = torch.tensor([-1.0, 1.0]) * channels * 0.025
    torch.testing.assert_close(grads.flatten(), expected, rtol=1e-2 * channels**0.5, atol=0)


def pairs_a_little_apart(shares, channels, dtype):
    """Pixels that land in pairs, as those shares of a target. Each channel of the first is a little more than their
    mean, by less than may be rounding of that channel."""
    rng = torch.Generator().manual_seed(3)
    x = 0.75 + torch.rand(1, channels, 1, len(shares), generator=rng, dtype=torch.float64) / 4
    return torch.stack([x, x - 4 * splatting.NOISE[dtype] / (1 - shares)], -1).flatten(3).to(dtype)


def rounding_of_sums(shares, channels, dtype, way):
    """Of results below 1 that go into `channels` products with gradients of 1: what counts as rounding, and what is."""
    cut = way == "triton" and dtype == torch.bfloat16  # the interpreter's stores cut what others round
    rounded, terms = dtype.itemsize == 2, (5 + 1 / shares).clamp_max(splatting.MOST[dtype])
    counted, real = (terms, (3 if cut else 1.5) * channels) if rounded else (terms * channels, 6 * channels)
    return splatting.NOISE[dtype] * (counted + real)


@pytest.mark.in_turn("dtype", "mode", "call", of=3)
@pytest.mark.parametrize("call", [along_flow, along_path, channels_along_flow])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("mode", ["average", "linear", "softmax"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_of_many_channels_no_more_is_lost_than_of_their_sum(dtype, mode, layout, call, way):
    """Up to nearly lone pixels. A half type rounds each channel, but not all to one side."""
    shares = torch.full((12,), 0.5) if mode == "average" else torch.logspace(-0.3, -0.001, 12)
    x = pairs_a_little_apart(shares.double(), 12, dtype)
    weights = torch.stack([shares, 1 - shares], -1).view(1, 1, 1, -1)
    lost = rounding_of_sums(weights.double(), 12, dtype, way)
    metric = {"average": None, "linear": weights, "softmax": weights.log()}[mode]
    flow = torch.tensor([0.0, -1.0]).repeat(12) * torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    tensors, g = (x.contiguous(memory_format=layout), flow, metric), torch.ones(x.shape)
    moved = gradients(call, tensors, g, mode=mode)[1:]
    with vk.use_backend("reference"):
        expected = gradients(along_flow, tensors, g, torch.float64, mode=mode)[1:]
    for got, wanted in zip(moved, expected):
        scale = 1 if mode == "linear" and got.shape[1] == 1 else weights
        assert ((got - wanted).abs() <= scale * lost).all(), ((got - wanted).abs() / (scale * lost)).max()


def test_second_derivatives_of_a_flat_image_stay(way):
    """Where the gradient counts as 0 its derivative does not."""
    if way == "triton":
        pytest.skip("the second derivative is the reference's on every backend")
    x, flow, metric = (t.double() for t in make("two", "linear", 1.0, True)[0])
    metric.requires_grad_(), x.requires_grad_()
    (first,) = torch.autograd.grad(vk.splat(x, flow, metric, mode="linear").sum(), metric, create_graph=True)
    (second,) = torch.autograd.grad((first * torch.arange(W).double()).sum(), x)
    assert first.abs().max() == 0 and second.abs().max() > 0.1


OFFSETS = (2e-7, 1e-6, 1e-5, 1e-4, 1e-3)


def beyond_pixels(kind, offset, rng):
    """Flows of whole pixels and a little more or less, along x or y: one or several land on a target, or beside it."""
    whole = torch.randint(-2, 3, (1, 2, H, W), generator=rng).float()
    if kind == "together":
        whole[:] = whole[:, :, :1, :1].clone()
    sign = torch.randint(0, 2, (1, 2, H, W), generator=rng) * 2.0 - 1
    little = offset * (sign if kind == "apart" else sign[:, :, :1, :1])
    little = little * torch.rand(1, 1, H, W, generator=rng).add(0.5) if kind == "unlike" else little
    return whole + little * torch.eye(2)[torch.randint(0, 2, (), generator=rng)].view(1, 2, 1, 1)


def compare_with_float64(call, tensors, g, **options):
    """How many elements of the gradients of flow and metric are neither 0 nor within 1e-3 of the definition's, which is
    computed in float64 for the same values; how many are 0 and should not be; how many there are."""
    grads = gradients(call, tensors, g, **options)[1:]
    with vk.use_backend("reference"):
        expected = gradients(call, tensors, g, torch.float64, **options)[1:]
    wrong = lost = 0
    for got, wanted in zip(grads, expected):
        error = (got - wanted).abs()
        # The corners and channels of an element may cancel once more; what the rounding of g x makes is no noise.
        scale = (g * tensors[0]).abs().sum(1).max()
        scale = scale / tensors[2].abs() if options["mode"] == "linear" and got.shape[1] == 1 else scale
        allowed = 1e-3 * wanted.abs() + ROUNDING[torch.float32] * scale
        wrong += ((got != 0) & (error > allowed)).sum().item()
        lost += ((got == 0) & (wanted != 0)).sum().item()
    return wrong, lost, sum(t.numel() for t in grads)


def is_nightly(item):
    """Beyond a pixel an image goes with one way to fill holes and a flat picture with the other; at night both do."""
    given = item.callspec.params if hasattr(item, "callspec") else {}
    return {"flat", "holes", "scale"} <= given.keys() and given["flat"] == (given["holes"] == "zero")


@every_op
@pytest.mark.parametrize("holes", ["zero", "clip"])
@pytest.mark.parametrize("mode, scale", [
    ("average", 1.0), ("softmax", 1.0), ("linear", 1.0), ("linear", 1e-30), ("linear", 1e30),
])  # fmt: skip
@pytest.mark.parametrize("flat", [False, True], ids=["image", "flat"])
def test_gradients_a_little_beyond_a_pixel_are_those_of_float64_or_zero(flat, mode, scale, holes, call, way):
    rng = torch.Generator().manual_seed(7)
    wrong = lost = count = 0
    for kind in ("together", "apart", "unlike") if way != "triton" else ("apart",):
        for offset in OFFSETS if way != "triton" else (1e-6,):
            (x, _, metric), g = make("one", mode, 1.0, flat)
            metric = None if metric is None else (metric + 0.5) * scale if mode == "linear" else metric / 8
            tensors = (x, beyond_pixels(kind, offset, rng), metric)
            differences = compare_with_float64(call, tensors, g, mode=mode, holes=holes)
            wrong, lost, count = (a + b for a, b in zip((wrong, lost, count), differences))
    assert wrong == 0, (wrong, lost, count)


@every_op
def test_gradients_that_can_be_told_from_rounding_are_not_lost(call, way):
    """Nearly all of them, at flows of any fraction, and half of them a thousandth of a pixel from where all are 0."""
    for offset, most in ((0.3, 0.0), (1e-3, 0.1)):
        (x, _, metric), g = make("one", "softmax", 1.0, False)
        flow = torch.full((1, 2, H, W), offset)
        _, lost, count = compare_with_float64(call, (x, flow, metric), g, mode="softmax")
        assert lost <= most * count, (offset, lost, count)


@every_op
def test_the_weights_of_both_corners_are_exact(call, way):
    """Two pixels, one a little beyond its place and one a little before it, fill the hole between them."""
    x = torch.rand(1, 2, H, W, generator=torch.Generator().manual_seed(2))
    for distance in OFFSETS:
        flow = torch.full((1, 2, H, W), 50.0)
        flow[0, :, 1, 3], flow[0, :, 1, 5] = torch.tensor([distance, 0.0]), torch.tensor([-3 * distance, 0.0])
        out = call(x, flow, None, mode="average")
        torch.testing.assert_close(out[0, :, 1, 4], (x[0, :, 1, 3] + 3 * x[0, :, 1, 5]) / 4, rtol=1e-6, atol=0)


@every_op
@pytest.mark.parametrize("scale", [1e-30, 1e-36, 1e-38, 1e-40, 1e-44])
def test_a_subnormal_weight_is_a_hole(scale, call, way):
    """And above it the result is right: D has all its digits."""
    (x, flow, metric), g = make("fractions", "linear", 1.0, False)
    metric = metric * scale
    with vk.use_backend("reference"):
        expected, weight = vk.splat(x.double(), flow.double(), metric.double(), mode="linear", return_weight=True)
    out, hole = call(x, flow, metric, mode="linear"), weight < 1.17e-38
    near = (out - expected).abs() <= 1e-5 + 1e-4 * expected
    assert torch.where(hole, out == 0, near).all()
    _, grad_flow, grad_metric = gradients(call, (x, flow, metric), g, mode="linear")
    assert grad_flow.isfinite().all() and not (scale < 1e-31 and (grad_flow.any() or grad_metric.any()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_trajectory_knows_how_a_half_image_was_rounded(dtype, way):
    """The two pixels of the test above, moved by keyframes."""
    step = torch.finfo(dtype).eps / 2
    x = torch.tensor([0.75, 0.75 + step]).view(1, 1, 1, 2).to(dtype)
    flow = torch.tensor([[1.0, 0.0], [0.0, 0.0]]).view(1, 2, 1, 2)
    metric = torch.tensor([1e-12, 3e-12]).view(1, 1, 1, 2)
    _, _, grads = gradients(along_path, (x, flow, metric), torch.ones(1, 1, 1, 2), mode="linear")
    assert not grads.any()
