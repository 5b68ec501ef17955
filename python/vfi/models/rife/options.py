"""What a user of RIFE may choose."""

from dataclasses import dataclass

from vfi.models.tile_options import tile_option
from vfi.options import Options, TrainingOptions, option


@dataclass(frozen=True)
class RIFEOptions(Options):
    scale: float = option(
        1.0,
        "at which flow is estimated; 0.5 for pictures above 2K",
        choices=(0.25, 0.5, 1.0, 2.0, 4.0),
    )
    tta: bool = option(False, "also the pictures turned by 180 degrees, averaged; twice the time")
    ensemble: bool = option(False, "also the frames exchanged, averaged in every block; RIFE 4.0 to 4.20 and 4.24")
    tile: int | None = tile_option()


@dataclass(frozen=True)
class RIFETraining(TrainingOptions):
    data = TrainingOptions.data + "; at any time also of Vimeo90K's septuplets"
    variant: str | None = option(
        None, "rife, rife_m, or a release from 4.0 to 4.26 (default: what the weights are, else rife)", metavar="NAME"
    )
    distillation: float | None = option(
        None, "weight of following the teacher's flow (default: 0.01; of rife_m 0.005)", metavar="WEIGHT", least=0
    )
