"""Pictures of 256 colours, each with a palette of its own, by FFmpeg's palettegen and paletteuse."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, cast

from vfi.errors import require
from vfi.video.av_common import pulled

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream

# Of a GIF: bytes of its head before the palette; how the control of an image begins; where the image's flags are then.
_HEAD, _CONTROL, _FLAGS = 13, b"\x21\xf9\x04", 17


class Palette:
    """Frames in RGB, or RGBA, to frames with palettes; some may come later than they were given."""

    def __init__(self, width: int, height: int, time_base: Fraction, *, alpha: bool = False) -> None:
        self._graph = graph = require("av").filter.Graph()
        source = graph.add_buffer(width=width, height=height, format="rgba" if alpha else "rgb24", time_base=time_base)
        split, colours = (
            graph.add("split"),
            graph.add("palettegen", f"stats_mode=single:reserve_transparent={int(alpha)}"),
        )
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
        yield from cast("Iterator[VideoFrame]", pulled(self._graph))


def with_own_palettes(packets: "Iterable[Packet[VideoStream]]") -> "Iterator[Packet[VideoStream]]":
    """The packets of a GIF as they may follow those of another one: without its head, whose palette goes to the images
    that have none of their own."""
    palette, size = b"", 0
    for packet in packets:
        data = bytes(packet)
        if data.startswith(b"GIF8"):
            size = data[10] & 7
            palette, data = data[_HEAD : _HEAD + (6 << size)], data[_HEAD + (6 << size) :]
        if data[: len(_CONTROL)] == _CONTROL and not data[_FLAGS] & 0x80:
            data = data[:_FLAGS] + bytes([data[_FLAGS] & 0x78 | 0x80 | size]) + palette + data[_FLAGS + 1 :]
        piece: Packet[VideoStream] = require("av").Packet(data)
        piece.pts, piece.dts, piece.duration = packet.pts, packet.dts, packet.duration
        piece.is_keyframe = packet.is_keyframe
        yield piece
