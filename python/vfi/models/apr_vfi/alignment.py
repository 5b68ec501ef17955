"""What APR-VFI finds for a pair of frames, and how it is moved to a time between them."""

from dataclasses import dataclass

import torch
from torch import Tensor

import vfi_kernels as vk


@dataclass(frozen=True)
class PairMotion:
    """What is found once for a pair of frames: flow both ways, (B, 4, H, W), and features of frame 0 and of frame 1,
    (B, width, H, W) for each refine block."""

    flow: Tensor
    contexts: tuple[list[Tensor], list[Tensor]]


@dataclass(frozen=True)
class Result:
    """The frame (B, 3, H, W), and what it was made of.

    flow: (B, 4, H, W), from frame 0 to 1 and back, in pixels. mask: (B, 1, H, W), the share of frame 0.
    seen: bool (B, 1, H, W), where both frames have landed.
    route: (B, rows, columns, 4), which patches the routed blocks saw: bool, in training with gradients; None: static.
    """

    frame: Tensor
    flow: Tensor
    warped0: Tensor
    warped1: Tensor
    seen: Tensor
    mask: Tensor
    route: Tensor | None


def channels_last(x: Tensor) -> Tensor:
    """Faster to convolve."""
    return x.contiguous(memory_format=torch.channels_last)


def moved(frame: Tensor, features: list[Tensor], flow: Tensor, again: bool) -> tuple[Tensor, Tensor, list[Tensor]]:
    """A frame along the flow, where it lands, bool (B, 1, H, W), and its features: one splat, which finds targets and
    weights once. The list of features is left empty if they are not needed again."""
    landed, weight = vk.splat([channels_last(frame), *features], flow, mode="average", return_weight=True)
    if not again:
        features.clear()
    return landed[0], weight > 0, landed[1:]
