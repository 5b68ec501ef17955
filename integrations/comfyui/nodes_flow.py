"""Nodes for people who compose: optical flow, and images moved along it, backwards and forwards."""

from collections.abc import Callable, Iterator
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

import vfi_kernels as vk
from vfi.drawing.flow_colours import flow_colours
from vfi.models.flow_by_name import FLOWS, load_flow

from . import host
from .nodes_frames import CATEGORY

FLOW = "VFI_FLOW"
Padding = Literal["border", "zeros", "reflection"]
Mode = Literal["average", "softmax", "linear", "sum"]
AMOUNT = ("FLOAT", {"default": 1.0, "min": -100.0, "max": 100.0, "step": 0.01, "tooltip": "the flow times this"})


class OpticalFlow:
    """VFI_FLOW is (B, 2, H, W) in pixels, float32 on the CPU: x to the right, then y down."""

    DESCRIPTION = "How far each pixel of the first images moves until the second ones, in pixels."
    CATEGORY, FUNCTION = CATEGORY, "flow"
    RETURN_TYPES, RETURN_NAMES = (FLOW, "IMAGE"), ("flow", "picture")
    OUTPUT_TOOLTIPS = ("for Warp and Splat", "where to by its colour, how far by its saturation")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, tuple]]:
        length = "pixels of the length that is shown in full colour; 0: the longest"
        return {
            "required": {
                "first": ("IMAGE",),
                "second": ("IMAGE",),
                "method": (list(FLOWS), {"default": "dis", "tooltip": "dis: OpenCV's; ebme: the network of EBME"}),
            },
            "optional": {
                "weights": ([host.NONE, *host.files()], {"default": host.NONE, "tooltip": "bi-flownet.pkl for ebme"}),
                "full_colour": ("FLOAT", {"default": 0.0, "min": 0.0, "max": 10000.0, "tooltip": length}),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, weights: str | None = host.NONE) -> bool | str:
        return host.why_not_there(weights) or True

    @classmethod
    def IS_CHANGED(cls, weights: str | None = host.NONE, **others: object) -> str:
        return host.state_of(weights)

    @host.in_one_sentence
    def flow(
        self, first: Tensor, second: Tensor, method: str = "dis", weights: str = host.NONE, full_colour: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        if first.shape[1:3] != second.shape[1:3]:
            raise host.NodeError(f"expected images of one size, got {size(first)} and {size(second)}")
        find = load_flow(method, host.weights_of(weights), host.device())  # type: ignore[arg-type]
        found = [
            find(a[:, :3].clamp(0, 1), b[:, :3].clamp(0, 1)).float().cpu()
            for a, b in pairs((first, host.planes), (second, host.planes))
        ]
        flow = torch.cat(found)
        longest = full_colour or float(flow.nan_to_num(0).norm(dim=1).max())
        colours = [flow_colours(each.permute(1, 2, 0).numpy(), longest) for each in flow]
        return flow, torch.from_numpy(np.stack(colours)).float().div_(255)


class Warp:
    DESCRIPTION = "Each pixel is taken from where the flow points in the image: flow from the result to the image."
    CATEGORY, FUNCTION = CATEGORY, "warp"
    RETURN_TYPES, RETURN_NAMES = ("IMAGE", "MASK"), ("image", "outside")
    OUTPUT_TOOLTIPS = ("moved", "1 where the flow points out of the image")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, tuple]]:
        return {
            "required": {
                "image": ("IMAGE",),
                "flow": (FLOW,),
                "amount": AMOUNT,
                "padding_mode": (list(get_args(Padding)), {"default": "border", "tooltip": "what lies outside"}),
            }
        }

    @host.in_one_sentence
    def warp(
        self, image: Tensor, flow: Tensor, amount: float = 1.0, padding_mode: Padding = "border"
    ) -> tuple[Tensor, Tensor]:
        made, outside = [], []
        for planes, motion in pairs((image, host.planes), (flow, same)):
            result, inside = vk.backward_warp(planes, motion * amount, padding_mode=padding_mode, return_validity=True)
            made.append(host.images(result))
            outside.append((~inside[:, 0]).float().cpu())
        return torch.cat(made), torch.cat(outside)


class Splat:
    DESCRIPTION = "Each pixel of the image moves along the flow; where several land, they are averaged by importance."
    CATEGORY, FUNCTION = CATEGORY, "splat"
    RETURN_TYPES, RETURN_NAMES = ("IMAGE", "MASK"), ("image", "holes")
    OUTPUT_TOOLTIPS = ("moved, 0 in holes", "1 where no pixel lands")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, tuple]]:
        importance = "for linear and softmax: what counts more where several pixels land"
        mode = "average: all count alike; softmax: those of importance come out on top; sum: they are added up"
        return {
            "required": {
                "image": ("IMAGE",),
                "flow": (FLOW,),
                "amount": AMOUNT,
                "mode": (list(get_args(Mode)), {"default": "average", "tooltip": mode}),
            },
            "optional": {
                "importance": ("MASK", {"tooltip": importance}),
                "strength": ("FLOAT", {"default": 20.0, "min": -1000.0, "max": 1000.0, "tooltip": "times importance"}),
            },
        }

    @host.in_one_sentence
    def splat(
        self,
        image: Tensor,
        flow: Tensor,
        amount: float = 1.0,
        mode: Mode = "average",
        importance: Tensor | None = None,
        strength: float = 20.0,
    ) -> tuple[Tensor, Tensor]:
        if importance is None and mode in ("linear", "softmax"):
            raise host.NodeError(f"the mode {mode} needs importance: connect a mask, or take average")
        metrics = None if importance is None or mode in ("average", "sum") else masks(importance) * strength
        if metrics is not None and metrics.shape[1:3] != image.shape[1:3]:
            raise host.NodeError(
                f"expected importance of {size(image)} as the image is, got {size(metrics)} (Load Image gives a mask "
                "of 64x64 where a picture has no alpha)"
            )
        made, holes = [], []
        for planes, motion, metric in pairs((image, host.planes), (flow, same), (metrics, host.planes)):
            moved = motion * amount
            made.append(host.images(vk.splat(planes, moved, metric, mode=mode)))
            landed = vk.splat(torch.ones_like(planes[:, :1]), moved, mode="sum")
            holes.append((landed[:, 0] == 0).float().cpu())
        return torch.cat(made), torch.cat(holes)


def masks(given: Tensor) -> Tensor:
    """(B, H, W) or (H, W) as images of one channel."""
    return given.reshape(-1, *given.shape[-2:])[..., None]


def size(images: Tensor) -> str:
    return f"{images.shape[2]}x{images.shape[1]}"


def same(batch: Tensor) -> Tensor:
    return batch


def pairs(*batches: tuple[Tensor | None, Callable[[Tensor], Tensor]]) -> Iterator[tuple[Tensor, ...]]:
    """One of each batch at a time, prepared, where ComfyUI computes; a batch of one goes with all, None stays None."""
    counts = {len(batch) for batch, _ in batches if batch is not None}
    if len(counts - {1}) > 1 or 0 in counts:
        raise host.NodeError(f"expected batches of one length, or of 1, got {' and '.join(map(str, sorted(counts)))}")
    count, device = max(counts), host.device()
    progress = host.Progress(count)
    for index in range(count):
        one = [None if batch is None else batch[min(index, len(batch) - 1)][None] for batch, _ in batches]
        yield tuple(
            each if each is None else prepare(each).to(device)  # type: ignore[misc]
            for each, (_, prepare) in zip(one, batches)
        )
        progress.done(1)
