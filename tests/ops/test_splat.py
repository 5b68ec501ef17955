"""What holds for splatting alone."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shared_files import SHARED, needs_shared

import vfi_kernels as vk

quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
seeds = st.integers(0, 1000)
QUOTIENTS = ("average", "linear", "softmax")


def random_inputs(seed, h=9, w=21, scale=4.0):
    rng = torch.Generator().manual_seed(seed)
    image = torch.randn(2, 3, h, w, generator=rng)
    return image, torch.randn(2, 2, h, w, generator=rng) * scale, torch.randn(2, 1, h, w, generator=rng)


def metric_for(mode, metric):
    return {"softmax": metric, "linear": metric.abs() + 0.1}.get(mode)


@quick
@given(dx=st.integers(-25, 25), dy=st.integers(-10, 10), seed=seeds)
def test_integer_flow_is_an_exact_shift(dx, dy, seed):
    image, flow, _ = random_inputs(seed)
    flow[:, 0], flow[:, 1] = dx, dy
    wide = torch.zeros(2, 3, 9 + 20, 21 + 50)
    wide[:, :, 10 + dy : 19 + dy, 25 + dx : 46 + dx] = image
    assert torch.equal(vk.splat(image, flow), wide[:, :, 10:19, 25:46])
    assert torch.equal(vk.splat(image, flow, mode="average"), wide[:, :, 10:19, 25:46])


@pytest.mark.parametrize("mode", ["sum", *QUOTIENTS])
def test_zero_flow_is_a_copy(backend, mode):
    image, flow, metric = random_inputs(0)
    out = vk.splat(image, flow * 0, metric_for(mode, metric), mode=mode)
    torch.testing.assert_close(out, image, rtol=0 if mode in ("sum", "average") else 1e-6, atol=0)


@quick
@given(seed=seeds)
def test_sum_preserves_mass(seed):
    """Pixels that stay inside: what leaves a pixel arrives somewhere."""
    image, flow, _ = random_inputs(seed, 30, 40, scale=1.0)
    flow.clamp_(-4, 4)
    image[:, :, :5], image[:, :, -5:], image[:, :, :, :5], image[:, :, :, -5:] = 0, 0, 0, 0
    total = vk.splat(image.double(), flow.double(), mode="sum").sum((2, 3))
    torch.testing.assert_close(total, image.double().sum((2, 3)), rtol=1e-12, atol=1e-12)


@quick
@given(seed=seeds, mode=st.sampled_from(QUOTIENTS))
def test_average_of_ones_is_one_where_there_is_weight(seed, mode):
    _, flow, metric = random_inputs(seed)
    out, weight = vk.splat(torch.ones(2, 3, 9, 21), flow, metric_for(mode, metric), mode=mode, return_weight=True)
    hole = weight == (-torch.inf if mode == "softmax" else 0)
    assert (out[hole.expand_as(out)] == 0).all()
    torch.testing.assert_close(out[~hole.expand_as(out)], torch.ones_like(out[~hole.expand_as(out)]), rtol=2e-6, atol=0)


@quick
@given(seed=seeds, shift=st.sampled_from([-64.0, -8.0, 0.5, 16.0, 128.0, 1024.0]), scale=st.sampled_from([1, 8, 64]))
def test_softmax_does_not_change_under_a_shift_of_the_metric(seed, shift, scale):
    """Metrics on a grid of 1/64, so that the shifted ones are exact."""
    image, flow, metric = random_inputs(seed)
    metric = (metric * 64).round() / 64 * scale
    a, weight = vk.splat(image, flow, metric, mode="softmax", return_weight=True)
    b, shifted = vk.splat(image, flow, metric + shift, mode="softmax", return_weight=True)
    assert torch.equal(a, b)
    torch.testing.assert_close(shifted, weight + shift, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("low, high", [(-20.0, -20.0), (89.0, 89.0), (-1e4, 1e4), (0.0, 6e4), (-60.0, 0.0)])
def test_softmax_loses_no_pixel_and_never_overflows(backend, dtype, low, high):
    """An isolated pixel keeps its value whatever its metric; where two meet, the larger metric wins."""
    image = torch.full((1, 1, 4, 8), 3.0, dtype=dtype)
    metric = torch.full((1, 1, 4, 8), low, dtype=dtype)
    metric[0, 0, 2, 2] = high
    flow = torch.zeros(1, 2, 4, 8)
    out, weight = vk.splat(image, flow, metric, mode="softmax", return_weight=True)
    torch.testing.assert_close(out, image, rtol=1e-6 if dtype in (torch.float32, torch.float64) else 0, atol=0)
    assert weight.isfinite().all()
    image[0, 0, 2, 2] = -5
    flow[0, 0, 2, 2] = 1
    out = vk.splat(image, flow, metric, mode="softmax")
    assert out[0, 0, 2, 2] == 0
    if high - low >= 60:
        torch.testing.assert_close(out[0, 0, 2, 3], torch.tensor(-5.0, dtype=dtype))


@pytest.mark.parametrize("mode", ["linear", "softmax"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf], ids=str)
def test_a_non_finite_metric_skips_its_pixel(backend, mode, value):
    image, flow, metric = random_inputs(1)
    metric = metric.abs()
    image[:, :, 4, 7], metric[:, :, 4, 7] = 1e6, value
    leaves = [t.requires_grad_() for t in (image, flow, metric)]
    out = vk.splat(*leaves, mode=mode)
    assert out.isfinite().all() and out.abs().max() < 100
    grads = torch.autograd.grad(out.square().sum(), leaves)
    assert all(g.isfinite().all() and (g[:, :, 4, 7] == 0).all() for g in grads)


@pytest.mark.parametrize("mode", ["sum", *QUOTIENTS])
def test_skipped_pixels_leak_nothing(backend, mode):
    """A NaN image value goes nowhere if its target is not finite, outside, or the corner's weight is 0."""
    image, flow, metric = random_inputs(2)
    flow = flow.round()
    clean = vk.splat(image, flow.where(flow != flow[0, 0, 3, 3], flow), metric_for(mode, metric), mode=mode)
    assert clean.isfinite().all()
    for target in (torch.nan, torch.inf, -torch.inf, 1e30, 500.0):
        moved = flow.clone()
        moved[:, 0, 3, 3] = target
        poisoned = image.clone()
        poisoned[:, :, 3, 3] = torch.nan
        assert vk.splat(poisoned, moved, metric_for(mode, metric), mode=mode).isfinite().all()


