"""What holds for windows of a cost volume alone."""

import pytest
import torch
import torch.nn.functional as F
from levels import every_level, run_at_level

import vfi_kernels as vk


def by_volume(first, second, positions, radius, levels):
    """RAFT's way: the volume of all pairs, pooled over the second map, sampled at a grid around every position. Maps of
    two pixels or more at every level."""
    b, c, h, w = first.shape
    volume = torch.einsum("bchw,bcyx->bhwyx", first, second).reshape(b * h * w, 1, *second.shape[2:]) / c**0.5
    steps = torch.arange(-radius, radius + 1, dtype=positions.dtype)
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), -1)  # added to (x, y): the first index moves x
    planes = []
    for level in range(levels):
        size = torch.tensor([volume.shape[3], volume.shape[2]], dtype=positions.dtype)
        at = positions.permute(0, 2, 3, 1).reshape(b * h * w, 1, 1, 2) / 2**level + grid
        window = F.grid_sample(volume, 2 * at / (size - 1) - 1, padding_mode="zeros", align_corners=True)
        planes.append(window.reshape(b, h, w, -1))
        if level + 1 < levels:
            volume = F.avg_pool2d(volume, 2, stride=2)
    return torch.cat(planes, 3).permute(0, 3, 1, 2)


def random_maps(rng, channels=5, size=(19, 23), other=None, dtype=torch.float64):
    first = torch.randn(2, channels, *size, generator=rng, dtype=dtype)
    second = torch.randn(2, channels, *(other or size), generator=rng, dtype=dtype)
    h, w = second.shape[2:]
    scale = torch.tensor([w + 8.0, h + 8.0], dtype=torch.float64).view(1, 2, 1, 1)
    return first, second, torch.rand(2, 2, *size, generator=rng, dtype=torch.float64) * scale - 4


@pytest.mark.parametrize("radius, levels", [(4, 4), (0, 2), (3, 1), (12, 3)])
def test_agrees_with_the_volume_of_all_pairs(backend, radius, levels, rng):
    arguments = [t.requires_grad_() for t in random_maps(rng)]
    got = vk.correlation_lookup(*arguments, radius, levels=levels)
    expected = by_volume(*arguments, radius, levels)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-11)
    cotangent = torch.randn(expected.shape, generator=rng, dtype=torch.float64)
    found = torch.autograd.grad(got, arguments, cotangent)
    for a, b in zip(found, torch.autograd.grad(expected, arguments, cotangent)):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("channels", "dtype"),
    [(8, torch.float64), (128, torch.float64), (128, torch.float32), (132, torch.float32), (256, torch.float32)],
    ids=str,
)
def test_channels_that_threads_share_evenly(backend, channels, dtype, rng):
    """Numbers of channels that a GPU's threads have the same of, and one beside; all gradients."""
    exact = [t.requires_grad_() for t in random_maps(rng, channels, (6, 9))]
    arguments = [t.detach().to(dtype).requires_grad_() for t in exact]
    got, expected = vk.correlation_lookup(*arguments, 1, levels=2), by_volume(*exact, 1, 2)
    near = {"rtol": 1e-4, "atol": 2e-4} if dtype == torch.float32 else {"rtol": 0, "atol": 1e-11}
    torch.testing.assert_close(got.double(), expected, **near)
    cotangent = torch.randn(expected.shape, generator=rng, dtype=torch.float64)
    found = torch.autograd.grad(got, arguments, cotangent.to(dtype))
    for a, b in zip(found, torch.autograd.grad(expected, exact, cotangent)):
        torch.testing.assert_close(a.double(), b, **near)


def test_maps_of_two_sizes(backend, rng):
    arguments = random_maps(rng, size=(6, 9), other=(17, 21))
    torch.testing.assert_close(vk.correlation_lookup(*arguments, 2), by_volume(*arguments, 2, 4), rtol=0, atol=1e-11)


def test_by_hand(backend):
    """One pixel looks around (1, 0) in a map of 2 x 2: channel i n + j is i - 1 to the right, j - 1 down."""
    second = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 1, 2, 2)
    positions = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    out = vk.correlation_lookup(torch.full((1, 1, 1, 1), 10.0), second, positions, 1, levels=2)
    assert out.flatten().tolist()[:9] == [0, 10, 30, 0, 20, 40, 0, 0, 0]
    # The second level is the one pixel 2.5, half a pixel to the left of the position.
    assert out.flatten().tolist()[9:] == [0, 12.5, 0, 0, 12.5, 0, 0, 0, 0]


def test_levels_without_pixels_are_zero(backend, rng):
    arguments = [t.requires_grad_() for t in random_maps(rng, size=(3, 2))]
    out = vk.correlation_lookup(*arguments, 1, levels=4)
    assert (out[:, 18:] == 0).all() and out[:, :18].abs().sum() > 0
    assert all(g.isfinite().all() for g in torch.autograd.grad(out.sum(), arguments))


