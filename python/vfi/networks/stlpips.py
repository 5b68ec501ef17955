"""ST-LPIPS: LPIPS that a shift by a pixel or two changes little, from its public weights as a file."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vfi.files import checkpoints
from vfi.networks.lpips import LPIPS

_CONVOLUTIONS = (0, 5, 9, 11, 13)  # of each layer, its number in the public file


class Halved(nn.Module):
    """Every second place of (B, C, H, W) under weights 1 2 1 along both axes, with two mirrored pixels around it."""

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.tensor([0.25, 0.5, 0.25], dtype=x.dtype, device=x.device)
        both = (weights[:, None] * weights).expand(x.shape[1], 1, 3, 3)
        return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), both, stride=2, groups=x.shape[1])


class ShiftTolerantLPIPS(LPIPS):
    """As LPIPS; AlexNet begins at every pixel, and halves sizes by a blur.

    Source: Ghildyal and Liu, Shift-tolerant Perceptual Similarity Metric, ECCV 2022, by AlexNet, as released in
    stlpips_pytorch 0.0.2.
    """

    called = "ST-LPIPS"
    least = 21

    def __init__(self) -> None:
        def halved(*layers: nn.Module) -> tuple[nn.Module, ...]:
            return nn.MaxPool2d(3, 1), Halved(), *layers

        super().__init__(
            (
                nn.Sequential(nn.Conv2d(3, 64, 11, padding=2), Halved(), nn.ReLU()),
                nn.Sequential(*halved(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU())),
                nn.Sequential(*halved(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU())),
                nn.Sequential(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
                nn.Sequential(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
            )
        )


def name_in_file(key: str) -> str:
    """Of the public file, of a tensor of the network."""
    part, *rest = key.split(".")
    if part == "layers":
        number, _, kind = rest
        return f"net.slice{int(number) + 1}.{_CONVOLUTIONS[int(number)]}.{kind}"
    if part == "heads":
        return f"lin{rest[0]}.model.1.weight"
    return {"mean": "scaling_layer.shift", "scale": "scaling_layer.scale"}[key]


def load(path: str | Path) -> ShiftTolerantLPIPS:
    """From alex_shift_tolerant.pth of stlpips_pytorch 0.0.2.

    Raises:
        UserError: if it is another file.
    """
    network = ShiftTolerantLPIPS()
    state = {key: value for key, value in checkpoints.read(path).items() if not key.endswith(".filt")}  # 1 2 1
    checkpoints.load_into(network, state, path, names=name_in_file, called="ST-LPIPS by AlexNet")
    return network
