"""The warps of public networks, written anew from what they compute: each way of making a grid, of reading it, of
reaching a GPU, and of passing arguments that the field has. benchmarks/clients.py measures them; tests patch them."""

import functools

import torch
import torch.nn.functional as F
from torch import nn

grids = {}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def normalised(height, width, edge=False):
    """(1, 2, H, W) from -1 to 1: at corners, or at centres of pixels."""
    ends = [1 - 1 / n if edge else 1.0 for n in (height, width)]
    ys, xs = torch.meshgrid(*(torch.linspace(-e, e, n) for e, n in zip(ends, (height, width))), indexing="ij")
    return torch.stack((xs, ys))[None]


def pixels(x, height, width):
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack((xs, ys))[None].to(x.device).float()


def over_half(flow, size):
    """The flow over half of (size - 1); `size`: a shape that ends with height and width."""
    height, width = size[-2:]
    return torch.cat([flow[:, :1] / ((width - 1.0) / 2.0), flow[:, 1:] / ((height - 1.0) / 2.0)], 1)


def to_unit(at, height, width):
    """Pixel positions (B, 2, H, W) -> (B, H, W, 2) from -1 to 1."""
    x = 2.0 * at[:, 0] / max(width - 1, 1) - 1.0
    return torch.stack((x, 2.0 * at[:, 1] / max(height - 1, 1) - 1.0), 3)


def read(image, grid, padding="zeros", corners=True):
    return F.grid_sample(image, grid, mode="bilinear", padding_mode=padding, align_corners=corners)


def rife(tenInput, tenFlow):
    key = (str(tenFlow.device), str(tenFlow.size()))
    if key not in grids:
        grids[key] = normalised(*tenFlow.shape[2:]).expand(tenFlow.shape[0], -1, -1, -1).to(DEVICE)
    return read(tenInput, (grids[key] + over_half(tenFlow, tenInput.shape)).permute(0, 2, 3, 1), "border")


def vs_rife(tenInput, tenFlow, tenFlow_div, backwarp_tenGrid):
    step = torch.cat([tenFlow[:, 0:1] / tenFlow_div[0], tenFlow[:, 1:2] / tenFlow_div[1]], 1)
    return read(tenInput, (backwarp_tenGrid + step).permute(0, 2, 3, 1), "border")


def ifrnet(img, flow):
    grid = normalised(*flow.shape[2:]).to(img) + over_half(flow, flow.shape)
    return read(img, grid.permute(0, 2, 3, 1), "border")


def half_only(tenInput, tenFlow):
    grid = normalised(*tenFlow.shape[2:]).half() + over_half(tenFlow, tenInput.shape).half()
    return read(tenInput, grid.permute(0, 2, 3, 1), "border")


def softmax_splatting(tenIn, tenFlow):
    key = f"s{tenFlow.shape}"
    if key not in grids:
        grids[key] = normalised(*tenFlow.shape[2:]).cuda()
    return read(tenIn, (grids[key] + over_half(tenFlow, tenIn.shape)).permute(0, 2, 3, 1))


def partial(tenInput, tenFlow, edge, device):
    key = f"p{edge}{tenFlow.shape}"
    if key not in grids:
        grids[key] = normalised(*tenFlow.shape[2:], edge).to(device)
        grids[f"{key}ones"] = tenFlow.new_ones([tenFlow.shape[0], 1, *tenFlow.shape[2:]])
    tenInput = torch.cat([tenInput, grids[f"{key}ones"]], 1)
    out = read(tenInput, (grids[key] + over_half(tenFlow, tenInput.shape)).permute(0, 2, 3, 1), corners=not edge)
    mask = out[:, -1:].clone()
    mask[mask > 0.999] = 1.0
    mask[mask < 1.0] = 0.0
    return out[:, :-1] * mask


def pytorch_pwc(tenInput, tenFlow):
    return partial(tenInput, tenFlow, False, "cuda")


def ebme(tenInput, tenFlow):
    return partial(tenInput, tenFlow, True, torch.cuda.current_device())


def liteflownet(tenInput, tenFlow):
    key = f"l{tenFlow.shape}"
    if key not in grids:
        grids[key] = normalised(*tenFlow.shape[2:], True).cuda()
    return read(tenInput, (grids[key] + over_half(tenFlow, tenInput.shape)).permute(0, 2, 3, 1), corners=False)


def pwc_net(x, flo):
    grid = pixels(x, *x.shape[2:])
    grid = (grid.cuda() if x.is_cuda else grid) + flo
    grid = to_unit(grid, *x.shape[2:])
    mask = read(torch.ones_like(x), grid)
    mask[mask < 0.9999] = 0
    mask[mask > 0] = 1
    return read(x, grid) * mask