def test_whole_positions_give_products_of_pixels(backend, rng):
    first, second, _ = random_maps(rng, channels=3, dtype=torch.float32)
    second[:, :, 4:8, 4:8] = torch.inf  # read by nobody whose window does not have it, whatever the weights
    ys, xs = torch.meshgrid(torch.arange(19), torch.arange(23), indexing="ij")
    positions = torch.stack([xs, ys]).float().expand(2, -1, -1, -1)
    out = vk.correlation_lookup(first, second, positions, 1, levels=1)
    own = (first * second).sum(1) / 3**0.5
    torch.testing.assert_close(out[:, 4], own, equal_nan=True)
    assert out[:, :, :, 9:].isfinite().all() and not out[:, 4, 4:8, 4:8].isfinite().any()


def test_positions_need_no_gradient(backend, rng):
    first, second, positions = random_maps(rng)
    out = vk.correlation_lookup(first.requires_grad_(), second, positions.detach(), 1)
    (grad,) = torch.autograd.grad(out.sum(), first)
    assert grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_maps_with_float_positions(backend, dtype, rng):
    """Positions and pooled levels keep their bits: the result is that of the rounded maps, rounded once."""
    first, second, positions = random_maps(rng, channels=18)
    first, second, positions = first.to(dtype), second.to(dtype), positions.float()
    got = vk.correlation_lookup(first, second, positions)
    expected = by_volume(first.double(), second.double(), positions.double(), 4, 4)
    assert got.dtype == dtype
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(got.double(), expected, rtol=eps, atol=1e-4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_smooth_and_rough_positions_agree_bitwise(layout, rng):
    """The kernels take pixels together whose windows lie close; what is summed must not depend on it."""
    first, second, _ = random_maps(rng, channels=37, dtype=torch.float32)
    first, second = (t.contiguous(memory_format=layout) for t in (first, second))
    ys, xs = torch.meshgrid(torch.arange(19), torch.arange(23), indexing="ij")
    smooth = torch.stack([xs, ys]).float().expand(2, -1, -1, -1) + 0.3
    rough = smooth.clone()
    rough[..., ::2] += 400
    expected, got = (vk.correlation_lookup(first, second, p, levels=2) for p in (smooth, rough))
    assert torch.equal(got[..., 1::2], expected[..., 1::2]) and (got[:, :81, :, ::2] == 0).all()


def check_against_float64():
    rng = torch.Generator().manual_seed(0)
    first, second, positions = random_maps(rng, channels=37, size=(16, 21), dtype=torch.float32)
    leaves = [t.requires_grad_() for t in (first, second, positions.float())]
    wide = [t.detach().double().requires_grad_() for t in leaves]
    got, expected = vk.correlation_lookup(*leaves), by_volume(*wide, 4, 4)
    torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-5)
    found = torch.autograd.grad(got.sum(), leaves), torch.autograd.grad(expected.sum(), wide)
    for a, b in zip(*found):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-3)


@pytest.mark.slow
@every_level
def test_every_instruction_set_agrees_with_float64(level):
    run_at_level(level, __file__, "check_against_float64()")


WRONG = [
    ({"second": (2, 4, 5, 6)}, {}, "second of shape (B, C, H, W) with B, C = 2, 3 as first has, got (2, 4, 5, 6)"),
    ({"positions": (2, 3, 5, 6)}, {}, "positions of shape (B, 2, H, W), got (2, 3, 5, 6)"),
    ({"positions": (2, 2, 5, 7)}, {}, "positions of height and width (5, 6) as first has, got (2, 2, 5, 7)"),
    ({}, {"radius": 13}, "radius from 0 to 12, got 13"),
    ({}, {"radius": -1}, "radius from 0 to 12, got -1"),
    ({}, {"levels": 0}, "levels from 1 to 16, got 0"),
    ({}, {"levels": 17}, "levels from 1 to 16, got 17"),
]


@pytest.mark.parametrize("shapes, options, sentence", WRONG, ids=[w[2] for w in WRONG])
def test_what_does_not_fit_gets_one_sentence(backend, shapes, options, sentence):
    sizes = {"first": (2, 3, 5, 6), "second": (2, 3, 5, 6), "positions": (2, 2, 5, 6), **shapes}
    with pytest.raises(vk.ArgumentError) as caught:
        vk.correlation_lookup(**{name: torch.zeros(size) for name, size in sizes.items()}, **options)
    assert str(caught.value) == f"correlation_lookup: expected {sentence}"


def test_positions_of_integers_get_one_sentence(backend):
    maps = torch.zeros(1, 3, 5, 6)
    expected = "^correlation_lookup: expected positions of dtype float64, float32, float16 or bfloat16, got int64$"
    with pytest.raises(vk.ArgumentError, match=expected):
        vk.correlation_lookup(maps, maps, torch.zeros(1, 2, 5, 6, dtype=torch.int64))
