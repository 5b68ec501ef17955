"""`vfi.interpolate` and `vfi.frames`: what `vfi interpolate` does, whose options are the keywords."""

import argparse
import logging
import os
import re
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

from vfi import errors
from vfi.commands import interpolate as command
from vfi.commands import model_options, option_values
from vfi.commands.notebook import Frame, Result
from vfi.commands.program import Heard, listening, sentence_of
from vfi.commands.settings_file import SettingsParser
from vfi.commands.work_done import SomeFailed
from vfi.errors import Incomplete, UserError
from vfi.models.interpolator import Interpolator
from vfi.models.kept import placed

Names = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
Progress = bool | Callable[[int, int | None], object]
_OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)")
_OF_OUTPUT = (
    *("codec", "crf", "preset", "bitrate", "pixel_format", "encoder_option", "audio", "no_audio", "tracks"),
    *("segment", "resume", "dry_run", "list_cuts", "recursive"),
    *("t", "num_frames", "ends", "ground_truth", "strip", "show_route"),
)
_log = logging.getLogger("vfi")


class _Keywords(SettingsParser):
    """Takes what Python gives, and calls options as Python does."""

    def options(self, inputs: Names, output: object, given: Mapping[str, object]) -> argparse.Namespace:
        table = {name: plain(name, value) for name, value in given.items() if value is not None}
        cuts = table.get("scene_cuts")
        if isinstance(cuts, (bool, list)):
            table["scene_cuts"] = "off" if cuts is False else "auto"
        words = self.words({**table, "output": _name(output)})
        options = self.parse_args([*words, "--", *_names(inputs)])
        if isinstance(cuts, list):
            options.scene_cuts = tuple(map(_second, cuts))
        return options

    def spelled(self, name: str) -> str:
        return name.replace("-", "_")


def interpolate(
    input: Names, output: str | os.PathLike[str], *, progress: Progress = True, **options: object
) -> Result:
    """Frames between two images, or a smoother video: `vfi.interpolate("in.mp4", "out.mp4", factor=2)`.

    Does what `vfi interpolate in.mp4 -o out.mp4 --factor 2` does, whose options are the keywords: `slow_motion=4`,
    `fps="60000/1001"`, `t=[0.25, 0.5]`, `model="rife", weights="flownet.pkl"`, `overwrite=True`, `no_audio=True`;
    None is not given. `model` may also be one from `vfi.load_model`. Nothing is printed.

    Args:
        input: a video, a folder of images, a pattern such as "frames_%05d.png", or a list of two images.
        output: a video, an image, a name with %d for several images, or a folder that exists, for many videos.
        progress: True shows how far it is, as the command does; False nothing; a function is called after each frame
            with how many are done and about how many there will be (None: not known). What it raises ends the work.
        options: of the command. `scene_cuts` is also true or false, or a list of seconds.

    Returns:
        What was written. Of an input that is damaged or ended early there is what could be made of it, and a warning.

    Raises:
        UserError: in one sentence, if something is missing, cannot be read or written, or exists already; nothing is
            under the final name then. An ArgumentError, which is one, if an option is wrong.
    """
    incomplete = ""
    with spoken(), listening() as heard:
        asked = _asked(input, output, progress, options)
        try:
            asked.run(asked)
        except Incomplete as error:
            incomplete = _in_python(error.args[0])
        except SomeFailed as error:
            raise SomeFailed(f"{error}: {'; '.join(heard.notes)}") from error
    heard.notes = [_in_python(note) for note in heard.notes]
    if incomplete:
        warnings.warn(incomplete, stacklevel=2)
    return Result.of(heard, incomplete)


def frames(input: Names, *, progress: Progress = False, **options: object) -> Generator[Frame, None, None]:
    """The frames of a smoother video, one after the other: `for frame in vfi.frames("in.mp4", fps=60)`.

    They are those that `vfi.interpolate` would write, before they are encoded. Memory does not grow with the length.
    The source is closed at the end, after an error, and when the loop is left early.

    Args:
        input: a video, a folder of images, or a pattern.
        progress: as `vfi.interpolate` has it.
        options: those of `vfi.interpolate` that are not about a file that is written: `factor`, `fps`, `times`,
            `start`, `end`, `slow_motion`, `scene_cuts`, `dedup`, `deinterlace`, `input_fps`, `model`, `weights` ...

    Yields:
        Pictures (H, W, 3) RGB, or (H, W, 4) with alpha, uint8 or uint16 as the source has it, and their times.

    Raises:
        UserError: as `vfi.interpolate`; wrong options at once, what is wrong with the source with the first frame.
    """
    with spoken(), listening():
        asked = _asked(input, "arrays", progress, options)
        images = _images(asked)
        command.refuse(asked, _OF_OUTPUT, "vfi.interpolate")
        if len(asked.input) > 1 and not images:
            raise UserError(f"expected one video, got {len(asked.input)} files: for two images there is vfi.between")
    return _frames(asked, images)