def dain_pwc(x, flo):
    size = x.shape
    ys, xs = torch.meshgrid(torch.arange(size[2]), torch.arange(size[3]), indexing="ij")
    grid = torch.cuda.FloatTensor(1, 2, *size[2:]).zero_() + torch.stack((xs, ys))[None].cuda() + flo
    grid = to_unit(grid, *size[2:])
    mask = torch.ones(size).cuda()
    mask = read(mask, grid, corners=False)
    mask = torch.where(mask < 0.9999, 0.0, 1.0)
    return read(x, grid, corners=False) * mask


def abme(x, flo, return_mask=True):
    grid = to_unit(pixels(x, *x.shape[2:]) + flo, *x.shape[2:])
    mask = read(torch.ones(x.size()).to(x.device), grid)
    mask = mask.masked_fill_(mask < 0.999, 0).masked_fill_(mask > 0, 1)
    return (read(x, grid) * mask, mask) if return_mask else read(x, grid) * mask


def xvfi(x, flo, withmask=True):
    grid = to_unit(pixels(x, *x.shape[2:]) + flo, *x.shape[2:])
    if not withmask:
        return read(x, grid)
    return read(x, grid) * (read(torch.ones_like(x), grid) >= 0.999).to(x.dtype)


def gmflow(feature, flow, mask=False, padding_mode="zeros"):
    grid = to_unit(pixels(feature, *flow.shape[2:]) + flow, *feature.shape[2:])
    out = read(feature, grid, padding_mode)
    return (out, (grid.abs() <= 1).all(-1)) if mask else out


def bim_vfi(tenIn, tenFlow, mode="bilinear"):
    grid = normalised(*tenFlow.shape[2:]).to(tenIn) + over_half(tenFlow, tenIn.shape)
    return F.grid_sample(tenIn, grid.permute(0, 2, 3, 1), mode=mode, align_corners=True)


def m2m(tenIn, tenFlow):
    key = f"m{tenFlow.shape[2:]}"
    if key not in grids:
        grids[key] = normalised(*tenFlow.shape[2:]).cuda()
    assert tenIn.shape[2:] == tenFlow.shape[2:]
    return read(tenIn, (grids[key] + over_half(tenFlow, tenIn.shape)).permute(0, 2, 3, 1))


def basicsr(x, flow, interp_mode="bilinear", padding_mode="zeros", align_corners=True):
    assert x.size()[-2:] == flow.size()[1:3]
    at = pixels(x, *x.shape[2:]).permute(0, 2, 3, 1).type_as(x) + flow
    grid = to_unit(at.permute(0, 3, 1, 2), *x.shape[2:])
    return F.grid_sample(x, grid, mode=interp_mode, padding_mode=padding_mode, align_corners=align_corners)


def mmagic(x, flow, interpolation="bilinear", padding_mode="zeros", align_corners=True):
    if x.shape[-2:] != flow.shape[1:3]:
        raise ValueError(f"sizes of {x.shape} and {flow.shape} differ")
    return basicsr(x, flow, interpolation, padding_mode, align_corners)


def vrt(x, flow, interp_mode="bilinear", padding_mode="zeros", align_corners=True, use_pad_mask=False):
    if use_pad_mask:
        raise NotImplementedError("of this pattern")
    return basicsr(x, flow, interp_mode, padding_mode, align_corners)


def edvr_border(x, flow, padding_mode="border"):
    return basicsr(x, flow, padding_mode=padding_mode)


def mirrored(x, flow, padding_mode="reflection"):
    return basicsr(x, flow, padding_mode=padding_mode)


def film(image, flow):
    height, width = flow.shape[2:]
    step = torch.stack((flow[:, 0] / (width * 0.5), flow[:, 1] / (height * 0.5)), 1)
    grid = normalised(height, width, True).to(image) + step
    return read(image, grid.permute(0, 2, 3, 1), "border", corners=False)


def eisai(img, flow):
    grid = normalised(*flow.shape[2:]).to(img.device).permute(0, 2, 3, 1)
    return read(img, grid + over_half(flow, img.shape).permute(0, 2, 3, 1))


def default_read(x, flo):
    return F.grid_sample(x, to_unit(pixels(x, *x.shape[2:]) + flo, *x.shape[2:]))


def default_read_border(x, flo):
    return F.grid_sample(x, to_unit(pixels(x, *x.shape[2:]) + flo, *x.shape[2:]), padding_mode="border")


@functools.lru_cache(maxsize=8)
def kept_grid(height, width):
    return normalised(height, width).cuda()


def cached_by_size(img, flow):
    grid = kept_grid(*flow.shape[2:]) + over_half(flow, img.shape)
    return read(img, grid.permute(0, 2, 3, 1), "border")


