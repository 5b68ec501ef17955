"""Where the frames of data sets are: paths for evaluation and training. Nothing is read but their lists."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

from vfi import errors
from vfi.errors import UserError
from vfi.files.opencv import opencv

if TYPE_CHECKING:
    import numpy as np

Paths = tuple[Path, Path, Path]  # first frame, true middle frame, second frame

XIPH_CLIPS = (
    "BoxingPractice",
    "Crosswalk",
    "DrivingPOV",
    "FoodMarket",
    "FoodMarket2",
    "RitualDance",
    "SquareAndTimelapse",
    "Tango",
)
XIPH_MIDDLES = range(2, 99, 2)
_MIDDLEBURY = ("frame10.png", "frame10i11.png", "frame11.png")
_TRIPLET = ("im1.png", "im2.png", "im3.png")


@dataclass(frozen=True)
class TrueTriplet:
    """A triplet to evaluate on; `prepare` makes of each frame as it is read (H, W, 3) the one that is used."""

    name: str
    split: str  # "" in a data set without splits
    paths: Paths
    prepare: "Callable[[np.ndarray], np.ndarray] | None" = None


@dataclass(frozen=True)
class Dataset:
    files: str  # what is expected below the root, for help
    scenes: Callable[[Path, str], list[TrueTriplet]]  # root and split -> at least one scene
    splits: tuple[str, ...] = ()


def scenes(dataset: str, root: Path, split: str | None = None) -> list[TrueTriplet]:
    """The scenes of a data set below `root`, of one split or of all.

    Raises:
        UserError: if the data set has no such split, or a list or frame is missing or lies outside `root`.
    """
    entry = DATASETS[dataset]
    if split is not None and split not in entry.splits:
        choices = f"expected {' or '.join(entry.splits)}" if entry.splits else "it has no splits"
        raise UserError(f"{dataset} has no split {split!r}: {choices}")
    chosen = (split,) if split is not None else entry.splits or ("",)
    return [scene for name in chosen for scene in entry.scenes(root, name)]


def triplet_folders(root: Path) -> list[Paths]:
    """im1.png, im2.png and im3.png of every folder below `root` that has im1.png, in the order of the folders' names.

    Raises:
        UserError: if there is none, or one lacks another of the three.
    """
    triplets = _folders(root, _TRIPLET, lambda path: True)
    for paths in triplets:
        for path in paths:
            if not path.is_file():
                raise UserError(f"expected {', '.join(_TRIPLET)} in {path.parent}, but {path.name} is missing")
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

    folders = []
    for folder in sorted([root, *(path for path in root.rglob("*") if path.is_dir())]):
        images = [path for path in folder.iterdir() if is_image_name(path) and not path.name.startswith(".")]
        if images and len(images) < frames:
            raise UserError(f"expected at least {frames} frames in {folder}, got {len(images)}")
        folders += [sorted(images, key=_numbered)] if images else []
    if not folders:
        raise UserError(f"no clip found: expected folders with {frames} images or more below {root}")
    return folders


def _numbered(path: Path) -> list[tuple[int, str]]:
    """Orders names by the numbers in them: 9 before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _sequences(root: Path, listing: Path, count: int) -> list[tuple[Path, ...]]:
    """im1.png and so on, `count` of them, of each folder of `sequences` that the list names."""
    sequences = []
    for line in _lines(listing):
        folder = (root / "sequences").joinpath(*_parts(line, listing))
        paths = tuple(folder / f"im{i + 1}.png" for i in range(count))
        for path in paths:
            if not path.is_file():
                raise UserError(f"{listing} names {line}, but {path} does not exist")
        sequences.append(paths)
    return sequences


def _folders(root: Path, names: Sequence[str], wanted: Callable[[Path], bool]) -> list[Paths]:
    """The files called `names` of every folder that holds the first, where each is `wanted`."""
    candidates = (_three([first.with_name(name) for name in names]) for first in root.rglob(names[0]))
    complete = sorted(paths for paths in candidates if all(map(wanted, paths)))
    if not complete:
        if root.is_dir():
            next(root.iterdir(), None)  # a folder that may not be read is a PermissionError; rglob finds nothing there
        raise UserError(f"no scene found: expected folders with {', '.join(names)} below {root}")
    return complete