def _frames(asked: argparse.Namespace, images: tuple[Path, ...]) -> Generator[Frame, None, None]:
    from vfi.commands import chosen_model
    from vfi.commands.video_rendering import planned

    with spoken(), ExitStack() as stack:
        with listening() as heard:
            job = replace(command.video_job(asked), images=images)
            video = stack.enter_context(planned(job, chosen_model.load_each(asked), "arrays"))
            rendered, _ = stack.enter_context(video.pictures())
        _tell(heard)
        for pixels, time, like in rendered:
            yield Frame(pixels, time, pixels is not like.rgb)
        with listening() as heard:
            missing = video.missing()
        _tell(heard)
    if missing:
        warnings.warn(missing.replace(", the result with it", ""), stacklevel=2)


def _images(asked: argparse.Namespace) -> tuple[Path, ...]:
    from vfi.commands.inputs import images_among

    images = tuple(images_among(asked.input, asked.start_number) or ())
    if not images:
        command.refuse(asked, ("input_fps", "start_number"), "a sequence of images")
        command.check_files(asked.input)
    return images


def _asked(inputs: Names, output: object, progress: Progress, given: dict[str, object]) -> argparse.Namespace:
    model = given.get("model")
    loaded = model if isinstance(model, Interpolator) else None
    try:
        asked = _keywords().options(inputs, output, given | ({} if loaded is None else {"model": None}))
    except UserError as error:
        raise errors.ArgumentError(_in_python(error.args[0])) from error
    if not isinstance(progress, bool) and not callable(progress):
        raise errors.ArgumentError(f"expected `progress` to be true, false or a function, got {progress!r}")
    if loaded is not None:
        chosen = [*model_options.by_name(model_options.of_models()), "weights", "engine", "precision", "max_memory"]
        devices = asked.device or [None]
        if len(devices) > 1:
            raise errors.ArgumentError(f"expected one `device` for a model that is loaded, got {len(devices)}")
        place = placed(loaded, devices[0], **{name: vars(asked)[name] for name in chosen})
        asked.loaded, asked.model = (loaded, place), loaded.called
        command.refuse(asked, ("resume",), "models that are named")
    asked.progress = "none" if progress is False else None if progress is True else progress
    return asked


@cache
def _keywords() -> _Keywords:
    parser = _Keywords(prog="vfi.interpolate")
    command.add_arguments(parser)
    return parser


@contextmanager
def spoken() -> Iterator[None]:
    """Inside, what people can do something about is a UserError, in which options are called as in Python."""
    try:
        yield
    except UserError as error:
        raise type(error)(_in_python(error.args[0])) from error
    except OSError as error:
        said = sentence_of(error)
        if said is None:
            raise
        raise UserError(said) from error


def _in_python(sentence: str) -> str:
    return _OPTION.sub(lambda name: name[1].replace("-", "_"), sentence)


def _tell(heard: Heard) -> None:
    for text in heard.notes:
        _log.info(_in_python(text))


def _names(given: Names) -> list[str]:
    several = isinstance(given, (list, tuple))
    if several and not given:
        raise errors.ArgumentError("expected `input` to be the name of a file or several, got none")
    return [_name(each) for each in (given if several else [given])]  # type: ignore[union-attr]


def _second(given: object) -> Fraction:
    """Of a list of scene cuts."""
    try:
        return option_values.seconds(str(given))
    except argparse.ArgumentTypeError as error:
        raise errors.ArgumentError(f"`scene_cuts`: {error}") from error


def _name(given: object) -> str:
    if not isinstance(given, (str, os.PathLike)) or not isinstance(os.fspath(given), str):
        raise errors.ArgumentError(f"expected `input` and `output` to be names of files, got {type(given).__name__}")
    if "\0" in str(given) or not str(given):
        raise errors.ArgumentError(f"expected names that files can have, got {str(given)!r}")
    return str(given)


def plain(name: str, value: object) -> object:
    """A value of an option as words, numbers, true or false, and lists of them."""
    value = getattr(value, "tolist", lambda: value)()  # of numpy and torch
    if isinstance(value, Mapping):
        return [f"{key}={each}" for key, each in value.items()]
    if isinstance(value, (list, tuple)):
        return [plain(name, each) for each in value]
    if isinstance(value, (str, os.PathLike)) and str(value).startswith("-") and len(str(value)) > 1:
        raise errors.ArgumentError(f"expected `{name}` without a dash before it, got {str(value)!r}")
    if isinstance(value, (bool, int, float, Fraction, str, os.PathLike)) or type(value).__module__ == "torch":
        return value
    raise errors.ArgumentError(f"expected `{name}` to be words, numbers, true or false, got {type(value).__name__}")
