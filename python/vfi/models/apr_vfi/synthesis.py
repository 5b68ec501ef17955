"""Context features, refine blocks and their fusion: from warped frames and features to mask and residual."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vfi_kernels as vk
from vfi.models.apr_vfi.config import BLOCKS, APRConfig
from vfi.networks.layers import conv, deconv

# Patches of 64 x 64 that run at a time, or as many pixels: what stays in a CPU's cache, what fills a GPU
CPU_CHUNK, GPU_CHUNK = 16, 1024


class ContextNet(nn.ModuleList):
    """Features of a frame at its own resolution, (B, width, H, W), one for each refine block."""

    def __init__(self, config: APRConfig) -> None:
        c = config.width
        super().__init__(nn.Sequential(conv(c if level else 3, c), conv(c, c)) for level in range(BLOCKS))

    def forward(self, frame: Tensor) -> list[Tensor]:
        features = [frame]
        for level in self:
            features.append(level(features[-1]))
        return features[1:]


class RefineBlock(nn.Module):
    """An encoder and decoder with skips, over 1, 1/2 and 1/4 of the resolution.

    forward(*inputs): tensors (B, C, H, W) of `inputs` channels in all -> (B, width, H, W); H and W multiples of 4.
    """

    def __init__(self, inputs: int = 96, width: int = 32, middle: int = 64) -> None:
        super().__init__()
        self.first, self.last = conv(inputs, width), conv(width, width)
        self.to_half = nn.Sequential(conv(width, middle, 2), conv(middle, middle))
        self.quarter = nn.Sequential(conv(middle, middle, 2), conv(middle, middle), conv(middle, middle))
        self.up_to_half, self.up_to_full = deconv(middle, middle), deconv(middle, width)

    def forward(self, *inputs: Tensor) -> Tensor:
        full = self.first(torch.cat(inputs, 1) if len(inputs) > 1 else inputs[0])
        half = self.to_half(full)
        result: Tensor = self.last(self.up_to_full(self.up_to_half(self.quarter(half)) + half) + full)
        return result


class Synthesis(nn.Module):
    """Refine blocks over warped context, the fusion of what they give, and a last convolution."""

    def __init__(self, config: APRConfig) -> None:
        super().__init__()
        c = config.width
        self.patch, self.halo, self.fusion = config.patch, config.halo, config.fusion
        self.stem = conv(10, c)
        self.blocks = nn.ModuleList(RefineBlock(3 * c, c, config.middle) for _ in range(BLOCKS))
        self.head = nn.Conv2d(c, 4, 3, 1, 1)
        if config.fusion == "concat":
            self.fuse = conv(BLOCKS * c, c)
        elif config.fusion == "none":
            self.register_buffer("unfused", torch.ones(1))  # which no weight's shape tells

    def forward(
        self, seen: Tensor, contexts: list[tuple[Tensor, Tensor]], lists: Sequence[Tensor | None], votes: Tensor | None
    ) -> Tensor:
        """
        Args:
            seen: (B, 10, H, W): warped frames and flow.
            contexts: for each block the warped features of both frames, (B, width, H, W).
            lists: for each block the patches that it sees, (P, 3); None: the image as a whole.
            votes: (B, rows, columns, 4) in {0, 1}, for training: the routed blocks see what is listed, and their
                results count where the vote is 1, so that the votes have gradients.

        Returns:
            (B, 4, H, W): logits of the residual (3) and of the mask.
        """
        features = self.stem(seen)
        total, every = torch.zeros_like(features), list[Tensor]()
        for k, (block, (context0, context1), listed) in enumerate(zip(self.blocks, contexts, lists, strict=True)):
            refined = self._refined(block, [context0, context1, features], listed, keeps_input=votes is not None)
            if votes is not None and k > 0:
                vote = F.interpolate(votes[:, None, :, :, k - 1], scale_factor=self.patch, mode="nearest")
                refined = torch.lerp(features, refined, vote.to(features.dtype))
            features = refined
            if self.fusion == "add":
                total = total + features if torch.is_grad_enabled() else total.add_(features)
            elif self.fusion == "concat":
                every.append(features.clone())  # without gradients the next block writes where these are
        if self.fusion == "add":
            features = normalised(total)
        elif self.fusion == "concat":
            features = self.fuse(torch.cat(every, 1))
        result: Tensor = self.head(features)
        return result

    def _refined(self, block: nn.Module, inputs: list[Tensor], listed: Tensor | None, keeps_input: bool) -> Tensor:
        """Without gradients the features are written where they are: their sum is all that is needed later."""
        result: Tensor
        if listed is None:
            result = block(*inputs)
            return result
        chunk = (CPU_CHUNK if listed.device.type == "cpu" else GPU_CHUNK) * 64**2 // self.patch**2
        routed = vk.nn.RoutedBlock(block, self.patch, self.halo, max(chunk, 1))
        result = routed(inputs, listed, inputs[-1], inplace=not (keeps_input or torch.is_grad_enabled()))
        return result


def normalised(x: Tensor) -> Tensor:
    """Mean 0 and variance 1 over the channels of each pixel, without parameters."""
    return F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2]).permute(0, 3, 1, 2)
