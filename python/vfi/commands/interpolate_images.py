"""Two photographs in; frames between them out, with a comparison against the truth and a strip of pictures."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vfi.commands.program import has_written, note, say
from vfi.commands.written import Written
from vfi.drawing.panels import Panel, strip
from vfi.errors import Incomplete, UserError
from vfi.evaluation import metrics
from vfi.files.atomic import check_target
from vfi.files.images import (
    Image,
    as_kind,
    is_image_name,
    losses,
    on_screen,
    read_image,
    to_tensor,
    with_alpha,
    write_image,
)  # fmt: skip
from vfi.models.interpolator import Explanation, Interpolator
from vfi.models.pictures import Pictures

_NUMBER = re.compile(r"%0?(\d{0,2})d")


@dataclass(frozen=True)
class ImageJob:
    first: Path
    second: Path
    output: Path
    times: tuple[float, ...]
    ground_truth: Path | None = None
    strip: Path | None = None
    show_route: Path | None = None
    overwrite: bool = False
    ends: bool = False  # the given frames are written, too


def numbered(pattern: Path, number: int, digits: int) -> Path:
    """The pattern with %d (or %03d) filled in; without it, the number with `digits` digits before the suffix."""
    field = _NUMBER.search(pattern.name)
    if field is None:
        return pattern.with_name(f"{pattern.stem}_{number:0{digits}d}{pattern.suffix}")
    text = f"{number:0{int(field[1] or 1)}d}"
    return pattern.with_name(pattern.name[: field.start()] + text + pattern.name[field.end() :])


def numbered_outputs(pattern: Path, count: int) -> list[Path]:
    """One name per frame: the name itself for one without %d in it, else numbered from 1."""
    if count == 1 and not _NUMBER.search(pattern.name):
        return [pattern]
    return [numbered(pattern, number, digits=len(str(count))) for number in range(1, count + 1)]


def read_pair(first: Path, second: Path) -> tuple[Image, Image]:
    """Two images of one size, with the numbers and the alpha of that which has more."""
    image0, image1 = read_image(first), read_image(second)
    if image0.rgb.shape != image1.rgb.shape:
        raise UserError(f"the two images differ in size: {first} is {_size(image0)}, {second} is {_size(image1)}")
    kind = max(image0.pixels.dtype, image1.pixels.dtype, key=lambda kind: kind.itemsize)
    pictures = [as_kind(image.pixels, kind) for image in (image0, image1)]
    if image0.had_alpha != image1.had_alpha:
        pictures = [with_alpha(picture) for picture in pictures]
    return replace(image0, pixels=pictures[0]), replace(image1, pixels=pictures[1])


def check_whole(*images: tuple[Path, Image]) -> None:
    """Says which are damaged, once their result is written.

    Raises:
        Incomplete: if one is.
    """
    damaged = [(path, image) for path, image in images if image.damage]
    for path, image in damaged:
        note(f"{path} is damaged, and taken as decoded: {image.damage}")
    if damaged:
        raise Incomplete(f"{' and '.join(str(path) for path, _ in damaged)}: damaged, the result with it")


def run(job: ImageJob, model: Interpolator, device: str) -> None:
    """Writes the frames and prints where they are and how good they are."""
    if job.ground_truth is not None and len(job.times) != 1:
        raise UserError("--ground-truth is one image, so give one --t with it")
    times = (0.0, *job.times, 1.0) if job.ends else job.times
    outputs = numbered_outputs(job.output, len(times))
    sources = tuple(path for path in (job.first, job.second, job.ground_truth) if path is not None)
    targets = list(outputs)
    for option, path in (("--strip", job.strip), ("--show-route", job.show_route)):
        if path is not None and path.resolve() in [target.resolve() for target in targets]:
            raise UserError(f"{option} {path} is also the name of a result")
        if path is not None and not is_image_name(path):
            raise UserError(f"expected {option} to be the name of an image, such as {path.stem}.png, got {path}")
        targets += [path] if path is not None else []
    for target in targets:
        check_target(target, overwrite=job.overwrite, inputs=sources)
    image0, image1 = read_pair(job.first, job.second)
    truth = read_image(job.ground_truth) if job.ground_truth else None
    if truth is not None and truth.rgb.shape != image0.rgb.shape:
        raise UserError(f"the ground truth is {_size(truth)}, the images are {_size(image0)}")

    for loss in dict.fromkeys((*image0.lost, *image1.lost, *losses(image0.pixels, outputs[0]))):
        note(loss)
    arrays = list(Pictures(model, device).between(image0.pixels, image1.pixels, job.times))
    written = [image0.pixels, *arrays, image1.pixels] if job.ends else arrays
    for path, t, array in zip(outputs, times, written, strict=True):
        write_image(path, array, gray=image0.gray and image1.gray and not image0.had_alpha, like=image0)
        say(f"wrote {path} (t = {t:g})")
    has_written(Written(tuple(outputs), len(outputs), len(arrays)))
    if truth is not None:
        made = as_kind(arrays[0], truth.pixels.dtype)
        say(f"against {job.ground_truth}: {metrics.compare(*(on_screen(each) for each in (made, truth.pixels)))}")
    if job.strip or job.show_route:
        arrays = [on_screen(array) for array in arrays]
        middle, pair = len(arrays) // 2, (on_screen(image0.pixels), on_screen(image1.pixels))
        explanation = explained(model, pair, job.times[middle], device)
        if job.strip:
            write_strip(job.strip, strip_panels(pair, arrays[middle], job.times[middle], explanation, truth))
        if job.show_route and explanation is not None:
            write_strip(job.show_route, explanation.route_panels(arrays[middle]), columns=2)
    truths = [(job.ground_truth, truth)] if job.ground_truth is not None and truth is not None else []
    check_whole((job.first, image0), (job.second, image1), *truths)


def write_strip(path: Path, panels: list[Panel], columns: int = 3) -> None:
    write_image(path, strip(panels, columns=columns))
    say(f"wrote {path} ({', '.join(panel.title for panel in panels)})")


def strip_panels(
    pair: tuple[np.ndarray, np.ndarray],
    result: np.ndarray,
    t: float,
    explanation: Explanation | None,
    truth: Image | None = None,
) -> list[Panel]:
    """Inputs and result; then truth or average, and those of the model's explanation, if it has one."""
    panels = [
        Panel("frame 0 (input)", pair[0]),
        Panel(f"interpolated, t = {t:g}", result),
        Panel("frame 1 (input)", pair[1]),
    ]
    if truth is not None:
        panels.append(Panel("true frame", on_screen(truth.pixels)))
    else:
        mean = (1 - t) * pair[0].astype(np.float64) + t * pair[1]
        panels.append(Panel("average of the inputs, for comparison", mean.round().astype(pair[0].dtype)))
    return panels if explanation is None else panels + explanation.panels()


