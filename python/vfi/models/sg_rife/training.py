"""Training of SG-RIFE: the adapters, then the fusion with them; flow and context stay RIFE's (section 3.6)."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from vfi.errors import ArgumentError
from vfi.files import checkpoints
from vfi.models.rife.training import taught
from vfi.models.sg_rife.config import TINY
from vfi.models.sg_rife.dino import Dino, make_network
from vfi.models.sg_rife.model import ADAPTERS, DINO_IS_NEEDED, SGRIFE, load
from vfi.training.losses import laplacian
from vfi.training.objective import Group, Objective, Outcome, Stage, weighted

OFFSET_FACTOR = 0.25  # of the learning rate, for the layers that give the offsets


class SGRIFEObjective(Objective):
    """RIFE's losses, DINO's features of the result against those of the truth, and short offsets.

    The published schedule freezes the flow; then the terms of the teacher are constants and are left out.
    """

    stages = (
        Stage("the adapters", 5, 64, 224, learning_rate=2e-4, final_rate=2e-4),
        Stage("the adapters and FusionNet", 25, 64, 224, learning_rate=1e-4, final_rate=2.5e-7),
    )
    weights: Mapping[str, float] = {
        "student": 0.1, "teacher": 0.1, "distillation": 0.01, "dino": 0.5, "offsets": 1e-6,
    }  # fmt: skip
    network: SGRIFE

    def __init__(self, network: SGRIFE):
        if network.dino is None:
            raise ArgumentError("SGRIFEObjective: expected a network with DINO, got dino None")
        super().__init__(network)
        self.fresh = False

    def begin(self, stage: int) -> list[Group]:
        if self.fresh and stage > 1:
            raise ArgumentError("stage 2 begins with `weights` of stage 1, got none with adapters")
        self.network.eval().requires_grad_(False)
        chosen = ADAPTERS if stage == 1 else (*ADAPTERS, "unet.")
        slow: list[nn.Parameter] = []
        usual: list[nn.Parameter] = []
        for name, parameter in self.network.named_parameters():
            if name.startswith(chosen):
                parameter.requires_grad_(True)
                (slow if ".conv_offset." in name else usual).append(parameter)
        return [Group(usual), Group(slow, OFFSET_FACTOR)]

    def outcome(self, frames: Tensor, times: Tensor) -> Outcome:
        before, truth, after = frames.unbind(1)
        network = self.network
        result = network(before, after)
        terms = {"student": laplacian(result.frame, truth)}
        if any(p.requires_grad for p in network.block_tea.parameters()):
            terms |= taught(network, before, after, truth, times, result)
        with torch.no_grad():
            wanted = network.maps(truth)
        maps = network.maps(result.frame)
        terms["dino"] = torch.stack([(a - b).abs().mean() for a, b in zip(maps, wanted, strict=True)]).sum()
        terms["offsets"] = torch.stack([offset.abs().mean() for offset in result.offsets]).sum()
        return weighted(terms, self.weights, result.frame)


def objective(weights: str | Path | None, tiny: bool, dino: str | Path | None = None) -> SGRIFEObjective:
    """What `vfi train --model sg-rife` trains. weights: RIFE's for the first stage, those of the first for the second.

    tiny: small networks and, in place of DINOv3, a small one of random weights.
    """
    if tiny and dino is not None:
        raise ArgumentError("`tiny` has a small DINO of its own: give either `tiny` or `dino`")
    if tiny and weights is None:
        made = SGRIFEObjective(SGRIFE(tiny_dino(), TINY))
        made.fresh = True
        return made
    if weights is None:
        raise ArgumentError("sg-rife starts from trained networks: give `weights`, RIFE's flownet.pkl for stage 1")
    if dino is None and not tiny:
        load(weights)  # what is wrong with them is said first
        raise ArgumentError(DINO_IS_NEEDED)
    made = SGRIFEObjective(load(weights, dino=tiny_dino() if tiny else dino))
    made.fresh = not any(key.startswith(ADAPTERS) for key in checkpoints.read(weights))
    return made


def tiny_dino() -> Dino:
    """Of 32 channels and three blocks; the same random weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes: dict[str, object] = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
        return Dino(make_network(**sizes, intermediate_size=64), blocks=(1, 2))
