"""What stands behind a frame of RDVFI, for pictures."""

from dataclasses import dataclass

import torch

from vfi.drawing.panels import Panel, flow_panel, paths_panel
from vfi.models.interpolator import Explanation
from vfi.models.rdvfi.trajectory import Trajectory

LINES = 24  # along the longer side
TIMES = 25  # points of a line


@dataclass(frozen=True)
class TrajectoryExplanation(Explanation):
    """Of a pair's trajectory."""

    trajectory: Trajectory

    def panels(self) -> list[Panel]:
        """Motion from frame 0 to frame 1, and the paths of some of its pixels."""
        frame = self.trajectory.frame0[0].float().clamp(0, 1).permute(1, 2, 0).cpu().numpy()
        height, width = frame.shape[:2]
        step = max(max(height, width) // LINES, 1)
        flows = self.trajectory.flow(torch.linspace(0, 1, TIMES).tolist(), (height, width))[0][0]
        rows, columns = torch.arange(step // 2, height, step), torch.arange(step // 2, width, step)
        starts = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1).reshape(-1, 1, 2)
        moved = flows[:, :, rows.to(flows.device)][..., columns.to(flows.device)].flatten(2).permute(2, 0, 1)
        paths = (starts + moved.cpu()).numpy()
        return [
            flow_panel(flows[-1].permute(1, 2, 0).cpu().numpy()),
            paths_panel((frame * 255).round().astype("uint8"), paths),
        ]
