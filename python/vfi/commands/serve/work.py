"""What a worker does with the files of a session, which lie in the folder where it is. Everything is plain data, as it
goes through a pipe; names of files are those in the folder."""

from collections.abc import Callable, Mapping
from contextlib import closing
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import cast

import numpy as np

from vfi.commands import interpolate_images
from vfi.commands.from_python import interpolate
from vfi.commands.notebook import Result, as_png
from vfi.commands.probe import described, told
from vfi.commands.program import in_one_line
from vfi.commands.serve.answers import Pictured, Planned, Rendered
from vfi.drawing.panels import strip
from vfi.engines.names import Engine, taken
from vfi.errors import UserError
from vfi.files.images import IMAGES, on_screen, write_image
from vfi.models.devices import choose_device
from vfi.models.interpolator import Interpolator
from vfi.models.kept import kept_model
from vfi.models.pictures import Pictures
from vfi.video.inputs import Reader, opened
from vfi.video.reader import VideoReader

Tell = Callable[[int, int | None], object]
SHOWN = 30  # seconds of a video that are made anew where a browser does not show it as it is
_MOST = 8192 * 4352  # pixels of a frame
_BROWSERS = {"h264": ("yuv420p", "yuvj420p"), "vp9": ("yuv420p",), "av1": ("yuv420p", "yuv420p10le")}
_PLAYED = (".mp4", ".m4v", ".webm")


def plan(asked: Mapping[str, object], tell: Tell) -> Planned:
    """What a video is, and what would be made of it."""
    source = Path(str(asked["source"]))
    if source.suffix in IMAGES and source.suffix not in (".webp", ".avif"):
        raise UserError(f"expected a video, got an image ({source.suffix}): for two of them there is the other tab")
    with closing(_opened(source)) as reader:
        info = reader.info
        known = described(reader)
    file = [in_one_line(line) for line in told({name: known.get(name) for name in ("container", "seconds")})]
    seconds = None if info.duration is None else float(info.duration)
    most = cast(float, asked["longest"])
    if seconds is not None and seconds > most:
        raise UserError(f"expected a video of at most {most:g} seconds, got {seconds:.1f}")
    return {"seconds": seconds, "file": file, "plan": list(_run(asked, dry_run=True).said)}


def render(asked: Mapping[str, object], tell: Tell) -> Rendered:
    """The video `output`, and names of what a browser shows of it, and of the source."""
    source, number = Path(str(asked["source"])), asked["number"]
    part = {name: asked[name] for name in ("start", "end") if asked.get(name) is not None}
    done = _run(asked, progress=tell, **part)
    output = Path(str(asked["output"]))
    before = source if not part and _plays(source) else _copied(source, f"before-{number}.mp4", **part)
    after = output if _plays(output) else _copied(output, f"after-{number}.mp4")
    return {
        "before": before.name,
        "after": after.name,
        "begins": [_begins(before), _begins(after)],
        "output": output.name,
        "bytes": output.stat().st_size,
        "said": [*done.said, *done.notes, *filter(None, [done.incomplete])],
        "cut": before != source or after != output,
    }


def moment(asked: Mapping[str, object], tell: Tell) -> Pictured:
    """Of a moment of a video: the frame seen there, the one in the middle to the next, and what is behind it."""
    at = Fraction(str(asked["at"]))
    with closing(_opened(Path(str(asked["source"])))) as reader:
        near = max(Fraction(0), at - 2 / reader.rate)
        frames = [frame for frame in islice(reader.frames(near), 6)]
    pairs = list(pairwise(frames))
    if not pairs:
        raise UserError(f"expected a moment with a frame behind it, got {float(at):.2f} seconds")
    chosen = [pair for pair in pairs if pair[0].time <= at] or pairs[:1]
    first, second = (frame.rgb for frame in chosen[-1])
    model, device = _model(asked)
    middle = next(iter(Pictures(model, device).between(first, second, [0.5])))
    return _pictures(asked, (first, second), middle, 0.5)


