"""Training of RIFE: a teacher that sees the true frame shows the student where its flow is wrong."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from vfi.errors import ArgumentError
from vfi.models.rife.config import TINY, VARIANTS
from vfi.models.rife.flow import FlowStage, blended, refined
from vfi.models.rife.model import RIFE, Result, load
from vfi.models.rife4.family import NETWORKS
from vfi.models.rife4.model import RIFE4
from vfi.models.rife4.training import RIFE4Objective
from vfi.training.losses import laplacian
from vfi.training.objective import Group, Objective, Outcome, Stage, weighted

DISTILLATION = {"rife": 0.01, "rife_m": 0.005}  # its weight, by variants
MARGIN = 0.01  # by which the teacher must be better for its flow to be followed


class RIFEObjective(Objective):
    """Student and teacher against the truth, and the student's flows against the teacher's."""

    stages = (
        Stage("the whole network", 300, 64, 224, learning_rate=3e-4, final_rate=3e-6, warm_up=2000, gradient_norm=0),
    )
    network: RIFE

    def __init__(self, network: RIFE, distillation: float | None = None):
        """distillation: the weight of that term; None: as published."""
        super().__init__(network)
        weight = DISTILLATION[network.config.variant] if distillation is None else distillation
        self.weights: Mapping[str, float] = {"student": 1.0, "teacher": 1.0, "distillation": weight}

    @property
    def any_time(self) -> bool:
        return self.network.any_time

    def begin(self, stage: int) -> list[Group]:
        self.network.train().requires_grad_(True)
        return [Group(list(self.network.parameters()))]

    def outcome(self, frames: Tensor, times: Tensor) -> Outcome:
        before, truth, after = frames.unbind(1)
        result = self.network(before, after, times if self.network.any_time else 0.5)
        terms = {"student": laplacian(result.frame, truth), **taught(self.network, before, after, truth, times, result)}
        return weighted(terms, self.weights, result.frame)


def taught(
    network: RIFE, before: Tensor, after: Tensor, truth: Tensor, times: Tensor, result: Result
) -> dict[str, Tensor]:
    """The teacher's terms: its own loss, and how far every stage's flow is from its flow, where it is better."""
    plane = network.time_plane(before, times if network.any_time else 0.5)
    teacher = refined(network.block_tea, before, after, plane, result.stages[-1], 1.0, truth)
    guess = blended(teacher)
    limit = distance(guess, truth) + MARGIN
    apart = [followed(stage, teacher.flow.detach(), distance(blended(stage), truth) > limit) for stage in result.stages]
    return {"teacher": laplacian(guess, truth), "distillation": torch.stack(apart).sum()}


def distance(frame: Tensor, truth: Tensor) -> Tensor:
    """(B, 1, H, W): mean over the channels."""
    return (frame - truth).abs().mean(1, keepdim=True)


def followed(stage: FlowStage, flow: Tensor, where: Tensor) -> Tensor:
    """Root mean square over the four channels, 0 outside `where`, mean over the pixels."""
    apart = (flow - stage.flow).square().mean(1, keepdim=True)
    return (apart.clamp_min(1e-12).sqrt() * where).mean()  # the root of 0 has no gradient


def objective(
    weights: str | Path | None, tiny: bool, variant: str | None, distillation: float | None = None
) -> Objective:
    """What `vfi train --model rife` trains: fresh weights, or those of a file. distillation: see `RIFEObjective`."""
    if tiny and weights is not None:
        raise ArgumentError("`tiny` makes fresh weights: give either `tiny` or `weights`, whose sizes are taken")
    network: RIFE | RIFE4
    if tiny and variant in NETWORKS:
        network = RIFE4(NETWORKS[variant].smaller())
    elif tiny and variant in (None, *VARIANTS):
        network = RIFE(replace(TINY, variant=variant or "rife"))
    else:
        network = load(weights, variant=variant)
    if not isinstance(network, RIFE4):
        return RIFEObjective(network, distillation)
    if distillation is not None:
        raise ArgumentError("`distillation` is for the variants rife and rife_m, which have a teacher")
    return RIFE4Objective(network)
