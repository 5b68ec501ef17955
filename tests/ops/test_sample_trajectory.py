"""What is true of sample_trajectory alone."""

import pytest
import torch
import torch.nn.functional as F
from compare import assert_near
from ops.keyframes import ALONG, keyframes_like
from worded import WordedOps

import vfi_kernels as vk

BOUNDARIES = ("keys", "linear", "replicate")


def polynomial(times, degree, extra=()):
    """Flows (1, T, 2, 2, 3) that are polynomials of `times`, other ones in every pixel."""
    rng = torch.Generator().manual_seed(degree)
    factors = torch.randn(degree + 1, 1, 1, 2, 2, 3, generator=rng, dtype=torch.float64)
    t = times.view(1, -1, 1, 1, 1)
    return sum(f * t**n for n, f in enumerate(factors))


@pytest.mark.parametrize("degree, boundary", [(2, "keys"), (1, "keys"), (1, "linear"), (0, "replicate")])
@pytest.mark.parametrize("count", [3, 4, 9])
@pytest.mark.parametrize("extrapolate", [False, True])
def test_polynomials_are_reproduced(degree, boundary, count, extrapolate, backend):
    """Constant velocity and constant acceleration with a = -0.5, up to the ends and, in one piece, beyond them."""
    knots = torch.linspace(-1, 2, count, dtype=torch.float64)
    taus = torch.linspace(-1, 2, 37, dtype=torch.float64)
    if extrapolate and degree < 2:
        taus = torch.cat([taus, torch.tensor([-1.7, 2.9], dtype=torch.float64)])
    options = {"knots": knots, "boundary": boundary, "extrapolate": extrapolate}
    result = vk.sample_trajectory(polynomial(knots, degree), taus, **options)
    torch.testing.assert_close(result, polynomial(taus, degree), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_knots_are_interpolated(boundary, count, dtype, backend):
    keyframes = keyframes_like(count, dtype)
    taus = [n / max(count - 1, 1) for n in range(count)]
    torch.testing.assert_close(
        vk.sample_trajectory(keyframes, taus, boundary=boundary, a=-0.6), keyframes, rtol=0, atol=0
    )


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("count", [3, 4, 6])
def test_the_velocity_is_continuous(boundary, count, backend):
    keyframes = keyframes_like(count)
    knots = torch.linspace(0, 1, count, dtype=torch.float64)[1:-1]
    before, at, after = (
        vk.sample_trajectory(keyframes, knots + d, boundary=boundary, a=-0.75, derivative=True)
        for d in (-1e-9, 0, 1e-9)
    )
    assert_near(before, at, slack=1e6)
    assert_near(after, at, slack=1e6)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("extrapolate", [False, True])
def test_the_derivative_is_that_of_the_flow(boundary, count, extrapolate, backend):
    keyframes, knots = keyframes_like(count), [0.5 + 2 * n for n in range(count)]
    taus = torch.tensor([-1.0, 0.7, 1.9, 3.3, 7.7, 9.5], dtype=torch.float64)
    options = {"knots": knots, "boundary": boundary, "extrapolate": extrapolate}
    ahead, behind = (vk.sample_trajectory(keyframes, taus + d, **options) for d in (1e-6, -1e-6))
    result = vk.sample_trajectory(keyframes, taus, derivative=True, **options)
    torch.testing.assert_close(result, (ahead - behind) / 2e-6, rtol=1e-7, atol=1e-7)
    leaf = taus.clone().requires_grad_()
    weight = torch.randn(result.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (grad,) = torch.autograd.grad((vk.sample_trajectory(keyframes, leaf, **options) * weight).sum(), leaf)
    torch.testing.assert_close(grad, (result * weight).sum((0, 2, 3, 4)), rtol=1e-12, atol=1e-12)


def test_is_bicubic_interpolation_along_time(backend):
    """Torch's bicubic: a = -0.75 and replicated ends. Positions are exact in both."""
    keyframes = keyframes_like(9, size=(3, 5), batch=1)
    taus = torch.arange(65, dtype=torch.float64) / 64
    columns = keyframes.permute(0, 2, 3, 4, 1).reshape(1, -1, 1, 9)
    grid = torch.stack([2 * taus - 1, torch.zeros_like(taus)], -1).view(1, 1, -1, 2)
    expected = F.grid_sample(columns, grid, mode="bicubic", padding_mode="border", align_corners=True)
    expected = expected.view(2, 3, 5, 65).permute(3, 0, 1, 2)[None]
    result = vk.sample_trajectory(keyframes, taus, a=-0.75, boundary="replicate")
    torch.testing.assert_close(result, expected, rtol=0, atol=4e-15)


@pytest.mark.parametrize("a", [-0.5, -0.75, 1.0])
def test_two_keyframes_are_a_straight_line(a, backend):
    keyframes = keyframes_like(2)
    taus = torch.tensor([-0.5, 0.0, 0.3, 1.0, 1.25], dtype=torch.float64)
    for boundary in ("keys", "linear"):
        for extrapolate in (False, True):
            t = (taus if extrapolate else taus.clamp(0, 1)).view(-1, 1, 1, 1)
            result = vk.sample_trajectory(keyframes, taus, a=a, boundary=boundary, extrapolate=extrapolate)
            expected = (1 - t) * keyframes[:, None, 0] + t * keyframes[:, None, 1]
            torch.testing.assert_close(result, expected, rtol=1e-14, atol=1e-14)


def test_one_keyframe_is_constant(backend):
    keyframes = keyframes_like(1)
    result = vk.sample_trajectory(keyframes, [-1.0, 0.2, 3.0], extrapolate=True)
    assert torch.equal(result, keyframes.expand(2, 3, 2, 3, 4))
    assert not vk.sample_trajectory(keyframes, [0.2], derivative=True).any()


def test_outside_the_knots(backend):
    keyframes = keyframes_like(5)
    clamped = vk.sample_trajectory(keyframes, [-0.5, 1.5, float("inf"), -float("inf")])
    assert torch.equal(clamped, keyframes[:, [0, -1, -1, 0]])
    assert not vk.sample_trajectory(keyframes, [-0.5, 1.5], derivative=True).any()
    assert vk.sample_trajectory(keyframes, [float("nan")]).isnan().all()


def test_taus_for_all_for_samples_for_pixels(backend):
    keyframes = keyframes_like(5, torch.float32)
    rng = torch.Generator().manual_seed(4)
    each = torch.rand(2, 6, generator=rng)
    result = vk.sample_trajectory(keyframes, each)
    for b in range(2):
        alone = vk.sample_trajectory(keyframes[b : b + 1], each[b])
        torch.testing.assert_close(result[b : b + 1], alone, rtol=0, atol=0)
        torch.testing.assert_close(vk.sample_trajectory(keyframes[b : b + 1], each[b].tolist()), alone, rtol=0, atol=0)
    pixels = each[:, :, None, None].expand(2, 6, 3, 4)
    assert_near(vk.sample_trajectory(keyframes, pixels), result.double())
    pixels = torch.rand(2, 6, 3, 4, generator=rng)
    result = vk.sample_trajectory(keyframes, pixels)
    for y, x in ((0, 0), (2, 1)):
        one = vk.sample_trajectory(keyframes[..., y : y + 1, x : x + 1], pixels[:, :, y, x])
        assert_near(result[..., y : y + 1, x : x + 1], one.double())


def test_a_keyframe_of_weight_zero_is_not_read(backend):
    keyframes = keyframes_like(6)
    keyframes[:, 3:] = torch.nan
    assert torch.equal(vk.sample_trajectory(keyframes, [0.4]), keyframes[:, 2:3])
    assert vk.sample_trajectory(keyframes, [0.19]).isfinite().all()


def test_a_pixel_that_is_not_finite_adds_nothing_to_the_gradient_of_tau(backend):
    keyframes = keyframes_like(4)
    taus = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    broken = keyframes.clone()
    broken[0, 1, 0, 2, 3] = torch.inf
    zeroed = torch.ones_like(keyframes[:, :1])
    zeroed[0, 0, 0, 2, 3] = 0
    (expected,) = torch.autograd.grad((vk.sample_trajectory(keyframes, taus) * zeroed).sum(), taus)
    (grads,) = torch.autograd.grad(vk.sample_trajectory(broken, taus).sum(), taus)
    torch.testing.assert_close(grads, expected)


@pytest.mark.parametrize("op", ALONG)
@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("each", [False, True], ids=["shared", "for each pixel"])
@pytest.mark.parametrize("extrapolate", [False, True])
def test_a_tau_that_is_not_finite_adds_nothing_to_the_gradient_of_keyframes(op, count, each, extrapolate, backend):
    """Nor to the second derivative. Infinity is the end where nothing is extrapolated, and one keyframe is constant."""
    keyframes = keyframes_like(count, size=(4, 6)).requires_grad_()
    taus = torch.tensor([0.3, torch.nan, torch.inf, 0.7], dtype=torch.float64)
    kept = [n for n in range(4) if count == 1 or taus[n].isfinite() or (taus[n] == torch.inf and not extrapolate)]

    def gradients(chosen):
        leaf = (taus[chosen, None, None].expand(2, -1, 4, 6) if each else taus[chosen]).clone().requires_grad_()
        out = ALONG[op](keyframes, leaf, extrapolate=extrapolate)
        cotangents = torch.tensor([0.5, 0.6, 0.7, 0.8], dtype=torch.float64)[chosen].view(-1, 1, 1, 1).expand_as(out)
        cotangents = cotangents.clone().requires_grad_()
        (first,) = torch.autograd.grad(out, keyframes, cotangents, create_graph=True)
        return first, torch.autograd.grad(first.square().sum(), cotangents)[0]

    (found_grads, again), (expected, wanted) = gradients([0, 1, 2, 3]), gradients(kept)
    torch.testing.assert_close(found_grads, expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(again[:, kept], wanted, rtol=0, atol=1e-12)
    assert not again[:, [n for n in range(4) if n not in kept]].any()


@pytest.mark.parametrize("size", [(7, 9), (3, 4), (6, 8), (1, 5), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16], ids=str)
def test_resized_flow(size, dtype, backend):
    """The op behind trajectory_warp: F.interpolate, with vectors in pixels of the larger grid; and its adjoint."""
    keyframes = keyframes_like(4, dtype).flatten(1, 2)
    taus = torch.rand(2, 3, 1, 1, dtype=torch.float64).to(dtype)
    op = WordedOps().sample_trajectory
    options = (*size, 0.0, 1 / 3, -0.5, "keys", False, False)
    leaves = [keyframes.requires_grad_(), taus.requires_grad_()]
    result = op(*leaves, *options)
    wide = [t.detach().double().requires_grad_() for t in leaves]
    scale = torch.tensor([size[1] / 4, size[0] / 3], dtype=torch.float64).repeat(4).view(1, 8, 1, 1)
    larger = F.interpolate(wide[0], size=size, mode="bilinear", align_corners=False) * scale
    expected = vk.sample_trajectory(larger.unflatten(1, (4, 2)), wide[1][:, :, 0, 0]).flatten(1, 2)
    assert_near(result, expected)
    g = torch.randn(expected.shape, dtype=torch.float64).to(dtype)
    for got, wanted in zip(torch.autograd.grad(result, leaves, g), torch.autograd.grad(expected, wide, g.double())):
        assert_near(got, wanted, slack=8)


@pytest.mark.parametrize("batch, count, size", [(0, 3, (2, 3)), (2, 0, (2, 3)), (2, 3, (0, 3)), (2, 3, (2, 0))])
def test_empty(batch, count, size, backend):
    keyframes = torch.zeros(batch, 4, 2, *size, requires_grad=True)
    taus = torch.zeros(count, requires_grad=True)
    out = vk.sample_trajectory(keyframes, taus)
    assert out.shape == (batch, count, 2, *size)
    grads = torch.autograd.grad(out.sum(), (keyframes, taus))
    assert [g.shape for g in grads] == [keyframes.shape, taus.shape] and not any(g.any() for g in grads)
