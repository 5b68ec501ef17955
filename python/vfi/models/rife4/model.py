"""RIFE 4: checkpoints of the family, and frames at any time."""

import re
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vfi.errors import ArgumentError, UserError
from vfi.files import checkpoints
from vfi.models.rife.explanation import RIFEExplanation
from vfi.models.rife4.family import FAMILY, Network, sized_as
from vfi.models.rife4.network import LARGE, FlowNet, Stage
from vfi.models.sized_model import SizedModel
from vfi.networks import sized_inference
from vfi.networks.seen_frames import SeenFrames


@dataclass(frozen=True)
class Result:
    """What a forward gives: the frame, and the stages of flow and mask."""

    frame: Tensor
    stages: list[Stage]


class RIFE4(FlowNet, SizedModel):
    """A network of the family. Frames are RGB."""

    any_time = True
    called = "rife"  # which loads it
    least_multiple = 1
    programs = ("encoded", "between", "frame_at")

    def __init__(self, network: Network):
        super().__init__(network)
        self.multiple = network.multiple
        self.seen_frames = SeenFrames[Tensor]()

    def forward(
        self,
        frame0: Tensor,
        frame1: Tensor,
        timestep: float | Tensor = 0.5,
        scale: float = 1.0,
        ensemble: bool | None = None,
    ) -> Result:
        """
        Args:
            frame0, frame1: (B, 3, H, W), RGB in [0, 1]; H and W multiples of `multiple` / scale.
            timestep: in [0, 1], for all or (B,).
            scale: at which flow is estimated; 0.5 for pictures above about 2K.
            ensemble: average with the answer for the frames exchanged; None: as set_usual says.
        """
        sized_inference.check_fitting("RIFE", sized_inference.multiple_at(self, scale), frame0, frame1)
        ensemble = self.ensemble if ensemble is None else ensemble
        self.check_ensemble(ensemble)
        stages = list(self.stages(self.encoded(frame0), self.encoded(frame1), timestep, scale, ensemble))
        return Result(self.larger_or_not(frame0, frame1, stages[-1]), stages)

    def last_stage(self, encoded0: Tensor, encoded1: Tensor, timestep: float | Tensor, scale: float) -> Stage:
        """Alone: the memory of the earlier ones is free again."""
        return deque(self.stages(encoded0, encoded1, timestep, scale, self.ensemble), maxlen=1)[0]

    def frame_at(self, frame0: Tensor, frame1: Tensor, timestep: float | Tensor, scale: float) -> Tensor:
        """The frame alone, of pictures whose size fits."""
        return self.between(self.encoded(frame0), self.encoded(frame1), timestep, scale)

    def between(self, encoded0: Tensor, encoded1: Tensor, timestep: float | Tensor, scale: float) -> Tensor:
        """The frame alone, of encoded frames."""
        stage = self.last_stage(encoded0, encoded1, timestep, scale)
        return self.larger_or_not(encoded0[:, :3], encoded1[:, :3], stage)

    def larger_or_not(self, frame0: Tensor, frame1: Tensor, stage: Stage) -> Tensor:
        """The frame; only a network that may work at twice its scales has stages larger than the frames."""
        return (self.frame_at_any if self.network.widens else self.frame)(frame0, frame1, stage)

    def traced(self, frame0: Tensor, frame1: Tensor, t: Tensor) -> Tensor:
        multiple = sized_inference.multiple_at(self, self.scale)
        return sized_inference.traced(self.graph_at, frame0, frame1, t, self.scale, multiple)

    def graph_at(self, frame0: Tensor, frame1: Tensor, timestep: Tensor, scale: float) -> Tensor:
        """`frame_at`, which decides nothing by values: of a network that may work at twice its scales both frames are
        made."""
        if not self.network.widens:
            return self.frame_at(frame0, frame1, timestep, scale)

        def made(first: Tensor, second: Tensor, timestep: Tensor, scale: float) -> tuple[list[Stage], Tensor]:
            encoded = self.encoded(first), self.encoded(second)
            stages = list(self.stages(*encoded, timestep, scale, self.ensemble, widens=False))
            return stages, self.frame(encoded[0], encoded[1], stages[-1])

        stages, usual = made(frame0, frame1, timestep, scale)
        multiple = sized_inference.multiple_at(self, scale / 2)
        wide = sized_inference.traced(
            lambda *arguments: made(*arguments)[1], frame0, frame1, timestep, scale / 2, multiple
        )
        far = [half.abs().max() > LARGE for half in (stages[1].flow - stages[0].flow).split(2, 1)]
        return torch.where(far[0] & far[1], wide, usual)

    @torch.no_grad()
    def interpolate(
        self,
        frame0: Tensor,
        frame1: Tensor,
        t: float | Sequence[float] = 0.5,
        scale: float | None = None,
        tta: bool | None = None,
        tile: int | None = None,
    ) -> Any:
        """The frame at `t`, or a list of frames at each of several times: vfi.networks.sized_inference.interpolate.
        A frame is encoded once for all times, and for the next call if it is the same tensor then."""
        scale, tta, tile = self._usually(scale, tta, tile)
        if tta or tile is not None:
            return sized_inference.interpolate(self, frame0, frame1, t, scale=scale, tta=tta, tile=tile)
        sized_inference.check_frames(frame0, frame1, next(self.parameters()).device)
        sized_inference.check_settings(self, scale, tta, tile)
        times, alone = sized_inference.times_of(t)
        height, width = frame0.shape[2:]
        results = []
        for time in times:
            if time in (0, 1):
                results.append((frame1 if time else frame0).clone())
                continue
            encoded0, encoded1 = self.encoded_once(frame0, scale), self.encoded_once(frame1, scale)
            frame = self.between(encoded0, encoded1, time, scale)
            results.append(frame[:, :, :height, :width].to(frame0.dtype).contiguous())
        return results[0] if alone else results

    def encoded_once(self, frame: Tensor, scale: float) -> Tensor:
        """`encoded` of a frame made to fit, kept for as long as the frame is there and unchanged."""
        weight = next(self.parameters())

        def encode(frame: Tensor) -> Tensor:
            return self.encoded(sized_inference.pad(frame.to(weight.dtype), sized_inference.multiple_at(self, scale)))

        if weight.is_inference():  # which does not say whether it changed
            return encode(frame)
        return self.seen_frames.of(frame, encode, scale, weight.dtype, weight._version)

    def check_ensemble(self, ensemble: bool) -> None:
        if ensemble and not self.network.takes_ensemble:
            raise ArgumentError(f"RIFE {self.network.names[0]} has no `ensemble`: releases up to 4.20 and 4.24 have")

    @torch.no_grad()
    def explain(self, frame0: Tensor, frame1: Tensor, t: float) -> RIFEExplanation:
        """Motion and blend at t."""
        t = sized_inference.time_of(t)
        sized_inference.check_frames(frame0, frame1, next(self.parameters()).device)
        height, width = frame0.shape[2:]
        encoded0, encoded1 = self.encoded_once(frame0, self.scale), self.encoded_once(frame1, self.scale)
        last = self.last_stage(encoded0, encoded1, t, self.scale)
        flow, share = last.flow[:, 2:4] - last.flow[:, :2], last.mask_at(1).sigmoid()
        return RIFEExplanation(flow[..., :height, :width], share[..., :height, :width])


