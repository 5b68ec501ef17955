"""Sound as slow as the picture, at its own pitch, by FFmpeg's atempo."""

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, cast

from vfi.errors import require
from vfi.video.av_common import pulled

if TYPE_CHECKING:
    from av import AudioFrame
    from av.filter import Graph

_SLOWEST, _FASTEST = Fraction(1, 2), Fraction(100)  # of one filter


class Stretched:
    """Frames of sound that follow each other to frames that last `slower` times as long; some come later."""

    def __init__(self, slower: Fraction) -> None:
        self._slower = slower
        self._graph: Graph | None = None
        self._samples = 0  # given so far

    def push(self, frame: "AudioFrame | None") -> "Iterator[AudioFrame]":
        """The frames that are ready; None brings the last ones."""
        if self._graph is None:
            if frame is None:
                return
            self._graph = self._begun(frame)
            self._samples = round((frame.pts or 0) * self._slower)
        self._graph.push(frame)
        for ready in cast("Iterator[AudioFrame]", pulled(self._graph)):
            ready.pts, ready.time_base = self._samples, Fraction(1, ready.sample_rate)
            self._samples += ready.samples
            yield ready

    def _begun(self, like: "AudioFrame") -> "Graph":
        graph: Graph = require("av").filter.Graph()
        rate = like.sample_rate
        chain = [
            graph.add_abuffer(
                sample_rate=rate, format=like.format.name, layout=like.layout.name, time_base=Fraction(1, rate)
            )
        ]
        tempo = 1 / self._slower
        while tempo != 1:
            step = min(max(tempo, _SLOWEST), _FASTEST)
            chain.append(graph.add("atempo", f"{float(step):.9f}"))
            tempo /= step
        chain.append(graph.add("abuffersink"))
        graph.link_nodes(*chain).configure()
        return graph
