"""What is true of trajectory_splat alone."""

import pytest
import torch
import torch.nn.functional as F
from compare import assert_near

import vfi_kernels as vk

MODES = [("sum", None), ("average", None), ("linear", "positive"), ("softmax", 3.0), ("softmax", 300.0)]


def arguments(count=5, size=(20, 45), low=None, channels=3, dtype=torch.float64, batch=2):
    rng = torch.Generator().manual_seed(count)
    image = torch.randn(batch, channels, *size, generator=rng, dtype=torch.float64).to(dtype)
    keyframes = 4 * torch.randn(batch, count, 2, *(low or size), generator=rng, dtype=torch.float64)
    return image, keyframes.to(dtype)


def metric_of(kind, image):
    if kind is None:
        return None
    m = torch.randn(image.shape[0], 1, *image.shape[2:], generator=torch.Generator().manual_seed(9)).to(image.dtype)
    return m.abs() + 0.5 if kind == "positive" else m * kind


def composed(image, keyframes, taus, metric=None, mode="softmax", holes="zero", **options):
    """Resize, sample and splat, a tau at a time."""
    size = image.shape[2:]
    scale = torch.tensor([size[1] / keyframes.shape[4], size[0] / keyframes.shape[3]], dtype=keyframes.dtype)
    larger = F.interpolate(keyframes.flatten(1, 2), size=size, mode="bilinear", align_corners=False)
    larger = larger.unflatten(1, keyframes.shape[1:3]) * scale.view(2, 1, 1)
    flows = vk.sample_trajectory(larger, taus, **options)
    return torch.stack([vk.splat(image, flow, metric, mode=mode, holes=holes) for flow in flows.unbind(1)], 1)


@pytest.mark.parametrize("low", [None, (5, 12), (20, 1)], ids=str)
@pytest.mark.parametrize("mode, kind", MODES)
@pytest.mark.parametrize("count, boundary", [(1, "keys"), (2, "replicate"), (9, "keys")])
def test_equals_resize_sample_and_splat(low, mode, kind, count, boundary, backend):
    image, keyframes = arguments(count, low=low)
    taus = torch.tensor([-0.1, 0.0, 0.37, 1.2], dtype=torch.float64)
    metric, options = metric_of(kind, image), {"mode": mode, "boundary": boundary}
    result = vk.trajectory_splat(image, keyframes, taus, metric, **options)
    torch.testing.assert_close(result, composed(image, keyframes, taus, metric, **options), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("mode, kind", MODES[1:])
def test_the_weight_is_that_of_splat(mode, kind, backend):
    """And its gradient."""
    image, keyframes = arguments(3)
    taus, metric = torch.tensor([0.1, 0.45]), metric_of(kind, image)
    leaves = [t.requires_grad_() for t in (image, keyframes, metric) if t is not None]
    out, weight = vk.trajectory_splat(image, keyframes, taus, metric, mode=mode, return_weight=True)
    flows = vk.sample_trajectory(keyframes, taus)
    each = [vk.splat(image, flow, metric, mode=mode, return_weight=True) for flow in flows.unbind(1)]
    assert weight.shape == (2, 2, 1, 20, 45) and torch.equal(
        out, vk.trajectory_splat(*leaves[:2], taus, metric, mode=mode)
    )
    expected = torch.stack([w for _, w in each], 1)
    torch.testing.assert_close(weight, expected, rtol=1e-9, atol=1e-9)
    seen = expected.isfinite()
    moving = leaves[1:]
    grads = [torch.autograd.grad(torch.where(seen, w, 0).sum(), moving, retain_graph=True) for w in (weight, expected)]
    for got, want in zip(*grads):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-8 * max(1.0, want.abs().max().item()))


