"""Convolutions of the network of vfi-s, without any op of vfi_kernels, so that engines take them whole."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vfi.networks.layers import resized

# Of what the last layers give: steps of training change it by little.
ANSWER, COLOUR = 0.2, 0.05
SLOPE = 0.1  # of what is negative


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """With weights that keep the size of what passes through; torch's own would lose half of it in each layer."""
    layer = nn.Conv2d(inputs, outputs, 3, stride, 1)
    nn.init.kaiming_normal_(layer.weight, SLOPE)
    nn.init.zeros_(torch.as_tensor(layer.bias))
    return nn.Sequential(layer, nn.LeakyReLU(SLOPE, inplace=True))


def silent(inputs: int, outputs: int) -> nn.Conv2d:
    """A convolution that gives 0 before training."""
    layer = nn.Conv2d(inputs, outputs, 3, 1, 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(torch.as_tensor(layer.bias))
    return layer


class Encoder(nn.Module):
    """(B, 3, H, W) -> features at 1/2, 1/4, 1/8."""

    def __init__(self, widths: tuple[int, int, int]):
        super().__init__()
        counts = (3, *widths)
        self.levels = nn.ModuleList(
            nn.Sequential(conv(inputs, outputs, 2), conv(outputs, outputs)) for inputs, outputs in pairwise(counts)
        )

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        x, found = centred(frames), []
        for level in self.levels:
            x = level(x)
            found.append(x)
        return tuple(found)


class Stage(nn.Module):
    """Convolutions at one resolution, with a branch at half of it if `deepest` channels are given.

    (B, inputs, h, w) -> (B, answers, h, w), 0 before training, and what the next stage is told, (B, told, h, w).
    """

    def __init__(self, inputs: int, width: int, answers: int, told: int, deepest: int | None = None):
        super().__init__()
        self.first = conv(inputs, width)
        self.deep: nn.Module | None = None
        if deepest is not None:
            down, up = conv(width, deepest, 2), nn.Conv2d(deepest, width, 1)
            self.deep = nn.Sequential(down, conv(deepest, deepest), conv(deepest, deepest), up)
        self.body = nn.Sequential(conv(width, width), conv(width, width))
        self.last = conv(width, width)
        self.answer = silent(width, answers)
        self.telling: nn.Module = conv(width, told) if told != width else nn.Identity()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.first(x)
        if self.deep is not None:
            x = x + resized(self.deep(x), 2)
        x = self.last(x + self.body(x))
        return ANSWER * self.answer(x), self.telling(x)


class Colours(nn.Module):
    """From (B, inputs, H / 2, W / 2) the correction of a frame (B, 3, H, W), and logits (B, 1, H, W) by which another
    one counts; 0 before training."""

    def __init__(self, inputs: int, width: int):
        super().__init__()
        self.body = nn.Sequential(conv(inputs, width), conv(width, width), silent(width, 16))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        colours, trust = F.pixel_shuffle(self.body(x), 2).split((3, 1), 1)
        return COLOUR * colours, ANSWER * trust


def centred(frames: Tensor) -> Tensor:
    """About 0, and about as large as features."""
    return 4 * (frames - 0.5)
