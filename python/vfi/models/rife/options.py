"""What a user of RIFE may choose."""

from dataclasses import dataclass

from vfi.options import Options, TrainingOptions, option


@dataclass(frozen=True)
class RIFEOptions(Options):
    scale: float = option(
        1.0,
        "at which flow is estimated; 0.5 for pictures above 2K",
        choices=(0.25, 0.5, 1.0, 2.0, 4.0),
    )
    tta: bool = option(False, "also the pictures turned by 180 degrees, averaged; twice the time")
    tile: int | None = option(
        None,
        "cut larger pictures into squares of this side, so that memory does not grow with them",
        metavar="PIXELS",
        least=1,
    )


@dataclass(frozen=True)
class RIFETraining(TrainingOptions):
    """No options of its own."""
