"""4K and 8K images in half precision, and more than 2^31 elements, against a float64 oracle."""

import pytest
import torch
from compare import ROUNDING, assert_near, oracle_forward
from op_calls import CASES

import vfi_kernels as vk
from vfi_kernels.testing import make_flow

pytestmark = pytest.mark.xdist_group("large")  # their memory is that of one at a time

SIZES = {"4K": (2160, 3840), "8K": (4320, 7680)}
GIB = 2**30
MANY, ELEMENTS = (8, 33, 2160, 3840), 2**31  # a batch of more than so many elements


def needs_memory(gib):
    free = torch.cuda.mem_get_info()[0] / GIB if torch.cuda.is_available() else 0
    if free < gib:
        pytest.skip(f"needs {gib} GiB of GPU memory, {free:.0f} are free")


def wide_flow(h, w):
    """Smooth, with fractions: every position matters, and half precision could not hold one of them."""
    return make_flow("smooth", 1, h, w, dtype=torch.float32, device="cuda")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["backward_warp-border", "backward_warp-zeros", "warp_blend"])
def test_warps_of_large_images(name, dtype, size, engine):
    needs_memory(40 if size == "8K" else 12)
    h, w = SIZES[size]
    generator = torch.Generator().manual_seed(1)
    arguments = CASES[name].make_inputs(
        1, 1, h, w, dtype=torch.float32, generator=generator, device="cuda", flow="smooth"
    )
    frames = 2 if name == "warp_blend" else 1
    arguments = [t.to(dtype) if n < frames else t for n, t in enumerate(arguments)]
    (got,) = [CASES[name].call(*arguments)]
    (expected,) = oracle_forward(CASES[name].call, arguments)
    assert_near(got, expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["splat-sum", "splat-softmax", "splat-softmax-wide"])
def test_splats_of_large_images(name, dtype, size, engine):
    needs_memory(60 if size == "8K" else 16)
    h, w = SIZES[size]
    generator = torch.Generator().manual_seed(1)
    image, flow, *metric = CASES[name].make_inputs(
        1, 1, h, w, dtype=torch.float32, generator=generator, device="cuda", flow="smooth"
    )
    arguments = (image.to(dtype), flow, *metric)
    (expected,) = oracle_forward(CASES[name].call, arguments)
    assert_near(CASES[name].call(*arguments), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_ramp_shows_every_wrong_position(dtype, engine):
    """image[x] = x mod 64: a position that is off by a fraction of a pixel shows at any x."""
    h, w = SIZES["8K"]
    ramp = (torch.arange(w, device="cuda") % 64).to(dtype).expand(1, 1, h, w).contiguous()
    flow = torch.full((1, 2, h, w), 0.25, device="cuda")
    out = vk.backward_warp(ramp, flow)
    inner = (torch.arange(w, device="cuda") % 64 < 63).expand(h, w)[:, : w - 1]
    difference = (out - ramp)[0, 0, :, : w - 1][inner]
    torch.testing.assert_close(
        difference.float(), torch.full_like(difference, 0.25).float(), rtol=0, atol=64 * ROUNDING[dtype]
    )


def many():
    """Images of MANY, all the same, and a flow of zeros."""
    b, _, h, w = MANY
    image = torch.randn(1, *MANY[1:], device="cuda", dtype=torch.float16).expand(MANY).contiguous()
    assert image.numel() > ELEMENTS
    return image, torch.zeros(b, 2, h, w, device="cuda", dtype=torch.float16)


def test_more_than_two_to_the_31_elements(engine):
    needs_memory(24)
    image, flow = many()
    out = vk.backward_warp(image, flow)
    assert torch.equal(out[-1], image[-1]) and torch.equal(out[0], image[0])


def test_splat_of_more_than_two_to_the_31_elements(engine):
    needs_memory(64)
    image, flow = many()
    out = vk.splat(image, flow, mode="average")
    assert torch.equal(out[-1], image[-1]) and torch.equal(out[0], image[0])
