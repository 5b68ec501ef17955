"""Charts of figures: a point for each row in panels side by side, as SVG or as pixels."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from vfi.errors import require

Colour = tuple[int, int, int]
SERIES: tuple[Colour, ...] = ((140, 140, 140), (20, 95, 190))
_INK, _PALE = (30, 30, 30), (225, 225, 225)
_ROW, _PANEL, _GAP, _MARGIN, _LETTERS = 20, 150, 34, 14, 12  # pixels
_LETTER_WIDTH = 0.62  # of the size of letters, at most, on average


@dataclass(frozen=True)
class Point:
    """low, high: between which the value is thought to be. series: the number of a colour."""

    row: int
    value: float
    series: int = 0
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Panel:
    title: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Band:
    """Panels side by side, whose rows have the same names."""

    title: str
    rows: tuple[str, ...]
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Chart:
    """series: names of colours; without any there is no legend."""

    title: str
    bands: tuple[Band, ...]
    series: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Line:
    start: tuple[float, float]
    end: tuple[float, float]
    colour: Colour
    width: int = 1


@dataclass(frozen=True)
class _Dot:
    at: tuple[float, float]
    radius: float
    colour: Colour


@dataclass(frozen=True)
class _Text:
    """at: the middle of its height, at its left, middle or right as `anchor` says (l, m or r)."""

    at: tuple[float, float]
    text: str
    anchor: str = "l"


_Shape = _Line | _Dot | _Text


def svg(chart: Chart) -> str:
    """The chart as a document."""
    shapes, (width, height) = _laid_out(chart)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif"'
        f' font-size="{_LETTERS}">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    anchors = {"l": "start", "m": "middle", "r": "end"}
    for shape in shapes:
        if isinstance(shape, _Text):
            x, y = shape.at
            text = f'<text x="{x:.1f}" y="{y:.1f}" dy="0.35em" text-anchor="{anchors[shape.anchor]}">'
            lines.append(f"{text}{escape(shape.text)}</text>")
        elif isinstance(shape, _Dot):
            x, y = shape.at
            lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{shape.radius}" fill="rgb{shape.colour}"/>')
        else:
            (x, y), (x2, y2) = shape.start, shape.end
            line = f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
            lines.append(f'{line} stroke="rgb{shape.colour}" stroke-width="{shape.width}"/>')
    return "\n".join([*lines, "</svg>", ""])


def picture(chart: Chart) -> np.ndarray:
    """The chart as pixels, (H, W, 3) uint8, twice as many along each side as in SVG."""
    shapes, (width, height) = _laid_out(chart)
    canvas = require("PIL.Image").new("RGB", (2 * width, 2 * height), "white")
    draw = require("PIL.ImageDraw").Draw(canvas)
    font = require("PIL.ImageFont").load_default(2 * _LETTERS)
    for shape in shapes:
        if isinstance(shape, _Text):
            draw.text((2 * shape.at[0], 2 * shape.at[1]), shape.text, _INK, font, anchor=f"{shape.anchor}m")
        elif isinstance(shape, _Dot):
            draw.circle((2 * shape.at[0], 2 * shape.at[1]), 2 * shape.radius, shape.colour)
        else:
            ends = [(2 * x, 2 * y) for x, y in (shape.start, shape.end)]
            draw.line(ends, shape.colour, 2 * shape.width)
    return np.asarray(canvas)


def _laid_out(chart: Chart) -> tuple[list[_Shape], tuple[int, int]]:
    """What is drawn, and the width and the height of all."""
    names = [row for band in chart.bands for row in band.rows] + [band.title for band in chart.bands]
    left = _MARGIN + round(_LETTERS * _LETTER_WIDTH * max(map(len, names), default=0)) + _MARGIN
    count = max((len(band.panels) for band in chart.bands), default=0)
    title = 2 * _MARGIN + round(_LETTERS * _LETTER_WIDTH * len(chart.title))
    width = max(left + count * (_PANEL + _GAP) + _MARGIN, title)
    shapes: list[_Shape] = [_Text((_MARGIN, _MARGIN + _ROW / 2), chart.title)]
    top = _MARGIN + _ROW
    for number, name in enumerate(chart.series):
        at = left + number * (_PANEL + _GAP)
        shapes += [_Dot((at, top + _ROW / 2), 4, SERIES[number]), _Text((at + 12, top + _ROW / 2), name)]
    top += _ROW * bool(chart.series)
    for band in chart.bands:
        shapes += [_Text((_MARGIN, top + _ROW), band.title)]
        top += round(1.5 * _ROW)
        shapes += [_Text((left - _MARGIN, top + (i + 0.5) * _ROW), row, "r") for i, row in enumerate(band.rows)]
        for place, panel in enumerate(band.panels):
            shapes += _panel(panel, left + place * (_PANEL + _GAP), top, len(band.rows))
        top += _ROW * (len(band.rows) + 1) + _MARGIN
    return shapes, (width, top + _MARGIN)


def _panel(panel: Panel, left: float, top: float, rows: int) -> Iterator[_Shape]:
    bottom = top + _ROW * rows
    yield _Text((left + _PANEL / 2, top - _ROW / 2), panel.title, "m")
    for row in range(rows):
        yield _Line((left, top + (row + 0.5) * _ROW), (left + _PANEL, top + (row + 0.5) * _ROW), _PALE)
    points = [point for point in panel.points if math.isfinite(point.value)]
    if not points:
        yield _Text((left + _PANEL / 2, top + _ROW * rows / 2), "not measured", "m")
        return
    ends = [end for point in points for end in (point.value, point.low, point.high) if end is not None]
    low, high = min(ends), max(ends)
    spread = (high - low) or abs(high) or 1.0
    low, high = low - 0.08 * spread, high + 0.08 * spread

    def at(value: float, row: float) -> tuple[float, float]:
        return left + _PANEL * (value - low) / (high - low), top + (row + 0.5) * _ROW

    for tick in ticks(low, high):
        x, _ = at(tick, 0)
        yield _Line((x, top), (x, bottom), _PALE)
        yield _Text((x, bottom + _ROW / 2), f"{tick:.6g}", "m")
    for point in points:
        colour = SERIES[point.series]
        if point.low is not None and point.high is not None:
            yield _Line(at(point.low, point.row), at(point.high, point.row), colour, 2)
        yield _Dot(at(point.value, point.row), 4, colour)


def ticks(low: float, high: float) -> Sequence[float]:
    """Two to four round numbers between them."""
    rough = (high - low) / 3
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= rough)
    if math.floor(high / step) - math.ceil(low / step) < 1:
        step /= 2
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
