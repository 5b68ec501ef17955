"""The networks as their users' tools run them: plain torch, warps by grid_sample with a ready grid, everything warped
and concatenated at full size, two frames at a time. For benchmarks alone; weights are those of our models."""

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vfi_kernels as vk
from vfi.models.interpolator import Interpolator
from vfi.models.rife.flow import SCALES
from vfi.models.rife.model import RIFE
from vfi.models.rife4.model import RIFE4
from vfi.networks.sized_inference import pad


def resized(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1 else F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


@cache
def grid(height: int, width: int) -> Tensor:
    x, y = (torch.linspace(-1, 1, n) for n in (width, height))
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1])[None]


def warp(x: Tensor, flow: Tensor) -> Tensor:
    height, width = flow.shape[2:]
    steps = torch.tensor([2 / (width - 1), 2 / (height - 1)]).view(1, 2, 1, 1)
    places = (grid(height, width) + flow * steps).permute(0, 2, 3, 1)
    return F.grid_sample(x, places, mode="bilinear", padding_mode="border", align_corners=True)


class Plain4(nn.Module):
    """RIFE 4 at t = 0.5."""

    def __init__(self, model: RIFE4):
        super().__init__()
        self.model = model

    def forward(self, frame0: Tensor, frame1: Tensor) -> Tensor:
        network, (height, width) = self.model.network, frame0.shape[2:]
        pair = [pad(frame.clamp(0, 1), network.multiple) for frame in (frame0, frame1)]
        told = [self.model.encode(frame) for frame in pair] if network.encoder else []
        time = torch.full_like(pair[0][:, :1], 0.5)
        flow = mask = features = None
        warped = pair
        for i, scale in enumerate(network.scales):
            parts = [*warped, *told, time]
            if flow is not None:
                moved = [warp(m, f) for m, f in zip(told, flow.split(2, 1))]
                parts = [*warped, *moved, time, mask, *([] if features is None else [features])]
            x = resized(torch.cat(parts, 1), 1 / scale)
            x = x if flow is None else torch.cat((x, resized(flow, 1 / scale) / scale), 1)
            factor = scale if network.shuffled else 2 * scale
            answer = resized(self.model.get_submodule(f"block{i}")(x), factor)
            change = answer[:, :4] * factor
            flow = change if flow is None else flow + change
            mask = answer[:, 4:5] + mask if network.adds_masks and mask is not None else answer[:, 4:5]
            features = answer[:, 5:] if network.features else None
            warped = [warp(frame, f) for frame, f in zip(pair, flow.split(2, 1))]
        share = mask.sigmoid()
        return (warped[0] * share + warped[1] * (1 - share))[..., :height, :width]


class Plain2022(nn.Module):
    """RIFE of ECCV 2022."""

    def __init__(self, model: RIFE):
        super().__init__()
        self.model = model

    def forward(self, frame0: Tensor, frame1: Tensor) -> Tensor:
        model, pair = self.model, (frame0, frame1)
        flow, mask, warped = None, None, pair
        for block, scale in zip((model.block0, model.block1, model.block2), SCALES):
            seen = pair if flow is None else (*pair, *warped, mask)
            change, more = block(torch.cat(seen, 1), flow, scale)
            flow, mask = (change, more) if flow is None else (flow + change, mask + more)
            warped = [warp(frame, f) for frame, f in zip(pair, flow.split(2, 1))]
        context = [self.context(frame, f) for frame, f in zip(pair, flow.split(2, 1))]
        unet = model.unet
        levels = [unet.down0(torch.cat((*pair, *warped, mask, flow), 1))]
        for i, down in enumerate((unet.down1, unet.down2, unet.down3)):
            levels.append(down(torch.cat((levels[-1], context[0][i], context[1][i]), 1)))
        x = unet.up0(torch.cat((levels[3], context[0][3], context[1][3]), 1))
        for up, level in ((unet.up1, levels[2]), (unet.up2, levels[1]), (unet.up3, levels[0])):
            x = up(torch.cat((x, level), 1))
        correction, share = torch.sigmoid(unet.conv(x)) * 2 - 1, mask.sigmoid()
        return (warped[0] * share + warped[1] * (1 - share) + correction).clamp(0, 1)

    def context(self, frame: Tensor, flow: Tensor) -> list[Tensor]:
        net, maps = self.model.contextnet, []
        for block in (net.conv1, net.conv2, net.conv3, net.conv4):
            frame, flow = block(frame), resized(flow, 0.5) * 0.5
            maps.append(warp(frame, flow))
        return maps


def plain(model: Interpolator) -> nn.Module | None:
    """None: it splats, for which plain torch has no operator that exports."""
    if isinstance(model, RIFE4):
        return Plain4(model).eval()
    return Plain2022(model).eval() if isinstance(model, RIFE) else None


def in_plain_torch(model: Interpolator) -> Callable[[Tensor, Tensor], Tensor]:
    """The plain network; of one that splats, the model with the reference of every op, which is plain torch."""
    network = plain(model)
    if network is not None:
        return network

    def by_references(frame0: Tensor, frame1: Tensor) -> Tensor:
        with vk.use_backend("reference"):
            return model.interpolate(frame0, frame1, 0.5)

    return by_references
