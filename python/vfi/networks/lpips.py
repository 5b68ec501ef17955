"""LPIPS, the distance of features of AlexNet, from the public weights as files."""

from collections.abc import Iterable
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from vfi.errors import UserError
from vfi.files import checkpoints

CHANNELS = (64, 192, 384, 256, 256)
MEAN, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of frames in [-1, 1]


class LPIPS(nn.Module):
    """How different two pictures look: 0 is the same.

    Args:
        layers: of CHANNELS; AlexNet's, if none are given.

    Source: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, CVPR 2018, as released
    in version 0.1.
    """

    called = "LPIPS"
    least = 31  # pixels of the shorter side
    mean: Tensor
    scale: Tensor

    def __init__(self, layers: Iterable[nn.Sequential] | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(alexnet() if layers is None else layers)
        self.heads = nn.ModuleList(nn.Conv2d(count, 1, 1, bias=False) for count in CHANNELS)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """RGB frames (B, 3, H, W) in [0, 1] -> (B,) float32. UserError if H or W is below `least`."""
        return torch.stack([apart.mean((1, 2, 3)) for apart in self.maps(first, second)]).sum(0)

    def maps(self, first: Tensor, second: Tensor) -> list[Tensor]:
        """How different places look, of such frames: (B, 1, h, w) float32 of each layer, whose means are added."""
        height, width = first.shape[2:]
        if min(height, width) < self.least:
            raise UserError(f"{self.called} needs frames of {self.least}x{self.least} or more, got {width}x{height}")
        x, y = (((2 * frame.float() - 1) - self.mean) / self.scale for frame in (first, second))
        found: list[Tensor] = []
        with torch.autocast(x.device.type, enabled=False):
            for layer, head in zip(self.layers, self.heads, strict=True):
                x, y = layer(x), layer(y)
                found.append(head((normalised(x) - normalised(y)).square()))
        return found


def alexnet() -> list[nn.Sequential]:
    def layer(inputs: int, outputs: int, side: int, stride: int, padding: int, pool: bool) -> nn.Sequential:
        conv = nn.Conv2d(inputs, outputs, side, stride, padding)
        return nn.Sequential(*([nn.MaxPool2d(3, 2)] if pool else []), conv, nn.ReLU())

    return [
        layer(3, 64, 11, 4, 2, False),
        layer(64, 192, 5, 1, 2, True),
        layer(192, 384, 3, 1, 1, True),
        layer(384, 256, 3, 1, 1, False),
        layer(256, 256, 3, 1, 1, False),
    ]


def normalised(x: Tensor) -> Tensor:
    """Length 1 over the channels; the small number as published, and under the root too, for gradients at 0."""
    return x / ((x.square().sum(1, keepdim=True) + 1e-20).sqrt() + 1e-10)


def load(backbone: str | Path, heads: str | Path) -> LPIPS:
    """From two public files.

    Args:
        backbone: AlexNet's state dict, torchvision's alexnet-owt-7be5be79.pth.
        heads: LPIPS' linear layers, alex.pth of version 0.1, as in the packages lpips and torchmetrics.

    Raises:
        UserError: if a file is not what it should be.
    """
    whole = checkpoints.read(backbone)
    features = {key.removeprefix("features."): value for key, value in whole.items() if key.startswith("features.")}
    if not features:
        raise UserError(f"{backbone} is no AlexNet: expected features.0.weight and the like")
    network = LPIPS()
    layers = (cast(nn.Sequential, layer) for layer in network.layers)
    convs = nn.ModuleDict({str(place): layer[-2] for place, layer in zip((0, 3, 6, 8, 10), layers)})
    checkpoints.load_into(convs, features, backbone, called="AlexNet")
    linear = {key.replace(".model.1.", ".").removeprefix("lin"): v for key, v in checkpoints.read(heads).items()}
    checkpoints.load_into(network.heads, linear, heads, called="LPIPS' linear layers")
    return network
