"""Pictures between two pictures as files hold them: any depth, linear light, alpha."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from vfi.files.images import to_array, to_tensor
from vfi.files.light import Range, finite
from vfi.models.interpolator import Interpolator, interpolate_many

_LUMA = (0.2126, 0.7152, 0.0722)


class Pictures:
    """What a model makes between pictures (H, W, 3), or (H, W, 4) with alpha: uint8, uint16, float32 of linear light.

    Models know screens: linear light goes through a curve there and back (`vfi.files.light`). Colours are multiplied
    by alpha meanwhile, so that those which nobody sees do not come in. Alpha is interpolated beside a gray picture,
    for its motion, and where it is 1 everywhere colours are what they are without it.
    """

    def __init__(self, model: Interpolator, device: str | torch.device) -> None:
        self._model, self._device = model, device
        self._before: tuple[np.ndarray, Tensor] | None = None

    def between(self, first: np.ndarray, second: np.ndarray, times: Sequence[float]) -> Iterator[np.ndarray]:
        """Pictures like the two, at times in [0, 1]."""
        # The same tensor as before: a model may have encoded it already.
        known = self._before
        planes = [
            known[1] if known is not None and known[0] is each else self._planes(each) for each in (first, second)
        ]
        self._before = second, planes[1]
        span = Range.of(*(each[:, :3] for each in planes)) if first.dtype == np.float32 else None
        for colour, alpha in made_between(self._model, planes, times, span):
            yield self._picture(colour, alpha, span, first)

    def _planes(self, picture: np.ndarray) -> Tensor:
        """(1, 3 or 4, H, W), the colours multiplied by alpha."""
        planes = to_tensor(picture, self._device)
        return finite(planes) if picture.dtype == np.float32 else multiplied(planes)

    @staticmethod
    def _picture(colour: Tensor, alpha: Tensor | None, span: Range | None, like: np.ndarray) -> np.ndarray:
        if span is not None:
            colour = span.from_model(colour)
        elif alpha is not None:
            colour = divided(colour, alpha)
        if like.shape[2] == 4:
            colour = with_plane(colour, alpha)
        return to_array(colour, like.dtype)


def made_between(
    model: Interpolator, planes: Sequence[Tensor], times: Sequence[float], span: Range | None = None
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Colours (B, 3, H, W), multiplied by alpha, and alpha (B, 1, H, W), None where all is opaque, at each time.

    planes: two of (B, 3 or 4, H, W), the colours multiplied by alpha. span: of colours of linear light.
    """
    colours = [each[:, :3] if each.shape[1] == 4 else each for each in planes]
    if span is not None:
        colours = [span.to_model(colour) for colour in colours]
    alphas = _alphas(model, planes, colours, times)
    results = interpolate_many(model, colours[0], colours[1], times)
    while results:
        yield results.pop(0), alphas.pop(0) if alphas else None


def multiplied(planes: Tensor) -> Tensor:
    """(B, 3 or 4, H, W), of which the colours are multiplied by alpha, in place."""
    if planes.shape[1] == 4 and bool((planes[:, 3:] < 1).any()):
        planes[:, :3] *= planes[:, 3:]
    return planes


def divided(colour: Tensor, alpha: Tensor) -> Tensor:
    """Colours that were multiplied; 0 where nobody sees them."""
    return torch.where(alpha > 0, colour / alpha, 0)


def with_plane(colour: Tensor, alpha: Tensor | None) -> Tensor:
    """(B, 4, H, W); None: opaque."""
    return torch.cat([colour, torch.ones_like(colour[:, :1]) if alpha is None else alpha], 1)


def _alphas(
    model: Interpolator, planes: Sequence[Tensor], colours: Sequence[Tensor], times: Sequence[float]
) -> list[Tensor]:
    """At each time; none where there is nothing to be seen through."""
    if planes[0].shape[1] == 3 or not any(bool((each[:, 3:] < 1).any()) for each in planes):
        return []
    weights = torch.tensor(_LUMA, device=planes[0].device)[:, None, None]
    pairs = []
    for each, colour in zip(planes, colours):
        alpha, gray = each[:, 3:].clamp(0, 1), (colour * weights).sum(1, keepdim=True)
        pairs.append(torch.cat([alpha, gray, alpha], 1))
    made = interpolate_many(model, pairs[0], pairs[1], times)
    return [(each[:, 0:1] + each[:, 2:3]).mul_(0.5).clamp_(0, 1) for each in made]
