"""Training of RIFE 4: every block's frame against the true one. No teacher: the releases dropped distillation (how they
were trained was not published in full; weights of the terms are ours)."""

import torch
from torch import Tensor

from vfi.models.rife4.model import RIFE4
from vfi.training.losses import laplacian
from vfi.training.objective import Group, Objective, Outcome, Stage, weighted

EARLIER = 0.8  # weight of a block's frame over that of the next one


class RIFE4Objective(Objective):
    """The frame after each block; the last counts most."""

    stages = (Stage("the whole network", 300, 64, 256, learning_rate=3e-4, final_rate=3e-6, warm_up=2000),)
    any_time = True
    network: RIFE4

    def __init__(self, network: RIFE4):
        super().__init__(network)
        self.multiple = network.multiple

    def begin(self, stage: int) -> list[Group]:
        self.network.train().requires_grad_(True)
        return [Group(list(self.network.parameters()))]

    def outcome(self, frames: Tensor, times: Tensor) -> Outcome:
        before, truth, after = frames.unbind(1)
        result = self.network(before, after, times)
        *earlier, last = (laplacian(self.network.frame(before, after, stage), truth) for stage in result.stages)
        shares = [EARLIER ** (len(earlier) - i) for i in range(len(earlier))]
        terms = {"last": last, "earlier": torch.stack([w * term for w, term in zip(shares, earlier)]).sum()}
        return weighted(terms, {"last": 1.0, "earlier": 1.0}, result.frame)
