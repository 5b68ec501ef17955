"""What the networks are made of; the names of parameters are those of public checkpoints."""

import torch
from torch import Tensor, nn


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution and PReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.PReLU(outputs))


def deconv(inputs: int, outputs: int) -> nn.Sequential:
    """4x4 transposed convolution to twice the size, and PReLU."""
    return nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), nn.PReLU(outputs))


class Conv2(nn.Module):
    """Two convolutions, the first to half the size."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv1 = conv(inputs, outputs, 2)
        self.conv2 = conv(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv2(self.conv1(x))
        return result


def resized(x: Tensor, factor: float) -> Tensor:
    """Bilinear, pixels as areas (align_corners=False), by a whole number or to a whole part of the size."""
    if factor == 1:
        return x
    # Sizes in whole numbers: of symbols, as in torch.export, products with a fraction are slow to reckon with.
    size = [n * round(factor) if factor > 1 else n // round(1 / factor) for n in x.shape[2:]]
    return nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


def channels(first: Tensor, *others: Tensor | None) -> Tensor:
    """Those that are there, one after another, in the dtype of the first: flow stays float32 in a half network."""
    return torch.cat([first, *(t.to(first.dtype) for t in others if t is not None)], 1)
