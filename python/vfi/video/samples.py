"""Frames of sound: with the layout of their channels, and of silence."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vfi.errors import require

if TYPE_CHECKING:
    from av import AudioFrame


def with_layout(frame: "AudioFrame", layout: str) -> "AudioFrame":
    """The frame with the layout of its channels, which files of PCM may leave out."""
    if "channels" not in frame.layout.name:
        return frame
    named: AudioFrame = require("av").AudioFrame.from_ndarray(
        frame.to_ndarray(), format=frame.format.name, layout=layout
    )
    named.sample_rate = frame.sample_rate
    return named


def silence(like: "AudioFrame", samples: int) -> "Iterator[AudioFrame]":
    while samples > 0:
        count = min(samples, like.sample_rate)
        piece = require("av").AudioFrame(format=like.format.name, layout=like.layout.name, samples=count)
        piece.sample_rate = like.sample_rate
        for plane in piece.planes:
            plane.update(bytes([128 if like.format.name.startswith("u8") else 0]) * plane.buffer_size)
        yield piece
        samples -= count
