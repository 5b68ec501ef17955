"""phi_s: warped frames and warped latent keyframes become the frame."""

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from vfi.networks.layers import Conv2, deconv
from vfi.options import whole

LATENT_SCALE = 8  # of the U-Net's level where latents enter
MULTIPLE = 16  # of which height and width must be
_LEAST = 1e-3  # share of a frame that covers nothing


class FrameSynthesis(ModelMixin, ConfigMixin):
    """A U-Net from what both frames give at time tau, and two latent keyframes, to a mask and a residual.

    Fresh, it blends the two frames by time, each where it covers the pixel.

    Args:
        latent_channels: of one latent keyframe.
        width: channels at half the resolution; twice as many with each halving.
    """

    @register_to_config
    def __init__(self, latent_channels: int = 16, width: int = 32) -> None:
        super().__init__()
        whole("latent_channels", latent_channels, 1)
        whole("width", width, 1)
        c, latents = width, 2 * (latent_channels + 1)
        self.down0, self.down1, self.down2 = Conv2(12, c), Conv2(c, 2 * c), Conv2(2 * c, 4 * c)
        self.down3 = Conv2(4 * c + latents, 8 * c)
        self.up0, self.up1 = deconv(8 * c, 4 * c), deconv(8 * c + latents, 2 * c)
        self.up2, self.up3 = deconv(4 * c, c), deconv(2 * c, c)
        self.head = nn.Conv2d(c, 4, 3, 1, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(torch.as_tensor(self.head.bias))

    def forward(self, warped0: Tensor, warped1: Tensor, latents: Tensor, taus: Tensor) -> Tensor:
        """
        Args:
            warped0, warped1: (B, 6, H, W): of each frame at tau: RGB, 1 where it covers the pixel, else 0, and the
                motion (x, y) from that frame to the other of what landed there, any unit. H and W: multiples of 16.
            latents: (B, 2 (C + 1), H / 8, W / 8), or any other size: the keyframes before and after tau, moved to it,
                each with a channel of where it covers.
            taus: (B,) in [0, 1].

        Returns:
            (B, 3, H, W), not clamped.
        """
        dtype = self.head.weight.dtype
        x0 = self.down0(torch.cat((warped0, warped1), 1).to(dtype))
        x1 = self.down1(x0)
        x2 = self.down2(x1)
        moved = nn.functional.interpolate(latents.to(dtype), x2.shape[2:], mode="bilinear", align_corners=False)
        x2 = torch.cat((x2, moved), 1)
        y = self.up0(self.down3(x2))
        y = self.up1(torch.cat((y, x2), 1))
        y = self.up2(torch.cat((y, x1), 1))
        logits = self.head(self.up3(torch.cat((y, x0), 1))).float()
        time = taus.float().view(-1, 1, 1, 1)
        usual = [share * (warped[:, 3:4].float() + _LEAST) for share, warped in ((1 - time, warped0), (time, warped1))]
        mask = torch.sigmoid(logits[:, 3:] + torch.log(usual[0] + 1e-6) - torch.log(usual[1] + 1e-6))
        result: Tensor = mask * warped0[:, :3].float() + (1 - mask) * warped1[:, :3].float() + logits[:, :3]
        return result