def test_each_corner_is_checked_by_itself(backend):
    """Half of a pixel that leaves the image stays in it."""
    flow = torch.zeros(1, 2, 1, 3)
    flow[0, 0, 0, 2] = 0.25
    flow[0, 0, 0, 0] = -0.5
    assert vk.splat(torch.tensor([4.0, 0.0, 8.0]).view(1, 1, 1, 3), flow, mode="sum").flatten().tolist() == [2, 0, 6]


@pytest.mark.parametrize("channels", [3, 9])
@pytest.mark.parametrize("mode", ["sum", "softmax"])
def test_a_flow_that_takes_pixels_all_over(backend, mode, channels):
    """Of a row of 32 pixels, to targets of more than 16 tiles: what bounds do not narrow down."""
    rng = torch.Generator().manual_seed(5)
    image, metric = torch.randn(1, channels, 4, 640, generator=rng), torch.randn(1, 1, 4, 640, generator=rng)
    flow = torch.rand(1, 2, 4, 640, generator=rng) * 900 - 450
    flow[:, 1] /= 100
    flow[0, 0, 0, :8] = torch.tensor([torch.nan, torch.inf, -torch.inf, 1e30, -1e30, 0.0, 1.0, -0.5])
    metric = metric_for(mode, metric)
    out = vk.splat(image, flow, metric, mode=mode)
    with vk.use_backend("reference"):
        oracle = vk.splat(image.double(), flow.double(), None if metric is None else metric.double(), mode=mode)
    torch.testing.assert_close(out.double(), oracle, rtol=1e-4, atol=1e-4)
    if backend == "deterministic":
        assert torch.equal(out, vk.splat(image, flow, metric, mode=mode))


