"""Captions of videos: a text file beside each, or one file for all."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from vfi.errors import UserError
from vfi.files import json_lines

VIDEO, CAPTION, FRAMES = ("video", "path"), ("caption", "cap"), "frames"  # names in files of captions
LONGEST = 1 << 16  # bytes of a text beside a video that are read


class Captions:
    """The caption of a video, or of a clip of it: of a file for all if there is one, else of the file beside it with
    the suffix .txt, for a clip of 81 frames of that with the suffix .81.txt if there is one."""

    def __init__(self, path: Path | None = None) -> None:
        self.known = None if path is None else read_captions(path)

    def of(self, video: Path, names: Sequence[str], frames: int | None = None) -> str:
        """Without line breaks; "" if there is none.

        Args:
            names: what a file for all may call the video, the best first.
            frames: of the clip, whose own caption comes before that of the video; None: of the video.
        """
        if self.known is not None:
            wanted = [(name, count) for count in dict.fromkeys((frames, None)) for name in names]
            return next((self.known[each] for each in wanted if each in self.known), "")
        own = video.with_suffix(f".{frames}.txt")
        beside = own if frames is not None and own.is_file() else video.with_suffix(".txt")
        if not beside.is_file():
            return ""
        try:
            with beside.open("rb") as file:
                return tidy(file.read(LONGEST).decode("utf-8-sig"))
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read the caption {beside}: {error}") from error


def tidy(text: str) -> str:
    return " ".join(text.split())


def read_captions(path: Path) -> dict[tuple[str, int | None], str]:
    """Captions by the names of videos and the frames of the clip; None: of the video.

    .json: {"a.mp4": "a dog runs"}, or a list of objects; .jsonl: an object in each line; .csv: with a first line of
    names. Objects and columns are called video (or path), caption (or cap) and, for the caption of a clip, frames.

    Raises:
        UserError: if the file cannot be read or is of another form.
    """
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        return _pairs(json_lines.read(path), path)
    if suffix not in (".json", ".csv"):
        raise UserError(f"expected captions as .json, .jsonl or .csv, got {path}")
    try:
        text = path.read_text(encoding="utf-8-sig")
        if suffix == ".csv":
            return _pairs(csv.DictReader(text.splitlines(keepends=True)), path)
        content = json.loads(text)
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise UserError(f"cannot read the captions {path}: {error}") from error
    if isinstance(content, dict):
        return _pairs([{"video": name, "caption": caption} for name, caption in content.items()], path)
    return _pairs(content if isinstance(content, list) else [content], path)


def _pairs(rows: Iterable[object], path: Path) -> dict[tuple[str, int | None], str]:
    captions: dict[tuple[str, int | None], str] = {}
    for row in rows:
        row = row if isinstance(row, Mapping) else {}
        video, caption = (next((row[name] for name in names if name in row), None) for names in (VIDEO, CAPTION))
        if not isinstance(video, str) or not isinstance(caption, str):
            raise UserError(f"expected texts called video and caption for each video in {path}, got {dict(row)!r:.60}")
        captions[video, _frames(row.get(FRAMES), path)] = tidy(caption)
    return captions


def _frames(told: object, path: Path) -> int | None:
    """Of the clip that a caption is of; None: it is of the whole video."""
    if told in (None, ""):
        return None
    number = int(told) if isinstance(told, str) and told.isdecimal() else told
    if type(number) is not int or number < 1:
        raise UserError(f"expected frames of a caption in {path} to be a whole number above 0, got {told!r:.60}")
    return number
