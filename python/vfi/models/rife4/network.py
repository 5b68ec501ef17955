"""The network of RIFE 4: an encoder of frames, and blocks that correct flow and mask from coarse to fine.

A block reads everything at its own size, s times smaller. Frames and features are warped at the four pixels that the
bilinear reduction by an even s reads, and no others: pixels s x + s / 2 - 1 and s x + s / 2 along each axis, with equal
weights. What a block before answered is resized from its size to this one's in one step, which gives the same numbers
as by way of the full size: no knot of the enlarged map lies between the two pixels that are averaged."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vfi_kernels as vk
from vfi.models.rife4.family import Encoder, Network
from vfi.networks import sized_inference
from vfi.networks.layers import PReLU, channels, resized

LARGE = 32.0  # pixels: see Network.widens


def slope() -> nn.LeakyReLU:
    return nn.LeakyReLU(0.2, inplace=True)


class Residual(nn.Module):
    """leaky(conv(x) beta + x)."""

    def __init__(self, c: int, groups: int):
        super().__init__()
        self.conv = nn.Conv2d(c, c, 3, 1, 1, groups=groups)
        self.beta = nn.Parameter(torch.ones(1, c, 1, 1))
        self.multiplies = self.adds = True  # itself, and not in the convolution

    @torch.no_grad()
    def fold(self, dtype: torch.dtype) -> None:
        """For inference in a dtype: the convolution multiplies by beta, and in float32 adds its input, in the middle of
        its kernel; half precision would round what is there to that of 1."""
        weight = self.conv.weight.mul_(self.beta.view(-1, 1, 1, 1))
        bias = cast(Tensor, self.conv.bias).mul_(self.beta.view(-1))
        self.multiplies, self.adds = False, dtype.itemsize < 4
        if not self.adds:
            own = torch.arange(len(bias), device=bias.device)
            weight[own, own % weight.shape[1], 1, 1] += 1  # of groups each has the channels of its own outputs

    def forward(self, x: Tensor) -> Tensor:
        if not self.multiplies:
            return F.leaky_relu_(self.conv(x).add_(x) if self.adds else self.conv(x), 0.2)
        return F.leaky_relu_(torch.addcmul(x, self.conv(x), self.beta), 0.2)


class Block(nn.Module):
    """What one block makes of its input (B, C, h, w): (B, outputs, h, w), or half as high and wide."""

    def __init__(self, network: Network, inputs: int, c: int):
        super().__init__()
        self.sums = network.units == "sum"
        self.conv0 = nn.Sequential(self.layer(inputs, c // 2, 2), self.layer(c // 2, c, 2))
        residual = network.units == "residual"
        self.convblock = nn.Sequential(
            *(Residual(c, network.groups) if residual else self.layer(c, c) for _ in range(8))
        )
        last = nn.ConvTranspose2d(c, network.outputs * (4 if network.shuffled else 1), 4, 2, 1)
        self.lastconv: nn.Module = nn.Sequential(last, nn.PixelShuffle(2)) if network.shuffled else last

    def layer(self, inputs: int, c: int, stride: int = 1) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(inputs, c, 3, stride, 1), PReLU(c) if self.sums else slope())

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv0(x)
        result: Tensor = self.lastconv(self.convblock(x) + x if self.sums else self.convblock(x))
        return result


class NamedEncoder(nn.Module):
    """Layers under the names cnn0 to cnn3."""

    def __init__(self, c: int, outputs: int):
        super().__init__()
        self.cnn0 = nn.Conv2d(3, c, 3, 2, 1)
        self.cnn1 = nn.Conv2d(c, c, 3, 1, 1)
        self.cnn2 = nn.Conv2d(c, c, 3, 1, 1)
        self.cnn3 = nn.ConvTranspose2d(c, outputs, 4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.cnn0, self.cnn1, self.cnn2):
            x = F.leaky_relu_(layer(x), 0.2)
        result: Tensor = self.cnn3(x)
        return result


def make_encoder(encoder: Encoder) -> nn.Module:
    c, last = encoder.width, nn.ConvTranspose2d(encoder.width, encoder.channels, 4, 2, 1)
    if encoder.keys == "named":
        return NamedEncoder(c, encoder.channels)
    first = nn.Conv2d(3, c, 3, 2, 1)
    if encoder.keys == "pair":
        return nn.Sequential(first, last)
    second, third = nn.Conv2d(c, c, 3, 1, 1), nn.Conv2d(c, c, 3, 1, 1)
    return nn.Sequential(first, slope(), second, slope(), third, slope(), last)


@dataclass(frozen=True)
class Map:
    """What a block answered, `factor` times smaller than the frames: mask and features."""

    values: Tensor
    factor: float

    def at(self, scale: float) -> Tensor:
        """As if enlarged to the frames' size and reduced by `scale` from there."""
        if scale < 1:
            return resized(resized(self.values, self.factor), 1 / scale)
        return resized(self.values, self.factor / scale)


