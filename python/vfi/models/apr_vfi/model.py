"""APR-VFI: the whole network, its checkpoints, and frames at any time."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vfi.errors import ArgumentError, dtype_name
from vfi.files import checkpoints
from vfi.models import recognition
from vfi.models.apr_vfi import routing as routes
from vfi.models.apr_vfi.alignment import PairMotion, Result, channels_last, moved
from vfi.models.apr_vfi.config import BLOCKS, ROUTED, APRConfig, sizes_of
from vfi.models.apr_vfi.explanation import APRExplanation
from vfi.models.apr_vfi.options import APROptions, APRTraining, Holes, Routing
from vfi.models.apr_vfi.routing import check_routing
from vfi.models.apr_vfi.synthesis import ContextNet, Synthesis
from vfi.models.ebme import flow as ebme
from vfi.models.interpolator import Interpolator
from vfi.networks import sized_inference
from vfi.options import ChannelOrder

if TYPE_CHECKING:
    from vfi.training.objective import Objective


class APRVFI(nn.Module, Interpolator):
    """Flow of EBME, context features warped with the frames, and refine blocks of which each patch sees as many as it
    needs.

    Args:
        config: the sizes.
        channel_order: "bgr" or "rgb", what the weights were or will be trained on.

    Source:
        Chen et al., Alignment-aware Patch-level Routing for Dynamic Video Frame Interpolation, 2024. Widths and layers
        are chosen to meet its numbers of parameters and operations.
    """

    routing: Routing = "apr"  # what interpolate does unless told otherwise
    keep: Sequence[float] | None = None
    holes: Holes = "edge"
    shows_route = True
    patch: Tensor
    programs = ("flow.forward", "context.forward")

    def __init__(self, config: APRConfig | None = None, channel_order: ChannelOrder = "bgr") -> None:
        super().__init__()
        self.config = config or APRConfig()
        self.channel_order = channel_order
        self.flow = ebme.BiFlowNet(channel_order)
        self.register_buffer("patch", torch.tensor([self.config.patch]))  # which no weight's shape tells
        self.context = ContextNet(self.config)
        self.router = routes.Router(self.config)
        self.synthesis = Synthesis(self.config)

    @classmethod
    def load(cls, weights: str | Path | None, device: str, options: APROptions) -> "APRVFI":
        return load(weights).set_usual(options.routing, options.keep, options.holes).to(device)

    @classmethod
    def objective(cls, weights: str | Path | None, tiny: bool, options: APRTraining) -> "Objective":
        from vfi.models.apr_vfi.training import objective

        return objective(weights, tiny, **vars(options))

    def forward(
        self,
        frame0: Tensor,
        frame1: Tensor,
        t: float = 0.5,
        routing: Routing | Tensor = "apr",
        keep: Sequence[float] | None = None,
        levels: int | None = None,
    ) -> Result:
        """
        Args:
            frame0, frame1: (B, 3, H, W) in [0, 1], in `channel_order`; H and W multiples of the patch.
            t: in [0, 1].
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
            ArgumentError: if an argument is none of the above.
        """
        return self.between(self.motion(frame0, frame1, levels), frame0, frame1, t, routing, keep, again=False)

    def motion(self, frame0: Tensor, frame1: Tensor, levels: int | None = None) -> PairMotion:
        """What does not depend on the time."""
        sized_inference.check_fitting("APRVFI", self.config.patch, frame0, frame1)
        flow = self.flow(frame0, frame1, levels)
        return PairMotion(flow, (self.context(channels_last(frame0)), self.context(channels_last(frame1))))

    def between(
        self, motion: PairMotion, frame0: Tensor, frame1: Tensor, t: float | Tensor, routing: Routing | Tensor = "apr",
        keep: Sequence[float] | None = None, again: bool = True,
    ) -> Result:  # fmt: skip
        """The frame at `t`. again: whether `motion` will serve another time; if not, the features of a frame are let
        go when they are moved, for half the memory. t: a number, or (B, 1, 1, 1) of numbers. The rest as `forward`."""
        if not isinstance(t, Tensor):
            sized_inference.time_of(t)
        check_routing(routing, keep)
        # Equation 1
        scaled = torch.cat((t * motion.flow[:, :2], (1 - t) * motion.flow[:, 2:]), 1)
        warped0, landed0, contexts0 = moved(frame0, motion.contexts[0], scaled[:, :2], again)
        warped1, landed1, contexts1 = moved(frame1, motion.contexts[1], scaled[:, 2:], again)
        seen, contexts = landed0 & landed1, list(zip(contexts0, contexts1, strict=True))
        flow = channels_last(scaled.to(warped0.dtype))
        route, lists, votes = self.routed(warped0, warped1, flow, seen, routing, keep)
        logits = self.synthesis(torch.cat((warped0, warped1, flow), 1), contexts, lists, votes).to(warped0.dtype)
        residual, mask = logits[:, :3].sigmoid() * 2 - 1, logits[:, 3:].sigmoid()
        frame = torch.lerp(warped1, warped0, mask) + residual  # equation 2
        if not self.training:
            frame = frame.clamp(0, 1)
        return Result(frame, motion.flow, warped0, warped1, seen, mask, route)

    def routed(
        self, warped0: Tensor, warped1: Tensor, flow: Tensor, seen: Tensor, routing: Routing | Tensor,
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
                got = f"{tuple(routing.shape)}, {dtype_name(routing.dtype)}"
                raise ArgumentError(
                    f"APRVFI: expected a route (B, rows, columns, blocks) of shape {(*size, ROUTED)}, bool, got {got}"
                )
            return routing, [*every, *routes.lists_of(routing)], None
        if routing == "patches":
            return torch.ones(*size, ROUTED, dtype=torch.bool, device=flow.device), every * BLOCKS, None
        if routing == "ratio":
            keep = self.config.keep if keep is None else keep
            scores = routes.misalignment(warped0, warped1, self.compared(seen), patch)[..., None].expand(*size, ROUTED)
        else:
            logits = self.router(warped0, warped1, flow)
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
        routing: Routing | Tensor | None = None,
        keep: Sequence[float] | None = None,
    ) -> list[Tensor]:
        """Frames (B, 3, H, W) at several times in [0, 1], of any size; flow and features are found once. Without
        `routing` and `keep`: those of `set_usual`."""
        sized_inference.check_frames(frame0, frame1, self.synthesis.head.weight.device)
        check_routing(*self._usually(routing, keep))
        times = sized_inference.several_times(times)
        inner = [i for i, t in enumerate(times) if t not in (0, 1)]
        results = [(frame1 if t else frame0).clone() for t in times]
        if not inner:
            return results
        first, second = self._padded(frame0, frame1)
        motion, (height, width) = self.motion(first, second), frame0.shape[2:]
        for i in inner:
            route = self._usually(routing, keep)
            frame = self.between(motion, first, second, times[i], *route, again=i != inner[-1]).frame
            results[i] = frame[:, :, :height, :width].to(frame0.dtype).contiguous()
        return results

    def interpolate(
        self,
        frame0: Tensor,
        frame1: Tensor,
        t: float | Sequence[float] = 0.5,
        routing: Routing | Tensor | None = None,
        keep: Sequence[float] | None = None,
    ) -> Any:
        """The frame at `t`, or a list of frames at each of several times; as `interpolate_many`."""
        times, alone = sized_inference.times_of(t)
        frames = self.interpolate_many(frame0, frame1, times, routing, keep)
        return frames[0] if alone else frames

    @torch.no_grad()
    def explain(self, frame0: Tensor, frame1: Tensor, t: float) -> APRExplanation:
        """Motion, blend and route at t, by what `set_usual` says."""
        sized_inference.check_frames(frame0, frame1, self.synthesis.head.weight.device)
        t = sized_inference.time_of(t)
        first, second = self._padded(frame0, frame1)
        result = self.between(self.motion(first, second), first, second, t, self.routing, self.keep, again=False)
        height, width = frame0.shape[2:]
        flow, mask = (x[..., :height, :width] for x in (result.flow[:, :2], result.mask))
        return APRExplanation(flow, mask, result.route, self.config.patch)

    def why_not_exported(self, size: tuple[int, int] | None, dtype: torch.dtype) -> str | None:
        values = "which patches it works on depends on the frames: take `routing` static"
        return ebme.why_no_flow_exported(size) or (None if self.routing == "static" else values)

    def traced(self, frame0: Tensor, frame1: Tensor, t: Tensor) -> Tensor:
        first, second = self._padded(frame0, frame1)
        motion, (height, width), time = self.motion(first, second), frame0.shape[2:], t.reshape(-1, 1, 1, 1)
        return self.between(motion, first, second, time, "static", again=False).frame[:, :, :height, :width]

    def compared(self, seen: Tensor) -> Tensor:
        """Where the warped frames are compared, of where both have landed."""
        return routes.enclosed(seen) if self.holes == "edge" else seen

    def set_usual(
        self, routing: Routing = "apr", keep: Sequence[float] | None = None, holes: Holes = "edge"
    ) -> "APRVFI":
        """What `interpolate` and `explain` do unless told otherwise."""
        check_routing(routing, keep)
        self.routing, self.keep, self.holes = routing, keep, holes
        self.shows_route = routing != "static"
        return self

    def _usually(
        self, routing: Routing | Tensor | None, keep: Sequence[float] | None
    ) -> tuple[Routing | Tensor, Sequence[float] | None]:
        if routing is None:
            return self.routing, self.keep if keep is None else keep
        return routing, keep

    def _padded(self, frame0: Tensor, frame1: Tensor) -> list[Tensor]:
        """The frames up to multiples of the patch, of the weights' dtype; the flow network fills up what it needs."""
        sized_inference.check(frame0, frame1)
        dtype = self.synthesis.head.weight.dtype
        return [sized_inference.pad(frame.to(dtype), self.config.patch, "replicate") for frame in (frame0, frame1)]


def load(
    path: str | Path | None = None,
    *,
    flow: str | Path | None = None,
    config: APRConfig | None = None,
    channel_order: ChannelOrder = "bgr",
) -> APRVFI:
    """APR-VFI in eval mode. There are no public weights of it, but of its flow network.

    Args:
        path: a state dict of the whole network, torch (loaded with weights_only) or safetensors. None: fresh weights.
        flow: bi-flownet.pkl of EBME, for the flow network.
        config: the sizes. None: those of the checkpoint, without one those of the paper.
        channel_order: "bgr" or "rgb", what the weights were trained on.

    Raises:
        UserError: if a file cannot be read, or is of another network; says which keys differ.
    """
    state = {} if path is None else checkpoints.read(path)
    if path is not None:
        recognition.expect(state, path, "APR-VFI")
    if path is not None and config is None:
        config = sizes_of(state, path)
    if path is None:
        model = APRVFI(config, channel_order)
    else:
        model = checkpoints.built(lambda: APRVFI(config, channel_order), state, path)
        model.patch.fill_(model.config.patch)
    if flow is not None:
        ebme.load_into(model.flow, flow)
    return model.eval()
