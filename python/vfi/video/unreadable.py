"""Why a file cannot be read as a video, and what to do about it, told from what is in it."""

from collections.abc import Iterable
from pathlib import Path

from vfi import errors
from vfi.errors import UserError
from vfi.files.places import read_from, size_of
from vfi.files.pointers import is_pointer
from vfi.video.av_common import STREAM, counted, name_of, sentence

_HEAD = 4096
_ARCHIVE = "it is an archive or a document; unpack it first"
_ARCHIVES = (b"PK\x03\x04", b"Rar!", b"7z\xbc\xaf", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"%PDF")
# FFmpeg's formats that draw texts and data as pictures of letters.
DRAWN = ("tty", "bin", "xbin", "adf", "idf", "txd", "vobsub")
_BOXES = (b"ftyp", b"mdat", b"free", b"wide", b"skip", b"moof", b"styp")
# Of boxes with encrypted samples: their kinds, and the scheme's own.
_ENCRYPTED = (b"encv", b"schm", b"pssh", b"drmi")
INDEX_BEHIND = (
    "its index (the box moov) comes behind its pictures, to which a pipe does not go back; "
    "give the file by its name, or write it anew with ffmpeg -i IN -c copy -movflags +faststart OUT"
)
_ANIMATION = "an animation of this kind is not read from a pipe; give the file by its name"
_KINDS = {"audio": "sound", "subtitle": "subtitles", "data": "data", "attachment": "attached files"}


def check_file(path: Path) -> None:
    """Refuses what is no file.

    Raises:
        UserError: and what it is instead.
    """
    try:
        there = path.exists()
    except OSError as error:
        raise UserError(f"cannot read {path}: {sentence(error)}") from error
    if not there:
        raise UserError(f"{path} does not exist")
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a file")
    if not path.is_file():
        raise UserError(f"{path} is a device, not a file; of a pipe give - and let it be the standard input")


def not_opened(path: Path, error: Exception, piped: bytes = b"") -> UserError:
    """FFmpeg has not opened the file, for a cause of its own if we can. piped: the beginning of what came in a pipe."""
    if isinstance(error, MemoryError):
        return UserError(f"cannot read {name_of(path)}: not enough memory")
    try:
        what = _of_a_pipe(piped) if path == STREAM else looked_at(path)
    except OSError as cause:
        return UserError(f"cannot read {name_of(path)}: {sentence(cause)}")
    return UserError(f"cannot read {name_of(path)} as a video: {what}")


def _of_a_pipe(head: bytes) -> str:
    if head.startswith(b"\x89PNG"):
        return _ANIMATION
    return INDEX_BEHIND if index_is_behind(head) else "nothing came, or nothing that FFmpeg knows"


def index_is_behind(head: bytes) -> bool:
    """Whether the pictures of an MP4 or MOV file come before its index, by its beginning."""
    at = 0
    while head[at + 4 : at + 8] in _BOXES:
        if head[at + 4 : at + 8] in (b"mdat", b"moof"):
            return head[at + 4 : at + 8] == b"mdat"
        at += max(8, int.from_bytes(head[at : at + 4], "big"))
    return False


def looked_at(path: Path) -> str:
    """What is in a file that is no video."""
    with read_from(path) as file:
        head = file.read(_HEAD)
        zeros = not any(head) and not any(any(part) for part in iter(lambda: file.read(1 << 20), b""))
    if not head:
        return "it is empty; was it copied or downloaded to its end?"
    if zeros:
        return "it holds nothing but zeros; was it copied or downloaded to its end?"
    if head.startswith(_ARCHIVES):
        return _ARCHIVE
    if head[4:8] in _BOXES and b"moov" not in _kinds_of_boxes(path):
        return "its index (the box moov) is missing: the recording or the download did not come to its end"
    return _text(head) or "its beginning is damaged, or it is of a kind that FFmpeg does not know"


def _text(head: bytes) -> str | None:
    """What kind of text it is; None: it is none."""
    letters = head.decode("utf-8", errors="ignore")
    if not all(letter.isprintable() or letter.isspace() for letter in letters) or len(letters) < len(head) // 2:
        return None
    if is_pointer(head):
        return "it is a pointer of Git LFS; get the file itself with git lfs pull"
    if letters.startswith("#EXTM3U"):
        return "it is a playlist, and what it names cannot be read; give the file itself"
    if "<html" in letters.lower() or "<!doctype" in letters.lower():
        return "it is a web page, as servers send in place of a file that they do not give"
    return "it is a text"


def _kinds_of_boxes(path: Path) -> set[bytes]:
    """The boxes of an MP4 file, those inside others left out."""
    found: set[bytes] = set()
    at, size = 0, size_of(path)
    with read_from(path) as file:
        while at + 8 <= size and len(found) < 100:
            file.seek(at)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            if length == 1:
                length = int.from_bytes(head[8:], "big")
            found.add(head[4:8])
            at += max(length, 8) if length else size
    return found


def no_video(path: Path, kinds: Iterable[str]) -> UserError:
    """kinds: FFmpeg's types of the streams that there are."""
    if _is_archive(path):
        return UserError(f"cannot read {name_of(path)} as a video: {_ARCHIVE}")
    others = " and ".join(dict.fromkeys(_KINDS.get(kind, kind) for kind in kinds))
    return UserError(f"{name_of(path)} has no video in it, {f'only {others}' if others else 'nor sound'}")


def no_frame(path: Path, codec: str, came: int, failure: str | None, encrypted: bool) -> UserError:
    """came: packets of the video that came, of which none could be decoded."""
    for cause, known in ((INDEX_BEHIND, failure == INDEX_BEHIND), (_ANIMATION, path == STREAM and codec == "webp")):
        if known:
            return UserError(f"cannot read {name_of(path)} as a video: {cause}")
    if _is_archive(path):
        why = _ARCHIVE
    elif encrypted or _is_encrypted(path):
        why = "it is encrypted; only who has the key can play it"
    elif came:
        why = f"{counted(came, 'packet')} of {codec} came, damaged"
    else:
        why = f"it has no picture, only headers of {codec}: it was cut off, or nothing was recorded"
    more = "" if failure is None else f" ({failure})"
    return UserError(f"cannot read {name_of(path)}: no frame in it can be decoded; {why}{more}")


def bomb(path: Path, width: int, height: int, size: int) -> UserError:
    """Frames that unfold to far more than the bytes they come in."""
    told = f"frames of {width}x{height} pixels in {size} bytes"
    return errors.ArgumentError(f"cannot read {name_of(path)}: {told}; add `trust_input` if that is meant")


def _is_archive(path: Path) -> bool:
    """In which FFmpeg may find what looks like a stream."""
    if path == STREAM:
        return False
    with read_from(path) as file:
        return bool(file.read(_HEAD).startswith(_ARCHIVES))


def _is_encrypted(path: Path) -> bool:
    if path == STREAM:
        return False
    with read_from(path) as file:
        head = file.read(1 << 20)
        file.seek(max(0, size_of(path) - (1 << 20)))
        return head[4:8] in _BOXES and any(box in head + file.read() for box in _ENCRYPTED)
