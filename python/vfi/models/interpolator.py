"""What every model is to the rest of the package: a small class of which a model overrides what it does itself."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from vfi.drawing.panels import Panel
from vfi.errors import ArgumentError, UserError
from vfi.networks.sized_inference import check_frames, several_times, time_of
from vfi.options import ChannelOrder, whole

if TYPE_CHECKING:
    from vfi.training.objective import Objective


class Explanation(ABC):
    """What stands behind an interpolated frame, for pictures."""

    @abstractmethod
    def panels(self) -> list[Panel]:
        """Motion and the like."""

    def route_panels(self, frame: np.ndarray) -> list[Panel]:
        """The frame (H, W, 3), RGB, with what was worked on where; of a model with `shows_route`."""
        return []


class Interpolator(ABC):
    """Frames between two frames. A model must have `interpolate`; the rest has defaults.

    Attributes:
        channel_order: of the frames that the methods take and give, "rgb" or "bgr".
        shows_route: explanations have `route_panels`.
        notices: what a user should know of how it was loaded, a sentence each.
        works_in_tiles: squares of a picture may be made by themselves.
        tile: side of the squares, px, that it cuts pictures into itself; None: it leaves that to others.
        any_time: a single call reaches any time; otherwise only the middle, of which others are made.
        programs: of a module, the methods from tensors and numbers to tensors, without effects elsewhere, that are its
            work; `vfi.engines` runs them otherwise. "network.forward" is of a module below. Empty: no engine takes it.
    """

    channel_order: ChannelOrder = "rgb"
    shows_route = False
    notices: tuple[str, ...] = ()
    works_in_tiles: bool = True
    tile: int | None = None
    any_time: bool = True
    programs: tuple[str, ...] = ()

    @property
    def called(self) -> str:
        """Its name in sentences: that of the registry, or of a class that is not there."""
        from vfi.models.registry import name_of

        return name_of(type(self)) or type(self).__name__

    @classmethod
    def load(cls, weights: str | Path | None, device: str, options: Any) -> "Interpolator":
        """The model on `device`, ready to interpolate: what `vfi.load_model` calls.

        Args:
            weights: file or folder of the weights; None of a model that has none.
            options: of the dataclass that the registry names for this model. The default makes them keywords of the
                class.
        """
        try:
            inspect.signature(cls).bind(**vars(options))
        except TypeError as error:
            keywords = f"its options ({', '.join(vars(options)) or 'none'}) as keywords"
            raise ArgumentError(f"expected {cls.__name__} to take {keywords}, got {error}") from error
        model = cls(**vars(options))
        return model.to(device).eval() if isinstance(model, nn.Module) else model

    @classmethod
    def objective(cls, weights: str | Path | None, tiny: bool, options: Any) -> "Objective":
        """What `vfi train` trains, on the CPU.

        Args:
            weights: to begin with; None: fresh ones.
            tiny: small networks of random weights, to try things out.
            options: of the dataclass that the registry names for this model's training.
        """
        raise UserError(f"{cls.__name__} is not trained")

    @abstractmethod
    def interpolate(self, frame0: Tensor, frame1: Tensor, t: float) -> Tensor:
        """The frame at t in [0, 1] between frames (B, 3, H, W) in [0, 1], in the model's channel order."""

    def interpolate_many(self, frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> list[Tensor]:
        """`interpolate` at several times: for models where these share work."""
        return [self.interpolate(frame0, frame1, t) for t in times]

    def why_not_exported(self, size: tuple[int, int] | None, dtype: torch.dtype) -> str | None:
        """Why no file can be made of it by vfi.export, for frames of a size (None: any) and dtype; None: one can."""
        return "it has no graph for torch.export"

    def traced(self, frame0: Tensor, frame1: Tensor, t: Tensor) -> Tensor:
        """`interpolate` for torch.export, of a model that has nothing against it: sizes may be symbols, t is (B,), and
        no value decides what is done. Of a model without `any_time` t is not looked at."""
        raise NotImplementedError

    def explain(self, frame0: Tensor, frame1: Tensor, t: float) -> Explanation | None:
        """What stands behind the frame at t; None: nothing that could be shown."""
        check_frames(frame0, frame1)
        time_of(t)
        return None

    def whole_frames(self, count: int) -> int:
        """How many frames, both ends counted, the model makes when `count`, 2 or more, are asked for."""
        return whole("count", count, 2)

    def generate(self, first: Tensor, last: Tensor, prompt: str, num_frames: int) -> Tensor:
        """Frames (N, 3, h, w), RGB, from the first to the last one (1, 3, H, W), RGB; `prompt` says what happens.

        Args:
            num_frames: N, both ends counted; 2 or more.
        """
        check_request(first, last, prompt, num_frames)
        return torch.cat(interpolate_many(self, first, last, [i / (num_frames - 1) for i in range(num_frames)]))


def interpolate_many(model: Interpolator, frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> list[Tensor]:
    """RGB frames at several times between two RGB frames, whatever the model's channel order.

    Raises:
        ArgumentError: if they are no frames, or the times no numbers in [0, 1].
        UserError: if one is not finite: clamped and rounded, it would be a picture of nothing.
    """
    check_frames(frame0, frame1)
    times = several_times(times)
    results = model.interpolate_many(reordered(model, frame0), reordered(model, frame1), times)
    for t, result in zip(times, results):
        if not result.sum().isfinite() and not result.isfinite().all():  # the sum is quick
            reasons = "its weights are damaged, or its precision is too small"
            raise UserError(f"the frame that {model.called} made at {t:g} holds NaN or infinity: {reasons}")
    return [reordered(model, result) for result in results]


def check_request(first: Tensor, last: Tensor, prompt: str, num_frames: int) -> None:
    """Of what `generate` takes."""
    check_frames(first, last)
    if len(first) != 1:
        raise ArgumentError(f"expected one pair of frames, got {len(first)}")
    if not isinstance(prompt, str):
        raise ArgumentError(f"expected `prompt` to be text, got {prompt!r}")
    whole("num_frames", num_frames, 2)


def reordered(model: Interpolator, frame: Tensor) -> Tensor:
    """RGB to the model's order, or back: both swap the outer channels."""
    return frame.flip(1) if model.channel_order == "bgr" else frame