def _middlebury(root: Path, split: str) -> list[TrueTriplet]:
    return _folder_scenes(root, _folders(root, _MIDDLEBURY, Path.is_file))


def _triplets(root: Path, split: str) -> list[TrueTriplet]:
    return _folder_scenes(root, triplet_folders(root))


def _folder_scenes(root: Path, folders: Sequence[Paths]) -> list[TrueTriplet]:
    return [TrueTriplet(str(paths[0].parent.relative_to(root)), "", paths) for paths in folders]


def _vimeo90k(root: Path, split: str) -> list[TrueTriplet]:
    triplets = vimeo90k_triplets(root, "test")
    return [TrueTriplet(paths[0].parent.relative_to(root / "sequences").as_posix(), split, paths) for paths in triplets]


def _snu_film(root: Path, split: str) -> list[TrueTriplet]:
    """Lists at the root or in eval_modes; each line has the paths of three frames."""
    name = f"test-{split}.txt"
    listing = root / "eval_modes" / name
    if not listing.is_file():
        listing = root / name
    if not listing.is_file():
        raise errors.ArgumentError(f"{listing} does not exist; with `split` one of the lists is enough")
    triplets = []
    for line in _lines(listing):
        if len(line.split()) != 3:
            raise UserError(f"expected three paths in each line of {listing}, got {line!r}")
        paths = _three([_find(root, text, listing) for text in line.split()])
        triplets.append(TrueTriplet(f"{split} {paths[1].parent.name}/{paths[1].name}", split, paths))
    return triplets


def _find(root: Path, text: str, listing: Path) -> Path:
    """The file that a list names, below `root` as it is or without some of its leading folders, but in a folder."""
    parts = _parts(text, listing)
    for start in range(max(1, len(parts) - 1)):
        path = root.joinpath(*parts[start:])
        if path.is_file():
            return path
    raise UserError(f"{listing} names {text}, which is not below {root}, with or without its leading folders")


def _xiph(root: Path, split: str) -> list[TrueTriplet]:
    triplets = []
    for clip in XIPH_CLIPS:
        for middle in XIPH_MIDDLES:
            paths = _three([root / f"{clip}-{number:03d}.png" for number in (middle - 1, middle, middle + 1)])
            for path in paths:
                if not path.is_file():
                    raise UserError(f"{path} does not exist: expected frames 001 to 099 of {', '.join(XIPH_CLIPS)}")
            triplets.append(
                TrueTriplet(f"{split} {paths[1].stem}", split, paths, _xiph_2k if split == "2k" else _xiph_4k)
            )
    return triplets


def _xiph_2k(frame: "np.ndarray") -> "np.ndarray":
    cv2 = opencv()
    _check_xiph(frame)
    result: np.ndarray = cv2.resize(frame, (2048, 1080), interpolation=cv2.INTER_AREA)
    return result


def _xiph_4k(frame: "np.ndarray") -> "np.ndarray":
    """The middle, 2048x1080, at full resolution."""
    _check_xiph(frame)
    return frame[540:-540, 1024:-1024]


def _check_xiph(frame: "np.ndarray") -> None:
    if frame.shape[:2] != (2160, 4096):
        raise UserError(f"expected frames of 4096x2160 pixels in xiph, got {frame.shape[1]}x{frame.shape[0]}")


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


DATASETS = {
    "middlebury": Dataset("folders with frame10.png, frame10i11.png, frame11.png", _middlebury),
    "triplets": Dataset("folders with im1.png, im2.png, im3.png", _triplets),
    "vimeo90k": Dataset("tri_testlist.txt, sequences/00001/0001/im1.png ...", _vimeo90k),
    "snu-film": Dataset("test-easy.txt ... and the frames", _snu_film, ("easy", "medium", "hard", "extreme")),
    "xiph": Dataset("BoxingPractice-001.png ...", _xiph, ("2k", "4k")),
}
