"""Clips of VapourSynth, made on the spot: a texture that moves, with marks and durations as asked."""

from fractions import Fraction

import numpy as np
import vapoursynth as vs

SIZE = (96, 64)


def textures(count, size, channels=3, seed=0, speed=3):
    """(channels, H, W) in [0, 1] for each frame."""
    width, height = size
    rng = np.random.default_rng(seed)
    coarse = rng.random((channels, height // 8 + 2, (width + count * speed) // 8 + 2))
    rows = np.arange(height) / 8
    for number in range(count):
        columns = (np.arange(width) + number * speed) / 8
        y, x = rows.astype(int)[:, None], columns.astype(int)[None]
        v, u = (rows % 1)[:, None], (columns % 1)[None]
        yield (
            (coarse[:, y, x] * (1 - v) + coarse[:, y + 1, x] * v) * (1 - u)
            + (coarse[:, y, x + 1] * (1 - v) + coarse[:, y + 1, x + 1] * v) * u
        )


def clip(name="RGBS", count=6, size=SIZE, rate=Fraction(24), pictures=None, **props):
    """A clip of the format, of textures or of these pictures (3, H, W) in [0, 1].

    props: each a value, or one for every frame; durations=[...] are those, and the clip has no rate.
    """
    durations = props.pop("durations", None)
    pictures = list(textures(count, size) if pictures is None else pictures)
    width, height = pictures[0].shape[2], pictures[0].shape[1]
    whole = vs.core.std.BlankClip(None, width, height, vs.RGB48, len(pictures), rate.numerator, rate.denominator)

    def draw(n, f):
        frame = f.copy()
        for plane, values in enumerate(pictures[n]):
            np.asarray(frame[plane])[...] = np.round(values * 65535)
        return frame

    def tell(n, f):
        frame = f.copy()
        for key, value in props.items():
            frame.props[key] = value[n] if isinstance(value, (list, tuple)) else value
        if durations is not None:
            frame.props["_DurationNum"], frame.props["_DurationDen"] = Fraction(durations[n]).as_integer_ratio()
        return frame

    whole = whole.std.ModifyFrame(whole, draw)
    family = getattr(vs, name)
    if family != vs.RGB48:
        told = props.get("_Matrix", 1)
        matrix = {} if name.startswith("RGB") else {"matrix": 5 if told == 2 else told, "range": props.get("_Range", 0)}
        whole = whole.resize.Bicubic(format=family, **matrix)
    if durations is not None:
        even, like = whole, whole.std.BlankClip(fpsnum=0, fpsden=1, keep=True)
        whole = like.std.FrameEval(lambda n: even)
    return whole.std.ModifyFrame(whole, tell)


def planes(frame):
    return [np.asarray(frame[number]).copy() for number in range(frame.format.num_planes)]


def taken(clip):
    """Planes and properties of every frame."""
    return [(planes(frame), dict(frame.props)) for frame in clip.frames(close=True)]


def same(one, other):
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other))
