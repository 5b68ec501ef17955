"""A call of every name of compat, with its arguments: for test_every_name."""

import functools

import torch

from vfi_kernels import compat

HALVES = (torch.float16, torch.bfloat16)
DTYPES = (torch.float64, torch.float32, *HALVES)
B, C, H, W = 2, 4, 8, 12
NO_CALLS = {"sbnet.ReducedMask", "mmcv.with_current_names"}  # a type of results, and a function of names


def image(dtype, device="cpu", size=(H, W)):
    return torch.linspace(0, 1, B * C * size[0] * size[1]).reshape(B, C, *size).to(device, dtype)


def flow(dtype, device="cpu", size=(H, W)):
    return torch.linspace(-2, 2, B * 2 * size[0] * size[1]).reshape(B, 2, *size).to(device, dtype)


def metric(dtype, device="cpu", size=(H, W)):
    return flow(dtype, device, size)[:, :1] + 3


def deformed(dtype, device="cpu", size=(H, W), offset_dtype=None, masked=False):
    """input, offset, and weights or a mask."""
    taps = torch.linspace(-1, 1, B * 18 * size[0] * size[1]).reshape(B, 18, *size).to(device, offset_dtype or dtype)
    return image(dtype, device, size), taps, *([taps[:, :9].abs().to(dtype)] if masked else [])


def selected(dtype, device="cpu", size=(H, W)):
    """What a masked convolution takes."""
    x = image(dtype, device, size)
    return x, torch.arange(B * size[0] * size[1], device=device).reshape(B, *size) % 3


def weights(dtype, device="cpu"):
    return torch.linspace(-1, 1, 3 * C * 9).reshape(3, C, 3, 3).to(device, dtype)


BLOCKS = {"bsize": (4, 4), "bstride": (4, 4)}


def blocks(dtype, device="cpu", size=(H, W)):
    """What sparse_gather and sparse_scatter take: an image, a count, a list."""
    listed = torch.tensor([[0, 0, 0], [1, 1, 0]], dtype=torch.int32, device=device)
    return image(dtype, device, size).permute(0, 2, 3, 1), listed[:1, 0], listed


def warped(dtype, device="cpu", size=(H, W)):
    return image(dtype, device, size), flow(dtype, device, size)


def splatted(dtype, device="cpu", size=(H, W)):
    return *warped(dtype, device, size), metric(dtype, device, size)


def twice(dtype, device="cpu", size=(H, W)):
    return image(dtype, device, size), image(dtype, device, size).flip(3)


def adaptive(dtype, device="cpu", size=(H, W)):
    """What FunctionAdaCoF takes, with 2 x 2 taps: an image of this size, weights and offsets of one less."""
    placed = [t[..., 1:, 1:].repeat(1, 2, 1, 1).contiguous() for t in (flow(dtype, device, size),) * 3]
    return image(dtype, device, size), placed[0].abs(), *placed[1:]


def separable(dtype, device="cpu", size=(H, W)):
    x, weight, *_ = adaptive(dtype, device, size)
    return x, weight[:, :2].contiguous(), weight[:, 2:].contiguous()


def deformed_separable(dtype, device="cpu", size=(H, W)):
    _, weight, down, right = adaptive(dtype, device, size)
    return *separable(dtype, device, size), down, right, weight


def looked_up(dtype, device="cpu", size=(H, W)):
    """Two maps, and where to look."""
    return *twice(dtype, device, size), flow(dtype, device, size)


def with_weights(function, **options):
    def call(x, offset, *mask):
        return function(x, offset, *mask, weights(x.dtype, x.device), **options)

    return call


@functools.cache
def module(kind, dtype, device):
    arguments = {
        ebme.ModuleSoftsplat: ("softmax",), ebme.ModuleCorrelation: (), mmcv.Correlation: (1, 2),
        sampler.SpatialCorrelationSampler: (1, 4), compat.sepconv.ModuleSepconv: (),
    }  # fmt: skip
    built = kind(*arguments[kind]) if kind in arguments else kind(C, 3, 3, padding=1)
    return built.to(device, dtype).requires_grad_(False)


def of_module(kind):
    return lambda *tensors: module(kind, tensors[0].dtype, tensors[0].device)(*tensors)


