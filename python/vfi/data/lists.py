"""Where the frames of data sets of pictures are, for evaluation and training. Nothing is read but their lists."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path, PureWindowsPath

from vfi import errors
from vfi.data.truth import TrueScene, complete
from vfi.errors import UserError
from vfi.video.av_common import counted

Paths = tuple[Path, Path, Path]  # first frame, true middle frame, second frame

_MIDDLEBURY = ("frame10.png", "frame10i11.png", "frame11.png")
_TRIPLET = ("im1.png", "im2.png", "im3.png")
_UCF101 = ("frame_00.png", "frame_01_gt.png", "frame_02.png")
LEVELS = ("easy", "medium", "hard")  # of ATD-12K, as its annotations number them


def triplet_folders(root: Path) -> list[Paths]:
    """im1.png, im2.png and im3.png of every folder below `root` that has any, in the order of the folders' names.

    Raises:
        UserError: if there is none, or one lacks another of the three.
    """
    triplets = _folders(root, _TRIPLET)
    complete([(str(paths[0].parent), paths) for paths in triplets], f"{', '.join(_TRIPLET)} in each folder")
    return triplets


def vimeo90k_triplets(root: Path, split: str) -> list[Paths]:
    """The triplets of Vimeo90K's official list for `split`, "train" or "test", in its order.

    Raises:
        UserError: if the list or one of its frames is missing, or if it names a path outside `root`.
    """
    return [_three(paths) for paths in _sequences(root, root / f"tri_{split}list.txt", 3)]


def vimeo90k_septuplets(root: Path, split: str) -> list[tuple[Path, ...]]:
    """The same of Vimeo90K's septuplets: seven consecutive frames each."""
    return _sequences(root, root / f"sep_{split}list.txt", 7)


def clip_folders(root: Path, frames: int) -> list[list[Path]]:
    """The images of every folder below `root` that has any, and of `root`, ordered by the numbers in their names.

    Raises:
        UserError: if there is no such folder, or one has fewer than `frames` images.
    """
    from vfi.files.images import is_image_name  # brings torch

    found = []
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())] if root.is_dir() else []
    for folder in sorted(folders):
        images = [path for path in folder.iterdir() if is_image_name(path) and not path.name.startswith(".")]
        found += [sorted(images, key=numbered)] if images else []
    if not found:
        raise UserError(f"no clip found: expected folders with {frames} images or more below {root}")
    short = [images for images in found if len(images) < frames]
    if short:
        few = f"{len(short)} of {counted(len(found), 'clip')} {'is' if len(short) == 1 else 'are'} too short"
        raise UserError(f"{few}: expected at least {frames} frames in {short[0][0].parent}, got {len(short[0])}")
    return found


def gapless(clips: Sequence[Sequence[Path]]) -> None:
    """Refuses clips of which a frame is missing among others, by the last numbers in their names.

    Raises:
        UserError: it counts them and names the first.
    """
    gaps = []
    for images in clips:
        ends = [re.search(r"(\d+)\D*$", path.stem) for path in images]
        numbers = [int(end[1]) for end in ends if end is not None]
        if len(numbers) == len(images):
            gaps += [images[i] for i, (a, b) in enumerate(pairwise(numbers)) if b != a + 1][:1]
    if gaps:
        count = len(gaps)
        raise UserError(f"{count} of {counted(len(clips), 'clip')} {'lacks' if count == 1 else 'lack'} frames among "
                        f"others: the one after {gaps[0]} is missing")  # fmt: skip


