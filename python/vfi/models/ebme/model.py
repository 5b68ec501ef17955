"""ebme-splat: frames along EBME's flow, by splatting and blending, without a network that synthesises."""

from pathlib import Path

import torch
from torch import Tensor, nn

from vfi.models.ebme.flow import BiFlowNet, load, why_no_flow_exported
from vfi.models.splat_model import BlendConfig, SplatModel


class EBMESplat(SplatModel, nn.Module):
    """Frames between two frames, at any time in [0, 1], in the order of channels of the network's weights."""

    programs = ("network.forward",)

    def __init__(self, network: BiFlowNet, config: BlendConfig | None = None) -> None:
        nn.Module.__init__(self)
        SplatModel.__init__(self)
        self.network = network
        self.config = config or BlendConfig(by_coverage=True, keep_still=False)
        self.channel_order = network.channel_order

    @classmethod
    def load(cls, weights: str | Path | None, device: str, options: object) -> "EBMESplat":
        return cls(load(weights)).to(device).eval()

    @property
    def device(self) -> torch.device | None:  # type: ignore[override]  # a module may move
        weight = next(self.parameters(), None)
        return None if weight is None else weight.device

    def why_not_exported(self, size: tuple[int, int] | None, dtype: torch.dtype) -> str | None:
        return why_no_flow_exported(size) or (None if dtype == torch.float32 else "it computes in float32 alone")

    def flows(self, frame0: Tensor, frame1: Tensor) -> list[tuple[Tensor, Tensor]]:
        flow = self.network(frame0, frame1)
        return [(flow[:, :2], flow[:, 2:])]
