"""Split-FAPM: DINO's features compressed, modulated, warped to the time between, refined for two levels of FusionNet.

Names of modules are those of the public checkpoint. Paper: section 3.2.
"""

from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vfi_kernels as vk
from vfi.models.sg_rife.config import GuidedConfig


class Compressor(nn.Module):
    """Fewer channels: a projection for each layer, scaled and shifted by what a shared one says (FiLM)."""

    def __init__(self, config: GuidedConfig):
        super().__init__()
        many, few = config.dino, config.compressed
        self.shared_basis = nn.Conv2d(many, few, 1)
        self.specific_bases = nn.ModuleList(nn.Conv2d(many, few, 1) for _ in config.levels)
        self.film_generators = nn.ModuleList(nn.Conv2d(few, 2 * few, 1) for _ in config.levels)
        self.apply(he_normal)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """(B, dino, h, w) of each layer -> (B, compressed, h, w)."""
        compressed = []
        for x, specific, film in zip(maps, self.specific_bases, self.film_generators, strict=True):
            gamma, beta = film(self.shared_basis(x)).chunk(2, 1)
            compressed.append(gamma * specific(x) + beta)
        return compressed


class DepthwiseSeparable(nn.Module):
    """3x3 for each channel, 1x1 across channels, GELU."""

    def __init__(self, channels: int):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, 1, 1, groups=channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.pointwise(self.depthwise(x)))


class SqueezeExcitation(nn.Module):
    """Scales each channel by what the mean of all channels says."""

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        inner = channels // reduction
        self.fc = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.GELU(), nn.Conv2d(inner, channels, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x * self.fc(x.mean((2, 3), keepdim=True))
        return result


class Refiner(nn.Module):
    """Compressed maps to the channels of each level, with a shortcut."""

    def __init__(self, config: GuidedConfig):
        super().__init__()
        few = config.compressed
        self.refinement_blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(few, c, 1), nn.GELU(), DepthwiseSeparable(c), nn.Conv2d(c, c, 1), SqueezeExcitation(c)
            )
            for c in config.levels
        )
        self.shortcut_projections = nn.ModuleList(
            nn.Conv2d(few, c, 1) if c != few else nn.Identity() for c in config.levels
        )
        self.apply(he_normal)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        blocks = zip(maps, self.refinement_blocks, self.shortcut_projections, strict=True)
        return [block(x) + shortcut(x) for x, block, shortcut in blocks]


def warp_maps(maps: list[Tensor], flow: Tensor) -> list[Tensor]:
    """Each map (B, C, h, w) along `flow` (B, 2, H, W), averaged over its pixels and in units of them."""
    if not maps:
        return []
    (height, width), (h, w) = flow.shape[2:], maps[0].shape[2:]
    if height % h == 0 and width % w == 0:  # as it is, but for maps of smaller pictures
        small = F.avg_pool2d(flow, (height // h, width // w))
    else:
        small = F.interpolate(flow, size=(h, w), mode="area")
    small = small * torch.tensor([w / width, h / height], dtype=flow.dtype, device=flow.device).view(1, 2, 1, 1)
    return [vk.backward_warp(x, small) for x in maps]


def he_normal(layer: nn.Module) -> None:
    """He et al.'s initialisation of a convolution, by its outputs, as the paper says: variance 2 / (outputs per group
    times taps), bias 0."""
    if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        zero_bias(layer)


def zero_bias(layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class SemanticFusion(nn.Module):
    """Deformable Semantic Fusion: semantic features, sampled where both kinds of features say, added to RIFE's.

    Of `channels` and `groups` (groups of the convolution and of the offsets). `gamma` starts at 0: RIFE itself.
    """

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.groups = groups
        self.dcn_weight = nn.Parameter(torch.empty(channels, channels // groups, 3, 3))
        self.gamma = nn.Parameter(torch.zeros(1))
        self.to_q, self.to_k, self.to_v = (nn.Conv2d(channels, channels, 1) for _ in range(3))
        self.conv_offset = nn.Conv2d(2 * channels, 27 * groups, 3, 1, 1)
        for parameter in (self.to_q.weight, self.to_k.weight, self.to_v.weight, self.dcn_weight):
            nn.init.kaiming_normal_(parameter, mode="fan_out", nonlinearity="relu")
        for layer in (self.to_q, self.to_k, self.to_v, self.conv_offset):
            zero_bias(layer)
        nn.init.zeros_(self.conv_offset.weight)

    def forward(self, features: Tensor, semantics: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """features (B, C, h, w); semantics of the past and of the future, alike -> features, offsets of both."""
        if not semantics:
            return features, []
        offsets, values = [], []
        of_query, of_key = self.conv_offset.weight.chunk(2, 1)  # a sum: what comes of the query is the same for both
        shared = F.conv2d(self.to_q(features), of_query, self.conv_offset.bias, padding=1)
        for semantic in semantics:
            keys = shared + F.conv2d(self.to_k(semantic), of_key, padding=1)
            first, second, mask = keys.chunk(3, 1)
            offset = torch.cat((first, second), 1)
            value = vk.modulated_deform_conv2d(
                self.to_v(semantic), offset, mask.sigmoid(), self.dcn_weight, padding=1,
                groups=self.groups, offset_groups=self.groups,
            )  # fmt: skip
            values.append(value)
            offsets.append(offset)
        return features + self.gamma * reduce(torch.add, values), offsets
