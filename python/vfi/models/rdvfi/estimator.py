"""From latent keyframes to motion: between neighbours first, then fused from either end, keyframe after keyframe."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

import vfi_kernels as vk
from vfi.networks.layers import PReLU, conv, softmax
from vfi.options import whole

FEATURE_SCALE = 2  # features are at twice the resolution of the latents
UPSAMPLE = 4  # and trajectories at 4 times that of the features: the picture's own, where latents are at 1/8
TAPS = 9  # of the convex upsampling, 3 x 3


@dataclass(frozen=True, repr=False)
class EstimatedMotion:
    """What the estimator finds of K latents: of frame 0, of the keyframes, of frame 1.

    Attributes:
        nodes0, nodes1: (B, K, 2, 8h, 8w) float32 px of their own grid: from a pixel of frame 0, of frame 1, to where it
            is at each of the K times. Exactly 0 at the frame's own time.
        metric0, metric1: (B, 1, 2h, 2w) float32: which pixels of a frame win where several land on one place.
        adjacent: (B, K - 1, 4, h, w) float32 px of the latents' grid: from each latent to the next (x, y), and back.
    """

    nodes0: Tensor
    nodes1: Tensor
    metric0: Tensor
    metric1: Tensor
    adjacent: Tensor


class ResBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = conv(width, width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1)
        self.relu = PReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.relu(x + self.conv2(self.conv1(x)))
        return result


class LatentFeatures(nn.Sequential):
    """psi: latents (B, C, h, w) -> features (B, width, 2h, 2w)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(
            conv(channels, width),
            ResBlock(width),
            ResBlock(width),
            nn.Conv2d(width, FEATURE_SCALE**2 * width, 3, 1, 1),
            nn.PixelShuffle(FEATURE_SCALE),
            PReLU(width),
        )


