"""Frames between those of a batch: which, and how, with memory that does not grow but for the result."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vfi.models.between import InARow
from vfi.models.given_frames import form_of
from vfi.models.interpolator import Interpolator
from vfi.video.intervals import AT_ONCE
from vfi.video.scene_cuts import SceneCuts
from vfi.video.timeline import MOST_TIMES

from .host import NodeError, Progress, clear_cache

_MOST = 1_000_000  # numbers in a list


@dataclass(frozen=True)
class LoadedModel:
    """What VFI_MODEL is. device: where its frames are made."""

    model: Interpolator
    device: str


@dataclass(frozen=True)
class Interval:
    """From a frame to the next: the frame is shown `shown` times, and then come those at `times` between the two."""

    shown: int
    times: tuple[float, ...] = ()

    @property
    def count(self) -> int:
        return self.shown + len(self.times)


@dataclass
class FramesToSkip:
    """What INTERPOLATION_STATES is, here and in ComfyUI-Frame-Interpolation."""

    frame_indices: list[int]
    is_skip_list: bool = True

    def is_frame_skipped(self, frame_index: int) -> bool:
        """Whether nothing is put behind this frame."""
        return (frame_index in self.frame_indices) == self.is_skip_list


def numbers(text: str, what: str) -> list[int]:
    """Of "1, 2, 5-8"."""
    found: list[int] = []
    for word in text.replace(",", " ").split():
        said = re.fullmatch(r"([0-9]{1,15})(?:-([0-9]{1,15}))?", word)
        begin, end = (int(said[1]), int(said[2] or said[1])) if said else (0, -1)
        if end < begin:
            raise NodeError(f"expected {what} such as 1, 2, 5-8, got {word}")
        if len(found) + end - begin >= _MOST:
            raise NodeError(f"expected {what}, {_MOST} at most, got {word}")
        found += range(begin, end + 1)
    return found


def multipliers(given: object, listed: str, intervals: int) -> list[int]:
    """One for each interval: the same, or those of a list, behind which it is 2.

    given: a number, or a list of them, as other nodes give schedules. listed: the same as text; "": not given.
    """
    several = numbers(listed, "multipliers") if listed.strip() else given if isinstance(given, (list, tuple)) else None
    each = [given] * intervals if several is None else [*several, *[2] * (intervals - len(several))][:intervals]
    found = []
    for value in each:
        number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else -1
        if not 0 <= number <= MOST_TIMES or number != int(number):
            raise NodeError(f"expected a multiplier from 0 to {MOST_TIMES}, a whole number, got {value!r}")
        found.append(int(number))
    return found


def intervals(factors: Sequence[int], skipped: object, cuts: Sequence[bool]) -> list[Interval]:
    """What stands between each two frames: a multiplier of 0 leaves the frame out, a skipped frame stands alone, and
    before a cut it is repeated."""
    states = skipped if skipped is not None else FramesToSkip([])
    made = []
    for index, (factor, cut) in enumerate(zip(factors, cuts, strict=True)):
        if states.is_frame_skipped(index):  # type: ignore[attr-defined]
            made.append(Interval(min(factor, 1)))
        elif cut:
            made.append(Interval(factor))
        else:
            made.append(Interval(min(factor, 1), tuple(i / factor for i in range(1, factor))))
    return made


def cuts_of(frames: Tensor) -> list[bool]:
    """Of each frame but the last, whether another scene begins behind it."""

    def rgb(index: int) -> "object":
        return (frames[index, ..., :3].float().nan_to_num(0).clamp(0, 1) * 255).round().byte().cpu().numpy()

    begins = [begins for _, begins in SceneCuts().marked(range(len(frames)), rgb)]  # type: ignore[arg-type]
    return begins[1:]


def check_frames(frames: Tensor) -> None:
    if not isinstance(frames, Tensor) or frames.ndim != 4 or frames.shape[-1] not in (1, 3, 4) or 0 in frames.shape:
        got = tuple(frames.shape) if isinstance(frames, Tensor) else type(frames).__name__
        raise NodeError(f"expected frames (B, H, W, 3), got {got}")
    if len(frames) < 2:
        raise NodeError("expected two frames or more, got 1: nothing lies between them")


def interpolated(
    loaded: LoadedModel, frames: Tensor, plan: Sequence[Interval], batch_size: int, clear_after: int, last: int = 1
) -> Tensor:
    """The frames of the plan, and the last one `last` times; like `frames`, on the CPU."""
    total = sum(each.count for each in plan) + last
    progress = Progress(total)
    result = torch.empty((total, *frames.shape[1:]), dtype=frames.dtype)
    place = since = 0
    form, row = form_of(frames, frames, "BHWC"), InARow(loaded.model, loaded.device)
    second = frames[:1]
    for start, stop in groups(plan, batch_size):
        interval = plan[start]
        pairs, count = stop - start, interval.count
        part = result[place : place + pairs * count].view(pairs, count, *frames.shape[1:])
        part[:, : interval.shown] = frames[start:stop, None]
        progress.done(pairs * interval.shown)
        first, second = second if len(second) == pairs == 1 else frames[start:stop], frames[start + 1 : stop + 1]
        for at in range(0, len(interval.times), AT_ONCE):
            some = interval.times[at : at + AT_ONCE]
            for number, each in enumerate(row.between(form, first, second, some), interval.shown + at):
                part[:, number] = each
            progress.done(pairs * len(some))
        place, since = place + pairs * count, since + pairs
        if since >= clear_after:
            clear_cache()
            since = 0
    result[place:] = frames[-1]
    progress.done(last)
    clear_cache()
    return result


def groups(plan: Sequence[Interval], batch_size: int) -> Iterator[tuple[int, int]]:
    """Intervals in a row that are made at once, since they are alike."""
    start = 0
    for stop in range(1, len(plan) + 1):
        if stop == len(plan) or plan[stop] != plan[start] or stop - start >= batch_size:
            yield start, stop
            start = stop
