"""Which images the words of a command line mean, and what else is there that they do not mean."""

from collections.abc import Sequence
from pathlib import Path

from vfi.commands.program import note
from vfi.errors import UserError
from vfi.files.images import is_image_name
from vfi.video.animation import moves
from vfi.video.av_common import counted
from vfi.video.containers import CONTAINERS
from vfi.video.sequence import images_of

# Files that are taken for videos in a folder: those that can be written, and these.
_READ = {*CONTAINERS, ".wmv", ".3gp", ".ogv", ".y4m", ".mpv", ".m2v", ".asf", ".rm", ".nut", ".apng", ".dv", ".divx"}


def is_video(path: Path) -> bool:
    """Of a file in a folder, by its name, or by what is in it if it may be a still image."""
    return path.is_file() and not path.name.startswith(".") and (path.suffix.lower() in _READ or moves(path))


def is_image(path: Path) -> bool:
    """As `is_video`."""
    return path.is_file() and not path.name.startswith(".") and is_image_name(path) and not moves(path)


FOLDER = ", or a folder that exists as --output"


def images_among(inputs: Sequence[Path], start: int | None, other_way: str = FOLDER) -> list[Path] | None:
    """As `images_of`; says which videos of a folder are left out. other_way: to have them, beside by name.

    Raises:
        UserError: if an animation is among them.
    """
    images = images_of(inputs, start)
    for path in images or ():
        if moves(path):
            raise UserError(f"{path} is a video of its own: give it alone{other_way}")
    if images and inputs[0].is_dir() and (videos := [path for path in sorted(inputs[0].iterdir()) if is_video(path)]):
        named = f"{counted(len(videos), 'video')} in {inputs[0]}, such as {videos[0].name},"
        note(f"{named} left out, since it has images: give videos by name{other_way}")
    return images


def say_left_out(folder: Path, *, recursive: bool) -> None:
    """Of a folder whose videos are taken: which images are not."""
    images = [path for path in sorted(folder.rglob("*") if recursive else folder.iterdir()) if is_image(path)]
    if images:
        named = f"{counted(len(images), 'image')} in {folder}, such as {images[0].name},"
        pattern = images[0].with_name(f"*{images[0].suffix}")
        note(f"{named} left out, since it has videos: for those give '{pattern}', and a file as --output")
