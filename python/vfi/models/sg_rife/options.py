"""What a user of SG-RIFE may choose."""

from dataclasses import dataclass
from pathlib import Path

from vfi.models.rife.options import RIFEOptions
from vfi.options import TrainingOptions, option

DINO = "file of the weights of DINOv3-Small"


@dataclass(frozen=True)
class SGRIFEOptions(RIFEOptions):
    dino: Path | None = option(None, DINO, metavar="FILE")
    dino_max_side: int | None = option(None, "longest side of the picture that DINO sees", metavar="PIXELS", least=1)


@dataclass(frozen=True)
class SGRIFETraining(TrainingOptions):
    dino: Path | None = option(None, DINO, metavar="FILE")
