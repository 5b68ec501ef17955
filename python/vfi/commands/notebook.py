"""What Python gets of a run, and how notebooks show it."""

import base64
import html
import mimetypes
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from vfi.commands.program import Heard
from vfi.files.images import on_screen
from vfi.files.opencv import opencv

_LARGEST = 8 << 20  # bytes of a file that is shown within the page
_WIDEST = 960  # px of a picture that is shown
_SHOWN = (".mp4", ".m4v", ".webm", ".png", ".jpg", ".jpeg", ".webp", ".gif", ".apng", ".avif")  # by browsers


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture and its time.

    Attributes:
        pixels: (H, W, 3) RGB, or (H, W, 4) with alpha, in uint8 or uint16; float32 of linear light of files that hold
            it.
        time: when it appears, in seconds after the first frame of the source, exactly; float(frame.time) is a number.
        interpolated: it was made between two frames; otherwise it is one of the source, perhaps held.
    """

    pixels: np.ndarray
    time: Fraction
    interpolated: bool

    def __array__(self, dtype: "np.dtype | None" = None, copy: bool | None = None) -> np.ndarray:
        changed = self.pixels if dtype is None else self.pixels.astype(dtype, copy=False)
        return changed.copy() if copy and changed is self.pixels else changed

    def __repr__(self) -> str:
        height, width = self.pixels.shape[:2]
        made = ", interpolated" if self.interpolated else ""
        return f"Frame({width}x{height}, {self.pixels.dtype.name}, {float(self.time):.3f} s{made})"

    def _repr_png_(self) -> bytes:
        return as_png(self.pixels)


@dataclass(frozen=True)
class Result:
    """What `vfi.interpolate` has written.

    Attributes:
        paths: the files; none where a run only says what it would do.
        frames: in all of them.
        interpolated, repeated: of these, those that were made between two, and those that were held.
        cuts: between scenes, which nothing was interpolated across.
        source_frames: that were read.
        encoder: which wrote a video, with its settings.
        said: what the command prints, line by line.
        notes: what was changed, repaired or lost on the way, a sentence each.
        incomplete: what of the source is missing, and so of the result; "": nothing.
    """

    paths: tuple[Path, ...]
    frames: int
    interpolated: int
    repeated: int
    cuts: int
    source_frames: int
    encoder: str
    said: tuple[str, ...]
    notes: tuple[str, ...]
    incomplete: str = ""

    @classmethod
    def of(cls, heard: Heard, incomplete: str) -> "Result":
        written = heard.written
        frames, interpolated, repeated, cuts, source = (
            sum(int(getattr(each, name)) for each in written)
            for name in ("frames", "interpolated", "repeated", "cuts", "source_frames")
        )
        paths = tuple(path for each in written for path in each.paths)
        encoder = "; ".join(dict.fromkeys(each.encoder for each in written if each.encoder))
        return cls(
            paths, frames, interpolated, repeated, cuts, source, encoder, tuple(heard.said), tuple(heard.notes),
            incomplete,
        )  # fmt: skip

    @property
    def path(self) -> Path | None:
        """The first file."""
        return self.paths[0] if self.paths else None

    def __str__(self) -> str:
        notes = [f"note: {text}" for text in (*self.notes, *filter(None, [self.incomplete]))]
        return "\n".join([*self.said, *notes])

    def _repr_html_(self) -> str:
        rows = [("written", ", ".join(map(str, self.paths[:3])) + (" ..." if len(self.paths) > 3 else "") or "nothing")]
        if self.paths:
            made = f"{self.frames}: {self.interpolated} interpolated, {self.repeated} repeated; {self.cuts} scene cuts"
            rows += [("frames", f"{made}; from {self.source_frames}")]
        rows += [("encoder", self.encoder)] if self.encoder else [("", line) for line in self.said]
        rows += [("note", text) for text in (*self.notes, *filter(None, [self.incomplete]))]
        cells = "".join(f"<tr><th>{name}</th><td>{html.escape(text)}</td></tr>" for name, text in rows)
        return f"{self._preview()}<table>{cells}</table>"

    def _preview(self) -> str:
        """The first file, if a browser shows such and it is small enough to stand in the page."""
        path = self.path
        if path is None or path.suffix.lower() not in _SHOWN or not path.is_file():
            return ""
        if path.stat().st_size > _LARGEST:
            return ""
        kind = mimetypes.guess_type(path.name)[0] or "image/png"
        data = f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
        if kind.startswith("video/"):
            return f'<video controls loop style="max-width: 100%" src="{data}"></video>'
        return f'<img style="max-width: 100%" src="{data}">'


def as_png(pixels: np.ndarray) -> bytes:
    """As a screen shows it, no wider than a page."""
    cv2, shown = opencv(), on_screen(pixels)
    height, width = shown.shape[:2]
    if width > _WIDEST:
        size = _WIDEST, max(1, round(height * _WIDEST / width))
        shown = cv2.resize(shown, size, interpolation=cv2.INTER_AREA)
    data: bytes = cv2.imencode(".png", np.ascontiguousarray(shown[..., ::-1]))[1].tobytes()
    return data
