"""What only the C++ kernels of the deformable convolution have: instruction sets, windows, blocks of channels."""

import pytest
import torch
from compare import assert_near
from levels import every_level, run_at_level
from worded import WordedOps

import vfi_kernels as vk
from vfi_kernels.ops.modulated_deform_conv2d import reference

OPS = WordedOps()
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
LAYOUTS = (torch.contiguous_format, torch.channels_last)
# input, output channels, groups, offset groups: one vector, odd numbers, offset groups across groups, above a block,
# eight channels of an offset group, whole tiles of several groups, the same for gradients
CHANNELS = ((16, 32, 1, 2), (5, 7, 1, 1), (6, 4, 2, 3), (72, 48, 2, 1), (64, 12, 1, 8), (64, 36, 2, 1), (72, 64, 2, 1))


def check_every_path(seed):
    """Forward and gradients against the reference, for every dtype and layout."""
    rng = torch.Generator().manual_seed(seed)
    for c, c_out, groups, parts in CHANNELS:
        x, weight = (torch.randn(s, generator=rng) for s in ((2, c, 7, 19), (c_out, c // groups, 3, 2)))
        offset, mask = (
            2 * torch.randn(2, 12 * parts, 7, 20, generator=rng),
            torch.rand(2, 6 * parts, 7, 20, generator=rng),
        )
        bias, grad = torch.randn(c_out, generator=rng), torch.randn(2, c_out, 7, 20, generator=rng)
        weight = weight / (c // groups * 6) ** 0.5
        geometry = ([1, 1], [1, 1], [1, 1], groups, parts)
        for dtype in DTYPES:
            for layout in LAYOUTS:
                x, offset, mask, weight, bias, grad = (t.to(dtype) for t in (x, offset, mask, weight, bias, grad))
                image, upstream = x.contiguous(memory_format=layout), grad.contiguous(memory_format=layout)
                wide = [t.double() for t in (x, offset, mask, weight, bias)]
                got = OPS.modulated_deform_conv2d(
                    image, offset, mask, weight, bias, *geometry, "relu", None, "torchvision", False
                )
                wanted = reference.modulated_deform_conv2d(*wide, *geometry, "relu", None, "torchvision", False)
                assert_near(got, wanted)
                flags = ("mmcv", False, False, True, True, True, True, True)
                grads = OPS.modulated_deform_conv2d_grad(upstream, image, offset, mask, weight, *geometry, *flags)
                expected = reference.modulated_deform_conv2d_grad(grad.double(), *wide[:4], *geometry, *flags)
                for a, b in zip(grads, expected, strict=True):
                    assert_near(a, b, slack=4)


@every_level
def test_every_instruction_set(level):
    run_at_level(level, __file__, "check_every_path(5)")


def check_larger_than_the_window(reach, shift):
    """Planes of 100 MB are copied band by band, and read where they are outside a band; channels_last needs no copy.
    Where all of a vector is outside, nothing of the band is read: what lies before it need not be memory."""
    generator = torch.Generator().manual_seed(20)
    x = torch.randn(1, 64, 400, 1024, generator=generator)
    offset = torch.randn(1, 2, 400, 1024, generator=generator) * reach + shift
    weight = torch.randn(4, 64, 1, 1, generator=generator) / 8
    out = vk.modulated_deform_conv2d(x, offset, None, weight)
    direct = vk.modulated_deform_conv2d(x.contiguous(memory_format=torch.channels_last), offset, None, weight)
    torch.testing.assert_close(out, direct, rtol=1e-5, atol=1e-5)


@every_level
@pytest.mark.parametrize("reach, shift", [(3, 0), (300, 0), (0.1, 200.3)])
def test_an_input_larger_than_the_window(level, reach, shift):
    run_at_level(level, __file__, f"check_larger_than_the_window({reach}, {shift})")


def test_large_images_take_small_blocks(rng):
    """More parts of the gradients of offset and mask than one: they are added in order."""
    x, weight = torch.randn(1, 40, 1024, 1024, generator=rng), torch.randn(2, 40, 1, 1, generator=rng)
    offset, mask = torch.randn(1, 2, 1024, 1024, generator=rng), torch.rand(1, 1, 1024, 1024, generator=rng)
    leaves = [t.requires_grad_() for t in (x, offset, mask)]
    grads = torch.autograd.grad(vk.modulated_deform_conv2d(*leaves, weight).sum(), leaves)
    # With one output channel for each sum the gradients are those of sum_c (weight of c) times the sampled value.
    total = (x * weight.sum(0)).sum(1, keepdim=True).detach().requires_grad_()
    apart = [total, *(t.detach().requires_grad_() for t in (offset, mask))]
    sums = vk.modulated_deform_conv2d(*apart, torch.ones(1, 1, 1, 1)).sum()
    expected = torch.autograd.grad(sums, apart)
    torch.testing.assert_close(grads[0], expected[0] * weight.sum(0), rtol=1e-4, atol=1e-4)
    for got, wanted in zip(grads[1:], expected[1:]):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
