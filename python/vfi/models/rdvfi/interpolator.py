"""RDVFI as an `Interpolator`: the same noise for every pair, so that one video has one look."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from vfi.errors import UserError
from vfi.models.diffusers_loading import Source, load_pipeline, placed
from vfi.models.interpolator import Interpolator
from vfi.models.rdvfi.explanation import TrajectoryExplanation
from vfi.models.rdvfi.files import BACKBONES, from_backbone, load
from vfi.models.rdvfi.model import RDVFI
from vfi.models.rdvfi.options import RDVFIOptions, RDVFITraining, Variant, Warp
from vfi.networks.sized_inference import several_times, time_of

if TYPE_CHECKING:
    from vfi.training.objective import Objective


class SeededRDVFI(Interpolator):
    """RDVFI whose noise is drawn anew from `seed` for each pair."""

    variant: ClassVar[Variant]
    works_in_tiles = False

    def __init__(self, pipeline: RDVFI, seed: int) -> None:
        self.pipeline, self.seed = pipeline, seed

    @classmethod
    def load(cls, weights: str | Path | None, device: str, options: RDVFIOptions) -> "SeededRDVFI":
        """weights: the folder of a whole RDVFI; or, with `backbone`, a file of RDVFI's own."""
        settings: dict[str, Warp] = {} if options.warp is None else {"warp": options.warp}

        def whole(folder: str, dtype: torch.dtype) -> RDVFI:
            pipeline = load(folder, dtype)
            pipeline.register_to_config(**settings)
            return pipeline

        def beside(backbone: Path, file: str, dtype: torch.dtype) -> RDVFI:
            return from_backbone(cls.variant, backbone, file, dtype, **settings)

        kind = f"RDVFI-{cls.variant.upper()}"
        source = Source(kind.lower(), "RDVFI", "weights", kind, BACKBONES[cls.variant], whole, beside)
        pipeline = load_pipeline(source, str(weights), device, options)
        if pipeline.variant != cls.variant:
            raise UserError(f"{weights} holds rdvfi-{pipeline.variant}, not rdvfi-{cls.variant}")
        placed(pipeline, device, options)
        return cls(pipeline, options.seed)

    @classmethod
    def objective(cls, weights: str | Path | None, tiny: bool, options: RDVFITraining) -> "Objective":
        from vfi.models.rdvfi.training import objective

        return objective(weights, tiny, cls.variant, **vars(options))

    def interpolate(self, frame0: Tensor, frame1: Tensor, t: float) -> Tensor:
        return self.interpolate_many(frame0, frame1, [time_of(t)])[0]

    def interpolate_many(self, frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> list[Tensor]:
        frames: list[Tensor] = self.pipeline.interpolate(frame0, frame1, several_times(times), self._generator())
        return frames

    def explain(self, frame0: Tensor, frame1: Tensor, t: float) -> TrajectoryExplanation:
        return self.pipeline.explain(frame0, frame1, time_of(t), self._generator())

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)


class RDVFID(SeededRDVFI):
    """On a diffusion transformer."""

    variant = "d"


class RDVFIU(SeededRDVFI):
    """On a U-Net."""

    variant = "u"
