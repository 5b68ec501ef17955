"""What stands behind a frame of APR-VFI, for pictures."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from vfi.drawing.panels import Panel, blend_panel, flow_panel, tinted
from vfi.models.apr_vfi.config import BLOCKS
from vfi.models.interpolator import Explanation

# Of patches that 1, 2, ... blocks saw.
_COUNT_COLOURS = ((38, 40, 48), (28, 78, 98), (36, 124, 108), (120, 176, 84), (250, 220, 80))


@dataclass(frozen=True)
class APRExplanation(Explanation):
    """Of the picture at time t.

    flow: (B, 2, H, W), from frame 0 to 1, at the pixels of frame 0. share0: (B, 1, H, W) in [0, 1]: how far frame 0
    counts. route: bool (B, rows, columns, 4), which patches of `patch` pixels the routed blocks saw; None: all.
    """

    flow: Tensor
    share0: Tensor
    route: Tensor | None
    patch: int

    def panels(self) -> list[Panel]:
        """Motion, blend, and how many blocks saw each patch."""
        flow, share = self.flow[0].permute(1, 2, 0), self.share0[0, 0]
        return [
            flow_panel(flow.float().cpu().numpy()),
            blend_panel(share.float().cpu().numpy()),
            self._counts(),
        ]

    def route_panels(self, frame: np.ndarray) -> list[Panel]:
        """The frame (H, W, 3), RGB, once for each routed block: green where the block saw it, as figure 5 of the
        paper."""
        seen = self._seen()
        shares = seen.mean((1, 2))
        return [
            Panel(f"block {k + 2}: {share:.0%} of the patches", tinted(frame, self._enlarged(part)))
            for k, (part, share) in enumerate(zip(seen, shares, strict=True))
        ]

    def _counts(self) -> Panel:
        counts = self._enlarged(self._seen().sum(0))
        legend = tuple((str(n + 1), colour) for n, colour in enumerate(_COUNT_COLOURS))
        return Panel("blocks that saw it", np.array(_COUNT_COLOURS, np.uint8)[counts], legend)

    def _seen(self) -> np.ndarray:
        """bool (4, rows, columns)."""
        if self.route is None:
            height, width = self.flow.shape[2:]
            return np.ones((BLOCKS - 1, -(-height // self.patch), -(-width // self.patch)), dtype=bool)
        return self.route[0].permute(2, 0, 1).cpu().numpy()

    def _enlarged(self, patches: np.ndarray) -> np.ndarray:
        """A value for each patch (rows, columns) -> for each pixel (H, W)."""
        height, width = self.flow.shape[2:]
        return patches.repeat(self.patch, 0).repeat(self.patch, 1)[:height, :width]
