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
from vfi.networks.optical_flow import DisConfig, flow_both_ways


@dataclass(frozen=True)
class FlowSplatConfig(BlendConfig):
    """One set of numbers for every input."""

    flows: tuple[DisConfig, ...] = (
        DisConfig(plane="luma"),
        DisConfig(plane="chroma", finest_scale=1),
    )


class FlowSplat(SplatModel):
    """Frames between two RGB frames, at any time in [0, 1]; on the frames' device, the optical flow on the CPU."""

    config: FlowSplatConfig

    def __init__(self, config: FlowSplatConfig | None = None) -> None:
        self.config = config or FlowSplatConfig()

    @classmethod
    def load(cls, weights: str | Path | None, device: str, options: object) -> "FlowSplat":
        return cls()

    def why_not_exported(self, size: tuple[int, int] | None, dtype: torch.dtype) -> str | None:
        return "its optical flow is found by OpenCV, of which there is no graph"

    def flows(self, frame0: Tensor, frame1: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [flow_both_ways(frame0, frame1, settings) for settings in self.config.flows]
