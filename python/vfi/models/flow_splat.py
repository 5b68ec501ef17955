"""flow-splat: interpolation without trained weights, from optical flow and softmax splatting.

DIS optical flow between the frames, both ways, from brightness and from colour; `vfi.models.splat_model` does the
rest.

Source: Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016 (the flow).
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vfi.models.splat_model import BlendConfig, SplatModel
from vfi.networks.optical_flow import DisConfig, Planes, flows
from vfi.networks.seen_frames import SeenFrames

LARGE = 2**19  # pixels


@dataclass(frozen=True)
class FlowSplatConfig(BlendConfig):
    """One set of numbers for every input.

    flows: of pictures of less than LARGE pixels.
    flows_of_large: of others, in which matching at half the size finds as much in less than half of the time.
    """

    flows: tuple[DisConfig, ...] = (
        DisConfig(plane="luma"),
        DisConfig(plane="chroma", finest_scale=1, variational_refinement_iterations=2),
    )
    flows_of_large: tuple[DisConfig, ...] = (
        DisConfig(plane="luma", finest_scale=1, full_size_refinement_iterations=1),
        DisConfig(plane="chroma", finest_scale=1, variational_refinement_iterations=2),
    )


class FlowSplat(SplatModel):
    """Frames between two RGB frames, at any time in [0, 1]; on the frames' device, the optical flow on the CPU."""

    config: FlowSplatConfig

    def __init__(self, config: FlowSplatConfig | None = None) -> None:
        super().__init__()
        self.config = config or FlowSplatConfig()
        self._planes = SeenFrames[Planes]()

    @classmethod
    def load(cls, weights: str | Path | None, device: str, options: object) -> "FlowSplat":
        return cls()

    def why_not_exported(self, size: tuple[int, int] | None, dtype: torch.dtype) -> str | None:
        return "its optical flow is found by OpenCV, of which there is no graph"

    def flows(self, frame0: Tensor, frame1: Tensor) -> list[tuple[Tensor, Tensor]]:
        large = frame0.shape[2] * frame0.shape[3] >= LARGE
        configs = self.config.flows_of_large if large else self.config.flows
        first, second = (self._planes.of(frame, Planes) for frame in (frame0, frame1))
        both_ways = ((a, b, config) for config in configs for a, b in ((first, second), (second, first)))
        found = [flow.to(frame0.device) for flow in flows(list(both_ways))]
        return list(zip(found[::2], found[1::2]))
