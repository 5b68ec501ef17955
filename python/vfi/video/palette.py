"""Pictures of 256 colours, each with a palette of its own, by FFmpeg's palettegen and paletteuse."""

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, cast

from vfi.errors import require

if TYPE_CHECKING:
    from av import VideoFrame


class Palette:
    """Frames in RGB to frames with palettes; some may come later than they were given."""

    def __init__(self, width: int, height: int, time_base: Fraction) -> None:
        self._graph = graph = require("av").filter.Graph()
        source = graph.add_buffer(width=width, height=height, format="rgb24", time_base=time_base)
        split, colours = graph.add("split"), graph.add("palettegen", "stats_mode=single")
        applied, sink = graph.add("paletteuse", "new=1:dither=sierra2_4a"), graph.add("buffersink")
        source.link_to(split)
        split.link_to(colours, 0, 0)
        split.link_to(applied, 1, 0)
        colours.link_to(applied, 0, 1)
        applied.link_to(sink)
        graph.configure()

    def push(self, frame: "VideoFrame | None") -> "Iterator[VideoFrame]":
        """The frames that are ready; None brings the last ones."""
        self._graph.push(frame)
        while True:
            try:
                yield cast("VideoFrame", self._graph.pull())
            except (BlockingIOError, EOFError):
                return
