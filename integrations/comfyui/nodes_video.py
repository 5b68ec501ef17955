"""A node for videos: from file to file, so that sound and colours stay and memory does not grow."""

import dataclasses
import io
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import torch

import vfi
from vfi.video.timeline import MOST_TIMES

from . import host
from .nodes_frames import CATEGORY, CUTS, MODEL
from .sequence import LoadedModel, check_frames, cuts_of, interpolated, intervals

ALIKE = 1 / 2000  # rates that differ by less are one: 29.97 and 30000/1001 are, 30 is another
# Others become .mp4. Save Video always writes one, and loses Matroska's first frame, whose decoding time is not known.
_KEPT = (".mp4", ".mov", ".webm")


class InterpolateVideo:
    DESCRIPTION = "A smoother video with its sound, in ComfyUI's temporary folder: Save Video keeps it."
    CATEGORY, FUNCTION = CATEGORY, "vfi"
    RETURN_TYPES, RETURN_NAMES = ("VIDEO",), ("video",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, tuple]]:
        fps = "frames per second; 0: those of the video times the multiplier"
        return {
            "required": {
                "video": ("VIDEO",),
                "model": (MODEL,),
                "multiplier": ("INT", {"default": 2, "min": 1, "max": MOST_TIMES, "tooltip": "of its frame rate"}),
            },
            "optional": {
                "fps": ("FLOAT", {"default": 0.0, "min": 0.0, "max": 1000.0, "step": 0.001, "tooltip": fps}),
                "scene_cuts": ("BOOLEAN", {"default": True, "tooltip": CUTS}),
            },
        }

    @host.in_one_sentence
    def vfi(
        self, video: object, model: LoadedModel, multiplier: int = 2, fps: float = 0.0, scene_cuts: bool = True
    ) -> tuple:
        from comfy_api.input_impl import VideoFromFile

        if not isinstance(video, VideoFromFile):
            return (of_components(video, model, multiplier, fps, scene_cuts),)
        with source_of(video) as source:
            suffix = source.suffix.lower() if source.suffix.lower() in _KEPT else ".mp4"
            target = temporary(suffix)
            progress = host.Progress(1)
            rate = {"fps": rate_of(fps)} if fps else {"factor": multiplier}
            vfi.interpolate(
                source, target, model=model.model, device=model.device, scene_cuts=scene_cuts, segment=0,
                progress=progress.reached, **rate, **part_of(video),
            )  # fmt: skip
        return (VideoFromFile(str(target)),)


def of_components(video: object, model: LoadedModel, multiplier: int, fps: float, scene_cuts: bool) -> object:
    """Of a video that is in memory; the last frame is held, so that it is as long as it was."""
    from comfy_api.input_impl import VideoFromComponents

    parts = video.get_components()  # type: ignore[attr-defined]
    rate = parts.frame_rate
    factor = max(1, round(Fraction(fps) / rate)) if fps else multiplier
    if fps and abs(fps / (rate * factor) - 1) > ALIKE:
        raise host.NodeError(
            f"expected fps to be a multiple of {float(rate):g} for a video that is in memory, got {fps:g}"
        )
    alpha = getattr(parts, "alpha", None)
    frames = parts.images if alpha is None else torch.cat([parts.images, alpha], -1)
    check_frames(frames)
    between = len(frames) - 1
    cuts = cuts_of(frames) if scene_cuts else [False] * between
    plan = intervals([factor] * between, None, cuts)
    made = interpolated(model, frames, plan, 1, 10, last=factor)
    changed = {"images": made[..., :3], "frame_rate": rate * factor}
    changed |= {} if alpha is None else {"alpha": made[..., 3:]}
    return VideoFromComponents(dataclasses.replace(parts, **changed))


def rate_of(fps: float) -> Fraction:
    """59.94 and the like mean their NTSC fraction."""
    exact = Fraction(str(round(fps, 6)))
    ntsc = Fraction(round(exact) * 1000, 1001)
    return ntsc if exact.denominator > 1 and abs(exact - ntsc) < Fraction(1, 200) else exact


def temporary(suffix: str) -> Path:
    import folder_paths

    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"vfi_{uuid.uuid4().hex}{suffix}"


@contextmanager
def source_of(video: object) -> Iterator[Path]:
    """The file of a video; one that is in memory lies in the temporary folder meanwhile."""
    source = video.get_stream_source()  # type: ignore[attr-defined]
    if not isinstance(source, io.BytesIO):
        yield Path(os.fspath(source))
        return
    path = temporary(".source")
    try:
        written(path, source)
        yield path
    finally:
        path.unlink(missing_ok=True)


def written(path: Path, source: io.BytesIO) -> None:
    try:
        path.write_bytes(source.getbuffer())
    except OSError as error:
        raise host.NodeError(f"cannot write {path}: {error.strerror or error}") from error


def part_of(video: object) -> dict[str, Fraction]:
    """Of a video that was trimmed; older releases of ComfyUI trim none."""
    window = getattr(video, "get_active_trim_window", lambda: (0.0, 0.0))()
    start, duration = (Fraction(str(round(seconds, 6))) for seconds in window)
    return {**({"start": start} if start else {}), **({"end": start + duration} if duration else {})}
