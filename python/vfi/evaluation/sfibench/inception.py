"""The features that the Frechet inception distance is measured in: Inception-v3 as published for it in 2015."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vfi.errors import UserError
from vfi.files import checkpoints

FEATURES, SIDE = 2048, 299  # of a picture; pixels that the network takes

# A convolution: its name, output channels, kernel and stride. Those of a branch follow each other, but for pairs, which
# see the same; what the branches of a block and the two of a pair give is joined.
Step = tuple[str, int, int | tuple[int, int], int]
Branch = list["Step | tuple[Step, Step]"]
ACROSS, DOWN = (1, 7), (7, 1)


def _steps(prefix: str, *steps: tuple[int, int | tuple[int, int]]) -> Branch:
    """Of stride 1, with numbered names."""
    return [(f"{prefix}_{number}", *step, 1) for number, step in enumerate(steps, 1)]


def _with_35(pool: int) -> list[Branch]:
    return [
        [("branch1x1", 64, 1, 1)],
        _steps("branch5x5", (48, 1), (64, 5)),
        _steps("branch3x3dbl", (64, 1), (96, 3), (96, 3)),
        [("branch_pool", pool, 1, 1)],
    ]


def _with_17(c: int) -> list[Branch]:
    return [
        [("branch1x1", 192, 1, 1)],
        _steps("branch7x7", (c, 1), (c, ACROSS), (192, DOWN)),
        _steps("branch7x7dbl", (c, 1), (c, DOWN), (c, ACROSS), (c, DOWN), (192, ACROSS)),
        [("branch_pool", 192, 1, 1)],
    ]


def _with_8() -> list[Branch]:
    def split(prefix: str) -> tuple[Step, Step]:
        return (f"{prefix}a", 384, (1, 3), 1), (f"{prefix}b", 384, (3, 1), 1)

    return [
        [("branch1x1", 320, 1, 1)],
        [("branch3x3_1", 384, 1, 1), split("branch3x3_2")],
        [*_steps("branch3x3dbl", (448, 1), (384, 3)), split("branch3x3dbl_3")],
        [("branch_pool", 192, 1, 1)],
    ]


_HALVING_35: list[Branch] = [
    [("branch3x3", 384, 3, 2)],
    [*_steps("branch3x3dbl", (64, 1), (96, 3)), ("branch3x3dbl_3", 96, 3, 2)],
    [],
]
_HALVING_17: list[Branch] = [
    [("branch3x3_1", 192, 1, 1), ("branch3x3_2", 320, 3, 2)],
    [*_steps("branch7x7x3", (192, 1), (192, ACROSS), (192, DOWN)), ("branch7x7x3_4", 192, 3, 2)],
    [],
]

# Name, branches, and what comes before the last branch: "mean" or "max" of 3x3 pixels, "half": to half the size.
BLOCKS: list[tuple[str, list[Branch], str]] = [
    ("Mixed_5b", _with_35(32), "mean"),
    ("Mixed_5c", _with_35(64), "mean"),
    ("Mixed_5d", _with_35(64), "mean"),
    ("Mixed_6a", _HALVING_35, "half"),
    *((f"Mixed_6{letter}", _with_17(c), "mean") for letter, c in zip("bcde", (128, 160, 160, 192))),
    ("Mixed_7a", _HALVING_17, "half"),
    ("Mixed_7b", _with_8(), "mean"),
    ("Mixed_7c", _with_8(), "max"),  # where others, and the paper, have the mean
]


class Conv(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int | tuple[int, int], stride: int, padded: bool) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2) if padded else (0, 0)
        self.conv = nn.Conv2d(inputs, outputs, sides, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Block(nn.Module):
    def __init__(self, inputs: int, branches: list[Branch], pooled: str) -> None:
        super().__init__()
        self.branches, self.pooled, self.outputs = branches, pooled, 0
        for branch in branches:
            channels = inputs
            for step in branch:
                sides = step if isinstance(step[0], tuple) else (step,)
                for name, outputs, kernel, stride in sides:
                    self.add_module(name, Conv(channels, outputs, kernel, stride, stride == 1))
                channels = sum(outputs for _, outputs, _, _ in sides)
            self.outputs += channels

    def forward(self, x: Tensor) -> Tensor:
        if self.pooled == "mean":
            pool = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        else:
            pool = F.max_pool2d(x, 3, 2) if self.pooled == "half" else F.max_pool2d(x, 3, 1, 1)
        features = []
        for branch, y in zip(self.branches, [*[x] * (len(self.branches) - 1), pool]):
            for step in branch:
                sides = step if isinstance(step[0], tuple) else (step,)
                y = torch.cat([self.get_submodule(name)(y) for name, _, _, _ in sides], 1)
            features.append(y)
        return torch.cat(features, 1)


class Inception(nn.Module):
    """Pictures to features. Parameters have the names of the public file."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, 32, 3, 2, False)
        self.Conv2d_2a_3x3 = Conv(32, 32, 3, 1, False)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3, 1, True)
        self.Conv2d_3b_1x1 = Conv(64, 80, 1, 1, False)
        self.Conv2d_4a_3x3 = Conv(80, 192, 3, 1, False)
        channels = 192
        for name, branches, pooled in BLOCKS:
            block = Block(channels, branches, pooled)
            self.add_module(name, block)
            channels = block.outputs
        self.eval().requires_grad_(False)

    def forward(self, frames: Tensor) -> Tensor:
        """RGB (B, 3, H, W) in [0, 1] -> (B, 2048)."""
        x = 2 * F.interpolate(frames.float(), (SIDE, SIDE), mode="bilinear", align_corners=False) - 1
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = F.max_pool2d(x, 3, 2)
        for name, _, _ in BLOCKS:
            x = self.get_submodule(name)(x)
        return x.mean((2, 3))


def load(path: str | Path) -> Inception:
    """From pt_inception-2015-12-05-6726825d.pth of pytorch-fid, a state dict.

    Raises:
        UserError: if the file is something else.
    """
    state = {key: value for key, value in checkpoints.read(path).items() if not key.startswith("fc.")}
    if not any(key.startswith("Mixed_5b.") for key in state):
        raise UserError(f"expected the Inception-v3 of FID in {path}, with Mixed_5b.branch1x1.conv.weight and the like")
    network = Inception()
    state = checkpoints.counts_left_out(network, state)
    checkpoints.load_into(network, state, path, called="the Inception-v3 of FID")
    return network
