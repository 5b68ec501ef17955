"""The features that the Frechet video distance is measured in: I3D, trained on Kinetics-400, its logits."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vfi.errors import UserError
from vfi.files import checkpoints

CLASSES, SIDE = 400, 224  # features of a video; pixels that the network takes
SHORTEST = 9  # frames, of which the last layer sees two

# What an inception block has, from the first to the last branch: of 1x1x1, before and after 3x3x3 twice, after pooling.
BLOCKS = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
# Pooling before a block: pixels of the window in time and in space, which are also its steps but for 3, of 2.
POOLED = {"Mixed_3b": (1, 3), "Mixed_4b": (3, 3), "Mixed_5b": (2, 2)}


class Unit(nn.Module):
    """Convolution, normalisation and ReLU; padded so that each step has an output."""

    def __init__(self, inputs: int, outputs: int, side: int, stride: int = 1) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(inputs, outputs, side, stride, bias=False)
        self.bn = nn.BatchNorm3d(outputs)
        self.side, self.stride = side, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv3d(_padded(x, (self.side,) * 3, (self.stride,) * 3))))


class Block(nn.Module):
    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        one, before, after, before2, after2, pooled = widths
        self.b0 = Unit(inputs, one, 1)
        self.b1a, self.b1b = Unit(inputs, before, 1), Unit(before, after, 3)
        self.b2a, self.b2b = Unit(inputs, before2, 1), Unit(before2, after2, 3)
        self.b3b = Unit(inputs, pooled, 1)
        self.outputs = one + after + after2 + pooled

    def forward(self, x: Tensor) -> Tensor:
        branches = self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(_largest(x, (3, 3, 3), (1, 1, 1)))
        return torch.cat(branches, 1)


class I3D(nn.Module):
    """Videos to features. Parameters have the names of the public file.

    Source: Carreira and Zisserman, Quo Vadis, Action Recognition?, CVPR 2017.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = Unit(3, 64, 7, 2)
        self.Conv3d_2b_1x1 = Unit(64, 64, 1)
        self.Conv3d_2c_3x3 = Unit(64, 192, 3)
        channels = 192
        for name, widths in BLOCKS.items():
            block = Block(channels, widths)
            channels = block.outputs
            self.add_module(name, block)
        self.logits = nn.ModuleDict({"conv3d": nn.Conv3d(channels, CLASSES, 1)})
        self.eval().requires_grad_(False)

    def forward(self, videos: Tensor) -> Tensor:
        """RGB (B, N, 3, H, W) of 0 to 255, N at least 9 -> (B, 400)."""
        frames = F.interpolate(videos.flatten(0, 1).float(), (SIDE, SIDE), mode="bilinear", align_corners=False)
        x = 2 * frames.unflatten(0, videos.shape[:2]).transpose(1, 2) / 255 - 1
        x = _largest(self.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
        x = self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x))
        for name in BLOCKS:
            if name in POOLED:
                time, side = POOLED[name]
                x = _largest(x, (time, side, side), (min(time, 2), 2, 2))
            x = self.get_submodule(name)(x)
        logits: Tensor = self.logits["conv3d"](F.avg_pool3d(x, (2, 7, 7), 1)).mean((2, 3, 4))
        return logits


def _padded(x: Tensor, window: Sequence[int], steps: Sequence[int]) -> Tensor:
    """With zeros around it, so that every step begins inside and the last window ends with it; the odd one behind."""
    sides: list[int] = []
    for length, side, step in zip(x.shape[2:], window, steps):
        more = max(side - (length % step or step), 0)
        sides = [more // 2, more - more // 2, *sides]
    return F.pad(x, sides)


def _largest(x: Tensor, window: tuple[int, int, int], steps: tuple[int, int, int]) -> Tensor:
    return F.max_pool3d(_padded(x, window, steps), window, steps)


def load(path: str | Path) -> I3D:
    """From i3d_pretrained_400.pt of cd-fvd, a state dict.

    Raises:
        UserError: if the file is something else.
    """
    state = checkpoints.read(path)
    if "Conv3d_1a_7x7.conv3d.weight" not in state:
        raise UserError(f"expected the I3D of cd-fvd in {path}, with Conv3d_1a_7x7.conv3d.weight and the like")
    network = I3D()
    state = checkpoints.counts_left_out(network, state)
    checkpoints.load_into(network, state, path, called="the I3D of cd-fvd")
    return network
