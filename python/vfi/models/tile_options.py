"""What a user of any model may choose that works on squares of a picture."""

from dataclasses import dataclass

from vfi.options import Options, option


def tile_option() -> int | None:
    """The field, for a dataclass that has others before it."""
    what = "cut larger pictures into squares of this side, so that memory does not grow with them"
    field: int | None = option(None, what, metavar="PIXELS", least=1)
    return field


@dataclass(frozen=True)
class TileOptions(Options):
    tile: int | None = tile_option()
