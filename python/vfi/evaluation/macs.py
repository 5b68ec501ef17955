"""How many multiply-accumulates a network takes, counted without running it."""

import copy
import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from vfi.errors import ArgumentError
from vfi.options import whole

Convention = Literal["thop", "true"]
CONVENTIONS = get_args(Convention)


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates of a forward: all, and those of each part, by the names of the model's children."""

    total: int
    parts: dict[str, int]


def count_macs(
    model: nn.Module,
    size: tuple[int, int],
    convention: Convention = "thop",
    *,
    activations: bool = False,
    **options: object,
) -> Macs:
    """Counts the convolutions, transposed convolutions and linear layers of a forward of two frames.

    The forward is of a copy on torch's device `meta`: shapes only, so that 4K takes no time and no memory. What is no
    module is not counted, such as correlation and warps.

    Args:
        model: called as model(frame0, frame1, **options).
        size: height and width of the frames.
        convention: "true": what is multiplied. "thop": as the tool of that name, by which many papers count and which
            takes every output element of a transposed convolution to meet the whole kernel: stride^2 times the truth.
        activations: also count an operation for each element that passes a PReLU or LeakyReLU, as thop does.
        options: of the forward.

    Raises:
        ArgumentError: if the convention is none of these.
        RuntimeError: if the forward depends on values, as a network that chooses its own route.
    """
    if convention not in CONVENTIONS:
        raise ArgumentError(f"count_macs: expected convention {' or '.join(CONVENTIONS)}, got {convention!r}")
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise ArgumentError(f"count_macs: expected `size` to be a height and a width, got {size!r}")
    frame = torch.empty(1, 3, *(whole("size", side, 1) for side in size), device="meta")
    twin = copy.deepcopy(model).to("meta").eval()
    parts: dict[str, int] = {}

    def watch(part: str, layer: nn.Module) -> None:
        def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            parts[part] += macs_of(layer, inputs[0], output, convention, activations)

        layer.register_forward_hook(count)

    for name, child in twin.named_children():
        parts[name] = 0
        for layer in child.modules():
            watch(name, layer)
    with torch.no_grad():
        twin(frame, frame, **options)
    return Macs(sum(parts.values()), parts)


def macs_of(layer: nn.Module, argument: Tensor, result: Tensor, convention: Convention, activations: bool) -> int:
    """Of one layer; 0 of layers that are not counted."""
    if isinstance(layer, nn.Conv2d):
        return result.numel() * layer.in_channels // layer.groups * math.prod(layer.kernel_size)
    if isinstance(layer, nn.ConvTranspose2d):
        if convention == "thop":
            return result.numel() * layer.in_channels // layer.groups * math.prod(layer.kernel_size)
        return argument.numel() * layer.out_channels // layer.groups * math.prod(layer.kernel_size)
    if isinstance(layer, nn.Linear):
        return result.numel() * layer.in_features
    return result.numel() if activations and isinstance(layer, (nn.PReLU, nn.LeakyReLU)) else 0
