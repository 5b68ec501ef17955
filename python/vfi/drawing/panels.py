"""Pictures of motion and visibility, and a labelled comparison strip."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vfi.drawing.flow_colours import flow_colours
from vfi.errors import require
from vfi.files.opencv import opencv

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

_BACKGROUND = (24, 26, 30)
_TEXT = (235, 235, 235)
_GREEN = (40, 220, 70)
_SEEN_COLOURS = {
    "both": (58, 62, 70),
    "frame 0 only": (240, 160, 48),
    "frame 1 only": (66, 150, 240),
    "neither": (250, 250, 250),
}


@dataclass(frozen=True)
class Panel:
    title: str
    rgb: np.ndarray  # (H, W, 3) uint8
    legend: tuple[tuple[str, tuple[int, int, int]], ...] = ()


def flow_panel(flow: np.ndarray) -> Panel:
    """Flow as colours with the wheel itself in the corner."""
    length = np.hypot(flow[..., 0], flow[..., 1])
    limit = max(float(np.quantile(length, 0.99)), 0.05)
    picture = flow_colours(flow, limit)
    radius = max(6, min(picture.shape[:2]) // 10)
    if min(picture.shape[:2]) > 3 * radius:
        offset = np.arange(-radius, radius + 1) / radius * limit
        wheel = np.stack(np.meshgrid(offset, offset), axis=2)
        disc = np.hypot(wheel[..., 0], wheel[..., 1]) <= limit
        corner = picture[-2 * radius - 1 :, -2 * radius - 1 :]
        corner[disc] = flow_colours(wheel, limit)[disc]
        rim = np.abs(np.hypot(wheel[..., 0], wheel[..., 1]) - limit) < 1.5 * limit / radius
        corner[rim] = _BACKGROUND
    return Panel(f"motion from frame 0 to 1 (full colour: {limit:.1f} px)", picture)


def holes_panel(seen0: np.ndarray, seen1: np.ndarray) -> Panel:
    """Which frame each pixel is seen in; (H, W) bool each."""
    picture = np.empty((*seen0.shape, 3), dtype=np.uint8)
    masks = (seen0 & seen1, seen0 & ~seen1, ~seen0 & seen1, ~seen0 & ~seen1)
    for mask, colour in zip(masks, _SEEN_COLOURS.values(), strict=True):
        picture[mask] = colour
    return Panel("holes: seen in", picture, tuple(_SEEN_COLOURS.items()))


def blend_panel(share0: np.ndarray) -> Panel:
    """How far either frame counts in a blend; share0 (H, W) in [0, 1]: 1 is frame 0 alone."""
    ends = [np.array(_SEEN_COLOURS[name]) for name in ("frame 0 only", "frame 1 only")]
    picture = (share0[..., None] * ends[0] + (1 - share0[..., None]) * ends[1]).round().astype(np.uint8)
    return Panel("blended from", picture, (("frame 0", tuple(ends[0])), ("frame 1", tuple(ends[1]))))


def paths_panel(rgb: np.ndarray, paths: np.ndarray) -> Panel:
    """Where points of a picture (H, W, 3) go: paths (N, T, 2), x and y in px, each a line from dark to bright."""
    cv2 = opencv()
    height, width = rgb.shape[:2]
    scale = max(1, round(480 / width))  # thin lines need pixels
    picture = cv2.resize(_eight_bits(rgb), (scale * width, scale * height), interpolation=cv2.INTER_LINEAR)
    picture = (0.55 * picture).astype(np.uint8)
    fine = 4  # bits of a pixel's fraction
    points = ((paths + 0.5) * scale * 2**fine - 2 ** (fine - 1)).round().astype(np.int32)
    count = points.shape[1] - 1
    for step in range(count):
        part = step / max(count - 1, 1)
        colour = tuple(int(a + (b - a) * part) for a, b in zip((60, 70, 200), (255, 225, 60)))
        lines = [np.ascontiguousarray(path[step : step + 2]) for path in points]
        cv2.polylines(picture, lines, False, colour, 1, cv2.LINE_AA, fine)
    return Panel("trajectories of frame 0", picture, (("frame 0", (60, 70, 200)), ("frame 1", (255, 225, 60))))


def tinted(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The picture (H, W, 3) with 8 bits, greener where the mask (H, W) is true."""
    picture: np.ndarray = _eight_bits(rgb).copy()
    picture[mask] = (0.6 * picture[mask] + 0.4 * np.array(_GREEN)).round()
    return picture


def strip(panels: list[Panel], *, columns: int = 3, panel_width: int = 480) -> np.ndarray:
    """Labelled panels in a grid, each scaled to `panel_width` (never enlarged above four times)."""
    height, width = panels[0].rgb.shape[:2]
    scale = min(panel_width / width, 4.0)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    cell_width, margin, bar = max(size[0], 260), 10, 30
    rows = -(-len(panels) // columns)
    image_module, draw_module = require("PIL.Image"), require("PIL.ImageDraw")
    canvas = image_module.new(
        "RGB", (margin + columns * (cell_width + margin), margin + rows * (size[1] + bar + margin)), _BACKGROUND
    )
    draw = draw_module.Draw(canvas)
    for i, panel in enumerate(panels):
        left = margin + (i % columns) * (cell_width + margin)
        top = margin + (i // columns) * (size[1] + bar + margin)
        _draw_title(draw, panel, left, top, cell_width)
        # Shrinking averages; enlarging shows the pixels.
        method = image_module.Resampling.LANCZOS if scale < 1 else image_module.Resampling.NEAREST
        canvas.paste(image_module.fromarray(_eight_bits(panel.rgb)).resize(size, method), (left, top + bar))
    return np.asarray(canvas)


def _draw_title(draw: "ImageDraw", panel: Panel, left: int, top: int, width: int) -> None:
    """The title, then the legend's colour patches and names, in letters small enough to fit `width`."""
    font_module = require("PIL.ImageFont")
    for letters in range(17, 7, -1):
        font = font_module.load_default(letters)
        length = draw.textlength(panel.title, font)
        length += sum(letters * 1.6 + draw.textlength(name, font) for name, _ in panel.legend)
        if length <= width:
            break
    middle = top + 14
    draw.text((left, middle), panel.title, _TEXT, font, anchor="lm")
    x = left + draw.textlength(panel.title, font)
    for name, colour in panel.legend:
        x += letters * 0.5
        draw.rectangle((x, middle - letters * 0.35, x + letters * 0.7, middle + letters * 0.35), colour)
        x += letters * 1.0
        draw.text((x, middle), name, _TEXT, font, anchor="lm")
        x += draw.textlength(name, font)


def _eight_bits(rgb: np.ndarray) -> np.ndarray:
    return (rgb / 257).round().astype(np.uint8) if rgb.dtype == np.uint16 else rgb
