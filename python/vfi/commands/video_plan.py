"""What is asked of a video, and what will be rendered and written for it: settled before the first frame."""

import math
from collections.abc import Set
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal

from vfi.commands.progress import Shown
from vfi.errors import UserError
from vfi.video.av_common import STREAM, counted
from vfi.video.containers import Clock, clock_for, in_words, is_y4m
from vfi.video.encodings import Encoding, encoder_asked
from vfi.video.inputs import Reader
from vfi.video.interlaced import Deinterlace
from vfi.video.reader import VideoInfo
from vfi.video.sound_tracks import Sound
from vfi.video.timeline import MOST_TIMES, Listed, Multiplied, Regular, Timeline, Until

_SHOWN = 5  # times that are told one by one
# Seconds by which sound begins earlier in many files; more than that is kept.
_LEAST_LEAD = Fraction(1, 10)


@dataclass(frozen=True)
class VideoJob:
    source: Path
    output: Path
    factor: Fraction | None = None
    fps: Fraction | None = None
    times: list[Fraction] | None = None
    start: Fraction | None = None
    end: Fraction | None = None
    slow_motion: Fraction = Fraction(1)
    scene_cuts: bool | tuple[Fraction, ...] = True
    overwrite: bool = False
    encoding: Encoding = field(default_factory=Encoding)
    sound: Sound = field(default_factory=Sound)
    trust_input: bool = False
    deinterlace: Deinterlace = "auto"
    dedup: bool = False
    target: Literal["even", "distinct"] = "even"  # with dedup: times that are evenly spaced, or between distinct frames
    progress: Shown = "auto"
    segment: Fraction = Fraction(60)  # seconds of the output; 0: all at once
    resume: bool = False
    dry_run: bool = False
    images: tuple[Path, ...] = ()  # of a sequence, in place of the file `source`
    input_fps: Fraction = Fraction(25)  # of a sequence
    settings: tuple[tuple[str, str], ...] = ()  # all that the pictures depend on beside the source, by name
    address: Path | None = None  # where the output, a file of this machine, is put when it is whole; None: it stays

    @property
    def named(self) -> Path:
        """What the output is called."""
        return self.address or self.output


def output_seconds(job: VideoJob, info: VideoInfo) -> Fraction | None:
    """How long the output will be, about; None where the source does not tell its length."""
    if info.duration is None:
        return None
    end = info.duration if job.end is None else min(job.end, info.duration)
    return max(Fraction(0), end - (job.start or 0)) * job.slow_motion


def check_job(job: VideoJob) -> None:
    """Refuses numbers that make no sense together."""
    if job.factor is not None and not 1 <= job.factor <= MOST_TIMES:
        raise UserError(f"--factor must be from 1 to {MOST_TIMES}, got {float(job.factor):g}")
    if job.times and (job.start is not None or job.end is not None):
        raise UserError("--times are positions in the whole video; leave out --start and --end")
    if job.start is not None and job.end is not None and job.end <= job.start:
        raise UserError(f"--end ({float(job.end):g} s) must be after --start ({float(job.start):g} s)")


def check_cuts(job: VideoJob, info: VideoInfo) -> None:
    """Refuses a list of scene cuts none of which lies within the video."""
    times, length = job.scene_cuts, info.duration
    if not isinstance(times, bool) and times and length is not None and min(times) >= length:
        last = f"the video ends after {float(length):g} seconds"
        raise UserError(f"--scene-cuts: none of {counted(len(times), 'time')} lies within the video: {last}")


def stray_cuts(job: VideoJob, met: Set[Fraction]) -> str | None:
    """Says which of the times of a list are those of no frame. met: those that are; None: all that could be are."""
    if isinstance(job.scene_cuts, bool):
        return None
    begin, end = job.start or Fraction(0), job.end
    stray = [time for time in job.scene_cuts if time not in met and time >= begin and (end is None or time < end)]
    if not stray:
        return None
    such = ", ".join(f"{float(time):g}" for time in stray[:_SHOWN]) + (" and so on" if len(stray) > _SHOWN else "")
    return f"--scene-cuts: of {counted(len(job.scene_cuts), 'time')}, {len(stray)} with no frame of the video: {such}"


