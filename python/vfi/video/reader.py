"""Reading videos: upright RGB frames with exact times."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vfi.errors import UserError, require
from vfi.files.images import Image
from vfi.files.opencv import MOST_PIXELS
from vfi.video.av_common import STREAM, Colour, counted, name_of, reading
from vfi.video.colours import sampled_as
from vfi.video.decoded import as_shown, is_turned, losses, seconds_of, seen_through, shown_again, upright_rgb
from vfi.video.demux import Demuxer
from vfi.video.frame_times import BestStamps, FrameTimes, nominal_rate, rounded_to
from vfi.video.hdr import Hdr, hdr_of
from vfi.video.interlaced import Deinterlace, Interlacing, Scan
from vfi.video.shortfall import Shortfall
from vfi.video.siting import siting_of
from vfi.video.unreadable import bomb, no_frame

if TYPE_CHECKING:
    from av import VideoFrame

# Pixels of a frame that is suspicious if it takes next to no bytes: fewer than one for a million of them.
_HUGE = 2**26
_PIXELS_PER_BYTE = 1_000_000
_NOTHING = np.zeros((0, 0, 3), np.uint8)
# Frames that are looked at before the first one is given: what their times look like.
_HEAD = 8


@dataclass(frozen=True)
class VideoInfo:
    """What the file says about its pictures; sizes after rotation."""

    width: int
    height: int
    # Frames per second of most of it, and whether the first ones are evenly spaced.
    rate: Fraction
    even: bool
    time_base: Fraction
    # Width of a pixel over its height.
    pixel_aspect: Fraction
    colour: Colour
    # Of the whole file; None where it is not known in advance.
    duration: Fraction | None
    # Family of the codec and format of the samples, by FFmpeg's names; what a screen of high dynamic range was.
    codec: str = ""
    pixels: str = "rgb24"
    hdr: Hdr | None = None
    # What the pictures hold that is left out, in words.
    losses: tuple[str, ...] = ()
    alpha: bool = False  # something in the pictures can be seen through
    scan: Scan | None = None


@dataclass(frozen=True)
class TimedFrame:
    """A frame, when it appears and for how long, in seconds after the video's first frame; a picture as `Image` has it.

    own: what it was in its file, if it is just that, neither turned nor scaled.
    """

    time: Fraction
    duration: Fraction
    rgb: np.ndarray
    own: "VideoFrame | Image | None" = None


class VideoReader:
    """One pass over the pictures of a video file; `close` it at the end.

    `origin` is when the first frame appears on the file's own clock, in seconds; `decoded` counts the frames that were
    decoded, `given` those that `frames` gave, `resized` those that had another size than the first, `uneven` intervals
    between frames that are not the usual one.

    sound: the packets of the sound are kept for whoever writes it (`demuxer.sound`).
    trusted: huge frames that take next to no bytes are read as well: a file of some kB may unfold to hundreds of GB.
    deinterlace: "bwdif" makes one whole frame of two halves, "bob" one of each half; "auto" is "bwdif" where the first
    frames are interlaced, and "off" elsewhere; None leaves them as they are, unlooked at.
    """

    def __init__(
        self, path: Path, *, sound: bool = False, trusted: bool = False, deinterlace: Deinterlace | None = None
    ) -> None:
        self.path, self._trusted = path, trusted
        self.decoded = self.given = self.resized = self.uneven = 0
        self.demuxer = Demuxer(path, sound=sound)
        self.shortfall = Shortfall(self.demuxer)
        try:
            raw = self._decode()
            head = list(islice(raw, _HEAD))
            self._interlacing = Interlacing.of(head, deinterlace)
            self._frames = self._interlacing.whole(chain(head, raw))
            head = list(islice(self._frames, _HEAD))
            if not head:
                demuxer, codec = self.demuxer, self.demuxer.video.codec_context.codec.canonical_name
                raise no_frame(path, codec, self.shortfall.damaged, demuxer.failure, demuxer.encrypted)
        except BaseException:
            self.close()
            raise
        self._first, self._clock = head[0], self.demuxer.clock
        self._learn(head)
        with reading(path):
            self._losses = (*losses(head[0]), *filter(None, [self._interlacing.note]))
            self._hdr, self._alpha = hdr_of(head[0]), any(map(seen_through, head))
            self._siting = siting_of(head[0], self.demuxer.video.codec_context.codec.canonical_name)
        self._reached: Fraction | None = None
        self._seen_from: Fraction | None = None
        self._decoded: Iterator[VideoFrame] = chain(head, self._frames)

    def _learn(self, head: "list[VideoFrame]") -> None:
        """What the times of the first frames tell."""
        stamps = [(seconds_of(frame, frame.pts), seconds_of(frame, frame.dts)) for frame in head]
        self._stamps = BestStamps(stamps)
        best = [self._stamps.of(*stamp) for stamp in stamps]
        self._stamps = BestStamps(stamps)
        stream = self.demuxer.video
        told = [stream.average_rate, stream.guessed_rate]
        told = [rate and rate * self._interlacing.faster for rate in told][:: 1 if best[0] is not None else -1]
        tick = rounded_to(best, self._clock)
        self.rate = nominal_rate(best, tick, told, of_rounded=tick != self._clock)
        self.origin = best[0] or Fraction(0)
        if self._stamps.by_decoding:
            self.origin = min(stamp for stamp in (*stamps[0], self.origin) if stamp is not None) - self._clock
        self._times, trial = (FrameTimes(self.origin, self.rate, tick) for _ in range(2))
        grid = [trial.following(stamp) for stamp in best]
        self._even = all(later - earlier == 1 / self.rate for earlier, later in pairwise(grid))

    def close(self) -> None:
        self.demuxer.close()

    @property
    def info(self) -> VideoInfo:
        stream, frame = self.demuxer.video, self._first
        width, height = frame.width, frame.height
        aspect = stream.sample_aspect_ratio or Fraction(1)
        if is_turned(frame):
            width, height, aspect = height, width, 1 / aspect
        return VideoInfo(
            width=width,
            height=height,
            rate=self.rate,
            even=self._even,
            time_base=self._clock,
            pixel_aspect=aspect,
            colour=replace(sampled_as(frame), siting=self._siting),
            duration=self._duration(),
            codec=stream.codec_context.codec.canonical_name,
            pixels=frame.format.name,
            hdr=self._hdr,
            losses=self._losses,
            alpha=self._alpha,
            scan=self._interlacing.found,
        )

    def _duration(self) -> Fraction | None:
        duration, whole = self.demuxer.video.duration, self.demuxer.container.duration
        return duration * self._clock if duration else Fraction(whole, 1_000_000) if whole else None

    def repairs(self) -> list[str]:
        """What was made good of the times, of the frames read so far."""
        found = [f"{counted(count, 'frame')} {what}" for what, count in self._times.repaired.items()]
        if self._stamps.by_decoding:
            found = [f"{counted(self.decoded, 'frame')} with times of decoding only"]
        jumps = self.demuxer.continuity.repaired
        found += [f"{counted(jumps, 'jump')} of the file's clock"] if jumps else []
        return found + ([f"{counted(self.resized, 'frame')} of another size than the first"] if self.resized else [])

    def missing(self, *, whole: bool) -> list[str]:
        """What of the video did not come, in words, once it has been read. whole: to its end, not only a part."""
        return self.shortfall.sentences(self.origin, self._reached or Fraction(0), self.rate, whole=whole)

    def frames(
        self, start: Fraction | None = None, end: Fraction | None = None, seen_from: Fraction | None = None,
        *, next_too: bool = False,
    ) -> Iterator[TimedFrame]:  # fmt: skip
        """Frames whose time is in [start, end), in order of time, all of the first frame's size.

        Those before `seen_from` have no picture, which saves time. next_too: and the one after `end`, of no duration.
        """
        self._seen_from = seen_from
        if start is not None:
            self._seek(start)
        earlier: tuple[Fraction, VideoFrame] | None = None
        for time, frame in self._timed():
            until = time if end is None else min(time, end)
            # One frame is held back, because it lasts until the next one.
            if earlier is not None:
                yield self._timed_frame(*earlier, until - earlier[0])
            if until < time or until == end:
                if next_too and earlier is not None:
                    yield TimedFrame(time, Fraction(0), self._rgb(frame), as_shown(frame, self._first))
                return
            earlier = (time, frame) if start is None or time >= start else None
        if earlier is not None:
            time, frame = earlier
            length = Fraction(frame.duration or 0) * frame.time_base if frame.time_base else Fraction(0)
            if abs(length * self.rate - 1) < Fraction(1, 2) or length * self.rate < 1:
                length = 1 / self.rate
            yield self._timed_frame(time, frame, length)

    def pictures(self, first: int = 0, count: int | None = None) -> Iterator[np.ndarray]:
        """Frames number `first` and so on, (H, W, 3) each, `count` of them or all.

        Numbers from 0 are those of the frames that `frames()` gives. All before `first` are decoded, for nothing else
        tells their number for certain, but not converted.
        """
        for frame in islice(self._decoded, first, None if count is None else first + count):
            yield self._rgb(frame)

    def ends(self, most: int) -> tuple[int, np.ndarray, np.ndarray]:
        """How many frames there are, `most` + 1 if there are more than `most`; the first and the last one counted."""
        count, last = 0, self._first
        for frame in islice(self._decoded, most + 1):
            count, last = count + 1, frame
        return count, self._rgb(self._first), self._rgb(last)

    def _seek(self, start: Fraction) -> None:
        """Goes on from a frame at or before `start`."""
        if self.path == STREAM:
            return  # what comes earlier is read and left out
        for target in (start, Fraction(0)):
            if start > 0 and self.demuxer.seek(self.origin + target - Fraction(1, 2)):
                self._frames = self._interlacing.whole(self._decode())
                frame = next(self._frames, None)
                stamp = None if frame is None else self._best(frame)
                if frame is not None and stamp is not None and stamp - self.origin <= target:
                    self._decoded = chain([frame], self._frames)
                    return
        # Searching missed even the beginning: read the file once more.
        self.demuxer.reopen()
        self._decoded = self._interlacing.whole(self._decode())

    def _timed(self) -> "Iterator[tuple[Fraction, VideoFrame]]":
        before: Fraction | None = None
        for frame in self._decoded:
            stamp = self._best(frame)
            time = self._times.following(stamp)
            self.shortfall.between(before, stamp, self.rate)
            before = stamp
            self.uneven += self._reached is not None and time - self._reached != 1 / self.rate
            self._reached = time
            yield time, frame
        self.shortfall.behind(before, self.rate)

    def _best(self, frame: "VideoFrame") -> Fraction | None:
        return self._stamps.of(seconds_of(frame, frame.pts), seconds_of(frame, frame.dts))

    def _decode(self) -> "Iterator[VideoFrame]":
        """Decoded frames; packets that cannot be decoded are counted and left out."""
        av = require("av")
        shown: VideoFrame | None = None
        for packet in self.demuxer.pictures():
            if not packet.size and packet.dts is not None:
                if shown is not None and not self.demuxer.video.codec_context.has_b_frames:
                    again = shown_again(shown, packet)
                    self._check(again)
                    yield again
                continue
            self._check_size(packet.size)
            try:
                decoded = self.demuxer.decode(packet)
            except av.FFmpegError:
                self.shortfall.damaged += 1
                continue
            for shown in decoded:
                self._check(shown)
                yield shown
        if self.demuxer.failure is not None:
            with contextlib.suppress(av.FFmpegError):
                yield from self.demuxer.decode(None)

    def _check_size(self, size: int) -> None:
        """Refuses bombs before they are decoded."""
        context = self.demuxer.video.codec_context
        if not self._trusted and size and context.width * context.height > max(_HUGE, _PIXELS_PER_BYTE * size):
            raise bomb(self.path, context.width, context.height, size)

    def _check(self, frame: "VideoFrame") -> None:
        self.decoded += 1
        if frame.width * frame.height > MOST_PIXELS:
            raise UserError(f"cannot read {name_of(self.path)}: its frames have more than {MOST_PIXELS} pixels")

    def _timed_frame(self, time: Fraction, frame: "VideoFrame", duration: Fraction) -> TimedFrame:
        self.given += 1
        self.shortfall.spoilt += frame.is_corrupt
        hidden = self._seen_from is not None and time < self._seen_from
        return TimedFrame(time, duration, _NOTHING if hidden else self._rgb(frame), as_shown(frame, self._first))

    def _rgb(self, frame: "VideoFrame") -> np.ndarray:
        self.resized += (frame.width, frame.height) != (self._first.width, self._first.height)
        with reading(self.path):
            return upright_rgb(frame, self._first)
