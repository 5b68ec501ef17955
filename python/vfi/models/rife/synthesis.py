"""ContextNet and FusionNet: from warped frames and warped features to a correction of the blend."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

import vfi_kernels as vk
from vfi.models.rife.flow import FlowStage
from vfi.networks.layers import Conv2, channels, deconv, resized


class ContextNet(nn.Module):
    """Features of a frame at 1/2 to 1/16, of c, 2c, 4c and 8c channels, each warped along the flow."""

    def __init__(self, c: int):
        super().__init__()
        self.conv1 = Conv2(3, c)
        self.conv2 = Conv2(c, 2 * c)
        self.conv3 = Conv2(2 * c, 4 * c)
        self.conv4 = Conv2(4 * c, 8 * c)

    def forward(self, x: Tensor, flow: Tensor) -> list[Tensor]:
        """x: (B, 3, H, W), flow: (B, 2, H, W) in pixels -> features of each level."""
        features = []
        for block in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = block(x)
            flow = resized(flow, 0.5) * 0.5
            features.append(vk.backward_warp(x, flow))
        return features


class FusionNet(nn.Module):
    """A U-Net over both warped frames, with the warped features at each level."""

    def __init__(self, c: int):
        super().__init__()
        self.down0 = Conv2(17, 2 * c)
        self.down1 = Conv2(4 * c, 4 * c)
        self.down2 = Conv2(8 * c, 8 * c)
        self.down3 = Conv2(16 * c, 16 * c)
        self.up0 = deconv(32 * c, 8 * c)
        self.up1 = deconv(16 * c, 4 * c)
        self.up2 = deconv(8 * c, 2 * c)
        self.up3 = deconv(4 * c, c)
        self.conv = nn.Conv2d(c, 3, 3, 1, 1)

    def forward(
        self,
        frame0: Tensor,
        frame1: Tensor,
        stage: FlowStage,
        context0: list[Tensor],
        context1: list[Tensor],
        fuse: Callable[[int, Tensor], Tensor] = lambda level, features: features,
    ) -> Tensor:
        """(B, 3, H, W) in [0, 1]; 0.5 is no correction. fuse(level, features) changes those at 1/8 (2) and 1/16 (3)."""
        s0 = self.down0(channels(frame0, frame1, stage.warped0, stage.warped1, stage.mask, stage.flow))
        s1 = self.down1(torch.cat((s0, context0[0], context1[0]), 1))
        s2 = fuse(2, self.down2(torch.cat((s1, context0[1], context1[1]), 1)))
        s3 = fuse(3, self.down3(torch.cat((s2, context0[2], context1[2]), 1)))
        x = self.up0(torch.cat((s3, context0[3], context1[3]), 1))
        x = self.up1(torch.cat((x, s2), 1))
        x = self.up2(torch.cat((x, s1), 1))
        x = self.up3(torch.cat((x, s0), 1))
        return torch.sigmoid(self.conv(x))
