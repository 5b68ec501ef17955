"""What came of it: a summary, quantiles of the scores, and a picture of their histograms."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vfi.commands.make_clips.job import Summary
from vfi.files.images import write_image
from vfi.files.opencv import opencv

QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)
BINS = 40
_WIDTH, _HEIGHT, _MARGIN, _BAR = 480, 240, 36, (180, 120, 50)


def summary_lines(summary: Summary) -> list[str]:
    lines = [f"{summary.kept} of {summary.videos} videos are taken, {summary.clips} clips"]
    return lines + [f"{count} left out: {reason}" for reason, count in summary.left_out.most_common()]


def quantile_lines(summary: Summary) -> list[str]:
    """Of both scores, over all videos whose scores were measured."""
    lines = [f"{'quantile':12}" + "".join(f"{q:>9.0%}" for q in QUANTILES)]
    for name, scores in _named(summary):
        values = "".join(f"{value:9.3f}" for value in np.quantile(scores, QUANTILES)) if scores else "  not measured"
        lines.append(f"{name:12}{values}")
    return lines


def write_histogram(path: Path, summary: Summary) -> None:
    """A picture of both."""
    write_image(path, np.concatenate([_panel(name, scores) for name, scores in _named(summary)]))


def _named(summary: Summary) -> tuple[tuple[str, list[float]], ...]:
    return ("CLIP score", summary.clip_scores), ("flow score", summary.flow_scores)


def _panel(name: str, scores: Sequence[float]) -> np.ndarray:
    """(240, 480, 3): the numbers of videos in 40 equal steps from the least to the greatest score."""
    cv2 = opencv()
    picture = np.full((_HEIGHT, _WIDTH, 3), 255, np.uint8)

    def write(text: str, x: int, y: int) -> None:
        cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)

    if not scores:
        write(f"{name}: not measured", _MARGIN, 20)
        return picture
    counts, edges = np.histogram(scores, BINS)
    write(f"{name}, {len(scores)} videos, at most {counts.max()} in a step", _MARGIN, 20)
    bottom, left = _HEIGHT - _MARGIN, _MARGIN
    step = (_WIDTH - 2 * _MARGIN) // BINS
    for i, count in enumerate(counts):
        top = bottom - round((bottom - _MARGIN) * count / counts.max())
        cv2.rectangle(picture, (left + i * step, bottom), (left + (i + 1) * step - 2, top), _BAR, -1)
    write(f"{edges[0]:.3g}", left, _HEIGHT - 12)
    write(f"{edges[-1]:.3g}", _WIDTH - 2 * _MARGIN, _HEIGHT - 12)
    return picture
