"""EBME's flow network: optical flow both ways at once, coarse to fine, with the same weights at every resolution."""

import itertools
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vfi_kernels as vk
from vfi.errors import ArgumentError
from vfi.files import checkpoints
from vfi.models import recognition
from vfi.networks import sized_inference
from vfi.networks.layers import resized
from vfi.options import ChannelOrder, whole

FEATURES, MOTION = 48, 64  # channels that describe an image, and what is handed on with the flow
RADIUS = 4  # of the cost volume
WIDTHS = (160, 128, 112, 96, MOTION)
SMALLEST = 4  # pixels of a picture for each one of its flow
LEVELS = ((448, 3), (896, 4), (2048, 5), (3584, 6))  # longer sides up to which so many resolutions are used
MOST_LEVELS = 7


def levels_for(side: int) -> int:
    """How many resolutions, by the longer side of the frames: at the coarsest it has at most 128 pixels, up to 8K."""
    side = whole("side", side, 1)
    return next((levels for limit, levels in LEVELS if side <= limit), MOST_LEVELS)


def why_no_flow_exported(size: tuple[int, int] | None) -> str | None:
    """Why a network with this one inside is not exported, for frames of a size; None: it is."""
    return "it works at more resolutions the larger the frames are: give a `size`" if size is None else None


def conv(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, 1), nn.LeakyReLU(0.1)]


class FeatPyramid(nn.Module):
    """(B, 3, H, W) -> (B, 48, H / 4, W / 4)."""

    def __init__(self) -> None:
        super().__init__()
        c = FEATURES // 2
        self.conv_stage1 = nn.Sequential(*conv(3, c, 2), *conv(c, c), *conv(c, c))
        self.conv_stage2 = nn.Sequential(*conv(c, 2 * c, 2), *(m for _ in range(5) for m in conv(2 * c, 2 * c)))

    def forward(self, frame: Tensor) -> Tensor:
        result: Tensor = self.conv_stage2(self.conv_stage1(frame))
        return result


class Estimator(nn.Module):
    """Flow, (B, 4, h, w), and what is handed on, (B, 64, h, w), from the features of both frames and the same of the
    resolution before."""

    def __init__(self) -> None:
        super().__init__()
        widths = ((2 * RADIUS + 1) ** 2 + 2 * FEATURES + MOTION + 4, *WIDTHS)
        self.conv_layer1 = nn.Sequential(nn.Conv2d(widths[0], widths[1], 1), nn.LeakyReLU(0.1))
        self.conv_layer2, self.conv_layer3, self.conv_layer4, self.conv_layer5 = (
            nn.Sequential(*conv(inputs, outputs)) for inputs, outputs in itertools.pairwise(widths[1:])
        )
        self.conv_layer6 = nn.Sequential(nn.Conv2d(MOTION, 4, 3, 1, 1))

    def forward(self, features0: Tensor, features1: Tensor, motion: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        volume = F.leaky_relu(vk.correlation(features0, features1, RADIUS), 0.1)
        x = self.conv_layer1(torch.cat((volume, features0, features1, motion, flow.to(motion.dtype)), 1))
        for layer in (self.conv_layer2, self.conv_layer3, self.conv_layer4, self.conv_layer5):
            x = layer(x)
        return self.conv_layer6(x), x


class BiFlowNet(nn.Module):
    """Bi-directional flow of two frames. Parameters have the names of the public checkpoint.

    Every resolution is estimated from the frames moved to the middle between them along half the flow known so far.

    Args:
        channel_order: "bgr" or "rgb", what the weights were trained on; the public ones on BGR.

    Source:
        Jin et al., Enhanced Bi-directional Motion Estimation for Video Frame Interpolation, WACV 2023, section 3.2.
    """

    def __init__(self, channel_order: ChannelOrder = "bgr"):
        super().__init__()
        if channel_order not in ("bgr", "rgb"):
            raise ArgumentError(f"BiFlowNet: expected channel_order bgr or rgb, got {channel_order!r}")
        self.channel_order = channel_order
        self.feat_pyramid = FeatPyramid()
        self.flow_estimator = Estimator()

    def forward(self, frame0: Tensor, frame1: Tensor, levels: int | None = None) -> Tensor:
        """
        Args:
            frame0, frame1: (B, 3, H, W) in [0, 1], in `channel_order`; any size, of the weights' dtype.
            levels: how many resolutions, 7 at most; None: by the longer side, see `levels_for`.

        Returns:
            (B, 4, H, W) in pixels, float32 or wider: x and y of the flow from frame 0 to frame 1, at the pixels
            of frame 0, then of the flow from frame 1 to frame 0, at the pixels of frame 1.

        Raises:
            ArgumentError: if a shape or the number of levels is none of the above.
        """
        sized_inference.check(frame0, frame1)
        levels = levels_for(max(frame0.shape[2:])) if levels is None else levels
        whole("levels", levels, 1, most=MOST_LEVELS)
        height, width = frame0.shape[2:]
        # What the border repeats moves with it; zeros would be an edge that stands still.
        frames = sized_inference.pad(torch.cat((frame0, frame1)), SMALLEST << (levels - 1), "replicate")
        flow, motion = self.at_level(frames, levels - 1, None)
        for level in reversed(range(levels - 1)):
            flow, motion = self.at_level(frames, level, (2 * resized(flow, 2), resized(motion, 2)))
        return resized(flow, SMALLEST)[:, :, :height, :width]

    def at_level(self, frames: Tensor, level: int, before: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Flow and what is handed on, at 1 / (4 * 2^level) of the resolution; flow in pixels of the frames there.

        Args:
            frames: (2 B, 3, H, W), frames 0 and then frames 1.
            before: the same of the level before, enlarged to this one's size.
        """
        small = resized(frames, 0.5 ** whole("level", level, 0))
        if before is None:
            batch, (height, width) = len(frames) // 2, (n // SMALLEST for n in small.shape[2:])
            before = small.new_zeros(batch, 4, height, width), small.new_zeros(batch, MOTION, height, width)
        else:
            halves = resized(before[0], SMALLEST) / 2
            small = vk.splat(small, torch.cat((halves[:, :2], halves[:, 2:])), mode="average")
        features0, features1 = self.feat_pyramid(small).chunk(2)
        flow, motion = self.flow_estimator(features0, features1, before[1], before[0])
        return flow if flow.dtype == torch.float64 else flow.float(), motion


def load_into(network: BiFlowNet, path: str | Path) -> None:
    """bi-flownet.pkl of EBME into a network; errors as those of `load`."""
    state = checkpoints.read(path)
    recognition.expect(state, path, "EBME's flow network")
    checkpoints.load_into(network, state, path, called="EBME's flow network")


def load(path: str | Path | None = None, *, channel_order: ChannelOrder = "bgr") -> BiFlowNet:
    """The flow network with the weights of a checkpoint, in eval mode.

    Args:
        path: bi-flownet.pkl of EBME: a state dict of torch (loaded with weights_only) or safetensors; keys with or
            without the prefix `module.`. None: fresh weights.
        channel_order: "bgr" or "rgb", what the weights were trained on.

    Raises:
        UserError: if the file cannot be read, or is of another network; says which keys differ.
    """
    network = BiFlowNet(channel_order)
    if path is not None:
        load_into(network, path)
    return network.eval()