class SuperSloMo(nn.Module):
    def __init__(self, W, H, device):
        super().__init__()
        self.W, self.H = W, H
        ys, xs = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
        self.gridX, self.gridY = xs.to(device), ys.to(device)

    def forward(self, img, flow):
        x = self.gridX.unsqueeze(0).expand_as(flow[:, 0]).float() + flow[:, 0]
        y = self.gridY.unsqueeze(0).expand_as(flow[:, 1]).float() + flow[:, 1]
        return F.grid_sample(img, torch.stack((2 * (x / self.W - 0.5), 2 * (y / self.H - 0.5)), 3))


class MoMo(nn.Module):
    def __init__(self, clip=True):
        super().__init__()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.clip = clip

    def forward(self, img, flow, mode="bilinear"):
        height, width = flow.shape[2:]
        at = pixels(img, height, width) + flow
        grid = torch.stack(((at[:, 0] / width) * 2 - 1, (at[:, 1] / height) * 2 - 1), -1)
        return F.grid_sample(img, grid, mode=mode, padding_mode="border" if self.clip else "zeros")


class WithMethod(nn.Module):
    """The warp is a method that needs nothing of its object, as in XVFI and PWC-Net."""

    def warp(self, x, flo):
        return xvfi(x, flo)

    def forward(self, x, flo):
        return self.warp(x, flo)


class Bilateral(nn.Module):
    """ABME's: all displacements of a bilateral cost volume at once, from a grid that the object holds."""

    def __init__(self, displacements=9):
        super().__init__()
        self.range = displacements
        self.grid = torch.ones(1)

    def warp(self, x, BM_d):
        grid = to_unit(self.grid + BM_d, *x.shape[2:])
        mask = read(torch.ones(x.size(), device=x.device), grid)
        mask = mask.masked_fill_(mask < 0.999, 0).masked_fill_(mask > 0, 1)
        return read(x, grid, "border") * mask

    def forward(self, x, flow):
        if self.grid.shape[2:] != flow.shape[2:]:
            self.grid = pixels(x, *flow.shape[2:]).expand(self.range, -1, -1, -1)
        return self.warp(x, flow)


# name of the pattern -> the name under which clients have it, who these are, and what it is
FUNCTIONS = {
    "rife": ("warp", "RIFE, Practical-RIFE, VFIMamba", rife),
    "vs_rife": ("warp", "vs-rife", vs_rife),
    "ifrnet": ("warp", "IFRNet, AMT", ifrnet),
    "half_only": ("warp", "DRBA", half_only),
    "softmax_splatting": ("backwarp", "softmax-splatting, PerVFI", softmax_splatting),
    "pytorch_pwc": ("backwarp", "PWC-Net in PyTorch", pytorch_pwc),
    "ebme": ("backwarp", "EBME, ST-MFNet, LDMVFI, TLBVFI", ebme),
    "liteflownet": ("backwarp", "GMFSS_union, LiteFlowNet", liteflownet),
    "pwc_net": ("warp", "PWC-Net", pwc_net),
    "dain_pwc": ("warp", "DAIN", dain_pwc),
    "abme": ("warp", "ABME, with its mask", abme),
    "xvfi": ("bwarp", "XVFI", xvfi),
    "gmflow": ("flow_warp", "gmflow, UniMatch, GMFSS, ATM-VFI, SGM-VFI", gmflow),
    "bim_vfi": ("backwarp", "BiM-VFI", bim_vfi),
    "m2m": ("backwarp", "M2M", m2m),
    "basicsr": ("flow_warp", "BasicSR, BasicVSR++, EDVR, KAIR", basicsr),
    "mmagic": ("flow_warp", "mmagic, mmediting", mmagic),
    "vrt": ("flow_warp", "VRT, RVRT", vrt),
    "edvr_border": ("flow_warp", "copies of BasicSR, border", edvr_border),
    "mirrored": ("flow_warp", "copies of BasicSR, reflection", mirrored),
    "film": ("warp", "FILM in PyTorch", film),
    "eisai": ("backwarp", "EISAI", eisai),
    "default_read": ("warp", "PWC-Net, older copies", default_read),
    "default_read_border": ("warp", "older copies, border", default_read_border),
    "cached_by_size": ("resample", "grids in functools.lru_cache", cached_by_size),
}
CLASSES = {
    "super_slomo": ("backWarp", "Super SloMo", SuperSloMo),
    "momo": ("BackWarp", "MoMo", MoMo),
    "method": ("SBMENet", "ABME, PWC-Net: a method", WithMethod),
    "bilateral": ("BilateralCorrelation", "ABME's bilateral warp", Bilateral),
}