def trunk(inputs: int, width: int) -> nn.Sequential:
    """1x1 to 2 width, then 3x3 convolutions to width."""
    first = nn.Sequential(nn.Conv2d(inputs, 2 * width, 1), PReLU(2 * width))
    return nn.Sequential(
        first, conv(2 * width, 2 * width), conv(2 * width, width * 3 // 2), conv(width * 3 // 2, width)
    )


class AdjacentMotion(nn.Module):
    """phi1: features of two neighbours -> (B, 4, h, w), flow there (x, y) and back, px of the features' grid."""

    def __init__(self, width: int, radius: int) -> None:
        super().__init__()
        self.radius = radius
        self.trunk = trunk((2 * radius + 1) ** 2 + 2 * width, width)
        self.head = nn.Conv2d(width, 4, 3, 1, 1)
        nn.init.zeros_(self.head.weight)  # no motion to begin with
        nn.init.zeros_(torch.as_tensor(self.head.bias))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        similar = vk.correlation(first, second, self.radius).to(first.dtype)
        result: Tensor = self.head(self.trunk(torch.cat((similar, first, second), 1))).float()
        return result


class Fusion(nn.Module):
    """phi2: the flow to a keyframe and the motion from there to the next -> the flow to the next."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.trunk = trunk(2 + 2 + 3 * width, width)
        self.flow = nn.Conv2d(width, 2, 3, 1, 1)
        self.metric = nn.Conv2d(width, 1, 3, 1, 1)
        self.mask = nn.Conv2d(width, TAPS * UPSAMPLE**2, 1)
        for head in (self.flow, self.metric):  # the composition alone to begin with
            nn.init.zeros_(head.weight)
            nn.init.zeros_(torch.as_tensor(head.bias))

    def forward(
        self, flow: Tensor, adjacent: Tensor, start: Tensor, target: Tensor, hidden: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """
        Args:
            flow: (B, 2, h, w) px, from the start to the keyframe before.
            adjacent: (B, 2, h, w) px, from that keyframe to the next.
            start, target: features of the start and of the next keyframe.
            hidden: (B, width, h, w), what the last fusion handed on.

        Returns:
            The flow to the next keyframe, its metric (B, 1, h, w), logits of the upsampling, the hidden features.
        """
        composed = flow + vk.backward_warp(adjacent, flow)
        there = vk.backward_warp(target, composed)
        seen = torch.cat((flow.to(start.dtype), composed.to(start.dtype), start, there, hidden), 1)
        hidden = self.trunk(seen)
        return composed + self.flow(hidden).float(), self.metric(hidden).float(), self.mask(hidden).float(), hidden


class TrajectoryEstimator(ModelMixin, ConfigMixin):
    """Keyframe flows of every pixel of both frames from latent keyframes.

    Args:
        latent_channels: 16 of Wan's latents, 4 of Stable Video Diffusion's.
        width: channels of the features.
        radius: of the local correlation, px of the features' grid.
        direct: each keyframe's flow is found from the frame and that keyframe alone, not from keyframe to keyframe:
            the direct warping of the paper's ablation.
    """

    @register_to_config
    def __init__(self, latent_channels: int = 16, width: int = 64, radius: int = 4, direct: bool = False) -> None:
        super().__init__()
        for name, count in (("latent_channels", latent_channels), ("width", width), ("radius", radius)):
            whole(name, count, 1)
        self.features = LatentFeatures(latent_channels, width)
        self.adjacent = AdjacentMotion(width, radius)
        self.fusion = Fusion(width)

    def forward(self, latents: Tensor) -> EstimatedMotion:
        """latents: (B, K, C, h, w), those of frame 0 and frame 1 at the ends."""
        batch, count = latents.shape[:2]
        features = self.features(latents.flatten(0, 1).to(self.dtype)).unflatten(0, (batch, count))
        pairs = self.adjacent(features[:, :-1].flatten(0, 1), features[:, 1:].flatten(0, 1))
        pairs = pairs.unflatten(0, (batch, count - 1))
        nodes0, metric0 = self._fused(features, pairs[:, :, :2])
        # Seen from frame 1, time runs backwards
        nodes1, metric1 = self._fused(features.flip(1), pairs[:, :, 2:].flip(1))
        small = F.avg_pool2d(pairs.flatten(0, 1), FEATURE_SCALE) / FEATURE_SCALE
        return EstimatedMotion(nodes0, nodes1.flip(1), metric0, metric1, small.unflatten(0, (batch, count - 1)))

    def _fused(self, features: Tensor, adjacent: Tensor) -> tuple[Tensor, Tensor]:
        """Flows to all K from the first, (B, K, 2, 4h, 4w), and the mean metric (B, 1, h, w)."""
        start = features[:, 0]
        flow, hidden = torch.zeros_like(adjacent[:, 0]), torch.zeros_like(start)
        nodes, metrics = [F.interpolate(flow, scale_factor=UPSAMPLE)], []
        for i in range(adjacent.shape[1]):
            target, step = features[:, i + 1], adjacent[:, i]
            if self.config.direct:
                flow, hidden = torch.zeros_like(flow), torch.zeros_like(hidden)
                step = self.adjacent(start, target)[:, :2]
            flow, metric, mask, hidden = self.fusion(flow, step, start, target, hidden)
            nodes.append(upsampled(flow, mask))
            metrics.append(metric)
        return torch.stack(nodes, 1), torch.stack(metrics).mean(0)


def upsampled(flow: Tensor, mask: Tensor) -> Tensor:
    """Flow (B, 2, h, w) -> (B, 2, 4h, 4w) in its px: each a convex combination of the 3 x 3 around it.

    mask: (B, 144, h, w), logits: nine for each of the 4 x 4 pixels. At the border the nearest flow counts again.

    Source: Teed and Deng, RAFT, ECCV 2020.
    """
    batch, _, h, w = flow.shape
    weights = softmax(mask.view(batch, 1, TAPS, UPSAMPLE, UPSAMPLE, h, w), 2)
    around = F.unfold(F.pad(UPSAMPLE * flow, (1, 1, 1, 1), "replicate"), 3).view(batch, 2, TAPS, 1, 1, h, w)
    fine = (weights * around).sum(2)  # (B, 2, 4, 4, h, w)
    return fine.permute(0, 1, 4, 2, 5, 3).reshape(batch, 2, UPSAMPLE * h, UPSAMPLE * w)
