"""What objects of training scenes look like: their pictures with an opacity, (h, w, 4) float32, 0 at the borders."""

import string
from collections.abc import Callable

import numpy as np

from data_steps.pictures import Pictures
from vfi.data.synthetic.shapes import inwards, outline
from vfi.files.opencv import opencv

DENSITY = 1.5  # texels per px


def cutout(rng: np.random.Generator, pictures: Pictures, radius: float, frame: int) -> np.ndarray:
    """A random object of about `radius` px, of any kind; fences and swarms may cover a frame of `frame` px."""
    kinds: list[tuple[float, Callable[[], np.ndarray]]] = [
        (0.34, lambda: blob(rng, pictures, radius)),
        (0.16, lambda: silhouette(rng, pictures, radius)),
        (0.22 if pictures.objects else 0.0, lambda: framed(pictures.object(rng, 2 * DENSITY * radius))),
        (0.08, lambda: letters(rng, pictures, radius)),
        (0.08, lambda: fence(rng, pictures, min(frame * 0.7, 2.5 * radius))),
        (0.07, lambda: hairs(rng, pictures, min(frame * 0.6, 1.5 * radius))),
        (0.05, lambda: swarm(rng, pictures, min(frame * 0.6, 2 * radius))),
    ]
    chances = np.array([chance for chance, _ in kinds])
    return kinds[rng.choice(len(kinds), p=chances / chances.sum())][1]()


def blob(rng: np.random.Generator, pictures: Pictures, radius: float) -> np.ndarray:
    """Cut along an outline, sharply or softly."""
    softness = 1 / DENSITY if rng.random() < 0.75 else rng.uniform(1, 2 + radius / 8)
    side = int(np.ceil(2 * DENSITY * (radius + softness + 2)))
    opacity = np.float32(0.5) + inwards(outline(rng, radius), side, side, DENSITY) / np.float32(softness)
    return filled(rng, pictures, opacity)


def silhouette(rng: np.random.Generator, pictures: Pictures, radius: float) -> np.ndarray:
    """The lighter or the darker part of a piece of a picture: its edges are the picture's own."""
    cv2 = opencv()
    side = max(16, int(2 * DENSITY * radius))
    picture = pictures.texture(rng, side, side)
    light = cv2.GaussianBlur(picture.mean(2), (0, 0), rng.uniform(0.8, 1 + side / 60))
    away = np.linspace(-1, 1, side, dtype=np.float32) ** 2
    inside = np.maximum(0, 1.1 - away - away[:, None])
    level = np.quantile(light, rng.uniform(0.25, 0.6))
    steep = np.float32(rng.uniform(20, 60) * rng.choice((-1, 1)))
    opacity = np.minimum(0.5 + steep * (light - level), 4 * inside - 0.5)
    return joined(picture, opacity)


def letters(rng: np.random.Generator, pictures: Pictures, radius: float) -> np.ndarray:
    """A word or a few lines, plain or cut from a picture."""
    mask = written(rng, max(9, DENSITY * radius * rng.uniform(0.15, 0.8)), int(rng.integers(1, 4)))
    return filled(rng, pictures, mask, plain=0.6)


def fence(rng: np.random.Generator, pictures: Pictures, radius: float) -> np.ndarray:
    """Bars or a grid: what is behind shows through at regular distances."""
    side = int(2 * DENSITY * radius)
    place = np.arange(side, dtype=np.float32)
    period, share, bars = DENSITY * rng.uniform(5, 36), rng.uniform(0.12, 0.5), []
    for _ in (0, 1):
        across = np.abs((place + rng.uniform(0, period)) % period - period / 2)
        bars.append(share * period / 2 - across)
    grid = bars[0][None] + np.zeros((side, 1), np.float32)
    if rng.random() < 0.5:
        grid = np.maximum(grid, bars[1][:, None])
    return filled(rng, pictures, 0.5 + grid, plain=0.4)


def hairs(rng: np.random.Generator, pictures: Pictures, radius: float) -> np.ndarray:
    """Curved lines of one to three px."""
    cv2 = opencv()
    side = max(24, int(2 * DENSITY * radius))
    mask = np.zeros((side, side), np.uint8)
    along = np.linspace(-1, 1, 24)[:, None]
    common = rng.normal(size=(3, 2))
    for _ in range(int(rng.integers(2, 40))):
        start, turn, bow = common + rng.normal(size=(3, 2)) * (0.25, 0.25)
        points = side * (0.5 + 0.3 * (start * 0.5 + turn * along + 0.4 * bow * along**2))
        thickness = int(rng.choice((1, 1, 2, 3, 4)))
        cv2.polylines(mask, [np.rint(points * 16).astype(np.int32)], False, 255, thickness, cv2.LINE_AA, 4)
    return filled(rng, pictures, mask.astype(np.float32) / 255, plain=0.6)


def swarm(rng: np.random.Generator, pictures: Pictures, radius: float) -> np.ndarray:
    """Many small things that move together: leaves, snow."""
    cv2 = opencv()
    side = max(24, int(2 * DENSITY * radius))
    mask = np.zeros((side, side), np.uint8)
    size = DENSITY * rng.uniform(0.8, 6)
    for _ in range(int(rng.integers(5, 80))):
        axes = tuple(int(16 * size * a) for a in rng.uniform(0.4, 1.2, 2))
        centre = tuple(int(c) for c in rng.uniform(0.1 * side, 0.9 * side, 2) * 16)
        cv2.ellipse(mask, centre, axes, rng.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA, 4)
    return filled(rng, pictures, mask.astype(np.float32) / 255, plain=0.3)


def written(rng: np.random.Generator, height: float, lines: int) -> np.ndarray:
    """Letters of about `height` texels, as an opacity (h, w)."""
    cv2 = opencv()
    font = int(rng.choice((cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX)))
    thickness = max(1, round(height * rng.uniform(0.06, 0.2)))
    scale, text = height / 22, [word(rng) for _ in range(lines)]
    width = max(cv2.getTextSize(line, font, scale, thickness)[0][0] for line in text)
    step = int(1.6 * height) + thickness
    mask = np.zeros((step * lines + int(height), width + 2 * thickness + 8), np.uint8)
    for i, line in enumerate(text):
        place = (thickness + 4, int((i + 1) * step))
        cv2.putText(mask, line, place, font, scale, 255, thickness, cv2.LINE_AA)
    return mask.astype(np.float32) / 255


def word(rng: np.random.Generator) -> str:
    letters = list(string.ascii_letters + string.digits)
    return " ".join("".join(rng.choice(letters, rng.integers(2, 8))) for _ in range(rng.integers(1, 4)))


def filled(rng: np.random.Generator, pictures: Pictures, opacity: np.ndarray, plain: float = 0.05) -> np.ndarray:
    """With a piece of a picture or, at a chance of `plain`, one colour."""
    if rng.random() < plain:
        colour = rng.uniform(0, 1) + rng.uniform(-0.4, 0.4, 3) * rng.random()
        picture = np.broadcast_to(np.clip(colour, 0, 1).astype(np.float32), (*opacity.shape, 3))
    else:
        picture = pictures.texture(rng, *opacity.shape)
    return joined(picture, opacity)


def joined(picture: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    return framed(np.concatenate((picture, opacity[..., None].astype(np.float32)), axis=2))


def framed(pixels: np.ndarray) -> np.ndarray:
    """Clipped, with a border of two texels through which everything shows."""
    result = np.pad(pixels, ((2, 2), (2, 2), (0, 0)), mode="edge")
    result[..., 3] = np.pad(pixels[..., 3].clip(0, 1), 2)
    return result