def numbered(path: Path) -> list[tuple[int, str]]:
    """Orders names by the numbers in them: 9 before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _sequences(root: Path, listing: Path, count: int) -> list[tuple[Path, ...]]:
    """im1.png and so on, `count` of them, of each folder of `sequences` that the list names."""
    folders = [(root / "sequences").joinpath(*_parts(line, listing)) for line in _lines(listing)]
    found = [tuple(folder / f"im{i + 1}.png" for i in range(count)) for folder in folders]
    complete(
        [(str(paths[0].parent), paths) for paths in found], f"im1.png to im{count}.png of all that {listing} names"
    )
    return found


def _folders(root: Path, names: Sequence[str]) -> list[Paths]:
    """The files called `names` of every folder that holds any, whether all are there or not."""
    holding = (folder for folder, files in _walk(root) if not files.isdisjoint(names))
    found = sorted(_three([folder / name for name in names]) for folder in holding)
    if not found:
        if root.is_dir():
            next(
                root.iterdir(), None
            )  # a folder that may not be read is a PermissionError; the walk finds nothing there
        raise UserError(f"no scene found: expected folders with {', '.join(names)} below {root}")
    return found


def _walk(folder: Path, above: tuple[str, ...] = ()) -> Iterator[tuple[Path, set[str]]]:
    """Each folder with the names of its files, behind links too, but not of one into a folder that it is in."""
    here = os.path.realpath(folder)
    if here in above:
        return
    _, inner, files = next(os.walk(folder), ("", [], []))
    yield folder, set(files)
    for name in inner:
        yield from _walk(folder / name, (*above, here))


def middlebury(root: Path, split: str) -> list[TrueScene]:
    """Scenes without a true middle frame, of which the published set has some, are left out."""
    folders = [paths for paths in _folders(root, _MIDDLEBURY) if paths[1].is_file()]
    if not folders:
        raise UserError(f"no scene found: expected folders with {', '.join(_MIDDLEBURY)} below {root}")
    return _folder_scenes(root, folders)


def triplets(root: Path, split: str) -> list[TrueScene]:
    return _folder_scenes(root, _folders(root, _TRIPLET))


def ucf101(root: Path, split: str) -> list[TrueScene]:
    return _folder_scenes(root, _folders(root, _UCF101))


def _folder_scenes(root: Path, folders: Sequence[Paths], split: str = "") -> list[TrueScene]:
    return [TrueScene(paths[0].parent.relative_to(root).as_posix(), split, paths) for paths in folders]


def vimeo90k(root: Path, split: str) -> list[TrueScene]:
    found = vimeo90k_triplets(root, "test")
    return [TrueScene(paths[0].parent.relative_to(root / "sequences").as_posix(), split, paths) for paths in found]


def vimeo90k_clips(root: Path, split: str) -> list[TrueScene]:
    found = vimeo90k_septuplets(root, "test")
    return [TrueScene(paths[0].parent.relative_to(root / "sequences").as_posix(), split, paths) for paths in found]


def atd12k(root: Path, split: str) -> list[TrueScene]:
    """Folders of frame1, frame2, frame3; of one level by their annotations."""
    folder = root / "test_2k_540p"
    suffix = ".jpg" if any(folder.glob("*/frame[123].jpg")) else ".png"
    found = _folder_scenes(folder, _folders(folder, [f"frame{i}{suffix}" for i in (1, 2, 3)]), split)
    return [scene for scene in found if split == "all" or _level(root, scene.name) == split]


def _level(root: Path, name: str) -> str:
    path = root / "test_2k_annotations" / name / f"{name}.json"
    try:
        return LEVELS[int(json.loads(path.read_text(encoding="utf-8"))["level"])]
    except OSError as error:
        raise UserError(f"cannot read {path}, which tells how hard the scene is: {error.strerror}") from error
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise UserError(f"expected a level of 0, 1 or 2 in {path}") from error


def snu_film(root: Path, split: str) -> list[TrueScene]:
    """Lists at the root or in eval_modes; each line has the paths of three frames."""
    name = f"test-{split}.txt"
    listing = root / "eval_modes" / name
    if not listing.is_file():
        listing = root / name
    if not listing.is_file():
        raise errors.ArgumentError(f"{listing} does not exist; with `split` one of the lists is enough")
    found, missing = [], []
    lines = _lines(listing)
    for line in lines:
        if len(line.split()) != 3:
            raise UserError(f"expected three paths in each line of {listing}, got {line!r}")
        three = [(text, _find(root, text, listing)) for text in line.split()]
        missing += [text for text, path in three if path is None]
        paths = [path for _, path in three if path is not None]
        if len(paths) == 3:
            found.append(TrueScene(f"{split} {paths[1].parent.name}/{paths[1].name}", split, tuple(paths)))
    if missing:
        where = f"not below {root}, with or without its leading folders"
        raise UserError(f"{listing} names {missing[0]}, which is {where}: {len(lines) - len(found)} of {len(lines)} "
                        "scenes are incomplete")  # fmt: skip
    return found


def _find(root: Path, text: str, listing: Path) -> Path | None:
    """The file that a list names, below `root` as it is or without some of its leading folders, but in a folder."""
    parts = _parts(text, listing)
    paths = (root.joinpath(*parts[start:]) for start in range(max(1, len(parts) - 1)))
    return next((path for path in paths if path.is_file()), None)


def _lines(listing: Path) -> list[str]:
    """The lines of a list that are not blank."""
    try:
        text = listing.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the list {listing}: {getattr(error, 'strerror', None) or error}") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise UserError(f"the list {listing} is empty")
    return lines


def _parts(text: str, listing: Path) -> tuple[str, ...]:
    """The folders and the name of a path that must stay below the root; either slash separates them."""
    path = PureWindowsPath(text)
    if path.anchor or ".." in path.parts:
        raise UserError(f"{listing} names {text}: expected relative paths without '..'")
    return path.parts


def _three(paths: Sequence[Path]) -> Paths:
    first, middle, second = paths
    return first, middle, second