Shapes = Mapping[str, tuple[int, ...]]


@cache
def shapes_of(network: Network) -> Shapes:
    """Its tensors' shapes, by name."""
    return {
        key: tuple(value.shape)
        for key, value in checkpoints.without_memory(lambda: FlowNet(network)).state_dict().items()
    }


def recognised(state: Mapping[str, Tensor]) -> Network:
    """The network of a state dict: a published one, or one like it of other widths; else what is nearest."""
    own = {name: tuple(value.shape) for name, value in state.items()}
    blocks = len({name.partition(".")[0] for name in state if re.match(r"block\d\.", name)})
    published = [network for network in FAMILY if len(network.widths) == blocks] or list(FAMILY)

    def share(network: Network) -> float:
        wanted = shapes_of(network)
        return sum(own.get(name) == shape for name, shape in wanted.items()) / len(wanted)

    best = max(published, key=share)
    if share(best) < 1:
        # A published one of which whole blocks are missing is none of other widths.
        parts = {name: shape for name, shape in own.items() if re.match(r"(block\d|encode)\.", name)}
        wider = [network for network in FAMILY if parts.items() <= shapes_of(network).items()]
        if wider:
            return max(wider, key=share)
        for network in published:
            with suppress(KeyError, IndexError, *checkpoints.NO_NETWORK):
                if share(like := sized_as(network, state)) == 1:
                    return like
    return best


def load_state(state: Mapping[str, Tensor], path: str | Path) -> RIFE4:
    """The network of a state dict, by its tensors' names and shapes, in eval mode. Tensors that inference does not use
    are passed over: `notices` says so.

    Raises:
        UserError: naming what is missing, or of another shape.
    """
    network = recognised(state)
    needed = {name: value for name, value in state.items() if name in shapes_of(network)}
    try:
        model = checkpoints.built(lambda: RIFE4(network), needed, path).eval()
    except UserError as error:
        reason = str(error).partition(f"does not fit {RIFE4.called}: ")[2]
        if not reason:
            raise
        raise UserError(f"{path} is most like RIFE {network.names[0]}, which it does not fit: {reason}") from None
    unused = [name for name in state if name not in needed]
    if unused:
        what = checkpoints.listed(unused)
        model.notices = (f"{len(unused)} tensors of {path} are not used to interpolate: {what}",)
    return model
