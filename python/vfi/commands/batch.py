"""Many videos, one after the other: one that fails does not stop the rest."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vfi.commands.inputs import is_video, say_left_out
from vfi.commands.program import note, sentence_of
from vfi.commands.work_done import tell
from vfi.errors import Incomplete, UserError
from vfi.files.images import is_image_name
from vfi.files.places import below, is_there, make_folder
from vfi.video.animation import moves
from vfi.video.containers import ANIMATIONS, CONTAINERS


def videos_of(inputs: Sequence[Path], *, recursive: bool) -> list[tuple[Path, Path]] | None:
    """Each video, and its path below the folder that was given; None: there is none, but images."""
    if all(is_image_name(path) and not moves(path) for path in inputs):
        return None
    found: list[tuple[Path, Path]] = []
    for path in inputs:
        if path.is_dir():
            inside = sorted(path.rglob("*") if recursive else path.iterdir())
            videos = [each for each in inside if is_video(each)]
            found += [(each, below(each, path)) for each in videos]
            if videos:
                say_left_out(path, recursive=recursive)
        else:
            found.append((path, Path(path.name)))
    return found or None


def run(videos: Sequence[tuple[Path, Path]], folder: Path, overwrite: bool, work: Callable[[Path, Path], None]) -> None:
    """Calls `work` with each video and its output in the folder; then says how each has ended.

    Raises:
        SomeFailed: if one could not be done, after all others are.
    """
    ends: dict[str, list[str]] = {}
    for source, target in list(targets(videos, folder)):
        if is_there(target) and not overwrite:
            note(f"{target} exists already: skipped")
            ends.setdefault("skipped", []).append(str(source))
            continue
        try:
            make_folder(target.parent)
            work(source, target)
            end = "done"
        except Exception as error:
            said = sentence_of(error)
            if said is None:
                raise
            note(said)
            end = "incomplete" if isinstance(error, Incomplete) else "failed"
        ends.setdefault(end, []).append(str(source))
    tell(ends)


def targets(videos: Sequence[tuple[Path, Path]], folder: Path) -> Iterator[tuple[Path, Path]]:
    """With the suffix of the input, where files of that can be written; no two with one name."""
    taken: set[Path] = set()
    for source, name in videos:
        kept = name.suffix.lower() in (*CONTAINERS, *ANIMATIONS)
        target = folder.joinpath(*(name if kept else name.with_suffix(".mkv")).parts)
        if target in taken:
            raise UserError(f"two of the inputs would become {target}: give them apart")
        taken.add(target)
        yield source, target
