"""The local correlation's windows, strides, paddings, dilations and costs, against what others define."""

import functools
import itertools

import pytest
import torch
import torch.nn.functional as F

import vfi_kernels as vk
from vfi_kernels.compat import mmcv, spatial_correlation_sampler


def both(value):
    return (value, value) if isinstance(value, int) else value


def taken(x, rows, columns):
    """x at these rows and columns, 0 outside."""
    h, w = x.shape[2:]
    inside = ((rows >= 0) & (rows < h))[:, None] & ((columns >= 0) & (columns < w))
    return x[:, :, rows.clamp(0, h - 1)][..., columns.clamp(0, w - 1)] * inside


def sampled(input1, input2, kernel_size=1, patch_size=1, stride=1, padding=0, dilation=1, dilation_patch=1):
    """The definition of Pytorch-Correlation-extension: for each displacement of a patch, the products of two windows,
    of which only pixels inside both inputs count. No division."""
    pairs = map(both, (kernel_size, patch_size, stride, padding, dilation, dilation_patch))
    kernel, patch, step, pad, apart, spread = pairs
    size = [(n + 2 * p - (k - 1) * d - 1) // s + 1 for n, k, s, p, d in zip(input1.shape[2:], kernel, step, pad, apart)]
    starts = [torch.arange(n) * s - p for n, s, p in zip(size, step, pad)]
    planes = []
    for ph, pw in itertools.product(*map(range, patch)):
        dy, dx = (n * d - d * (count - 1) // 2 for n, d, count in zip((ph, pw), spread, patch))
        total = 0
        for i, j in itertools.product(*map(range, kernel)):
            rows, columns = starts[0] + i * apart[0], starts[1] + j * apart[1]
            total = total + (taken(input1, rows, columns) * taken(input2, rows + dy, columns + dx)).sum(1)
        planes.append(total)
    return torch.stack(planes, 1).unflatten(1, patch)


def slid(input1, input2, kernel_size, max_displacement, stride, padding, dilation, dilation_patch):
    """The definition in mmcv's documentation: a valid convolution of the padded input1's windows with input2, which is
    shifted and filled with zeros."""
    h, w = input1.shape[2:]
    reach = max_displacement * dilation_patch
    wide = F.pad(input2, [reach] * 4)
    side = range(0, 2 * reach + 1, dilation_patch)
    planes = torch.stack([(input1 * wide[..., y : y + h, x : x + w]).sum(1) for y in side for x in side], 1)
    ones = planes.new_ones(planes.shape[1], 1, kernel_size, kernel_size)
    out = F.conv2d(F.pad(planes, [padding] * 4), ones, None, stride, 0, dilation, planes.shape[1])
    return out.unflatten(1, (len(side), len(side)))


def check(ours, theirs, shape, rng):
    """Results and both gradients in float64."""
    first, second = (torch.randn(shape, generator=rng, dtype=torch.float64).requires_grad_() for _ in range(2))
    got, expected = ours(first, second), theirs(first, second)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    cotangent = torch.randn(expected.shape, generator=rng, dtype=torch.float64)
    found = torch.autograd.grad(got, (first, second), cotangent)
    for a, b in zip(found, torch.autograd.grad(expected, (first, second), cotangent)):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


SAMPLED = (
    {},
    {"patch_size": 9},
    {"patch_size": 5, "dilation_patch": 2},
    {"kernel_size": 3, "patch_size": 3, "padding": 1},
    {"kernel_size": 3, "patch_size": 1, "stride": 2, "padding": 5, "dilation": 2, "dilation_patch": 3},
    {"kernel_size": (3, 2), "patch_size": (3, 5), "stride": (2, 1), "padding": (0, 4), "dilation": (1, 3)},
    {"kernel_size": 2, "patch_size": 3, "stride": 4, "dilation": 2, "dilation_patch": (2, 3)},
    {"patch_size": 3, "stride": 3, "padding": 2, "dilation_patch": (1, 2)},
    {"patch_size": (4, 2)},
    {"patch_size": (2, 4), "dilation_patch": (2, 3), "kernel_size": (1, 3), "padding": (0, 1)},
)


@pytest.mark.parametrize("options", SAMPLED, ids=str)
def test_is_what_spatial_correlation_sampler_computes(backend, options, rng):
    ours = functools.partial(spatial_correlation_sampler.spatial_correlation_sample, **options)
    check(ours, functools.partial(sampled, **options), (2, 3, 11, 21), rng)
    module = spatial_correlation_sampler.SpatialCorrelationSampler(**options)
    first, second = torch.randn(2, 1, 2, 9, 8, generator=rng)
    assert torch.equal(module(first, second), ours(first, second))


MMCV = (
    (1, 1, 1, 0, 1, 1),
    (1, 4, 1, 0, 1, 1),
    (1, 10, 1, 0, 1, 2),  # FlowNetC in mmflow
    (3, 2, 1, 1, 1, 1),
    (3, 1, 2, 3, 2, 3),
)


@pytest.mark.parametrize("options", MMCV, ids=str)
def test_is_what_mmcv_computes(backend, options, rng):
    """Its padding is that of input1: with products it makes no difference that ours is of both."""
    check(mmcv.Correlation(*options), lambda *t: slid(*t, *options), (1, 3, 13, 18), rng)


def test_the_module_of_mmcv_is_described_as_there():
    module = mmcv.Correlation(3, max_displacement=2, padding=1)
    text = "Correlation(kernel_size=3, max_displacement=2, stride=1, padding=1, dilation=1, dilation_patch=1)"
    assert repr(module) == text and not list(module.parameters())


@pytest.mark.parametrize("normalize", [True, False])
def test_flownet_divides_by_channels_and_window(backend, normalize, rng):
    """Equation 1 of FlowNet without its division, which every implementation of the layer has."""
    first, second = torch.randn(2, 2, 5, 9, 12, generator=rng, dtype=torch.float64)
    options = {"kernel_size": (3, 2), "padding": 1, "patch_dilation": 2}
    got = vk.correlation(first, second, (2, 1), normalize=normalize, **options)
    expected = sampled(first, second, (3, 2), (5, 3), padding=1, dilation_patch=2).flatten(1, 2)
    torch.testing.assert_close(got, expected / (5 * 6 if normalize else 1), rtol=0, atol=1e-12)


def test_a_radius_of_zero_is_the_product_of_pixels(backend, rng):
    first, second = torch.randn(2, 2, 3, 5, 20, generator=rng)
    torch.testing.assert_close(vk.correlation(first, second, 0), (first * second).mean(1, keepdim=True))
    torch.testing.assert_close(vk.correlation(first, second, (0, 4)), vk.correlation(first, second)[:, 36:45])
    torch.testing.assert_close(vk.correlation(first, second, (4, 0)), vk.correlation(first, second)[:, 4::9])


def cost_volume(one, two, radius=4):
    """M2M's costvol: mean absolute differences, of `one` alone where `two` ends."""
    h, w = one.shape[2:]
    wide, side = F.pad(two, [radius] * 4), range(2 * radius + 1)
    return torch.stack([(one - wide[..., y : y + h, x : x + w]).abs().mean(1) for y in side for x in side], 1)


@pytest.mark.parametrize("radius", [0, 1, 4, 10])
def test_l1_is_the_cost_volume_of_m2m(backend, radius, rng):
    ours = functools.partial(vk.correlation, radius=radius, cost="l1")
    check(ours, functools.partial(cost_volume, radius=radius), (1, 3, 7, 19), rng)


def test_the_cost_volume_of_bim_vfi_is_not_divided(backend, rng):
    """costvol_func.apply(one, two, kernel_size): sums of products, kernel_size displacements a side."""

    def theirs(one, two):
        return sampled(one, two, patch_size=9).flatten(1, 2)

    check(functools.partial(vk.correlation, radius=4, normalize=False), theirs, (1, 4, 8, 9), rng)


WINDOWS = {"kernel_size": 3, "padding": (1, 2), "stride": (1, 2), "patch_dilation": (2, 1)}


@pytest.mark.parametrize("options", [{}, WINDOWS], ids=str)
def test_l1_compares_maps_with_zeros_around_them(backend, options, rng):
    """Also where windows begin outside, and with a derivative of 0 where the maps are equal."""

    def padded(first, second):
        first, second = (F.pad(t, [9] * 4) for t in (first, second))
        names = {"kernel_size": 1, "stride": 1, "padding": 0}
        (v, h), (sv, sh), (pv, ph) = (both(options.get(name, usual)) for name, usual in names.items())
        rows, columns = ((n + 2 * p - k) // s + 1 for n, p, k, s in ((6, pv, v, sv), (17, ph, h, sh)))
        planes = []
        for ky, kx in itertools.product((-1, 0, 1), (-2, -1, 0, 1, 2)):
            dy, dx = (k * d for k, d in zip((ky, kx), both(options.get("patch_dilation", 1))))
            total = 0
            for i, j in itertools.product(range(v), range(h)):
                y, x = 9 - pv + i, 9 - ph + j
                a = first[..., y : y + rows * sv : sv, x : x + columns * sh : sh]
                b = second[..., y + dy : y + dy + rows * sv : sv, x + dx : x + dx + columns * sh : sh]
                total = total + (a - b).abs().mean(1) / (v * h)
            planes.append(total)
        return torch.stack(planes, 1)

    check(functools.partial(vk.correlation, radius=(1, 2), cost="l1", **options), padded, (2, 3, 6, 17), rng)
    equal = torch.ones(1, 2, 3, 4, requires_grad=True)
    (found,) = torch.autograd.grad(vk.correlation(equal, equal.detach(), 0, cost="l1").sum(), equal)
    assert (found == 0).all()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("options", [
    {"padding": 3}, {"stride": 2, "padding": 1}, {"kernel_size": 2, "padding": 2}, {"patch_dilation": (3, 2)},
], ids=str)  # fmt: skip
def test_products_with_what_is_outside_are_zero(backend, value, options):
    """Whatever the other map holds there: the output is finite wherever no pair of pixels inside both maps is wrong."""
    first = torch.ones(1, 2, 7, 21)
    first[..., 0, :] = first[..., 3] = value
    second = torch.ones(1, 2, 7, 21)
    second[..., -1] = value
    plain = torch.ones_like(first)
    wrong = [(~t.isfinite()).float() for t in (first, second)]
    met = vk.correlation(wrong[0], plain, 2, **options) + vk.correlation(plain, wrong[1], 2, **options) > 0
    out = vk.correlation(first, second, 2, **options)
    assert torch.equal(~out.isfinite(), met) and 0 < met.sum() < met.numel()


def test_nothing_depends_on_the_number_of_threads(rng):
    """Few tiles are divided among threads by displacements."""
    first, second = (torch.randn(1, 40, 16, 28, generator=rng).requires_grad_() for _ in range(2))
    found, threads = [], torch.get_num_threads()
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        outs = [vk.correlation(first, second, 5), vk.correlation(first, second, (3, 1), kernel_size=3, cost="l1")]
        found.append([*outs, *torch.autograd.grad([o.square().sum() for o in outs], (first, second))])
    torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other))


@pytest.mark.parametrize(("options", "sentence"), [
    ({"radius": True}, "expected radius from 0 to 32767, one integer or two, got True"),
    ({"radius": (1, -1)}, r"expected radius from 0 to 32767, one integer or two, got \(1, -1\)"),
    ({"radius": (1, 2, 3)}, r"expected radius from 0 to 32767, one integer or two, got \(1, 2, 3\)"),
    ({"radius": 2**70}, "expected radius from 0 to 32767, one integer or two, got 1180591620717411303424"),
    ({"stride": 0}, "expected stride from 1 to 32767, one integer or two, got 0"),
    ({"kernel_size": 0}, "expected kernel_size from 1 to 32767, one integer or two, got 0"),
    ({"kernel_size": "3"}, "expected kernel_size from 1 to 32767, one integer or two, got '3'"),
    ({"dilation": (1, 0)}, r"expected dilation from 1 to 32767, one integer or two, got \(1, 0\)"),
    ({"patch_dilation": 0}, "expected patch_dilation from 1 to 32767, one integer or two, got 0"),
    ({"padding": -1}, "expected padding from 0 to 32767, one integer or two, got -1"),
    ({"kernel_size": 4}, "expected a kernel no larger than the padded maps, got one of 4 pixels for 3"),
    ({"kernel_size": (1, 3), "dilation": 4, "padding": 1},
     "expected a kernel no larger than the padded maps, got one of 9 pixels for 6"),
    ({"normalize": 1}, "expected normalize to be True or False, got 1"),
    ({"cost": "l2"}, "expected cost 'dot' or 'l1', got 'l2'"),
    ({"cost": None}, "expected cost 'dot' or 'l1', got NoneType"),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_wrong_options_get_one_sentence(backend, options, sentence, device):
    image = torch.zeros(1, 2, 3, 4, device=device)
    with pytest.raises(vk.ArgumentError, match=f"^correlation: {sentence}$"):
        vk.correlation(image, image, **options)


OPTIONS = (4, 4, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, True, 0)  # 12 sides, normalize, cost


@pytest.mark.parametrize(("place", "value", "sentence"), [
    (1, -1, r"correlation: expected radius from 0 to 32767, got \(4, -1\)"),
    (5, 0, r"correlation: expected stride from 1 to 32767, got \(1, 0\)"),
    (6, 2**40, r"correlation: expected padding from 0 to 32767, got \(1099511627776, 0\)"),
    (slice(11, 12), (), r"correlation: expected 12 integers, got 11"),
    (13, 2, r"correlation: expected cost 0 \('dot'\) or 1 \('l1'\), got 2"),
])  # fmt: skip
def test_the_op_itself_checks_them_too(backend, place, value, sentence):
    """As C++ programs call it."""
    options, image = list(OPTIONS), torch.zeros(1, 2, 3, 4)
    options[place] = value
    with pytest.raises(RuntimeError, match=sentence):
        torch.ops.vfi_kernels.correlation(image, image, options[:-2], *options[-2:])


@pytest.mark.parametrize("shape", [(0, 2, 5, 6), (2, 0, 5, 6), (1, 2, 0, 0), (1, 2, 0, 6)])
@pytest.mark.parametrize("cost", ["dot", "l1"])
def test_empty_maps(backend, shape, cost):
    first = torch.zeros(shape, requires_grad=True)
    options = {"kernel_size": (1, 2), "stride": 2, "padding": (0, 1), "cost": cost}
    out = vk.correlation(first, first.detach(), (2, 1), **options)
    assert out.shape == (shape[0], 15, (shape[2] + 1) // 2, (shape[3] + 2) // 2) and (out == 0).all()
    assert torch.autograd.grad(out.sum(), first)[0].shape == shape
