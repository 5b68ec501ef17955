"""Flow as colours, by the wheel of the Middlebury benchmark, which readers of papers know.

Source: Baker et al., A Database and Evaluation Methodology for Optical Flow, IJCV 2011: hue is the direction, the more
saturated the longer, white is no motion. Hues change faster where eyes tell them apart better.
"""

import numpy as np

# How many hues lie between two corners of the RGB cube: red, yellow, green, cyan, blue, magenta, and red again.
_CORNERS = ((255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255), (255, 0, 0))
_STEPS = (15, 6, 4, 11, 13, 6)
_TOO_LONG = 0.75  # brightness of what is longer than the limit


def colour_wheel() -> np.ndarray:
    """The 55 colours (55, 3) in 0..255: red is motion to the right, yellow down, cyan to the left, violet up."""
    parts = []
    for steps, start, end in zip(_STEPS, _CORNERS, _CORNERS[1:]):
        share = (np.arange(steps) / steps)[:, None]
        rising = np.floor(share * 255)
        parts.append(np.array(start) + np.sign(np.subtract(end, start)) * rising)
    return np.concatenate(parts)


def flow_colours(flow: np.ndarray, limit: float) -> np.ndarray:
    """The colours (H, W, 3) uint8 of a flow.

    Args:
        flow: (H, W, 2), x and y, pixels; what is not a number counts as no motion.
        limit: pixels of the length shown fully saturated; longer flow is darker.
    """
    x, y = np.moveaxis(np.nan_to_num(flow.astype(np.float64)) / max(limit, 1e-6), -1, 0)
    wheel = colour_wheel()
    place = (np.arctan2(-y, -x) / np.pi + 1) / 2 * (len(wheel) - 1)
    before = np.floor(place).astype(int)
    share = (place - before)[..., None]
    hue = (1 - share) * wheel[before] + share * wheel[(before + 1) % len(wheel)]
    length = np.hypot(x, y)[..., None]
    colours = np.where(length <= 1 + 1e-5, 255 - length * (255 - hue), _TOO_LONG * hue)
    result: np.ndarray = np.floor(colours).astype(np.uint8)
    return result
