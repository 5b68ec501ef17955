"""What a user of SemFi may choose."""

import math
from dataclasses import dataclass
from pathlib import Path

from vfi import errors
from vfi.models.diffusion_options import BACKBONE, DiffusionOptions
from vfi.options import Dtype, TrainingOptions, option, shown

MULTIPLE = 16  # of which height and width must be
FRAME_COUNTS = (5, 9, 17, 33, 65, 81)  # S of the paper


@dataclass(frozen=True)
class SemFiOptions(DiffusionOptions):
    adapters: bool = option(True, "SemFi's; without them it is Wan alone, which needs no weights beside the backbone")
    prompt: str = option("", "what happens between the frames (default: nothing said)", metavar="TEXT", of_clip=True)
    negative_prompt: str = option("", "what should not be seen", metavar="TEXT")
    steps: int = option(50, "of the denoising", least=1)
    cfg: float = option(5.0, "guidance by the text; 1: none, twice as fast", least=1)
    size: tuple[int, int] | None = option(
        None, "height and width that frames are made at, to be resized (default: about 480 832)", metavar=("H", "W")
    )

    @property
    def needs_weights(self) -> bool:
        return self.adapters

    def check(self) -> None:
        if math.isinf(self.cfg):
            raise errors.ArgumentError(f"expected `cfg` of 1 or more, got {self.cfg:g}")
        if self.size is not None and (min(self.size) < MULTIPLE or any(side % MULTIPLE for side in self.size)):
            raise errors.ArgumentError(f"expected `size` of multiples of {MULTIPLE}, got {shown(self.size)}")


@dataclass(frozen=True)
class SemFiTraining(TrainingOptions):
    data = "a manifest of vfi.commands.make_clips"
    backbone: Path | None = option(None, BACKBONE, metavar="FOLDER")
    dtype: Dtype = option("float32", "of the frozen backbone")
    experts: bool = option(
        True, "an adapter for each number of frames; without them the universal one alone is trained"
    )
    frames: int | None = option(
        None, f"clips of so many frames alone (default: all of {', '.join(map(str, FRAME_COUNTS))})", metavar="COUNT",
        choices=FRAME_COUNTS,
    )  # fmt: skip
