"""Where samples of chroma lie between those of luma: found of decoded frames, and made so.

PyAV does not tell it, but FFmpeg's filters carry it along with a frame, and its scaler heeds it.
"""

import threading
from fractions import Fraction
from typing import TYPE_CHECKING, cast

import numpy as np

from vfi.errors import require
from vfi.video.av_common import EXACT_CONVERSION

if TYPE_CHECKING:
    from av import VideoFormat, VideoFrame
    from av.filter import Graph

# By how far to the right of, and below, the first sample of luma; in halves of the way to the next one of chroma's.
_NAMES = {
    (0, 1): "left", (1, 1): "center", (0, 0): "topleft", (1, 0): "top", (0, 2): "bottomleft", (1, 2): "bottom",
}  # fmt: skip
# Decoders of these always say where, in 4:2:0; of others the middle may be what the scaler takes if nothing is said.
_TELLING = ("h264", "hevc", "mpeg1video", "mpeg2video")
_SIDE, _STEP = 64, 2
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 7: "smpte240m", 9: "bt2020"}
_FLAGS = "bicubic+full_chroma_int+full_chroma_inp+accurate_rnd"
_graphs = threading.local()


def steps(pixels: "VideoFormat") -> tuple[int, int]:
    """Samples of luma for one of chroma, across and down; 1 where there is no chroma of its own."""
    if pixels.is_rgb or pixels.has_palette or len(pixels.components) < 3:
        return 1, 1
    return 16 // pixels.chroma_width(16), 16 // pixels.chroma_height(16)


def siting_of(frame: "VideoFrame", family: str) -> str:
    """By FFmpeg's names; "": not said, or every sample of luma has one of chroma.

    A ramp is put in place of a corner's samples: to where it comes at full size tells it.
    """
    across, down = steps(frame.format)
    if max(across, down) == 1 or min(frame.width, frame.height) < _SIDE or frame.format.name.startswith("yuvj"):
        return "left" if frame.format.name == "yuvj420p" and family in _TELLING else ""
    codes = 2 ** (frame.format.components[0].bits - 8)
    ramps = f"lum={100 * codes}:cb=(40+{_STEP}*X)*{codes}:cr=(40+{_STEP}*Y)*{codes}"
    try:
        marked = _through(_graph(frame, ("crop", f"{_SIDE}:{_SIDE}:0:0"), ("geq", ramps)), frame)
    except (require("av").FFmpegError, ValueError):
        return ""
    whole = marked.reformat(format="yuv444p16le", interpolation=EXACT_CONVERSION)
    places = []
    for number, (axis, times) in enumerate(((0, across), (1, down)), 1):
        samples = np.frombuffer(memoryview(whole.planes[number]), "<u2").reshape(_SIDE, -1)[:, :_SIDE] / 256
        line = samples.mean(axis)[_SIDE // 4 : _SIDE // 2]
        off = float((np.arange(_SIDE // 4, _SIDE // 2) - (line - 40) / _STEP * times).mean())
        places.append(round(2 * off / (times - 1)) if times > 1 else 1 if number == 2 else 0)
    name = _NAMES.get((places[0], places[1]), "")
    return "" if name == "center" and not (family in _TELLING and down == 2) else name


def in_samples(frame: "VideoFrame", name: str, matrix: int, reach: int, siting: str) -> "VideoFrame":
    """A frame of RGB, or of YUV with this matrix and range, in another format with its chroma there."""
    size = "full" if reach == 2 else "limited"
    to = f"flags={_FLAGS}:out_color_matrix={_MATRICES[matrix]}:out_range={size}:out_chroma_loc={siting}"
    if not frame.format.is_rgb:
        to += f":in_color_matrix={_MATRICES[matrix]}:in_range={size}"
    key = (frame.width, frame.height, frame.format.name, name, to)
    known: dict[object, Graph] = vars(_graphs).setdefault("known", {})
    if key not in known:
        known.clear()
        known[key] = _graph(frame, ("scale", to), ("format", name))
    return _through(known[key], frame)


def _graph(frame: "VideoFrame", *filters: tuple[str, str]) -> "Graph":
    """Of the frame's own clock, to which its time is rounded when it is pushed."""
    graph: Graph = require("av").filter.Graph()
    last = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 1000)
    )
    for name, arguments in filters:
        following = graph.add(name, arguments)
        last.link_to(following)
        last = following
    last.link_to(graph.add("buffersink"))
    graph.configure()
    return graph


def _through(graph: "Graph", frame: "VideoFrame") -> "VideoFrame":
    graph.push(frame)
    return cast("VideoFrame", graph.pull())