def explained(model: Interpolator, pair: tuple[np.ndarray, np.ndarray], t: float, device: str) -> Explanation | None:
    """What the model's `explain` says of two RGB pictures."""
    swap = [2, 1, 0] if model.channel_order == "bgr" else [0, 1, 2]
    frame0, frame1 = (to_tensor(np.ascontiguousarray(image[..., swap]), device) for image in pair)
    return model.explain(frame0, frame1, t)


def times_from(times: Sequence[float] | None, factor: int | None, frames: int | None = None) -> tuple[float, ...]:
    """The times asked for: given ones, even ones between two of `factor` + 1 or `frames` frames, or the middle."""
    if sum(bool(choice) for choice in (times, factor, frames)) > 1:
        raise UserError("give only one of --t, --factor and --num-frames")
    if frames is not None and frames < 3:
        raise UserError(f"--num-frames must be at least 3, the two images and one between, got {frames}")
    factor = frames - 1 if frames else factor
    if factor:
        if factor < 2:
            raise UserError(f"--factor must be at least 2 for two images, got {factor}")
        return tuple(i / factor for i in range(1, factor))
    return tuple(times) if times else (0.5,)


def _size(image: Image) -> str:
    return f"{image.rgb.shape[1]}x{image.rgb.shape[0]}"