@dataclass(frozen=True)
class Stage:
    """What is known after a block: flow (B, 4, H, W) into frame 0 and into frame 1, float32 or wider; the masks, of
    which the sum counts; features for the next block."""

    flow: Tensor
    masks: tuple[Map, ...]
    features: Map | None

    def mask_at(self, scale: float) -> Tensor:
        """Mask logits (B, 1, H / scale, W / scale)."""
        return torch.stack([mask.at(scale) for mask in self.masks]).sum(0)


def exchanged(flow: Tensor) -> Tensor:
    return torch.cat((flow[:, 2:4], flow[:, :2]), 1)


class FlowNet(nn.Module):
    """Parameters have the names of the public checkpoints."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network
        encoded = 0 if network.encoder is None else network.encoder.channels
        for i, c in enumerate(network.widths):
            more = network.features + 5 if i else 0  # mask, flow
            self.add_module(f"block{i}", Block(network, 7 + 2 * encoded + more, c))
        if network.encoder is not None:
            self.encode = make_encoder(network.encoder)

    def encoded(self, frame: Tensor) -> Tensor:
        """A frame (B, 3, H, W) in [0, 1] with its map of features behind it: what all pairs and times share."""
        frame = frame.clamp(0, 1)
        return frame if self.network.encoder is None else torch.cat((frame, self.encode(frame)), 1)

    def stages(
        self, encoded0: Tensor, encoded1: Tensor, time: float | Tensor, scale: float = 1.0, ensemble: bool = False,
        widens: bool = True,
    ) -> Iterator[Stage]:  # fmt: skip
        """The stage after each block; where it works at twice the scale, of a size that fits that, with more below and
        to the right.

        Args:
            encoded0, encoded1: from `encoded`; H and W multiples of network.multiple / scale.
            time: in [0, 1], for all or (B,).
            scale: at which flow is estimated.
            ensemble: average every block's answer with that for the frames exchanged.
            widens: look at the flow, and work at twice the scale where it is large, if the network does.
        """
        scales = [s / scale for s in self.network.scales]
        times = torch.as_tensor(time, dtype=encoded0.dtype, device=encoded0.device).reshape(-1, 1, 1, 1)
        pair = (encoded0, encoded1, times)
        first = self._refined(0, None, pair, scales[0], ensemble)
        second = self._refined(1, first, pair, scales[1], ensemble)
        if widens and self.network.widens and self.moves_far(second.flow - first.flow):
            multiple = round(2 * self.network.multiple / scale)
            wide0, wide1 = (sized_inference.pad(each, multiple) for each in (encoded0, encoded1))
            yield from self.stages(wide0, wide1, times, scale / 2, ensemble, widens=False)
            return
        yield first
        yield second
        stage = second
        for i in range(2, len(scales)):
            stage = self._refined(i, stage, pair, scales[i], ensemble)
            yield stage

    def moves_far(self, change: Tensor) -> bool:
        return not self.training and all(bool(half.abs().max() > LARGE) for half in change.split(2, 1))

    def _refined(
        self, i: int, before: Stage | None, pair: tuple[Tensor, Tensor, Tensor], scale: float, ensemble: bool
    ) -> Stage:
        """The stage after block i, which works `scale` times smaller."""
        block = self.get_submodule(f"block{i}")
        x = self.seen(pair, before, scale)
        if ensemble:
            frame0, frame1, time = pair
            x = torch.cat((x, self.seen((frame1, frame0, 1 - time), None if before is None else turned(before), scale)))
        answer = block(x)
        factor = scale if self.network.shuffled else 2 * scale
        change, mask, features = answer[:, :4], answer[:, 4:5], answer[:, 5:]
        if ensemble:
            half = change.shape[0] // 2
            change = (change[:half] + exchanged(change[half:])) / 2
            mask = (mask[:half] - mask[half:]) / 2
        flow = resized((change if change.dtype == torch.float64 else change.float()) * factor, factor)
        masks: tuple[Map, ...] = (Map(mask, factor),)
        if before is not None:
            flow = before.flow + flow
            masks = (*before.masks, *masks) if self.network.adds_masks else masks
        return Stage(flow, masks, Map(features, factor) if self.network.features else None)

    def seen(self, pair: tuple[Tensor, Tensor, Tensor], before: Stage | None, scale: float) -> Tensor:
        """What a block reads: frames, features, time, mask, features of the block before, flow; all at its size."""
        first, second, time = pair
        if before is None:
            first, second, flow, mask, told = resized(first, 1 / scale), resized(second, 1 / scale), None, None, None
        else:
            first, second, flow = warped(first, second, before.flow, scale)
            mask, told = before.mask_at(scale), None if before.features is None else before.features.at(scale)
        plane = time.expand(first.shape[0], 1, *first.shape[2:])
        return channels(first[:, :3], second[:, :3], first[:, 3:], second[:, 3:], plane, mask, told, flow)

    def frame_at_any(self, frame0: Tensor, frame1: Tensor, stage: Stage) -> Tensor:
        """`frame`, of a stage that may be larger than the frames."""
        (height, width), size = frame0.shape[2:], stage.flow.shape[2:]
        filled = [F.pad(each, (0, size[1] - width, 0, size[0] - height)) for each in (frame0, frame1)]
        return self.frame(filled[0], filled[1], stage)[:, :, :height, :width]

    def frame(self, frame0: Tensor, frame1: Tensor, stage: Stage) -> Tensor:
        """Both frames (B, 3, H, W) warped and blended: (B, 3, H, W)."""
        return vk.warp_blend(frame0.clamp(0, 1), frame1.clamp(0, 1), stage.flow, stage.mask_at(1))


def turned(stage: Stage) -> Stage:
    """The stage of the frames exchanged."""
    masks = tuple(Map(-mask.values, mask.factor) for mask in stage.masks)
    return Stage(exchanged(stage.flow), masks, stage.features)


def warped(first: Tensor, second: Tensor, flow: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Both warped along their halves of `flow`, and the flow, reduced by `scale` and divided by it."""
    even, read = scale >= 2, flow
    if even:  # to the four pixels that count alone
        step, (b, _, height, width) = round(scale), flow.shape
        cells = flow.view(b, 4, height // step, step, width // step, step)
        middle = slice(step // 2 - 1, step // 2 + 1)
        read = cells[:, :, :, middle, :, middle].reshape(b, 4, 2 * height // step, 2 * width // step)
        flow = read + away(read, step)
    warps = [vk.backward_warp(t, flow[:, i : i + 2]) for t, i in ((first, 0), (second, 2))]
    small = [resized(t, 1 / 2 if even else 1 / scale) for t in (*warps, read)]  # by 2 it is the mean of four
    return small[0], small[1], small[2] / scale


def away(read: Tensor, step: int) -> Tensor:
    """How far the pixels that are read lie from the pixels of the smaller map that stand for them. (1, 4, h, w)"""
    offsets = [
        (torch.arange(n, device=read.device) // 2 * (step - 2) + step // 2 - 1).to(read.dtype) for n in read.shape[2:]
    ]
    y, x = torch.meshgrid(*offsets, indexing="ij")
    return torch.stack((x, y, x, y))[None]
