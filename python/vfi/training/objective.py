"""What a model brings to its training: stages, trained parameters, losses."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vfi.training.data import Data, cut_out
from vfi.training.sources import Crop


@dataclass(frozen=True)
class Stage:
    """One stage and its usual settings. Rates fall along a cosine from learning_rate to final_rate, after warm_up.
    Gradients that are longer than gradient_norm are shortened to it; 0: never."""

    summary: str
    epochs: int | None  # None: so many steps instead
    batch: int  # triplets in a step, of all processes together
    crop: Crop  # what is cut out, pixels: side of a square, or height and width
    learning_rate: float
    final_rate: float
    warm_up: int = 0  # steps from 0 to learning_rate
    weight_decay: float = 1e-3
    steps: int | None = None
    gradient_norm: float = 1.0


@dataclass(frozen=True)
class Group:
    """Parameters that are trained at `factor` times the learning rate."""

    parameters: list[nn.Parameter]
    factor: float = 1.0


@dataclass(frozen=True)
class Outcome:
    """Of a batch: the loss that is minimised, its terms before they are weighted, the frames (B, 3, H, W), and what
    they should be; None: the frames in the middle of what was given."""

    loss: Tensor
    terms: dict[str, Tensor]
    frames: Tensor
    truth: Tensor | None = None


class Objective(nn.Module):
    """A network and what it is trained for: `stages`, `begin`, `outcome`.

    Attributes:
        multiple: of which crops must be.
        frames: in a clip, an odd number, at even times; with three the one between may be at any time.
        progress: of the training, in [0, 1); the loop sets it before each step.
        trains_some: a step trains some of the parameters only, so that several processes must find out which.
        compares_frames: PSNR is worth knowing.
        first_step: of the schedule, if the weights are those of a training that was left.
        begins_with: the file of the weights; None: they are fresh.
        remarks: sentences that the user is told when it begins.
    """

    stages: tuple[Stage, ...]
    multiple = 32
    frames = 3
    progress = 0.0
    trains_some = False
    compares_frames = True
    first_step = 0
    begins_with: Path | None = None
    remarks: tuple[str, ...] = ()

    @property
    def any_time(self) -> bool:
        """Whether the network reaches any time; otherwise it is trained on the middle alone."""
        return False

    def __init__(self, network: Any):
        super().__init__()
        self.network = network

    def begin(self, stage: int) -> list[Group]:
        """Freezes what this stage does not train, and gives what it trains. stage: counted from 1."""
        raise NotImplementedError

    def data(self, where: str, stage: Stage, seed: int, augment: bool, say: Callable[[str], None]) -> Data:
        """What the stage is trained on. where: as the user says it; say: is told of what takes long."""
        return cut_out(where, self.any_time, self.frames, stage.batch, stage.crop, seed, augment)

    def outcome(self, frames: Tensor, times: Tensor) -> Outcome:
        """
        Args:
            frames: (B, F, 3, H, W), in the network's channel order: before, the truth between, after.
            times: (B,) of the truth in the middle, in (0, 1).
        """
        raise NotImplementedError

    def notes(self, step: int) -> dict[str, str]:
        """What the file of the weights says of itself."""
        return {}

    def watched(self, network: Any, frames: Tensor, time: float) -> Tensor:
        """The frame (1, 3, H, W) in the middle, at `time`, whose quality is watched.

        Args:
            network: this one, or its average over the steps.
            frames: (1, F, 3, H, W).
        """
        result: Tensor = network.interpolate(frames[:, 0], frames[:, -1], time)
        return result

    def forward(self, frames: Tensor, times: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """`outcome`, as what DistributedDataParallel can hand on: loss, terms, mean squared error of the frames."""
        result = self.outcome(frames, times)
        truth = frames[:, frames.shape[1] // 2] if result.truth is None else result.truth
        error = (result.frames.detach().float() - truth).square().mean()
        return result.loss, {name: term.detach() for name, term in result.terms.items()}, error


def weighted(terms: dict[str, Tensor], weights: Mapping[str, float], frames: Tensor) -> Outcome:
    """The sum of the terms, each times its weight."""
    products = [weights[name] * term for name, term in terms.items()]
    return Outcome(sum(products[1:], start=products[0]), terms, frames)
