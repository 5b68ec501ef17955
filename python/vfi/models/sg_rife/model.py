"""SG-RIFE: the whole network, its checkpoints, and frames at any time."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from vfi.errors import ArgumentError, UserError
from vfi.files import checkpoints
from vfi.models import recognition
from vfi.models.rife.flow import FlowStage, blended
from vfi.models.rife.model import RIFE, Result
from vfi.models.sg_rife import dino as dinov3
from vfi.models.sg_rife.adapters import Compressor, Refiner, warp_maps
from vfi.models.sg_rife.config import PUBLISHED, GuidedConfig, guided_sizes_of
from vfi.models.sg_rife.options import SGRIFETraining
from vfi.models.sg_rife.synthesis import SemanticFusionNet, Semantics
from vfi.networks import sized_inference
from vfi.options import ChannelOrder

if TYPE_CHECKING:
    from vfi.training.objective import Objective

ADAPTERS = ("dino_compressor.", "dino_refiner.", "unet.fusion_s2.", "unet.fusion_s3.", "unet.adapt_s2.")
DINO_IS_NEEDED = "the model sg-rife needs `dino`, the file of DINOv3-Small; nothing is downloaded"


@dataclass(frozen=True)
class GuidedResult(Result):
    """With the offsets of the deformable convolutions: past and future at 1/8, then at 1/16."""

    offsets: list[Tensor]


class SGRIFE(RIFE):
    """RIFE with semantic guidance. Parameters have the names of the public checkpoint; DINOv3 is not among them.

    Args:
        dino: RGB pictures (B, 3, H, W) in [0, 1], whatever the channel order here -> maps of blocks 8 and 11,
            (B, 384, h, w); as `sg_rife.dino.Dino`. None: there is no guidance, the result is RIFE's.
        config: sizes of the networks; the defaults are the public checkpoint's.
    """

    dino: nn.Module | None
    config: GuidedConfig

    def __init__(self, dino: nn.Module | None = None, config: GuidedConfig = PUBLISHED):
        super().__init__(config)
        self.dino_compressor, self.dino_refiner = Compressor(config), Refiner(config)
        self.__dict__["dino"] = dino  # no part of the state dict

    @classmethod
    def load(cls, weights: str | Path | None, device: str, options: Any) -> RIFE:
        """Without DINO there would be no guidance: the option must be given."""
        usual = dict(vars(options))
        dino, side = usual.pop("dino"), usual.pop("dino_max_side")
        if dino is None:
            load(weights)  # what is wrong with them is said first
            raise ArgumentError(DINO_IS_NEEDED)
        return load(weights, dino=dino, dino_max_side=side).set_usual(**usual).to(device)

    @classmethod
    def objective(cls, weights: str | Path | None, tiny: bool, options: SGRIFETraining) -> "Objective":
        from vfi.models.sg_rife.training import objective

        return objective(weights, tiny, options.dino)

    def _apply(self, function: Callable[[Tensor], Tensor], recurse: bool = True) -> "SGRIFE":
        if self.dino is not None:
            self.dino._apply(function, recurse)
        nn.Module._apply(self, function, recurse)
        return self

    def why_not_exported(self, size: tuple[int, int] | None, dtype: torch.dtype) -> str | None:
        if size is None and self.dino is not None and self.dino.max_side is not None:
            return "`dino_max_side` depends on the frames' size: give a `size`"
        return super().why_not_exported(size, dtype)

    def make_fusion(self) -> nn.Module:
        return SemanticFusionNet(self.config)

    def forward(
        self,
        frame0: Tensor,
        frame1: Tensor,
        timestep: float | Tensor = 0.5,
        scale: float = 1.0,
        maps: tuple[list[Tensor], list[Tensor]] | None = None,
    ) -> GuidedResult:
        """As RIFE's. maps: what dino gives for either frame, if that is known already."""
        sized_inference.check_fitting("RIFE", sized_inference.multiple_at(self, scale), frame0, frame1)
        stages = list(self.stages(frame0, frame1, timestep, scale))
        frame, coarse, offsets = self.guided(frame0, frame1, stages[-1], maps)
        return GuidedResult(frame, coarse, stages, offsets)

    def finished(self, frame0: Tensor, frame1: Tensor, stage: FlowStage) -> tuple[Tensor, Tensor]:
        return self.guided(frame0, frame1, stage)[:2]

    def guided(
        self, frame0: Tensor, frame1: Tensor, stage: FlowStage, maps: tuple[list[Tensor], list[Tensor]] | None = None
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The frame, the blend before its correction, the offsets."""
        context0 = self.contextnet(frame0, stage.flow[:, :2])
        context1 = self.contextnet(frame1, stage.flow[:, 2:4])
        semantics = self.semantics(maps or self.maps_of(frame0, frame1), stage.flow)
        correction, offsets = self.unet.guided(frame0, frame1, stage, context0, context1, semantics)
        coarse = blended(stage)
        return (coarse + correction * 2 - 1).clamp(0, 1), coarse, offsets

    def maps_of(self, frame0: Tensor, frame1: Tensor) -> tuple[list[Tensor], list[Tensor]] | None:
        """DINO's maps of both frames; without gradients of its weights."""
        if self.dino is None:
            return None
        halves = [m.chunk(2) for m in self.maps(torch.cat((frame0, frame1)))]
        return [h[0] for h in halves], [h[1] for h in halves]

    def maps(self, frames: Tensor) -> list[Tensor]:
        """DINO's maps of frames in this network's channel order."""
        dino = cast(Callable[[Tensor], list[Tensor]], self.dino)
        return dino(frames.flip(1) if self.channel_order == "bgr" else frames)

    def semantics(self, maps: tuple[list[Tensor], list[Tensor]] | None, flow: Tensor) -> Semantics:
        """Compressed, warped to the time between, refined: for each level those of both frames."""
        if maps is None:
            return [[], []]
        sides = []
        for side, part in zip(maps, (flow[:, :2], flow[:, 2:4]), strict=True):
            sides.append(self.dino_refiner(warp_maps(self.dino_compressor(side), part)))
        return [list(level) for level in zip(*sides)]


def load(
    path: str | Path | None = None,
    *,
    dino: str | Path | nn.Module | None = None,
    dino_max_side: int | None = None,
    channel_order: ChannelOrder = "bgr",
) -> SGRIFE:
    """SG-RIFE with the weights of a checkpoint, in eval mode.

    Args:
        path: the public checkpoint of SG-RIFE; or one of RIFE, for which the adapters start fresh and, at first, add
            nothing. None: fresh weights.
        dino: the file of DINOv3-Small (`sg_rife.dino.load`), or a module as SGRIFE takes it. None: no guidance.
        dino_max_side: pictures with a longer side are made smaller for DINO alone.
        channel_order: "bgr" or "rgb", what the weights were trained on.

    Raises:
        UserError: if a file cannot be read, or is of another network; says which keys differ.
    """
    network = dinov3.load(dino, dino_max_side) if isinstance(dino, (str, Path)) else dino
    if path is None:
        return SGRIFE(network, GuidedConfig(channel_order=channel_order)).eval()
    state = checkpoints.read(path)
    recognition.expect(state, path, "SG-RIFE", "RIFE (ECCV 2022)", "RIFEm")
    sizes: dict[str, Any] = guided_sizes_of(state, path)
    if sizes["variant"] != "rife":
        raise UserError(f"{path} holds weights of rife_m, of which there is no SG-RIFE")
    guided, channels = any(key.startswith(ADAPTERS) for key in state), getattr(network, "channels", None)
    if not guided and channels is not None:
        sizes["dino"] = channels
    if channels not in (None, sizes.get("dino", PUBLISHED.dino)):
        wanted = sizes.get("dino", PUBLISHED.dino)
        raise UserError(f"{path} holds adapters for features of {wanted} channels, got a DINO of {channels}")

    def make() -> SGRIFE:
        return SGRIFE(network, GuidedConfig(channel_order=channel_order, **sizes))

    model: SGRIFE = checkpoints.built(make, state, path, missing=() if guided else ADAPTERS)
    if not guided and network is not None:
        model.notices = (f"{path} has no adapters of SG-RIFE: frames are those of RIFE until some are trained",)
    return model.eval()
