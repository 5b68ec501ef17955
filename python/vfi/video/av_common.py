"""What reading and writing videos have in common: colours, exact conversion, FFmpeg's errors as one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vfi.errors import UserError, require
from vfi.files.places import RemoteFile
from vfi.video.piped import Piped

if TYPE_CHECKING:
    from av import AudioFrame, VideoFrame
    from av.container import InputContainer, OutputContainer
    from av.filter import Graph

# swscale's SWS_BICUBIC | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP | SWS_ACCURATE_RND, as numbers because PyAV names only
# some of them. Without rounding every conversion between RGB and YUV darkens by half a level.
EXACT_CONVERSION = 0x4 | 0x2000 | 0x4000 | 0x40000


@dataclass(frozen=True)
class Colour:
    """How the samples mean colours; FFmpeg's numbers, 2 (0 for the range) where the file does not say.

    siting: where samples of chroma lie, by FFmpeg's names; "": not said.
    """

    matrix: int = 2
    range: int = 0
    transfer: int = 2
    primaries: int = 2
    siting: str = ""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns FFmpeg's errors into one sentence."""
    av = require("av")
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        raise UserError(f"cannot read {name_of(path)}: {sentence(error)}") from error


# What FFmpeg means by errors of its own; the words of the system stay as they are.
_MEANT = {
    "InvalidDataError": "it is damaged, or of a kind that FFmpeg does not know",
    "EOFError": "it ends too early",
    "ArgumentError": "FFmpeg refuses these values",
    "PatchWelcomeError": "FFmpeg cannot do this yet",
    "NotImplementedError": "FFmpeg cannot do this yet",
    "DecoderNotFoundError": "FFmpeg here has no decoder for it",
    "EncoderNotFoundError": "FFmpeg here has no encoder for it",
    "ExternalError": "a library that FFmpeg uses has failed on it",
    "BufferTooSmallError": "it is larger than FFmpeg takes",
    "OverflowError": "a number in it is too large",
    "BugError": "FFmpeg failed on it",
    "UnknownError": "FFmpeg failed on it",
}


def sentence(error: Exception) -> str:
    """What FFmpeg, or the system, says went wrong."""
    if isinstance(error, require("av").FFmpegError) and type(error).__name__ in _MEANT:
        return _MEANT[type(error).__name__]
    return (getattr(error, "strerror", None) or str(error)).lower()


def counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


# Instead of a name: standard input, or output.
STREAM = Path("-")


def name_of(path: Path) -> str:
    """As people are told of it."""
    return "standard input" if path == STREAM else str(path)


def files_of(container: "OutputContainer") -> str:
    """Files of its kind, as people call them: .mp4 files."""
    return f"{Path(container.name).suffix} files"


def url(path: Path) -> str:
    """The path as FFmpeg takes it, whatever is in the name: `a:b.mp4` is no protocol."""
    return f"file:{path}"


# FFmpeg's formats of videos that are in one file. Others are lists of files, which may be any, or need names.
_OF_ONE_FILE = (
    *("apng", "asf", "av1", "avi", "dv", "flv", "gif", "gxf", "h264", "hevc", "ivf", "m4v", "matroska", "mjpeg", "mov"),
    *("mpeg", "mpegts", "mpegvideo", "mxf", "nut", "obu", "ogg", "rm", "vc1", "vvc", "wtv", "yuv4mpegpipe"),
)
_options = {"protocol_whitelist": "file,crypto,data"}


def stay_within_the_file() -> None:
    """From now on in this process, a file that refers to others is not opened: for files from strangers."""
    _options["format_whitelist"] = ",".join(_OF_ONE_FILE)


def open_input(source: Path | Piped | RemoteFile, form: str | None = None) -> "InputContainer":
    """Opens a file for reading; what it refers to may be local files only. form: FFmpeg's name; None: by its content"""
    container: InputContainer = require("av").open(
        url(source) if isinstance(source, Path) else source,
        mode="r",
        format=form,
        buffer_size=1 << 16,  # of a pipe: how far FFmpeg can go back in it
        options=_options,
        metadata_errors="replace",
    )
    return container


def pulled(graph: "Graph") -> "Iterator[VideoFrame | AudioFrame]":
    """The frames that a graph of filters has ready."""
    while True:
        try:
            yield graph.pull()
        except (BlockingIOError, EOFError):
            return
