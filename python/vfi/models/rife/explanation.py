"""What stands behind a frame of RIFE, for pictures."""

from dataclasses import dataclass

from torch import Tensor

from vfi.drawing.panels import Panel, blend_panel, flow_panel
from vfi.models.interpolator import Explanation


@dataclass(frozen=True)
class RIFEExplanation(Explanation):
    """What stands behind an interpolated frame, for pictures."""

    flow: Tensor  # (B, 2, H, W): motion from frame 0 to frame 1 of what is seen at t
    share0: Tensor  # (B, 1, H, W) in [0, 1]: how far frame 0 counts

    def panels(self) -> list[Panel]:
        flow, share = self.flow[0].permute(1, 2, 0), self.share0[0, 0]
        return [flow_panel(flow.float().cpu().numpy()), blend_panel(share.float().cpu().numpy())]
