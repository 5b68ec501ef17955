"""APR-VFI: the whole network, its checkpoints, and frames at any time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import vfi_kernels as vk
from vfi_models import checkpoints, pairs
from vfi_models.apr_vfi import routing as routes
from vfi_models.apr_vfi.config import BLOCKS, ROUTED, APRConfig
from vfi_models.apr_vfi.synthesis import ContextNet, Synthesis
from vfi_models.ebme import flow as ebme

ROUTINGS = ("apr", "static", "patches", "ratio")


@dataclass(frozen=True)
class Motion:
    """What is found once for a pair of frames: flow both ways, (B, 4, H, W), and features of both, (2 B, width, H, W)
    for each refine block."""

    flow: Tensor
    contexts: list[Tensor]


@dataclass(frozen=True)
class Result:
    """The frame (B, 3, H, W), and what it was made of.

    flow: (B, 4, H, W), from frame 0 to 1 and back, in pixels. mask: (B, 1, H, W), the share of frame 0.
    seen: bool (B, 1, H, W), where both frames have landed.
    route: (B, rows, columns, 4), which patches the routed blocks saw: bool, in training with gradients; None: static.
    """

    frame: Tensor
    flow: Tensor
    warped0: Tensor
    warped1: Tensor
    seen: Tensor
    mask: Tensor
    route: Tensor | None


class APRVFI(nn.Module):
    """Flow of EBME, context features warped with the frames, and refine blocks of which each patch sees as many as it
    needs.

    Args:
        config: the sizes.
        channel_order: "bgr" or "rgb", what the weights were or will be trained on.

    Source:
        Chen et al., Alignment-aware Patch-level Routing for Dynamic Video Frame Interpolation, 2024. Widths and layers
        are chosen to meet its numbers of parameters and operations.
    """

    def __init__(self, config: APRConfig | None = None, channel_order: str = "bgr") -> None:
        super().__init__()
        self.config = config or APRConfig()
        self.channel_order = channel_order
        self.flow = ebme.BiFlowNet(channel_order)
        self.context = ContextNet(self.config)
        self.router = routes.Router(self.config)
        self.synthesis = Synthesis(self.config)

    def forward(
        self,
        frame0: Tensor,
        frame1: Tensor,
        t: float = 0.5,
        routing: str | Tensor = "apr",
        keep: Sequence[float] | None = None,
        levels: int | None = None,
    ) -> Result:
        """
        Args:
            frame0, frame1: (B, 3, H, W) in [0, 1], in `channel_order`; H and W multiples of the patch.
            t: in (0, 1).
            routing: which patches the routed blocks see.
                "apr": those that the network chooses, in training mode a sample with gradients; with `keep` those
                that it likes best.
                "static": the image as a whole, not in patches. "patches": every patch.
                "ratio": the shares `keep` of the patches, those in which the warped frames disagree most.
                A bool (B, H / patch, W / patch, 4): these.
            keep: for "apr" and "ratio": a share in [0, 1] for each routed block. None: for "ratio" those of the
                configuration.
            levels: resolutions of the flow; None: by the longer side.

        Raises:
            ValueError: if an argument is none of the above.
        """
        return self.between(self.motion(frame0, frame1, levels), frame0, frame1, t, routing, keep)

    def motion(self, frame0: Tensor, frame1: Tensor, levels: int | None = None) -> Motion:
        """What does not depend on the time."""
        pairs.check(frame0, frame1)
        height, width = frame0.shape[2:]
        if height % self.config.patch or width % self.config.patch:
            size = f"{height} and {width}"
            raise ValueError(f"APRVFI: expected height and width to be multiples of {self.config.patch}, got {size}")
        flow = self.flow(frame0, frame1, levels)
        both = torch.cat((frame0, frame1)).contiguous(memory_format=torch.channels_last)  # faster to convolve
        return Motion(flow, self.context(both))

    def between(
        self, motion: Motion, frame0: Tensor, frame1: Tensor, t: float, routing: str | Tensor = "apr",
        keep: Sequence[float] | None = None,
    ) -> Result:  # fmt: skip
        """The frame at `t`; the rest as `forward`."""
        if not 0 < t < 1:
            raise ValueError(f"APRVFI: expected t in (0, 1), got {t}")
        if isinstance(routing, str) and routing not in ROUTINGS:
            raise ValueError(f"APRVFI: expected routing {', '.join(ROUTINGS)} or a route, got {routing!r}")
        if keep is not None and (not isinstance(routing, str) or routing not in ("apr", "ratio")):
            raise ValueError("APRVFI: expected keep with routing 'apr' or 'ratio' only")
        # Equation 1; one splat moves frames and features, so that targets and weights are found once.
        scaled = torch.cat((t * motion.flow[:, :2], (1 - t) * motion.flow[:, 2:]), 1)
        moved, weight = vk.splat(
            [torch.cat((frame0, frame1)), *motion.contexts],
            torch.cat((scaled[:, :2], scaled[:, 2:])),
            mode="average",
            return_weight=True,
        )
        warped0, warped1 = moved[0].chunk(2)
        landed0, landed1 = (weight > 0).chunk(2)
        seen = landed0 & landed1
        contexts = [(c[: len(frame0)], c[len(frame0) :]) for c in moved[1:]]
        route, lists, votes = self._routed(warped0, warped1, scaled, seen, routing, keep)
        inputs = torch.cat((warped0, warped1, scaled.to(warped0.dtype)), 1)
        logits = self.synthesis(inputs.contiguous(memory_format=torch.channels_last), contexts, lists, votes)
        residual, mask = logits[:, :3].sigmoid() * 2 - 1, logits[:, 3:].sigmoid()
        frame = torch.lerp(warped1, warped0, mask) + residual  # equation 2
        if not self.training:
            frame = frame.clamp(0, 1)
        return Result(frame, motion.flow, warped0, warped1, seen, mask, route)

    def _routed(
        self, warped0: Tensor, warped1: Tensor, flow: Tensor, seen: Tensor, routing: str | Tensor,
        keep: Sequence[float] | None,
    ) -> tuple[Tensor | None, Sequence[Tensor | None], Tensor | None]:  # fmt: skip
        """The route, the list of patches of each block, and the votes of training."""
        if isinstance(routing, str) and routing == "static":
            return None, [None] * BLOCKS, None
        patch = self.config.patch
        size = (len(flow), flow.shape[2] // patch, flow.shape[3] // patch)
        every = routes.lists_of(torch.ones(*size, 1, dtype=torch.bool, device=flow.device), [1.0])
        if isinstance(routing, Tensor):
            if routing.dtype != torch.bool or routing.shape != (*size, ROUTED):
                got = f"{tuple(routing.shape)}, {str(routing.dtype).removeprefix('torch.')}"
                raise ValueError(f"APRVFI: expected a route of shape {(*size, ROUTED)}, bool, got {got}")
            return routing, [*every, *routes.lists_of(routing)], None
        if routing == "patches":
            return torch.ones(*size, ROUTED, dtype=torch.bool, device=flow.device), every * BLOCKS, None
        if routing == "ratio":
            keep = self.config.keep if keep is None else keep
            scores = routes.misalignment(warped0, warped1, seen, patch)[..., None].expand(*size, ROUTED)
        else:
            logits = self.router(warped0, warped1, flow.to(warped0.dtype))
            if self.training and keep is None:
                votes = routes.votes(logits)
                return votes, every * BLOCKS, votes
            scores = logits[..., 1] - logits[..., 0]
        route = scores > 0 if keep is None else routes.top_shares(scores, keep)
        return route, [*every, *routes.lists_of(route, keep)], None

    @torch.no_grad()
    def interpolate_many(
        self,
        frame0: Tensor,
        frame1: Tensor,
        times: Sequence[float],
        routing: str | Tensor = "apr",
        keep: Sequence[float] | None = None,
    ) -> list[Tensor]:
        """Frames (B, 3, H, W) at several times in [0, 1], of any size; flow and features are found once."""
        pairs.check(frame0, frame1)
        dtype, (height, width) = self.synthesis.head.weight.dtype, frame0.shape[2:]
        first, second = (pairs.pad(f.to(dtype), self.config.patch, "replicate") for f in (frame0, frame1))
        motion, results = self.motion(first, second), []
        for t in times:
            if t in (0, 1):
                results.append((frame1 if t else frame0).clone())
                continue
            frame = self.between(motion, first, second, t, routing, keep).frame
            results.append(frame[:, :, :height, :width].to(frame0.dtype).contiguous())
        return results

    def interpolate(
        self,
        frame0: Tensor,
        frame1: Tensor,
        t: float = 0.5,
        routing: str | Tensor = "apr",
        keep: Sequence[float] | None = None,
    ) -> Tensor:
        """The frame at `t`; as `interpolate_many`."""
        return self.interpolate_many(frame0, frame1, [t], routing, keep)[0]


def load(
    path: str | Path | None = None,
    *,
    flow: str | Path | None = None,
    config: APRConfig | None = None,
    channel_order: str = "bgr",
) -> APRVFI:
    """APR-VFI in eval mode. There are no public weights of it, but of its flow network.

    Args:
        path: a state dict of the whole network, torch (loaded with weights_only) or safetensors. None: fresh weights.
        flow: bi-flownet.pkl of EBME, for the flow network.
        config: the sizes. channel_order: "bgr" or "rgb", what the weights were trained on.

    Raises:
        UserError: if a file cannot be read, or is of another network; says which keys differ.
    """
    model = APRVFI(config, channel_order)
    if path is not None:
        checkpoints.load_into(model, checkpoints.read(path), path)
    if flow is not None:
        checkpoints.load_into(model.flow, checkpoints.read(flow), flow)
    return model.eval()
