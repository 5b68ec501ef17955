"""FusionNet with semantic features at 1/8 and 1/16."""

import torch.nn.functional as F
from torch import Tensor, nn

from vfi.models.rife.flow import FlowStage
from vfi.models.rife.synthesis import FusionNet
from vfi.models.sg_rife.adapters import SemanticFusion, he_normal
from vfi.models.sg_rife.config import GuidedConfig

Semantics = list[list[Tensor]]  # of each level, those of the past and of the future, at 1/16 of the picture


class SemanticFusionNet(FusionNet):
    """RIFE's U-Net; what its third and fourth level give is fused with the semantic features, also for the way up."""

    def __init__(self, config: GuidedConfig):
        super().__init__(config.width)
        (c2, c3), (groups2, groups3) = config.levels, config.groups
        self.fusion_s3 = SemanticFusion(c3, groups3)
        self.adapt_s2 = nn.ConvTranspose2d(c2, c2, 4, 2, 1)
        self.fusion_s2 = SemanticFusion(c2, groups2)
        he_normal(self.adapt_s2)

    def guided(
        self, frame0: Tensor, frame1: Tensor, stage: FlowStage, context0: list[Tensor], context1: list[Tensor],
        semantics: Semantics,
    ) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
        """As FusionNet, with the offsets: past and future at 1/8, then at 1/16. No semantics: RIFE's result."""
        offsets: list[Tensor] = []

        def fuse(level: int, features: Tensor) -> Tensor:
            fusion, maps = (self.fusion_s2, semantics[0]) if level == 2 else (self.fusion_s3, semantics[1])
            if level == 2:
                maps = [self.adapt_s2(m) for m in maps]
            features, level_offsets = fusion(features, [fitted(m, features) for m in maps])
            offsets.extend(level_offsets)
            return features

        return self(frame0, frame1, stage, context0, context1, fuse), offsets


def fitted(semantic: Tensor, features: Tensor) -> Tensor:
    """Of the size of `features`: maps of a smaller picture (dino_max_side) are enlarged."""
    if semantic.shape[2:] == features.shape[2:]:
        return semantic
    return F.interpolate(semantic, size=features.shape[2:], mode="bilinear", align_corners=False)
