"""IFNet's blocks: from two frames to the flows from the time between into both, coarse to fine."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import vfi_kernels as vk
from vfi.networks.layers import channels, conv, resized

SCALES = (4.0, 2.0, 1.0)


class IFBlock(nn.Module):
    """Corrects flow and mask at one scale. inputs: its channels, flow included; c: its width."""

    def __init__(self, inputs: int, c: int):
        super().__init__()
        self.conv0 = nn.Sequential(conv(inputs, c // 2, 2), conv(c // 2, c, 2))
        self.convblock = nn.Sequential(*(conv(c, c) for _ in range(8)))
        self.lastconv = nn.ConvTranspose2d(c, 5, 4, 2, 1)

    def forward(self, x: Tensor, flow: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
        """x: (B, C, H, W), flow: (B, 4, H, W) in pixels -> changes of flow, float32 or wider, and of mask logits."""
        x = resized(x, 1 / scale)
        if flow is not None:
            x = channels(x, resized(flow, 1 / scale) / scale)
        x = self.conv0(x)
        x = self.convblock(x) + x
        change = self.lastconv(x)
        flow = change[:, :4] if change.dtype == torch.float64 else change[:, :4].float()
        flow = flow * (scale * 2)  # where it is small
        return resized(flow, scale * 2), resized(change[:, 4:5], scale * 2)


@dataclass(frozen=True)
class FlowStage:
    """What is known after a block: flow (B, 4, H, W) into frame 0 and into frame 1, mask logits, both frames warped."""

    flow: Tensor
    mask: Tensor
    warped0: Tensor
    warped1: Tensor


def warped(frame0: Tensor, frame1: Tensor, flow: Tensor, mask: Tensor) -> FlowStage:
    return FlowStage(flow, mask, vk.backward_warp(frame0, flow[:, :2]), vk.backward_warp(frame1, flow[:, 2:4]))


def refined(
    block: nn.Module, frame0: Tensor, frame1: Tensor, time: Tensor | None, before: FlowStage | None, scale: float,
    truth: Tensor | None = None,
) -> FlowStage:  # fmt: skip
    """The stage after `block`. time: (B, 1, H, W), for RIFEm; truth: the frame itself, for the teacher."""
    if before is None:
        flow, mask = block(channels(frame0, frame1, time), None, scale)
    else:
        seen = channels(frame0, frame1, time, before.warped0, before.warped1, before.mask, truth)
        flow, mask = block(seen, before.flow, scale)
        flow, mask = before.flow + flow, before.mask + mask
    return warped(frame0, frame1, flow, mask)


def estimated(
    blocks: Sequence[nn.Module], frame0: Tensor, frame1: Tensor, time: Tensor | None, scale: float
) -> Iterator[FlowStage]:
    """The stage of each block. scale: 0.5 estimates flow at half the resolution, for large pictures."""
    stage: FlowStage | None = None
    for block, factor in zip(blocks, SCALES):
        stage = refined(block, frame0, frame1, time, stage, factor / scale)
        yield stage


def blended(stage: FlowStage) -> Tensor:
    """Both warped frames by the mask; large logits take frame 0."""
    return torch.lerp(stage.warped1, stage.warped0, stage.mask.sigmoid().to(stage.warped0.dtype))
