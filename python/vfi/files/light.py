"""Linear light, which pictures in float hold, and the values of screens, which models are trained on.

Up to 1 the curve is that of sRGB (IEC 61966-2-1). Above, where sRGB ends, it goes on as a logarithm with the same
slope, as HLG does: highlights of any brightness stay apart and do not take the range of everything else. Below 0 it is
mirrored. Nothing is clipped, and it can be undone.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_KNEE, _SLOPE, _POWER, _SHIFT = 0.0031308, 12.92, 2.4, 0.055
_LOGARITHM = (1 + _SHIFT) / _POWER  # the slope of sRGB at 1


def encoded(linear: Tensor) -> Tensor:
    """Linear light to values of screens; 0 to 0, 1 to 1."""
    size = linear.abs()
    curved = (1 + _SHIFT) * size.clamp(_KNEE, 1).pow(1 / _POWER) - _SHIFT + _LOGARITHM * size.clamp(min=1).log()
    return torch.where(size <= _KNEE, _SLOPE * size, curved).copysign(linear)


def decoded(values: Tensor) -> Tensor:
    """What `encoded` was made of."""
    size = values.abs()
    curved = ((size.clamp(0, 1) + _SHIFT) / (1 + _SHIFT)).pow(_POWER) * ((size.clamp(min=1) - 1) / _LOGARITHM).exp()
    return torch.where(size <= _SLOPE * _KNEE, size / _SLOPE, curved).copysign(values)


@dataclass(frozen=True)
class Range:
    """From linear light to [0, 1] for a model, and back: the values of screens, the least of them at 0, the most at 1.

    Pictures of sRGB's own range, [0, 1], become just what sRGB makes of them.
    """

    least: float
    most: float

    @classmethod
    def of(cls, *pictures: Tensor) -> "Range":
        """The range of pictures whose values are finite."""
        ends = torch.stack([torch.stack(picture.aminmax()) for picture in pictures])
        least, most = encoded(torch.stack([ends[:, 0].min().clamp(max=0), ends[:, 1].max().clamp(min=1)])).tolist()
        return cls(least, most)

    def to_model(self, linear: Tensor) -> Tensor:
        return (encoded(linear) - self.least) / (self.most - self.least)

    def from_model(self, values: Tensor) -> Tensor:
        return decoded(values.clamp(0, 1) * (self.most - self.least) + self.least)


def finite(linear: Tensor) -> Tensor:
    """NaN becomes 0, and infinity the largest finite value of the picture."""
    sizes = linear.abs()
    largest = float(torch.where(sizes < math.inf, sizes, 0).max())
    return linear.nan_to_num(0.0, largest, -largest)
