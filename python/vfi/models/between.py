"""`vfi.between`: frames between two frames that are in memory."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import overload

import torch
from torch import Tensor

from vfi.models.devices import choose_device
from vfi.models.given_frames import Form, Frame, Layout, copied, form_of
from vfi.models.interpolator import Interpolator
from vfi.models.kept import kept_model, placed
from vfi.models.pictures import divided, made_between, multiplied, with_plane
from vfi.models.registry import DEFAULT
from vfi.networks.sized_inference import times_of


@overload
def between(
    frame0: Frame,
    frame1: Frame,
    t: float = 0.5,
    *,
    model: str | Interpolator = DEFAULT,
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
    layout: Layout | None = None,
    **options: object,
) -> Frame: ...


@overload
def between(
    frame0: Frame,
    frame1: Frame,
    t: Sequence[float],
    *,
    model: str | Interpolator = DEFAULT,
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
    layout: Layout | None = None,
    **options: object,
) -> list[Frame]: ...


def between(
    frame0: Frame,
    frame1: Frame,
    t: float | Sequence[float] = 0.5,
    *,
    model: str | Interpolator = DEFAULT,
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
    layout: Layout | None = None,
    **options: object,
) -> Frame | list[Frame]:
    """The frame at `t` between two frames, like them: `vfi.between(a, b, 0.5)`.

    Args:
        frame0, frame1: two numpy arrays, torch tensors or PIL images of one shape and type. Arrays and tensors are
            (H, W), (H, W, C), (C, H, W), (B, H, W, C) or (B, C, H, W) of 1 (gray), 3 (RGB) or 4 channels (with alpha,
            by which colours are not multiplied), in uint8, uint16, or floats in [0, 1]; PIL images are of mode L, LA,
            RGB, RGBA or I;16.
        t: where frame 0 is at 0 and frame 1 at 1, or several; 0 and 1 give copies of the frames.
        model: one of `vfi.MODELS`, which is loaded once and kept, or one from `vfi.load_model`.
        weights, options: of the model, as `vfi.load_model` takes them, `engine` and `precision` with them.
        device: where the model works. None: where the tensors are; of others a GPU if there is one.
        layout: "HW", "HWC", "CHW", "BHWC" or "BCHW", of a shape that may be several of them, such as (3, 64, 3).

    Returns:
        What is at t, of the same kind, layout, dtype and device as the frames; a list for several t. No gradient.

    Raises:
        ArgumentError: if the frames are not alike, their shape may mean several things, values are not finite or
            have another range, `t` is outside of [0, 1], or the model, its weights or an option are wrong.
    """
    times, alone = times_of(t)
    form = form_of(frame0, frame1, layout)
    interpolator, place, lock = _ready(model, weights, form.device if device is None else device, options)
    with lock:
        results = InARow(interpolator, place).between(form, frame0, frame1, times)
    return results[0] if alone else results


class InARow:
    """A model on its device, for frames in a row: what was made of a frame serves both pairs that it is in."""

    def __init__(self, model: Interpolator, device: str) -> None:
        self._model, self._device = model, device
        self._before: list[tuple[object, Tensor]] = []

    @torch.no_grad()
    def between(self, form: Form, frame0: Frame, frame1: Frame, times: Sequence[float]) -> list[Frame]:
        """As `vfi.between`, of frames of this form. That the last one was not changed since is for the caller."""
        inner = [time for time in times if time not in (0, 1)]
        made: list[Frame] = []
        if inner:
            planes = [self._planes(form, frame) for frame in (frame0, frame1)]
            self._before = list(zip((frame0, frame1), planes))
            for colour, alpha in made_between(self._model, planes, inner):
                shown = colour if alpha is None else divided(colour, alpha)
                made.append(form.like(shown if planes[0].shape[1] == 3 else with_plane(shown, alpha), frame0))
        return [copied(frame1 if time else frame0) if time in (0, 1) else made.pop(0) for time in times]

    def _planes(self, form: Form, frame: object) -> Tensor:
        known = next((planes for before, planes in self._before if before is frame), None)
        return multiplied(form.planes(frame, self._device)) if known is None else known


def _ready(
    model: str | Interpolator,
    weights: str | Path | None,
    device: str | torch.device | None,
    options: dict[str, object],
) -> tuple[Interpolator, str, AbstractContextManager[object]]:
    """The model, where its frames have to be, and what to hold while it works."""
    if not isinstance(model, Interpolator):
        place = choose_device(device)
        found, lock = kept_model(model, weights, place, **options)
        return found, place, lock
    return model, placed(model, device, weights=weights, **options), nullcontext()
