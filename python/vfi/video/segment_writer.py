"""Writing a segment of a video into the folder of unfinished work."""

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vfi.files.atomic import cannot_write
from vfi.video.encoder import Encoder, Picture
from vfi.video.encodings import Encoding
from vfi.video.segments import Unjoined, write_packets
from vfi.video.writer import close_unfinished, open_output, writing

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream


class SegmentWriter:
    """Frames go to a file of the work; `finish` enters it into the journal, `close` ends it in any case."""

    def __init__(self, path: Path, picture: Picture, encoding: Encoding, work: Unjoined) -> None:
        self.path, self._work = path, work
        self._frames = work.segments[-1].frames if work.segments else 0
        self._target = work.new_file()
        # Never written, but the encoder makes what such files need.
        self._container = open_output(path, io.BytesIO())
        self._encoder = Encoder(self._container, path, picture, encoding)
        try:
            self._file = self._target.open("wb")
        except OSError as error:
            raise cannot_write(self._target, error) from error

    def write(self, rgb: np.ndarray, time: Fraction, own: "VideoFrame | None" = None) -> None:
        """Adds a frame as `Encoder.encode` does, at `time` seconds of the whole output."""
        self._add(self._encoder.encode(rgb, time, own))
        self._frames += 1

    def finish(self, counts: tuple[int, int, int], until: Fraction | None) -> None:
        """counts and until: as `Segment` has them."""
        self._add(self._encoder.flush())
        self.close()
        self._work.add(self._target, self._frames, counts, until)

    def close(self) -> None:
        close_unfinished(self._container)
        try:
            self._file.close()
        except OSError as error:
            raise cannot_write(self._target, error) from error

    def _add(self, packets: "Iterator[Packet[VideoStream]]") -> None:
        try:
            with writing(self.path):
                write_packets(self._file, packets)
        except OSError as error:
            raise cannot_write(self._target, error) from error
