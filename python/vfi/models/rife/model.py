"""RIFE: the whole network, its checkpoints, and frames at any time."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from vfi.errors import ArgumentError, UserError
from vfi.files import checkpoints
from vfi.models import recognition
from vfi.models.interpolator import Interpolator
from vfi.models.rife.config import PUBLISHED, VARIANTS, Config, Variant, sizes_of
from vfi.models.rife.explanation import RIFEExplanation
from vfi.models.rife.flow import FlowStage, IFBlock, blended, estimated
from vfi.models.rife.options import RIFEOptions
from vfi.models.rife.synthesis import ContextNet, FusionNet
from vfi.models.rife4.family import NAMES, NETWORKS, is_of_the_family
from vfi.models.sized_model import SizedModel
from vfi.networks import sized_inference
from vfi.options import ChannelOrder

if TYPE_CHECKING:
    from vfi.models.rife4.model import RIFE4
    from vfi.training.objective import Objective


@dataclass(frozen=True)
class Result:
    """What a forward gives: the frame, the blend before its correction, and the stages of flow and mask."""

    frame: Tensor
    coarse: Tensor
    stages: list[FlowStage]


class RIFE(nn.Module, SizedModel):
    """IFNet, ContextNet and FusionNet. Parameters have the names of the public checkpoints, the teacher included."""

    multiple = least_multiple = 32  # of which height and width must be, at scale 1
    programs = ("frame_at",)

    def __init__(self, config: Config = PUBLISHED):
        super().__init__()
        self.config, self.channel_order = config, config.channel_order
        more = VARIANTS[config.variant] - 6
        first, second, third = config.flow
        self.block0 = IFBlock(6 + more, first)
        self.block1 = IFBlock(17 + more, second)
        self.block2 = IFBlock(17 + more, third)
        self.block_tea = IFBlock(20 + more, config.teacher)  # sees the true frame: training only
        self.contextnet = ContextNet(config.width)
        self.unet: Any = self.make_fusion()

    @classmethod
    def load(cls, weights: str | Path | None, device: str, options: RIFEOptions) -> Interpolator:
        return load(weights).set_usual(**vars(options)).to(device)

    @classmethod
    def objective(cls, weights: str | Path | None, tiny: bool, options: Any) -> "Objective":
        from vfi.models.rife.training import objective

        return objective(weights, tiny, options.variant, options.distillation)

    def make_fusion(self) -> nn.Module:
        return FusionNet(self.config.width)

    @property
    def any_time(self) -> bool:  # type: ignore[override]  # it depends on the weights
        """Whether one forward reaches any time; otherwise only the middle."""
        return self.config.variant == "rife_m"

    def forward(self, frame0: Tensor, frame1: Tensor, timestep: float | Tensor = 0.5, scale: float = 1.0) -> Result:
        """
        Args:
            frame0, frame1: (B, 3, H, W) in [0, 1], in `channel_order`; H and W multiples of 32 / scale, and of 32.
            timestep: in (0, 1), for all or (B,); 0.5 for the variant "rife".
            scale: at which flow is estimated; 0.5 for pictures above about 2K.
        """
        sized_inference.check_fitting("RIFE", sized_inference.multiple_at(self, scale), frame0, frame1)
        stages = list(self.stages(frame0, frame1, timestep, scale))
        return Result(*self.finished(frame0, frame1, stages[-1]), stages)

    def stages(self, frame0: Tensor, frame1: Tensor, timestep: float | Tensor, scale: float) -> Iterator[FlowStage]:
        """Flow and mask after every block."""
        blocks = (self.block0, self.block1, self.block2)
        return estimated(blocks, frame0, frame1, self.time_plane(frame0, timestep), scale)

    def last_stage(self, frame0: Tensor, frame1: Tensor, timestep: float | Tensor, scale: float) -> FlowStage:
        """Alone: the memory of the earlier ones is free again."""
        return deque(self.stages(frame0, frame1, timestep, scale), maxlen=1)[0]

    def finished(self, frame0: Tensor, frame1: Tensor, stage: FlowStage) -> tuple[Tensor, Tensor]:
        """The frame, and the blend before its correction."""
        context0 = self.contextnet(frame0, stage.flow[:, :2])
        context1 = self.contextnet(frame1, stage.flow[:, 2:4])
        correction = self.unet(frame0, frame1, stage, context0, context1) * 2 - 1
        coarse = blended(stage)
        return (coarse + correction).clamp(0, 1), coarse

    def time_plane(self, frame: Tensor, timestep: float | Tensor) -> Tensor | None:
        """(B, 1, H, W) for RIFEm."""
        if self.any_time:
            times = torch.as_tensor(timestep, dtype=frame.dtype, device=frame.device)
            return times.reshape(-1, 1, 1, 1).expand_as(frame[:, :1])
        if isinstance(timestep, Tensor) or timestep != 0.5:
            raise ArgumentError(
                f"RIFE: expected timestep 0.5 of the variant rife, got {timestep}; interpolate() bisects"
            )
        return None

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
        """The frame at `t`, or a list of frames at each of several times: vfi.networks.sized_inference.interpolate."""
        scale, tta, tile = self._usually(scale, tta, tile)
        return sized_inference.interpolate(self, frame0, frame1, t, scale=scale, tta=tta, tile=tile)

    def check_ensemble(self, ensemble: bool) -> None:
        if ensemble:
            raise ArgumentError("RIFE of ECCV 2022 has no `ensemble`: RIFE 4.0 to 4.20 and 4.24 have")

    @torch.no_grad()
    def explain(self, frame0: Tensor, frame1: Tensor, t: float) -> RIFEExplanation:
        """Motion and blend at t; a network that knows the middle only shows those of the middle."""
        weight, t = next(self.parameters()), sized_inference.time_of(t)
        sized_inference.check_frames(frame0, frame1, weight.device)
        height, width = frame0.shape[2:]
        multiple = sized_inference.multiple_at(self, self.scale)
        first, second = (sized_inference.pad(frame.to(weight.dtype), multiple) for frame in (frame0, frame1))
        last = self.last_stage(first, second, t if self.any_time else 0.5, self.scale)
        flow, share = last.flow[:, 2:4] - last.flow[:, :2], last.mask.sigmoid()
        return RIFEExplanation(flow[..., :height, :width], share[..., :height, :width])

    def traced(self, frame0: Tensor, frame1: Tensor, t: Tensor) -> Tensor:
        time = t if self.any_time else 0.5
        multiple = sized_inference.multiple_at(self, self.scale)
        return sized_inference.traced(self.frame_at, frame0, frame1, time, self.scale, multiple)

    def frame_at(self, frame0: Tensor, frame1: Tensor, timestep: float | Tensor, scale: float) -> Tensor:
        """The frame alone, of pictures whose size fits."""
        return self.finished(frame0, frame1, self.last_stage(frame0, frame1, timestep, scale))[0]


def load(
    path: str | Path | None = None, *, variant: str | None = None, channel_order: ChannelOrder = "bgr"
) -> "RIFE | RIFE4":
    """RIFE with the weights of a checkpoint, in eval mode: that of ECCV 2022, or any of RIFE 4.0 to 4.26.

    Args:
        path: a state dict of torch (.pkl, .pth, .pt; loaded with weights_only) or safetensors; keys with or without
            the prefix `module.`. None: fresh weights.
        variant: "rife", "rife_m", or a release as "4.25"; None takes what the checkpoint is.
        channel_order: "bgr" or "rgb", what the weights of ECCV 2022 were trained on; RIFE 4 is RGB.

    Raises:
        UserError: if the file cannot be read, or is of another network; says which keys differ.
        ArgumentError: if there is no such variant.
    """
    if variant is not None and variant not in (*VARIANTS, *NAMES):
        raise ArgumentError(f"expected `variant` to be {', '.join((*VARIANTS, *NAMES))}, got {variant!r}")
    if path is None:
        if variant in NAMES:
            return make_rife4(variant)
        return RIFE(Config(cast(Variant, variant or "rife"), channel_order)).eval()
    state = checkpoints.read(path)
    recognition.expect(state, path, "RIFE", "RIFE (ECCV 2022)", "RIFEm", "RIFE 4")
    if is_of_the_family(state):
        return load_rife4(state, path, variant)
    sizes: dict[str, Any] = sizes_of(state, path)
    if variant not in (None, sizes["variant"]):
        raise UserError(f"{path} holds weights of {sizes['variant']}, not of {variant}")
    model: RIFE = checkpoints.built(lambda: RIFE(Config(channel_order=channel_order, **sizes)), state, path)
    return model.eval()


def make_rife4(name: str) -> "RIFE4":
    """A release of RIFE 4 with fresh weights."""
    from vfi.models.rife4.model import RIFE4

    return RIFE4(NETWORKS[name]).eval()


def load_rife4(state: dict[str, Tensor], path: str | Path, variant: str | None) -> "RIFE4":
    """A release of RIFE 4 with the weights of a file."""
    from vfi.models.rife4.model import load_state

    model = load_state(state, path)
    if variant is not None and variant not in model.network.names:
        raise UserError(f"{path} holds weights of RIFE {', '.join(model.network.names)}, not of {variant}")
    return model