@pytest.mark.parametrize("mode, kind", MODES)
@pytest.mark.parametrize("holes", ["zero", "clip"])
def test_gradients_equal_those_of_the_steps(mode, kind, holes, backend):
    image, keyframes = arguments(4, low=(5, 12))
    taus = torch.tensor([[0.1, 0.45, 0.9], [0.2, 0.6, 1.1]], dtype=torch.float64)
    leaves = [t for t in (image, keyframes, taus, metric_of(kind, image)) if t is not None]
    leaves = [t.requires_grad_() for t in leaves]
    g = torch.randn(2, 3, 3, 20, 45, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    grads = torch.autograd.grad(vk.trajectory_splat(*leaves, mode=mode, holes=holes), leaves, g)
    for got, expected in zip(grads, torch.autograd.grad(composed(*leaves, mode=mode, holes=holes), leaves, g)):
        # Over weights of 1e-9 rounding is as large as this, and is 0 on one side of a bound: flows that differ in
        # their last bits may lie on either.
        torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-8 * max(1.0, expected.abs().max().item()))


def test_a_tau_for_each_pixel(backend):
    image, keyframes = arguments(4)
    taus, metric = torch.rand(2, 3, 20, 45, dtype=torch.float64), metric_of(2.0, image)
    result = vk.trajectory_splat(image, keyframes, taus, metric)
    torch.testing.assert_close(result, composed(image, keyframes, taus, metric), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("channels", [1, 3, 4, 7, 20])
def test_half_image_with_float32_flows(channels, backend):
    image, keyframes = arguments(5, channels=channels, dtype=torch.float32)
    metric = metric_of(2.0, image)
    result = vk.trajectory_splat(image.half(), keyframes, [0.3, 0.8], metric)
    expected = composed(image.half().double(), keyframes.double(), torch.tensor([0.3, 0.8]), metric.double())
    assert result.dtype == torch.float16
    assert_near(result, expected)


def test_layout_is_the_inputs(backend):
    image, keyframes = arguments(3, channels=6, dtype=torch.float32)
    metric = metric_of(2.0, image)
    last = vk.trajectory_splat(image.contiguous(memory_format=torch.channels_last), keyframes, [0.3, 0.8], metric)
    assert last.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    assert_near(last, vk.trajectory_splat(image, keyframes, [0.3, 0.8], metric).double())


def test_zero_flow_is_a_copy(backend):
    image, keyframes = arguments(6, dtype=torch.float32)
    result = vk.trajectory_splat(image, torch.zeros_like(keyframes[..., ::4, ::5]), [0.1, 0.7], mode="average")
    assert torch.equal(result, image[:, None].expand(result.shape))


@pytest.mark.parametrize("shape", [(0, 3, 2, 4, 5), (2, 0, 2, 4, 5), (2, 3, 0, 4, 5), (2, 3, 2, 0, 5)], ids=str)
def test_empty(shape, backend):
    b, c, t, h, w = shape
    leaves = [torch.zeros(b, c, h, w), torch.zeros(b, 3, 2, 2, 2), torch.zeros(t), torch.zeros(b, 1, h, w)]
    leaves = [x.requires_grad_() for x in leaves]
    out = vk.trajectory_splat(*leaves)
    assert out.shape == (b, t, c, h, w)
    assert not any(g.any() for g in torch.autograd.grad(out.sum(), leaves))


def test_errors_are_one_sentence(backend):
    image, keyframes = arguments(4)
    wrong = {
        r"a metric of shape \(B, 1, H, W\) in mode 'softmax', got None": (image, None, {"mode": "softmax"}),
        r"no metric in mode 'average', got one": (image, image[:, :1], {"mode": "average"}),
        r"mode 'sum', 'average', 'linear' or 'softmax', got 'max'": (image, None, {"mode": "max"}),
        r"holes 'zero', 'add' or 'clip', got '0'": (image, None, {"mode": "average", "holes": "0"}),
        r"keyframe_flows with B = 1 as image has, got \(2, 4, 2, 20, 45\)": (image[:1], None, {"mode": "average"}),
    }
    for sentence, (picture, metric, options) in wrong.items():
        with pytest.raises(RuntimeError, match=f"^trajectory_splat: expected {sentence}"):
            vk.trajectory_splat(picture, keyframes, [0.5], metric, **options)
