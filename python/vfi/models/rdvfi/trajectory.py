"""Continuous trajectories of the pixels of two frames: flow to any time, frames at any time and resolution."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import vfi_kernels as vk
from vfi.errors import ArgumentError
from vfi.models.rdvfi.estimator import EstimatedMotion
from vfi.models.rdvfi.options import WARPS, Warp
from vfi.models.rdvfi.synthesis import MULTIPLE, FrameSynthesis
from vfi.networks.sized_inference import check, pad, times_of
from vfi.options import whole

PIXELS_AT_ONCE = 2**23  # of all times that are worked on together
MOTION_UNIT = 1 / 32  # of the flow that the synthesis sees, per px of the low resolution


@dataclass(frozen=True, repr=False)
class Trajectory:
    """Where each pixel of two frames is at any time between them, and what frames look like then.

    Found once for a pair, by `RDVFI.trajectory`; it can be pickled, and used at any time and resolution after that.
    Unpickled, it lies on the CPU.

    Attributes:
        frame0, frame1: (B, 3, H, W) in [0, 1].
        motion: keyframe flows at evenly spaced times, with metrics and the flow between neighbours.
        latents: (B, K, C, h, w): those of frame 0, the keyframes, and frame 1.
        synthesis: the network that makes frames of what is warped.
        warp: "forward": pixels are splatted where their trajectories lead, as the trajectories are meant; "backward":
            they are fetched against the flow that stands at the pixel.
        a: parameter of Keys' cubic convolution along time.
    """

    frame0: Tensor
    frame1: Tensor
    motion: EstimatedMotion
    latents: Tensor
    synthesis: FrameSynthesis
    warp: Warp = "forward"
    a: float = -0.5

    def __post_init__(self) -> None:
        if self.warp not in WARPS:
            raise ArgumentError(f"Trajectory: expected warp {' or '.join(WARPS)}, got {self.warp!r}")

    def __repr__(self) -> str:
        return f"Trajectory of {tuple(self.frame0.shape)} frames, {self.latents.shape[1]} nodes, {self.warp}"

    def to(self, device: torch.device | str) -> "Trajectory":
        """The same on another device."""
        motion = EstimatedMotion(*(getattr(self.motion, field.name).to(device) for field in fields(EstimatedMotion)))
        frames = {name: getattr(self, name).to(device) for name in ("frame0", "frame1", "latents")}
        synthesis = self.synthesis
        if next(synthesis.parameters()).device != torch.empty(0, device=device).device:
            copied = FrameSynthesis.from_config(synthesis.config)
            copied.load_state_dict(synthesis.state_dict())
            copied = torch.nn.Module.to(copied, synthesis.dtype)  # without diffusers' warning
            synthesis = copied.to(device).train(synthesis.training).requires_grad_(False)
        return replace(self, motion=motion, synthesis=synthesis, **frames)

    def __getstate__(self) -> dict[str, object]:
        there = self.to("cpu")
        return {field.name: getattr(there, field.name) for field in fields(Trajectory)}

    def flow(self, tau: float | Sequence[float], size: tuple[int, int] | None = None) -> tuple[Tensor, Tensor]:
        """Flow from the pixels of frame 0, and of frame 1, to where they are at `tau`.

        Args:
            tau: in [0, 1], or T of them.
            size: height and width of the result, whose pixels are its unit; None: the frames'.

        Returns:
            Two of (B, 2, H, W) float32, or (B, T, 2, H, W) for several taus; x first.
        """
        taus, alone = times_of(tau)
        height, width = self.frame0.shape[2:] if size is None else _size(size)
        flows_at_taus = []
        for nodes in (self.motion.nodes0, self.motion.nodes1):
            flows = vk.sample_trajectory(nodes, taus, a=self.a)
            flows = resized_flow(flows.flatten(0, 1), (height, width)).unflatten(0, flows.shape[:2])
            flows_at_taus.append(flows[:, 0] if alone else flows)
        return flows_at_taus[0], flows_at_taus[1]

    @torch.no_grad()
    def frames(self, tau: float | Sequence[float], frame0: Tensor | None = None, frame1: Tensor | None = None) -> Any:
        """The frames at `tau`.

        Args:
            tau: in [0, 1], or several; 0 and 1 give the frames themselves.
            frame0, frame1: (B, 3, H, W): the two frames at another resolution; None: those of this trajectory.

        Returns:
            (B, 3, H, W) in [0, 1] of the frames' dtype, or a list of them.
        """
        if (frame0 is None) != (frame1 is None):
            raise ArgumentError("Trajectory.frames: expected both frames or neither")
        first, second = (self.frame0, self.frame1) if frame0 is None or frame1 is None else (frame0, frame1)
        check(first, second)
        first, second = first.to(self.latents.device), second.to(self.latents.device)
        if len(first) != len(self.frame0):
            raise ArgumentError(f"Trajectory.frames: expected frames of {len(self.frame0)} pairs, got {len(first)}")
        taus, alone = times_of(tau)
        inner = [t for t in taus if 0 < t < 1]
        made: dict[float, Tensor] = {}
        at_once = max(PIXELS_AT_ONCE // (first[:, 0].numel() or 1), 1)
        for start in range(0, len(inner), at_once):
            some = inner[start : start + at_once]
            # Times in float64 would have the splats count in float64, at a quarter of the speed
            times = torch.tensor(some, dtype=torch.float32).expand(len(first), -1)
            frames = self.rendered(first, second, times)
            made |= {t: frames[:, i].clamp(0, 1).to(first.dtype) for i, t in enumerate(some)}
        results = [made[t] if t in made else (second if t else first).clone() for t in taus]
        return results[0] if alone else results

    def rendered(self, frame0: Tensor, frame1: Tensor, taus: Tensor) -> Tensor:
        """With gradients: frames (B, T, 3, H, W), not clamped, at taus (B, T) inside (0, 1), of these frames' size."""
        height, width = frame0.shape[2:]
        warped = [pad(seen.flatten(0, 1), MULTIPLE, "replicate") for seen in self.warped(frame0, frame1, taus)]
        frames = self.synthesis(*warped, self._moved_latents(taus), taus.flatten().to(frame0.device))
        result: Tensor = frames[:, :, :height, :width].unflatten(0, taus.shape)
        return result

    def warped(self, frame0: Tensor, frame1: Tensor, taus: Tensor) -> tuple[Tensor, Tensor]:
        """Of each frame at taus (B, T): (B, T, 6, H, W), RGB, coverage, and motion to the other end."""
        motion, taus = self.motion, taus.to(frame0.device)
        return (
            self._warped(frame0, motion.nodes0, motion.metric0, taus, -1),
            self._warped(frame1, motion.nodes1, motion.metric1, taus, 0),
        )

    def _warped(self, frame: Tensor, nodes: Tensor, metric: Tensor, taus: Tensor, end: int) -> Tensor:
        motion = F.interpolate(nodes[:, end] * MOTION_UNIT, frame.shape[2:], mode="bilinear", align_corners=False)
        seen = torch.cat((frame.float(), torch.ones_like(motion[:, :1]), motion), 1)
        if taus.shape[1] > nodes.shape[1]:  # then it pays to resize the nodes once, and not the flow of each tau
            nodes = resized_flow(nodes.flatten(0, 1), frame.shape[2:]).unflatten(0, nodes.shape[:2])
        if self.warp == "backward":
            return vk.trajectory_warp(seen, -nodes, taus, a=self.a)
        importance = F.interpolate(metric, frame.shape[2:], mode="bilinear", align_corners=False)
        return vk.trajectory_splat(seen, nodes, taus, importance, a=self.a)

    def _moved_latents(self, taus: Tensor) -> Tensor:
        """(B T, 2 (C + 1), h, w): the latents before and after each tau, splatted to it, and where they cover."""
        count = self.latents.shape[1] - 1
        place = taus * count
        before = place.floor().clamp(0, count - 1)
        along = (place - before).to(self.latents.device, torch.float32).view(-1, 1, 1, 1)
        index = before.long().to(self.latents.device)
        rows = torch.arange(len(taus), device=index.device)[:, None]
        flows = self.motion.adjacent[rows, index].flatten(0, 1)
        moved = []
        for step, flow in ((0, along * flows[:, :2]), (1, (1 - along) * flows[:, 2:])):
            latent = self.latents[rows, index + step].flatten(0, 1).float()
            moved.append(vk.splat(torch.cat((latent, torch.ones_like(latent[:, :1])), 1), flow, mode="average"))
        return torch.cat(moved, 1)


def _size(size: Iterable[int]) -> tuple[int, int]:
    try:
        height, width = size
        return whole("size", height, 1), whole("size", width, 1)
    except (TypeError, ValueError) as error:
        expected = "size to be a height and a width in pixels"
        raise ArgumentError(f"Trajectory.flow: expected {expected}, got {size!r}") from error


def resized_flow(flow: Tensor, size: Sequence[int]) -> Tensor:
    """Flow (B, 2, h, w) on a grid of another size, in its pixels."""
    if tuple(flow.shape[2:]) == tuple(size):
        return flow
    scale = flow.new_tensor([size[1] / flow.shape[3], size[0] / flow.shape[2]]).view(1, 2, 1, 1)
    return F.interpolate(flow, tuple(size), mode="bilinear", align_corners=False) * scale
