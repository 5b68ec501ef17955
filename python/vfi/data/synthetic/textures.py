"""What layers look like: leaves upon leaves, stripes and checks, noise, photographs; (height, width, 3) in [0, 1]."""

from functools import cache

import numpy as np

from vfi.errors import require
from vfi.files.opencv import opencv

# Shipped inside scikit-image, in the public domain or CC0.
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "hubble_deep_field", "brick", "grass", "gravel")


def texture(rng: np.random.Generator, height: int, width: int, *, photographs: bool) -> np.ndarray:
    """A random picture, float32; with `photographs`, seven in ten are cut from one."""
    if photographs and rng.random() < 0.7:
        picture = _photograph(rng, height, width)
    else:
        draw = (_leaves, _pattern, _clouds)[rng.choice(3, p=(0.5, 0.25, 0.25))]
        picture = draw(rng, height, width)
    result: np.ndarray = np.clip(picture, 0, 1)
    return result


def noise(rng: np.random.Generator, height: int, width: int, channels: int, roughness: float) -> np.ndarray:
    """Noise of all scales, with a deviation of about 1; an octave is `roughness` times as strong as the coarser one."""
    cv2 = opencv()
    octaves = max(1, int(np.log2(min(height, width))) - 1)
    size = [-(-length >> octaves) + 2 for length in (height, width)]
    field = rng.standard_normal((*size, channels), dtype=np.float32)
    strength = 1.0
    for _ in range(octaves):
        size = [2 * length for length in size]
        field = cv2.resize(field, size[::-1], interpolation=cv2.INTER_CUBIC).reshape(*size, channels)
        strength *= roughness
        field += np.float32(strength) * rng.standard_normal(field.shape, dtype=np.float32)
    some = field[:height:3, :width:3]
    result: np.ndarray = (field[:height, :width] - some.mean((0, 1))) / some.std((0, 1))
    return result


def _grain(rng: np.random.Generator, height: int, width: int, strength: float) -> np.ndarray:
    """Noise, mostly of brightness; that of colour is coarser."""
    roughness = rng.uniform(0.4, 0.7)
    colour = noise(rng, height // 4 + 1, width // 4 + 1, 3, roughness)
    colour = opencv().resize(colour, (width, height), interpolation=opencv().INTER_LINEAR)
    result: np.ndarray = np.float32(strength) * (noise(rng, height, width, 1, roughness) + np.float32(0.35) * colour)
    return result


def _colours(rng: np.random.Generator, count: int) -> np.ndarray:
    """Colours (count, 3) in [0, 1], most of them dull."""
    brightness, vividness = rng.uniform(0.05, 0.95, (count, 1)), rng.uniform(0, 0.6, (count, 1))
    return np.clip(brightness + vividness * rng.uniform(-0.5, 0.5, (count, 3)), 0, 1).astype(np.float32)


def _shade(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """From one colour to another across the picture."""
    direction = rng.uniform(0, 2 * np.pi)
    x, y = np.linspace(-0.5, 0.5, width), np.linspace(-0.5, 0.5, height)[:, None]
    share = (0.5 + np.cos(direction) * x + np.sin(direction) * y).astype(np.float32)[..., None]
    first, second = _colours(rng, 2)
    result: np.ndarray = first + share * (second - first)
    return result


def _clouds(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    result: np.ndarray = _shade(rng, height, width) + _grain(rng, height, width, rng.uniform(0.08, 0.22))
    return result


def _pattern(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Stripes or checks that noise bends a little."""
    period, direction = rng.uniform(8, 48), rng.uniform(0, np.pi)
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    cos, sin = (np.float32(f(direction) * 2 * np.pi / period) for f in (np.cos, np.sin))
    bent = np.float32(rng.uniform(0, 1.5)) * noise(rng, height, width, 1, 0.15)[..., 0]
    waves = np.sin(cos * x + sin * y + bent)
    if rng.random() < 0.5:
        waves *= np.sin(cos * y - sin * x + bent)
    share = np.clip(0.5 + np.float32(rng.uniform(0.5, 6)) * waves, 0, 1)[..., None]
    first, second = _shade(rng, height, width), _shade(rng, height, width)
    result: np.ndarray = first + share * (second - first) + _grain(rng, height, width, rng.uniform(0.02, 0.1))
    return result


def _leaves(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Shapes upon shapes of all sizes: the edges and plain areas of natural images."""
    cv2 = opencv()
    picture = (_shade(rng, height, width) * 255).astype(np.uint8)
    largest = 0.3 * max(height, width)
    count = int(np.clip(height * width / 300, 30, 500))
    # Few large ones, many small ones, which come last so that they stay seen.
    sizes = np.sort(1 / rng.uniform(1 / largest, 1 / 3, count))[::-1]
    colours = (_colours(rng, count) * 255).tolist()
    for size, colour in zip(sizes, colours):
        centre = rng.uniform(0, (width, height))
        if rng.random() < 0.5:
            axes = (size * rng.uniform(0.4, 1, 2)).astype(int).tolist()
            turn = rng.uniform(0, 180)
            cv2.ellipse(picture, centre.astype(int).tolist(), axes, turn, 0, 360, colour, -1, cv2.LINE_AA)
        else:
            angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7)))
            corners = centre + size * np.stack((np.cos(angles), np.sin(angles)), axis=1)
            cv2.fillPoly(picture, [(corners * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)
    result: np.ndarray = picture.astype(np.float32) / 255 + _grain(rng, height, width, rng.uniform(0.02, 0.1))
    return result


def _photograph(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A window of a photograph at a random scale, mirrored where that is too small, in slightly other colours."""
    cv2 = opencv()
    picture = _load(PHOTOGRAPHS[rng.integers(len(PHOTOGRAPHS))])
    covering = max(height / picture.shape[0], width / picture.shape[1])
    scale = max(rng.uniform(0.6, 1.4), min(covering, 2))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=method).astype(np.float32) / 255
    indices = []
    for length, available in zip((height, width), picture.shape[:2]):
        place = (np.arange(length) + rng.integers(max(1, available - length + 1))) % (2 * available)
        indices.append(np.minimum(place, 2 * available - 1 - place))
    result: np.ndarray = picture[np.ix_(*indices)] * rng.uniform(0.8, 1.2, 3).astype(np.float32)
    return result


@cache
def _load(name: str) -> np.ndarray:
    picture = getattr(require("skimage.data"), name)()
    return picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
