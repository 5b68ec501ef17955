"""What only the C++ kernels of patches and routed_conv2d have: instruction sets, strips, products of pairs."""

import torch
from compare import assert_near
from levels import every_level, run_at_level
from worded import WordedOps

import vfi_kernels as vk
from vfi_kernels.ops.patches import reference as patches
from vfi_kernels.ops.routed_conv2d import reference

OPS = WordedOps()
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
LAYOUTS = (torch.contiguous_format, torch.channels_last)
# input and output channels: odd, two vectors and a half, pairs of bfloat16, whole tiles; patch: tiles of one strip and
# of several, and last those whose weights' gradients are products of pairs
SIZES = ((5, 7, 4), (40, 35, 6), (34, 20, 40), (32, 52, 18), (48, 33, 16), (64, 17, 32))
KINDS = ((3, 1, False), (3, 2, False), (1, 1, False), (4, 2, True))


def check_every_path(seed):
    """Forward and gradients against the reference, for every dtype and layout."""
    rng = torch.Generator().manual_seed(seed)
    for c, c_out, patch in SIZES:
        indices = vk.patch_indices(torch.rand(2, 2, 2, generator=rng) < 0.6, capacity=7)
        for kernel, stride, transposed in KINDS:
            size = (c, c_out, kernel, kernel) if transposed else (c_out, c, kernel, kernel)
            x, weight = (torch.randn(s, generator=rng) for s in ((2, c, 2 * patch, 2 * patch), size))
            side = 2 * patch if transposed else patch // stride
            grad, bias = (torch.randn(s, generator=rng) for s in ((7, c_out, side, side), (c_out,)))
            weight = weight / (c * kernel * kernel) ** 0.5
            if patch > 20 and stride > 1:
                continue
            for n, dtype in enumerate(DTYPES):
                x, weight, bias, grad = (t.to(dtype) for t in (x, weight, bias, grad))
                for m, padding_mode in enumerate(("zeros", "image")):
                    options = (indices, patch, stride, transposed, padding_mode, False)
                    check(x.contiguous(memory_format=LAYOUTS[(n + m) % 2]), weight, bias, grad, options)
        check_patches(x.float(), indices, patch)


def check(x, weight, bias, grad, options):
    got = OPS.routed_conv2d(x, weight, bias, *options)
    assert_near(got, reference.routed_conv2d(x.double(), weight.double(), bias.double(), *options))
    grads = OPS.routed_conv2d_grad(grad, x, weight, *options, True, True, True)
    wide = (grad.double(), x.double(), weight.double())
    for a, b in zip(grads, reference.routed_conv2d_grad(*wide, *options, True, True, True), strict=True):
        assert_near(a, b, slack=4)


def check_patches(x, indices, patch):
    for halo in (0, 3):
        for dtype in DTYPES:
            for layout in LAYOUTS:
                image = x.to(dtype).contiguous(memory_format=layout)
                for last in (False, True):
                    tiles = OPS.patch_gather(image, indices, patch, halo, last)
                    assert torch.equal(tiles, patches.patch_gather(image, indices, patch, halo, last))
                    arguments = (indices, list(image.shape), patch, halo, last)
                    wanted = patches.patch_gather_grad(tiles.double(), *arguments)
                    assert_near(OPS.patch_gather_grad(tiles, *arguments), wanted)


@every_level
def test_every_instruction_set(level):
    run_at_level(level, __file__, "check_every_path(5)")
