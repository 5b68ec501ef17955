"""PWC-Net, the optical flow that FloLPIPS is published with, from its public weights as a file."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vfi_kernels as vk
from vfi.errors import UserError
from vfi.files import checkpoints

LEVELS = ("One", "Two", "Thr", "Fou", "Fiv", "Six")  # each of half the size of the one before
CHANNELS = (16, 32, 64, 96, 128, 196)
WIDTHS = (128, 128, 96, 64, 32)  # of the layers of a decoder, each of which sees all before it
VOLUME = 81  # displacements of up to 4 pixels
DILATIONS = ((128, 1), (128, 2), (128, 4), (96, 8), (64, 16), (32, 1))  # of the refiner, with channels
UNIT = 20.0  # pixels of the frames that a flow of 1 is
STEP = 64  # what the sides are resized to a multiple of


def _conv(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation), nn.LeakyReLU(0.1)]


class Decoder(nn.ModuleDict):
    """Flow of a level. first: channels of its map; 0: the coarsest, with nothing before it. before: channels of the
    decoder before."""

    def __init__(self, first: int, before: int) -> None:
        super().__init__()
        self.seen = VOLUME + (first + 4 if first else 0)
        channels = self.seen
        for name, width in zip(LEVELS, WIDTHS):
            self[name] = nn.Sequential(*_conv(channels, width))
            channels += width
        self.outputs = channels
        self["Six"] = nn.Sequential(nn.Conv2d(channels, 2, 3, 1, 1))
        if first:
            self["Upflow"] = nn.ConvTranspose2d(2, 2, 4, 2, 1)
            self["Upfeat"] = nn.ConvTranspose2d(before, 2, 4, 2, 1)

    def forward(
        self, first: Tensor, second: Tensor, before: tuple[Tensor, Tensor] | None, unit: float
    ) -> tuple[Tensor, Tensor]:
        """The flow and the features of this level, of those before. unit: pixels here that a flow of 1 is."""
        if before is None:
            x = F.leaky_relu(vk.correlation(first, second, 4), 0.1)
        else:
            flow, features = self["Upflow"](before[0]), self["Upfeat"](before[1])
            volume = F.leaky_relu(vk.correlation(first, _warped(second, unit * flow), 4), 0.1)
            x = torch.cat((volume, first, flow, features), 1)
        for name in LEVELS[: len(WIDTHS)]:
            x = torch.cat((self[name](x), x), 1)
        return self["Six"](x), x


class PWCNet(nn.Module):
    """Flow between two frames. Parameters have the names of the public file, without its word `module` in each.

    Source: Sun et al., PWC-Net: CNNs for Optical Flow Using Pyramid, Warping, and Cost Volume, CVPR 2018.
    """

    def __init__(self) -> None:
        super().__init__()
        inputs = (3, *CHANNELS)
        self.Extractor = nn.ModuleDict()
        for name, before, after in zip(LEVELS, inputs, CHANNELS):
            layers = [*_conv(before, after, 2), *_conv(after, after), *_conv(after, after)]
            self.Extractor[name] = nn.Sequential(*layers)
        before = 0
        for name, first in zip(LEVELS[:0:-1], (0, *CHANNELS[-2:0:-1])):
            decoder = Decoder(first, before)
            before = decoder.outputs
            self.add_module(name, decoder)
        refiner: list[nn.Module] = []
        for width, dilation in DILATIONS:
            refiner += _conv(before, width, 1, dilation)
            before = width
        self.Refiner = nn.ModuleDict({"Main": nn.Sequential(*refiner, nn.Conv2d(before, 2, 3, 1, 1))})
        self.eval().requires_grad_(False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Frames (B, 3, H, W) in [0, 1] -> flow from the first to the second, (B, 2, H, W) in pixels."""
        height, width = first.shape[2:]
        size = [-(-side // STEP) * STEP for side in (height, width)]
        x, y = (F.interpolate(frame, size, mode="bilinear", align_corners=False) for frame in (first, second))
        pyramids: list[tuple[Tensor, Tensor]] = []
        for name in LEVELS:
            x, y = self.Extractor[name](x), self.Extractor[name](y)
            pyramids.append((x, y))
        found: tuple[Tensor, Tensor] | None = None
        for level in range(len(LEVELS), 1, -1):
            found = self.get_submodule(LEVELS[level - 1])(*pyramids[level - 1], found, UNIT / 2**level)
        assert found is not None
        flow = found[0] + self.Refiner["Main"](found[1])
        flow = UNIT * F.interpolate(flow, (height, width), mode="bilinear", align_corners=False)
        return flow * flow.new_tensor([width / size[1], height / size[0]]).view(1, 2, 1, 1)


def _warped(image: Tensor, flow: Tensor) -> Tensor:
    """`image` where `flow` points, 0 where that is not wholly inside. As published, flow is longer than it says by
    W / (W - 1) and H / (H - 1), by which weights were trained."""
    height, width = image.shape[2:]
    longer = flow * flow.new_tensor([width / (width - 1), height / (height - 1)]).view(1, 2, 1, 1)
    seen = torch.cat((image, torch.ones_like(image[:, :1])), 1)
    warped = vk.backward_warp(seen, longer, padding_mode="zeros")
    assert isinstance(warped, Tensor)
    return warped[:, :-1] * (warped[:, -1:] > 0.999)


def load(path: str | Path) -> PWCNet:
    """From network-default.pytorch of pytorch-pwc, a state dict.

    Raises:
        UserError: if the file is something else.
    """
    state = {key.replace("module", "").replace("net", ""): value for key, value in checkpoints.read(path).items()}
    if not any(key.startswith("Extractor.") for key in state):
        raise UserError(f"expected PWC-Net in {path}, with moduleExtractor.moduleOne.0.weight and the like")
    network = PWCNet()
    checkpoints.load_into(network, state, path, called="PWC-Net")
    return network