def between(asked: Mapping[str, object], tell: Tell) -> Pictured:
    """What is between two images, at t, as a file, and what is behind it."""
    first, second = (Path(str(name)) for name in cast("list[str]", asked["sources"]))
    t = float(cast(float, asked["t"]))
    image0, image1 = interpolate_images.read_pair(first, second)
    _check_size(image0.pixels.shape[1], image0.pixels.shape[0])
    model, device = _model(asked)
    made = next(iter(Pictures(model, device).between(image0.pixels, image1.pixels, [t])))
    output = Path(str(asked["output"]))
    write_image(output, made, gray=image0.gray and image1.gray and not image0.had_alpha, like=image0)
    pair = on_screen(image0.pixels), on_screen(image1.pixels)
    return _pictures(asked, pair, on_screen(made), t, output.name)


def load(asked: Mapping[str, object], tell: Tell) -> None:
    """A model, to say at once what is wrong with its weights."""
    _model(asked)


WORK: dict[str, Callable[[Mapping[str, object], Tell], object]] = {
    "load": load, "plan": plan, "render": render, "moment": moment, "between": between,
}  # fmt: skip


def _opened(source: Path) -> Reader:
    reader = opened(source, sound=True, deinterlace="auto")
    try:
        _check_size(reader.info.width, reader.info.height)
    except BaseException:
        reader.close()
        raise
    return reader


def _check_size(width: int, height: int) -> None:
    if width * height > _MOST:
        raise UserError(f"expected frames of at most {_MOST / 1e6:.0f} million pixels, got {width}x{height}")


def _run(asked: Mapping[str, object], **more: object) -> Result:
    """Progress is nothing where it is not among `more`."""
    model, _ = _model(asked)
    options: dict[str, object] = {
        **cast("dict[str, object]", asked["how"]),
        "progress": False,
        "overwrite": True,
        **more,
    }
    run: Callable[..., Result] = interpolate
    return run(str(asked["source"]), str(asked["output"]), model=model, **options)


def _model(asked: Mapping[str, object]) -> tuple[Interpolator, str]:
    engine, precision = taken(cast("Engine | None", asked.get("engine")), None, "auto")
    device = choose_device(cast("str | None", asked.get("device")))
    weights = cast("str | None", asked.get("weights"))
    return kept_model(str(asked["model"]), weights, device, engine=engine, precision=precision)[0], device


def _plays(path: Path) -> bool:
    """Whether any browser of today shows the file."""
    if path.suffix not in _PLAYED:
        return False
    with closing(opened(path)) as reader:
        if not isinstance(reader, VideoReader):
            return False
        context = reader.demuxer.video.codec_context
        return context.pix_fmt in _BROWSERS.get(context.codec.canonical_name, ())


def _begins(path: Path) -> float:
    """Seconds after the beginning of the file that its picture begins."""
    with closing(opened(path)) as reader:
        assert isinstance(reader, VideoReader)
        return max(0.0, float((reader.demuxer.video.start_time or 0) * reader.demuxer.clock))


def _copied(source: Path, name: str, **part: object) -> Path:
    """For a browser: its first seconds, or those of the part."""
    if not part:
        with closing(opened(source)) as reader:
            long = reader.info.duration is None or reader.info.duration > SHOWN
        part = {"end": SHOWN} if long else {}
    run: Callable[..., Result] = interpolate
    for_browsers = {"codec": "h264", "pixel_format": "yuv420p", "preset": "veryfast", "crf": 18}
    run(str(source), name, factor=1, overwrite=True, progress=False, engine="torch", **for_browsers, **part)
    return Path(name)


def _pictures(
    asked: Mapping[str, object], pair: tuple[np.ndarray, np.ndarray], made: np.ndarray, t: float, output: str = ""
) -> Pictured:
    """Names of files: before and after, to lay over each other, and pictures of what the model found."""
    model, device = _model(asked)
    seen = [on_screen(np.ascontiguousarray(each[..., :3])) for each in (*pair, made)]
    explanation = interpolate_images.explained(model, (seen[0], seen[1]), t, device)
    panels = [] if explanation is None else explanation.panels()
    number = asked["number"]
    names = [f"picture-{number}-{each}.png" for each in ("before", "after")]
    for name, picture in zip(names, (seen[0], seen[2])):
        Path(name).write_bytes(as_png(picture))
    behind = []
    for place, panel in enumerate(panels):
        behind.append(f"picture-{number}-{place}.png")
        write_image(Path(behind[-1]), strip([panel], columns=1, panel_width=640))
    return {"pair": names, "behind": behind, "output": output}