def test_several_inputs_share_one_flow(backend):
    image, flow, metric = random_inputs(3)
    others = [image, image[:, :1].half(), torch.cat([image] * 6, 1).contiguous(memory_format=torch.channels_last)]
    outs, weight = vk.splat(others, flow, metric, mode="softmax", return_weight=True)
    for x, out in zip(others, outs):
        alone, weight_alone = vk.splat(x, flow, metric, mode="softmax", return_weight=True)
        assert out.dtype == x.dtype
        torch.testing.assert_close(out, alone, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(weight, weight_alone, rtol=1e-6, atol=1e-6)


GOLDEN = {
    "sum": ("sum", "zero"),
    "avg": ("average", "add"),
    "linear": ("linear", "add"),
    "linear-zeroeps": ("linear", "zero"),
    "linear-clipeps": ("linear", "clip"),
    "soft-zeroeps": ("softmax", "zero"),
    # Upstream adds its epsilon to the unshifted sum of exp(metric): that is mode "linear" of exp(metric).
    "soft": ("exp", "add"),
    "soft-addeps": ("exp", "add"),
    "soft-clipeps": ("exp", "clip"),
}


@needs_shared
@pytest.mark.parametrize("name", GOLDEN)
def test_golden_file(backend, name):
    """Outputs and gradients of softmax-splatting's own kernels; the flow holds NaN, inf, 1e9, integers and exits."""
    mode, holes = GOLDEN[name]
    golden = {k: torch.from_numpy(v) for k, v in np.load(SHARED / "golden" / "softsplat_modes.npz").items()}
    leaves = {k: golden[k].clone().requires_grad_() for k in ("input", "flow", "metric")}
    if mode == "linear":
        leaves["metric"] = golden["metric"].abs().requires_grad_()
    metric = {"linear": leaves["metric"], "softmax": leaves["metric"], "exp": leaves["metric"].exp()}.get(mode)
    out = vk.splat(leaves["input"], leaves["flow"], metric, mode="linear" if mode == "exp" else mode, holes=holes)
    torch.testing.assert_close(out, golden[f"{name}__output"], rtol=0, atol=1e-5)
    out.backward(torch.linspace(-1, 1, out.numel()).view(out.shape))
    for key, leaf in leaves.items():
        if f"{name}__grad_{key}" in golden:
            expected = golden[f"{name}__grad_{key}"]  # itself rounded: up to 5e-7 of its largest element from float64
            torch.testing.assert_close(leaf.grad, expected, rtol=1e-5, atol=1e-5 * max(1, expected.abs().max().item()))


ERRORS = [
    ({"mode": "max"}, "splat: expected mode 'sum', 'average', 'linear' or 'softmax', got 'max'"),
    ({"holes": "1e-7"}, "splat: expected holes 'zero', 'add' or 'clip', got '1e-7'"),
    ({"mode": "softmax"}, r"splat: expected a metric of shape \(B, 1, H, W\) in mode 'softmax', got None"),
    ({"mode": "sum", "metric": torch.zeros(2, 1, 4, 5)}, "splat: expected no metric in mode 'sum', got one"),
    ({"mode": "linear", "metric": torch.zeros(2, 2, 4, 5)}, r"metric of shape \(B, 1, H, W\), got \(2, 2, 4, 5\)"),
    ({"mode": "linear", "metric": torch.zeros(2, 1, 4, 6)}, r"metric of height and width \(4, 5\) as image has"),
    ({"flow": torch.zeros(2, 2, 5, 5)}, r"flow of height and width \(4, 5\) as image has, got \(2, 2, 5, 5\)"),
    ({"image": torch.zeros(3, 4, 5)}, r"splat: expected image of shape \(B, C, H, W\), got \(3, 4, 5\)"),
    ({"image": []}, "splat: expected at least one image, got 0"),
    ({"image": [torch.zeros(2, 3, 4, 5), 3]}, "splat: expected every image to be a tensor, got int"),
    ({"image": [torch.zeros(2, 3, 4, 5), torch.zeros(2, 3, 4, 6)]}, "images of one batch size, height and width"),
    ({"mode": "sum", "return_weight": True}, "expected mode average, linear or softmax with return_weight, got 'sum'"),
]


@pytest.mark.parametrize(("options", "sentence"), ERRORS)
def test_wrong_arguments_get_one_sentence(backend, options, sentence):
    arguments = {"image": torch.zeros(2, 3, 4, 5), "flow": torch.zeros(2, 2, 4, 5)} | options
    with pytest.raises(RuntimeError, match=sentence):
        vk.splat(**arguments)


@pytest.mark.parametrize(("change", "sentence"), [
    ({"image": None}, "expected image to be a tensor or a sequence of tensors, got NoneType"),
    ({"image": np.zeros((2, 3, 4, 5))}, "expected every image to be a tensor, got ndarray"),
    ({"flow": np.zeros((2, 2, 4, 5))}, "expected flow to be a tensor, got ndarray"),
    ({"flow": None}, "expected flow to be a tensor, got NoneType"),
    ({"metric": 1.0, "mode": "linear"}, "expected metric to be a tensor, got float"),
    ({"holes": 1e-7}, "expected holes 'zero', 'add' or 'clip', got float"),
])  # fmt: skip
def test_arguments_of_the_wrong_kind_get_one_sentence(change, sentence):
    with pytest.raises(RuntimeError) as caught:
        vk.splat(**{"image": torch.zeros(2, 3, 4, 5), "flow": torch.zeros(2, 2, 4, 5), **change})
    assert str(caught.value) == f"splat: {sentence}"


@pytest.mark.parametrize("channels", [3, 20])
def test_a_nan_changes_no_other_target(channels, rng):
    image, flow = torch.randn(1, channels, 20, 300, generator=rng), 3 * torch.randn(1, 2, 20, 300, generator=rng)
    expected = vk.splat(image, flow, mode="average")
    image[0, 1, 10, 150] = torch.nan
    got = vk.splat(image, flow, mode="average")
    assert 0 < got.isnan().sum() <= 4
    assert torch.equal(got[got == got], expected[got == got])


@pytest.mark.parametrize("mode", ["sum", "average", "linear", "softmax"])
def test_gradients_through_vmap(mode, rng):
    count = 3 if mode in ("linear", "softmax") else 2
    leaves = [torch.randn(2, 1, c, 6, 7, generator=rng).requires_grad_() for c in (3, 2, 1)[:count]]
    mapped = torch.func.vmap(functools.partial(vk.splat, mode=mode))(*leaves)
    alone = torch.stack([vk.splat(*(t[n] for t in leaves), mode=mode) for n in range(2)])
    for got, expected in zip(
        torch.autograd.grad(mapped.sin().sum(), leaves), torch.autograd.grad(alone.sin().sum(), leaves)
    ):
        assert torch.equal(got, expected)
