"""Training of vfi-s: the frame against the true one, its stages against small true ones, and exact motion where it is
known, which counts the less the longer it lasts.

Of frames the logarithm of the distance counts, sample by sample: what is hopeless would drown the others, and the PSNR
of many frames is a mean of logarithms, too."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from vfi.errors import ArgumentError
from vfi.models.vfi_s.files import load_network, notes
from vfi.models.vfi_s.model import VFIS
from vfi.models.vfi_s.motion import begun
from vfi.models.vfi_s.network import TINY, Network, Result, share, warped
from vfi.training import shards
from vfi.training.data import Data
from vfi.training.losses import charbonniers, laplacians
from vfi.training.objective import Group, Objective, Outcome, Stage, weighted
from vfi.training.sources import sides

ROUND = 200  # steps from one look at what is held out to the next
UNSEEN = 0.2  # weight of the motion to a frame in which the point is hidden
LARGE = 2.0  # pixels: motion that is wrong by more counts by its root
SMALL = 5e-3  # distance of frames, as far as rounding to 255 steps brings them


class VFISObjective(Objective):
    """See this file's head."""

    stages = (
        Stage(
            "the whole network", None, 8, 176, learning_rate=6e-4, final_rate=1e-5, warm_up=200, weight_decay=1e-4,
            steps=30_000, gradient_norm=4.0,
        ),
    )  # fmt: skip
    multiple = 16
    any_time = True
    weights: Mapping[str, float] = {"frame": 1.0, "own": 0.5, "stages": 0.2, "motion": 1.0}
    network: Network

    def begin(self, stage: int) -> list[Group]:
        self.network.train().requires_grad_(True)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a tenth less time
        return [Group(list(self.network.parameters()))]

    def data(self, where: str, stage: Stage, seed: int, augment: bool, say: Callable[[str], None]) -> Data:
        if not where.startswith(shards.PREFIX):
            return super().data(where, stage, seed, augment, say)
        height, width = sides(stage.crop)
        if height != width:  # samples are transposed
            raise ArgumentError(f"expected `crop` to be a square for {shards.PREFIX}FOLDER, got {height} {width}")
        return shards.data(where, stage.batch, height, ROUND, seed, augment, begun, say)

    def notes(self, step: int) -> dict[str, str]:
        return notes(step)

    def watched(self, network: Network, frames: Tensor, time: float) -> Tensor:
        return VFIS(network).interpolate(frames[:, 0], frames[:, -1], time)

    def outcome(self, frames: Tensor, times: Tensor | shards.Beside) -> Outcome:
        before, truth, after = frames.unbind(1)
        known: shards.Beside | None = None
        if isinstance(times, shards.Beside):
            known = times.to(frames.device)
            times, flows, splatted = known.times, known.quick, known.splatted
        else:
            flows, splatted = begun(before, after, times)
        result = self.network(before, after, flows, splatted, times)
        terms = {
            "frame": logarithms(distances(result.frame, truth)),
            "own": logarithms(distances(result.own, truth)),
            "stages": self.of_stages(before, after, truth, times, result),
        }
        weights = dict(self.weights)
        if known is not None:
            terms["motion"] = motion(result.flows, known)
            weights["motion"] *= (1 - 0.9 * self.progress) ** 2
        return weighted(terms, weights, result.frame)

    @staticmethod
    def of_stages(before: Tensor, after: Tensor, truth: Tensor, times: Tensor, result: Result) -> Tensor:
        """Of each stage's blend at its size."""
        apart = []
        for flow, mask in zip(result.flows, result.masks):
            factor = truth.shape[3] // flow.shape[3]
            small0, small1, small = (F.avg_pool2d(x, factor) for x in (before, after, truth))
            first, second = warped((small0, small1), flow)
            blend = second + share(flow, mask, times.reshape(-1, 1, 1, 1)) * (first - second)
            apart.append((blend - small).abs().mean((1, 2, 3)))
        return logarithms(torch.stack(apart))


def distances(result: Tensor, truth: Tensor) -> Tensor:
    """Of each sample."""
    return charbonniers(result, truth) + laplacians(result, truth)


def logarithms(distances: Tensor) -> Tensor:
    return (distances + SMALL).log().mean()


def motion(flows: list[Tensor], known: shards.Beside) -> Tensor:
    """How far flows of several sizes are from the true one, in pixels of the frames; 0 where none is known."""
    total = known.flow.new_zeros(())
    for flow in flows:
        factor = known.flow.shape[3] // flow.shape[3]
        true = F.avg_pool2d(known.flow, factor)
        seen = F.avg_pool2d(known.visible, factor).repeat_interleave(2, 1)
        there = true.isfinite()
        apart = (factor * flow - true.nan_to_num(0.0)).abs()
        apart = torch.where(apart < LARGE, apart, 2 * (LARGE * apart.clamp_min(LARGE)).sqrt() - LARGE)
        weight = there * (UNSEEN + (1 - UNSEEN) * seen)
        total = total + (weight * apart).sum() / weight.sum().clamp_min(1)
    return total / len(flows)


def objective(weights: str | Path | None, tiny: bool) -> VFISObjective:
    """What `vfi train --model vfi-s` trains: fresh weights, or those of a file, at the step that it names."""
    if weights is None:
        return VFISObjective(Network(TINY if tiny else None))
    network, steps = load_network(Path(weights))
    result = VFISObjective(network)
    result.first_step = steps
    return result