@dataclass(frozen=True)
class Plan:
    """What will be rendered, and with what clock it is written; settled before the first frame is.

    origin: the time of the first frame written. lead: for how long it is held before, since the sound begins earlier.
    """

    timeline: Timeline
    clock: Clock
    origin: Fraction
    lead: Fraction = Fraction(0)
    constant: bool = False
    notices: tuple[str, ...] = ()


def plan_for(job: VideoJob, reader: Reader, origin: Fraction, to_images: bool) -> Plan:
    """Times and clock that the options ask for and the output can hold, the nearest that it can."""
    info, slower = reader.info, job.slow_motion
    timeline, rate = choose_timeline(job, info, origin), output_rate(job, info)
    if to_images:
        return Plan(_until(job, timeline), Clock(1 / rate, rate), origin)
    alpha = info.pixels if info.alpha else None
    clock = clock_for(job.output, encoder_asked(job.encoding, job.output, rate, info.codec, alpha), rate)
    kind, notices = "pipes" if job.output == STREAM else f"{job.output.suffix} files", []
    if clock.rate != rate:
        because = "GIF players show no more" if job.output.suffix.lower() == ".gif" else f"{kind} hold no other"
        asked, held = in_words(rate, clock.rate)
        notices.append(f"{asked} frames per second become {held}: {because}")
    elif clock.constant and not info.even and not job.fps and not job.times:
        notices.append(f"the variable rate becomes constant, {float(rate):g} frames per second: {kind} hold no other")
    constant = not job.times and (clock.constant or clock.rate != rate)
    lead = Fraction(0)
    if not is_y4m(job.output) and slower == 1 and not job.times and not job.start and job.sound.keep:
        lead = _lead(reader)
    if lead:
        notices.append(f"the first frame is held for {float(lead):.2f} seconds: the sound begins so much earlier")
    if constant:
        timeline = Regular(clock.rate * slower, origin - lead)
    return Plan(_until(job, timeline), clock, origin - lead, lead, constant, tuple(notices))


def _lead(reader: Reader) -> Fraction:
    """By how much the sound begins before the picture, if by more than encoders put there, in whole frames."""
    if reader.demuxer is None:
        return Fraction(0)
    leads, sounds = [Fraction(0)], [reader.demuxer.sound.get(stream.index) for stream in reader.demuxer.audio]
    for time, packet in (queue[0] for queue in sounds if queue):
        lead, own = reader.origin - time, 2 * (packet.duration or 0) * packet.time_base
        leads += [lead] if lead > max(own, _LEAST_LEAD) else []
    return math.ceil(max(leads) * reader.rate) / reader.rate


def _until(job: VideoJob, timeline: Timeline) -> Timeline:
    return timeline if job.end is None else Until(timeline, job.end)


def choose_timeline(job: VideoJob, info: VideoInfo, origin: Fraction) -> Timeline:
    """The times that the options ask for; slow motion keeps the source's frame rate unless told otherwise."""
    if job.times:
        return Listed(sorted(set(job.times)))
    if job.fps:
        return Regular(job.fps * job.slow_motion, origin)
    factor = _factor(job)
    if factor.denominator > 1 or (job.dedup and job.target == "even"):
        return Regular(info.rate * factor, origin)
    return Multiplied(int(factor))


def output_rate(job: VideoJob, info: VideoInfo) -> Fraction:
    """Frames per second of most of what the options ask for."""
    if job.fps:
        return job.fps
    return info.rate * _factor(job) / job.slow_motion


def _factor(job: VideoJob) -> Fraction:
    """How many times as many frames; slow motion keeps the frames per second."""
    return job.factor or (Fraction(2) if job.slow_motion == 1 else job.slow_motion)
