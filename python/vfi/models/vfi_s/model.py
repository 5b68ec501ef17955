"""vfi-s: frames at any time between two frames, by the network of our own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vfi.models.flow_splat import FlowSplat
from vfi.models.interpolator import Interpolator
from vfi.models.rife.explanation import RIFEExplanation
from vfi.models.vfi_s.files import load_network
from vfi.models.vfi_s.motion import quartered
from vfi.models.vfi_s.network import MULTIPLE, Network, Pair, Result, Seen, share
from vfi.networks import sized_inference
from vfi.networks.layers import resized
from vfi.networks.motion_at import ScoredFlow
from vfi.networks.seen_frames import SeenFrames

if TYPE_CHECKING:
    from vfi.training.objective import Objective


@dataclass(frozen=True)
class Motion:
    """Of two frames: what the network needs, and what flow-splat does."""

    pair: Pair
    splatted: list[tuple[ScoredFlow, ScoredFlow]]


def padded(frame: Tensor) -> Tensor:
    return sized_inference.pad(frame.float(), MULTIPLE, "replicate")


class VFIS(nn.Module, Interpolator):
    """Frames between two RGB frames, at any time in [0, 1]."""

    programs = tuple(f"network.{part}.forward" for part in ("encoder", "coarse", "middle", "fine", "colours"))

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.splat = FlowSplat()
        self._padded, self._seen = SeenFrames[Tensor](), SeenFrames[Seen]()

    @classmethod
    def load(cls, weights: str | Path | None, device: str, options: object) -> Interpolator:
        """The model with the weights of a file; None: the package has none, and flow-splat is used."""
        if weights is None:
            model = FlowSplat()
            model.notices = ("the weights of vfi-s are not in this package: flow-splat is used",)
            return model
        return cls(load_network(Path(weights))[0]).to(device).eval()

    @classmethod
    def objective(cls, weights: str | Path | None, tiny: bool, options: object) -> "Objective":
        from vfi.models.vfi_s.training import objective

        return objective(weights, tiny)

    def why_not_exported(self, size: tuple[int, int] | None, dtype: torch.dtype) -> str | None:
        return "its optical flow is found by OpenCV, of which there is no graph"

    def interpolate(self, frame0: Tensor, frame1: Tensor, t: float) -> Tensor:
        """The frame at time t, where frame 0 is at 0 and frame 1 at 1.

        Args:
            frame0, frame1: (B, 3, H, W), RGB in [0, 1], any float dtype and size.
            t: in [0, 1]; 0 and 1 return the frames themselves.

        Returns:
            (B, 3, H, W) in [0, 1], of the frames' dtype. No gradient.
        """
        return self.interpolate_many(frame0, frame1, [sized_inference.time_of(t)])[0]

    @torch.no_grad()
    def interpolate_many(self, frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> list[Tensor]:
        """`interpolate` at several times; optical flow and features are found once."""
        sized_inference.check_frames(frame0, frame1, next(self.parameters()).device)
        times = sized_inference.several_times(times)
        pair: Motion | None = None
        results = []
        for t in times:
            if t in (0, 1):
                results.append((frame1 if t else frame0).clone())
                continue
            pair = self.paired(frame0, frame1) if pair is None else pair
            frame = self.between(pair, t).frame[:, :, : frame0.shape[2], : frame0.shape[3]]
            results.append(frame.clamp(0, 1).to(frame0.dtype).contiguous())
        return results

    def paired(self, frame0: Tensor, frame1: Tensor) -> Motion:
        first, second = (self._padded.of(frame, padded) for frame in (frame0, frame1))
        motions = self.splat.motions(first, second)
        seen0, seen1 = (self._seen.of(frame, self.network.seen) for frame in (first, second))
        return Motion(self.network.pair(seen0, seen1, quartered(motions)), motions)

    def between(self, motion: Motion, t: float) -> Result:
        first, second = motion.pair.frames
        time = first.frame.new_full((1, 1, 1, 1), t)
        splatted = self.splat.between(motion.splatted, first.fine, second.fine, time)
        return self.network.between(motion.pair, splatted, time.expand(len(splatted), 1, 1, 1))

    @torch.no_grad()
    def explain(self, frame0: Tensor, frame1: Tensor, t: float) -> RIFEExplanation:
        """Motion and blend at t."""
        sized_inference.check_frames(frame0, frame1, next(self.parameters()).device)
        t = min(max(sized_inference.time_of(t), 1e-3), 1 - 1e-3)
        result = self.between(self.paired(frame0, frame1), t)
        flow, mask = 2 * resized(result.flows[-1], 2), resized(result.masks[-1], 2)
        blend = share(flow, mask, flow.new_full((1, 1, 1, 1), t))
        height, width = frame0.shape[2:]
        return RIFEExplanation((flow[:, 2:] - flow[:, :2])[..., :height, :width], blend[..., :height, :width])
