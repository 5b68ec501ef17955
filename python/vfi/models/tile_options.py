"""What a user of any model may choose that works on squares of a picture."""

from dataclasses import dataclass

from vfi.options import Options, option


@dataclass(frozen=True)
class TileOptions(Options):
    tile: int | None = option(
        None,
        "cut larger pictures into squares of this side, so that memory does not grow with them",
        metavar="PIXELS",
        least=1,
    )
