"""What is true of trajectory_warp alone."""

import pytest
import torch
import torch.nn.functional as F
from compare import assert_near

import vfi_kernels as vk


def arguments(count=5, size=(20, 45), low=None, channels=3, dtype=torch.float32, scale=4.0, batch=2):
    rng = torch.Generator().manual_seed(count)
    image = torch.randn(batch, channels, *size, generator=rng, dtype=torch.float64).to(dtype)
    keyframes = scale * torch.randn(batch, count, 2, *(low or size), generator=rng, dtype=torch.float64)
    return image, keyframes.to(dtype)


def composed(image, keyframes, taus, padding_mode="border", **options):
    """Resize, sample and warp, a tau at a time."""
    size = image.shape[2:]
    scale = torch.tensor([size[1] / keyframes.shape[4], size[0] / keyframes.shape[3]], dtype=keyframes.dtype)
    larger = F.interpolate(keyframes.flatten(1, 2), size=size, mode="bilinear", align_corners=False)
    larger = larger.unflatten(1, keyframes.shape[1:3]) * scale.view(2, 1, 1)
    flows = vk.sample_trajectory(larger, taus, **options)
    return torch.stack([vk.backward_warp(image, flow, padding_mode=padding_mode) for flow in flows.unbind(1)], 1)


@pytest.mark.parametrize("low", [None, (5, 12), (7, 45), (20, 1), (1, 1), (23, 50)], ids=str)
@pytest.mark.parametrize("padding_mode", ["border", "zeros", "reflection"])
@pytest.mark.parametrize("count, boundary", [(1, "keys"), (2, "linear"), (3, "keys"), (9, "replicate")])
def test_equals_resize_sample_and_warp(low, padding_mode, count, boundary, backend):
    image, keyframes = arguments(count, low=low, dtype=torch.float64)
    taus = torch.tensor([-0.1, 0.0, 0.37, 0.5, 1.0, 1.2], dtype=torch.float64)
    options = {"padding_mode": padding_mode, "boundary": boundary, "extrapolate": True}
    result = vk.trajectory_warp(image, keyframes, taus, **options)
    torch.testing.assert_close(result, composed(image, keyframes, taus, **options), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("low", [None, (5, 12)], ids=str)
def test_gradients_equal_those_of_the_steps(low, backend):
    image, keyframes = arguments(4, low=low, dtype=torch.float64)
    taus = torch.linspace(0.05, 1.1, 12, dtype=torch.float64).view(2, 6)  # more than go on to the keyframes together
    leaves = [t.requires_grad_() for t in (image, keyframes, taus)]
    g = torch.randn(2, 6, 3, 20, 45, dtype=torch.float64)
    grads = torch.autograd.grad(vk.trajectory_warp(*leaves), leaves, g)
    for got, expected in zip(grads, torch.autograd.grad(composed(*leaves), leaves, g)):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


def test_a_tau_for_each_pixel(backend):
    image, keyframes = arguments(4, dtype=torch.float64)
    taus = torch.rand(2, 3, 20, 45, dtype=torch.float64)
    torch.testing.assert_close(
        vk.trajectory_warp(image, keyframes, taus), composed(image, keyframes, taus), rtol=1e-10, atol=1e-10
    )


def test_taus_as_numbers(backend):
    image, keyframes = arguments(4)
    result = vk.trajectory_warp(image, keyframes, [0.25, 0.5])
    assert torch.equal(result, vk.trajectory_warp(image, keyframes, torch.tensor([0.25, 0.5])))
    assert torch.equal(result[:, :1], vk.trajectory_warp(image, keyframes, 0.25))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_image_with_float32_flows(dtype, backend):
    image, keyframes = arguments(5)
    image = image.to(dtype)
    result = vk.trajectory_warp(image, keyframes, [0.3, 0.8])
    assert result.dtype == dtype
    assert_near(result, composed(image.double(), keyframes.double(), torch.tensor([0.3, 0.8])))


def test_layout_is_the_images(backend):
    image, keyframes = arguments(3, channels=6)
    last = vk.trajectory_warp(image.contiguous(memory_format=torch.channels_last), keyframes, [0.3, 0.8])
    assert last.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    assert_near(last, vk.trajectory_warp(image, keyframes, [0.3, 0.8]).double())


def test_zero_flow_is_a_copy(backend):
    image, keyframes = arguments(6)
    result = vk.trajectory_warp(image, torch.zeros_like(keyframes[..., ::4, ::5]), [0.1, 0.7])
    assert torch.equal(result, image[:, None].expand(result.shape))


@pytest.mark.parametrize("shape", [(0, 3, 2, 4, 5), (2, 0, 2, 4, 5), (2, 3, 0, 4, 5), (2, 3, 2, 0, 5)], ids=str)
def test_empty(shape, backend):
    b, c, t, h, w = shape
    leaves = [torch.zeros(b, c, h, w), torch.zeros(b, 3, 2, 2, 2), torch.zeros(t)]
    leaves = [x.requires_grad_() for x in leaves]
    out = vk.trajectory_warp(*leaves)
    assert out.shape == (b, t, c, h, w)
    assert not any(g.any() for g in torch.autograd.grad(out.sum(), leaves))


def test_errors_are_one_sentence(backend):
    image, keyframes = arguments(4)
    wrong = {
        r"image of shape \(B, C, H, W\), got \(3, 20, 45\)": (image[0], keyframes, [0.5], {}),
        r"keyframe_flows with B = 2 as image has, got \(1, 4, 2, 20, 45\)": (image, keyframes[:1], [0.5], {}),
        r"padding_mode 'border', 'zeros' or 'reflection', got 'w'": (image, keyframes, [0.5], {"padding_mode": "w"}),
        r"knots that increase in equal steps, got \[0, 1, 2, 4\]": (image, keyframes, [0.5], {"knots": [0, 1, 2, 4]}),
        r"keyframe_flows with at least one pixel where the output has any": (image, keyframes[..., :0], [0.5], {}),
    }
    for sentence, (picture, flows, taus, options) in wrong.items():
        with pytest.raises(RuntimeError, match=f"^trajectory_warp: expected {sentence}"):
            vk.trajectory_warp(picture, flows, taus, **options)


def test_no_flow_is_written_to_memory():
    """Nothing is allocated but the output, and less than one frame beside it."""
    image, keyframes = arguments(9, size=(64, 128), batch=1)
    leaves = [t.requires_grad_() for t in (image, keyframes, torch.linspace(0, 1, 24))]

    def allocated(run):
        run()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            run()
        return sum(max(0, e.self_cpu_memory_usage) for e in profile.key_averages())

    with torch.no_grad():
        used = allocated(lambda: vk.trajectory_warp(*leaves))
    assert used <= (24 + 1) * image.nbytes
