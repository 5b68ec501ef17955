"""What a user of APR-VFI may choose."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from vfi import errors
from vfi.models.tile_options import TileOptions
from vfi.options import TrainingOptions, option, shown

Routing = Literal["apr", "static", "patches", "ratio"]
Fusion = Literal["add", "concat", "none"]
Holes = Literal["edge", "all"]
Supervision = Literal["warped", "image", "reconstruction"]
ROUTINGS: tuple[Routing, ...] = get_args(Routing)
FUSIONS: tuple[Fusion, ...] = get_args(Fusion)
HOLES = "where the warped frames are not compared: in holes along the edge of the picture (edge), or in any (all)"


def check_keep(keep: tuple[float, ...] | None) -> None:
    if keep is not None and not all(0 <= share <= 1 for share in keep):
        raise errors.ArgumentError(f"expected `keep` to be shares in [0, 1], got {shown(keep)}")


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
    holes: Holes = option("edge", f"with the routing ratio: {HOLES}")

    def check(self) -> None:
        if self.keep is not None and self.routing not in ("apr", "ratio"):
            raise errors.ArgumentError(f"`keep` is for `routing` apr and ratio only, got {self.routing}")
        check_keep(self.keep)


@dataclass(frozen=True)
class APRTraining(TrainingOptions):
    flow: Path | None = option(None, "bi-flownet.pkl of EBME, for the flow network", metavar="FILE")
    patch: int | None = option(
        None, "side of the patches, a multiple of 4 (default: as the weights say, else 64)", metavar="PIXELS", least=4
    )
    keep: tuple[float, float, float, float] | None = option(
        None, "share of the patches for each routed block in the reference route (default 0.1 0.4 0.6 0.9)",
        metavar="SHARE",
    )  # fmt: skip
    holes: Holes = option("edge", f"of the reference route: {HOLES}")
    supervision: Supervision = option(
        "warped",
        "what ranks the patches of the reference route: the difference of the warped frames, of the frames themselves "
        "(image), or of the result from the truth (reconstruction)",
    )
    fusion: Fusion | None = option(
        None,
        "what the last convolution sees of the refine blocks: their sum, normalised (add), a convolution of them all "
        "(concat), the last (none; default: as the weights say, else add)",
    )

    def check(self) -> None:
        check_keep(self.keep)
