"""Reading videos: upright RGB frames with exact times."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vfi.errors import UserError, require
from vfi.files.opencv import MOST_PIXELS
from vfi.video.av_common import EXACT_CONVERSION, Colour, open_input, reading

if TYPE_CHECKING:
    from av import VideoFrame, VideoStream


@dataclass(frozen=True)
class VideoInfo:
    """What the file says about its pictures; sizes after rotation."""

    width: int
    height: int
    rate: Fraction
    time_base: Fraction
    # Width of a pixel over its height.
    pixel_aspect: Fraction
    colour: Colour
    # Of the whole file; None where it is not known in advance.
    duration: Fraction | None
    bits: int


@dataclass(frozen=True)
class TimedFrame:
    """A frame, when it appears and for how long, in seconds after the video's first frame."""

    time: Fraction
    duration: Fraction
    rgb: np.ndarray


class VideoReader:
    """One pass over the pictures of a video file; `close` it at the end.

    `origin` is when the first frame appears on the file's own clock, in seconds; `damaged` counts packets left out.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged = 0
        with reading(path):
            self._container = open_input(path)
        try:
            self._stream = self._choose_stream()
            self._decoded = self._decode()
            first = next(self._decoded, None)
            if first is None:
                raise UserError(f"cannot read {path}: no frame in it can be decoded")
            self._first = first
        except BaseException:
            self.close()
            raise
        self.origin = _seconds(self._first) or Fraction(0)

    def _choose_stream(self) -> "VideoStream":
        videos = self._container.streams.video
        if not videos:
            raise UserError(f"{self.path} has no video in it")
        # A cover picture is a video stream too, but not the one that is meant.
        stream = min(videos, key=lambda video: "attached_pic" in str(video.disposition))
        if stream.codec_context is None or stream.time_base is None:
            raise UserError(f"cannot read {self.path}: its video codec is unknown")
        stream.thread_type = "AUTO"
        self._clock: Fraction = stream.time_base
        return stream

    def close(self) -> None:
        self._container.close()

    @property
    def has_subtitles(self) -> bool:
        return bool(self._container.streams.subtitles)

    @property
    def info(self) -> VideoInfo:
        stream, frame = self._stream, self._first
        width, height = frame.width, frame.height
        aspect = stream.sample_aspect_ratio or Fraction(1)
        if _quarter_turns(frame) % 2:
            width, height, aspect = height, width, 1 / aspect
        duration = stream.duration * self._clock if stream.duration else None
        if duration is None and self._container.duration:
            duration = Fraction(self._container.duration, 1_000_000)
        return VideoInfo(
            width=width,
            height=height,
            rate=self._rate(),
            time_base=self._clock,
            pixel_aspect=aspect,
            colour=Colour(
                int(frame.colorspace), int(frame.color_range), int(frame.color_trc), int(frame.color_primaries)
            ),
            duration=duration,
            bits=max(component.bits for component in frame.format.components),
        )

    def frames(self, start: Fraction | None = None, end: Fraction | None = None) -> Iterator[TimedFrame]:
        """Frames whose time is in [start, end), in order of time, all of the first frame's size."""
        earlier: tuple[Fraction, VideoFrame] | None = None
        for time, frame in self._timed(self._first if start is None else self._seek(start)):
            until = time if end is None else min(time, end)
            # One frame is held back, because it lasts until the next one.
            if earlier is not None:
                yield self._timed_frame(*earlier, until - earlier[0])
            if until < time or until == end:
                return
            earlier = (time, frame) if start is None or time >= start else None
        if earlier is not None:
            time, frame = earlier
            length = Fraction(frame.duration or 0) * frame.time_base if frame.time_base else Fraction(0)
            yield self._timed_frame(time, frame, length or 1 / self._rate())

    def pictures(self, first: int = 0, count: int | None = None) -> Iterator[np.ndarray]:
        """Frames number `first` and so on, (H, W, 3) each, `count` of them or all.

        Numbers from 0 are those of the frames that `frames()` gives. All before `first` are decoded, for nothing else
        tells their number for certain, but not converted.
        """
        stop = None if count is None else first + count
        for _, frame in islice(self._timed(self._first), first, stop):
            yield self._rgb(frame)

    def ends(self, most: int) -> tuple[int, np.ndarray, np.ndarray]:
        """How many frames there are, `most` + 1 if there are more than `most`; the first and the last one counted."""
        count, last = 0, self._first
        for _, frame in islice(self._timed(self._first), most + 1):
            count, last = count + 1, frame
        return count, self._rgb(self._first), self._rgb(last)

    def _seek(self, start: Fraction) -> "VideoFrame":
        """The decoded frame to go on from: at or before `start`, or the first one if the file cannot be searched."""
        for target in (start, Fraction(0)):
            try:
                self._container.seek(round((self.origin + target) / self._clock), stream=self._stream)
            except require("av").FFmpegError:
                return self._first
            self._decoded = self._decode()
            frame = next(self._decoded, None)
            stamp = None if frame is None else _seconds(frame)
            if frame is not None and stamp is not None and stamp - self.origin <= target:
                return frame
        # Searching missed even the beginning: read the file once more.
        with reading(self.path):
            self._container.close()
            self._container = open_input(self.path)
        self._stream = self._choose_stream()
        self._decoded = self._decode()
        return next(self._decoded)

    def _timed(self, frame: "VideoFrame") -> "Iterator[tuple[Fraction, VideoFrame]]":
        """`frame` and those after it, with strictly growing times; a missing time continues at the file's rate."""
        stamp = _seconds(frame)
        time = Fraction(0) if stamp is None else stamp - self.origin
        yield time, frame
        for frame in self._decoded:
            stamp = _seconds(frame)
            following = time + 1 / self._rate() if stamp is None else stamp - self.origin
            if following > time:
                time = following
                yield time, frame

    def _decode(self) -> "Iterator[VideoFrame]":
        """Decoded frames; packets that cannot be decoded are counted and left out."""
        av = require("av")
        with reading(self.path):
            for packet in self._container.demux(self._stream):
                try:
                    decoded = packet.decode()
                except av.error.InvalidDataError:
                    self.damaged += 1
                    continue
                for frame in decoded:
                    if frame.width * frame.height > MOST_PIXELS:
                        raise UserError(f"cannot read {self.path}: its frames have more than {MOST_PIXELS} pixels")
                    yield frame

    def _timed_frame(self, time: Fraction, frame: "VideoFrame", duration: Fraction) -> TimedFrame:
        return TimedFrame(time, duration, self._rgb(frame))

    def _rgb(self, frame: "VideoFrame") -> np.ndarray:
        with reading(self.path):
            width, height = self._first.width, self._first.height
            rgb = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation=EXACT_CONVERSION)
        return np.ascontiguousarray(np.rot90(rgb, _quarter_turns(self._first)))

    def _rate(self) -> Fraction:
        """Frames per second, 25 where nothing is known."""
        rate = self._stream.average_rate or self._stream.guessed_rate
        return rate if rate and 0 < rate <= 1000 else Fraction(25)


def _seconds(frame: "VideoFrame") -> Fraction | None:
    """The frame's time on the file's clock."""
    if frame.pts is None or frame.time_base is None:
        return None
    result: Fraction | None = frame.pts * frame.time_base
    return result


def _quarter_turns(frame: "VideoFrame") -> int:
    """Turns of 90 degrees against the clock that make the frame upright, 0 to 3."""
    result: int = round(frame.rotation / 90) % 4
    return result
