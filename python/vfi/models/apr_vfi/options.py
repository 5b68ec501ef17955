"""What a user of APR-VFI may choose."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from vfi import errors
from vfi.models.tile_options import TileOptions
from vfi.options import TrainingOptions, option, shown

Routing = Literal["apr", "static", "patches", "ratio"]
ROUTINGS: tuple[Routing, ...] = get_args(Routing)


@dataclass(frozen=True)
class APROptions(TileOptions):
    routing: Routing = option(
        "apr",
        "which patches the refine blocks see: those that the network chooses (apr), the image as a whole "
        "(static), every patch (patches), or those where the warped frames disagree most (ratio)",
    )
    keep: tuple[float, float, float, float] | None = option(
        None,
        "share of the patches for each routed block, with the routing apr or ratio, such as 0.1 0.4 0.6 0.9",
        metavar="SHARE",
    )

    def check(self) -> None:
        if self.keep is not None and self.routing not in ("apr", "ratio"):
            raise errors.ArgumentError(f"`keep` is for `routing` apr and ratio only, got {self.routing}")
        if self.keep is not None and not all(0 <= share <= 1 for share in self.keep):
            raise errors.ArgumentError(f"expected `keep` to be shares in [0, 1], got {shown(self.keep)}")


@dataclass(frozen=True)
class APRTraining(TrainingOptions):
    flow: Path | None = option(None, "bi-flownet.pkl of EBME, for the flow network", metavar="FILE")