basicsr, ebme, ifrnet, mmcv, rife = compat.basicsr, compat.ebme, compat.ifrnet, compat.mmcv, compat.rife
raft, sbnet, softsplat, torchvision, xvfi = (
    compat.raft, compat.sbnet, compat.softsplat, compat.torchvision, compat.xvfi
)  # fmt: skip
sampler = compat.spatial_correlation_sampler
# name -> (a call, its arguments, what the original's dtype is inside autocast)
CALLS = {
    "rife.warp": (rife.warp, warped, "grid_sample"),
    "ifrnet.warp": (ifrnet.warp, warped, "grid_sample"),
    "xvfi.bwarp": (xvfi.bwarp, warped, "grid_sample"),
    "softsplat.backwarp": (softsplat.backwarp, warped, "grid_sample"),
    "ebme.backwarp": (ebme.backwarp, warped, "grid_sample"),
    # A function of autograd with custom_fwd(cast_inputs=torch.float32); the first release has kernels of float32 only.
    "softsplat.softsplat": (lambda *t: softsplat.softsplat(*t, "soft"), splatted, "float32"),
    "softsplat.softsplat_func": (softsplat.softsplat_func.apply, warped, "float32"),
    "ebme.FunctionSoftsplat": (lambda *t: ebme.FunctionSoftsplat(*t, "softmax"), splatted, "float32"),
    "ebme.ModuleSoftsplat": (of_module(ebme.ModuleSoftsplat), splatted, "float32"),
    # A function of autograd without: its result is made like its first argument.
    "softsplat.FunctionCorrelation": (softsplat.FunctionCorrelation, twice, "first"),
    "costvol.costvol": (compat.costvol.costvol, twice, "float32"),
    "costvol.costvol_func": (lambda *t: compat.costvol.costvol_func.apply(*t, 3), twice, "float32"),
    "ebme.FunctionCorrelation": (ebme.FunctionCorrelation, twice, "first"),
    "ebme.ModuleCorrelation": (of_module(ebme.ModuleCorrelation), twice, "first"),
    # CuPy's kernels, of float32 only.
    "adacof.FunctionAdaCoF": (lambda *t: compat.adacof.FunctionAdaCoF.apply(*t, 1), adaptive, "float32"),
    "sepconv.FunctionSepconv": (compat.sepconv.FunctionSepconv, separable, "float32"),
    "sepconv.ModuleSepconv": (of_module(compat.sepconv.ModuleSepconv), separable, "float32"),
    "sepconv.sepconv_func": (compat.sepconv.sepconv_func.apply, separable, "float32"),
    "dsepconv.FunctionDSepconv": (compat.dsepconv.FunctionDSepconv, deformed_separable, "float32"),
    # An op with a kernel for autocast that computes in float32 and casts back.
    "torchvision.deform_conv2d": (with_weights(torchvision.deform_conv2d, padding=1), deformed, "first"),
    "torchvision.DeformConv2d": (of_module(torchvision.DeformConv2d), deformed, "first"),
    # Casts everything to the dtype of the offset; that of the Pack comes from a conv2d.
    "mmcv.modulated_deform_conv2d": (
        with_weights(mmcv.modulated_deform_conv2d, padding=1), functools.partial(deformed, masked=True), "offset"
    ),
    "mmcv.ModulatedDeformConv2d": (
        of_module(mmcv.ModulatedDeformConv2d), functools.partial(deformed, masked=True), "offset"
    ),
    "mmcv.ModulatedDeformConv2dPack": (
        of_module(mmcv.ModulatedDeformConv2dPack), lambda *a, **k: (image(*a, **k),), "conv2d"
    ),
    "mmcv.deform_conv2d": (with_weights(mmcv.deform_conv2d, padding=1), deformed, "offset"),
    "mmcv.DeformConv2d": (of_module(mmcv.DeformConv2d), deformed, "offset"),
    "mmcv.DeformConv2dPack": (of_module(mmcv.DeformConv2dPack), lambda *a, **k: (image(*a, **k),), "conv2d"),
    "mmcv.masked_conv2d": (with_weights(mmcv.masked_conv2d, padding=1), selected, "first"),
    "mmcv.MaskedConv2d": (of_module(mmcv.MaskedConv2d), selected, "first"),
    "mmcv.Correlation": (of_module(mmcv.Correlation), twice, "first"),
    "spatial_correlation_sampler.spatial_correlation_sample": (
        functools.partial(sampler.spatial_correlation_sample, patch_size=3), twice, "first"
    ),
    "spatial_correlation_sampler.SpatialCorrelationSampler": (
        of_module(sampler.SpatialCorrelationSampler), twice, "first"
    ),
    "basicsr.deform_conv": (with_weights(basicsr.deform_conv, padding=1), deformed, "offset"),
    "basicsr.modulated_deform_conv": (
        with_weights(basicsr.modulated_deform_conv, padding=1), functools.partial(deformed, masked=True), "offset"
    ),
    "basicsr.DeformConv": (of_module(basicsr.DeformConv), deformed, "offset"),
    "basicsr.DeformConvPack": (of_module(basicsr.DeformConvPack), lambda *a, **k: (image(*a, **k),), "conv2d"),
    "basicsr.ModulatedDeformConv": (
        of_module(basicsr.ModulatedDeformConv), functools.partial(deformed, masked=True), "offset"
    ),
    "basicsr.ModulatedDeformConvPack": (
        of_module(basicsr.ModulatedDeformConvPack), lambda *a, **k: (image(*a, **k),), "conv2d"
    ),
    "basicsr.DCNv2Pack": (of_module(basicsr.DCNv2Pack), twice, "first"),
    # Ends in .float().
    "raft.CorrBlock": (lambda a, b, at: raft.CorrBlock(a, b)(at), looked_up, "float32"),
    "raft.AlternateCorrBlock": (lambda a, b, at: raft.AlternateCorrBlock(a, b)(at), looked_up, "float32"),
    "raft.BidirCorrBlock": (lambda a, b, at: torch.cat(raft.BidirCorrBlock(a, b)(at, at)), looked_up, "float32"),
    # TensorFlow's: there is no autocast.
    "sbnet.reduce_mask": (
        lambda x: sbnet.reduce_mask(x, (2, 3), **BLOCKS), lambda *a, **k: (image(*a, **k)[:, 0],), "index"
    ),
    "sbnet.sparse_gather": (functools.partial(sbnet.sparse_gather, **BLOCKS), blocks, "first"),
    "sbnet.sparse_scatter": (
        lambda x, *listed: sbnet.sparse_scatter(x[:, :4, :4], *listed, x, **BLOCKS), blocks, "first"
    ),
    "sbnet.sparse_scatter_var": (
        lambda x, *listed: sbnet.sparse_scatter_var(x[:, :4, :4], *listed, x * 1, **BLOCKS), blocks, "first"
    ),
}  # fmt: skip
