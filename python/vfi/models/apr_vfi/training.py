"""Training of APR-VFI in three stages: whole pictures, patches, then the routing (section 3.3)."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from vfi.errors import ArgumentError
from vfi.models.apr_vfi.config import APRConfig
from vfi.models.apr_vfi.model import APRVFI, load
from vfi.models.apr_vfi.options import Routing
from vfi.models.apr_vfi.routing import misalignment, top_shares
from vfi.models.ebme import flow as ebme
from vfi.training.losses import census, charbonnier
from vfi.training.objective import Group, Objective, Outcome, Stage, weighted

ROUTINGS: tuple[Routing, ...] = ("static", "patches", "apr")  # of the stages


def stage(summary: str, steps: int) -> Stage:
    return Stage(
        summary, None, 32, 256, learning_rate=2e-4, final_rate=2e-5, warm_up=2000, weight_decay=1e-4, steps=steps
    )


class APRObjective(Objective):
    """The truth, its census, and in the last stage the reference route."""

    stages = (
        stage("flow, context and synthesis, on whole pictures", 800_000),
        stage("context and synthesis, on patches; the flow is frozen", 200_000),
        stage("context, synthesis and routing; the flow is frozen", 200_000),
    )
    weights: Mapping[str, float] = {"reconstruction": 1.0, "census": 0.1, "route": 0.01}
    network: APRVFI

    def __init__(self, network: APRVFI):
        super().__init__(network)
        self.multiple = network.config.patch
        self.routing, self.fresh = ROUTINGS[0], False

    def begin(self, stage: int) -> list[Group]:
        if self.fresh and stage > 1:
            raise ArgumentError(f"stage {stage} begins with `weights` of the stage before, whose flow it freezes")
        self.fresh = False
        self.routing = ROUTINGS[stage - 1]
        network = self.network.train().requires_grad_(True)
        if stage != 1:
            network.flow.requires_grad_(False)
        if stage != 3:
            network.router.requires_grad_(False)
        return [Group([parameter for parameter in network.parameters() if parameter.requires_grad])]

    def outcome(self, frames: Tensor, times: Tensor) -> Outcome:
        before, truth, after = frames.unbind(1)
        result = self.network(before, after, routing=self.routing)
        terms = {
            "reconstruction": charbonnier(result.frame, truth),
            "census": census(self.rgb(result.frame), self.rgb(truth)),
        }
        if self.routing == "apr" and result.route is not None:
            config = self.network.config
            scores = misalignment(result.warped0.detach(), result.warped1.detach(), result.seen, config.patch)
            reference = top_shares(scores[..., None], config.keep).to(result.route.dtype)
            terms["route"] = (result.route - reference).abs().mean()
        return weighted(terms, self.weights, result.frame)

    def rgb(self, frames: Tensor) -> Tensor:
        return frames.flip(1) if self.network.channel_order == "bgr" else frames

    def watched(self, network: APRVFI, frames: Tensor, time: float) -> Tensor:
        result: Tensor = network.interpolate(frames[:, 0], frames[:, -1], time, routing=self.routing)
        return result


def objective(weights: str | Path | None, tiny: bool, flow: str | Path | None = None) -> APRObjective:
    """What `vfi train --model apr-vfi` trains. weights: of the stage before; flow: bi-flownet.pkl of EBME.

    Without weights, the last layer is 0: training begins with the mean of the two warped frames.
    """
    if tiny and weights is not None:
        raise ArgumentError("`tiny` makes fresh weights: give either `tiny` or `weights`, whose sizes are taken")
    model = APRVFI(APRConfig.tiny() if tiny else APRConfig()) if weights is None else load(weights)
    if weights is None:
        nn.init.zeros_(model.synthesis.head.weight)
        nn.init.zeros_(torch.as_tensor(model.synthesis.head.bias))
    if flow is not None:
        ebme.load_into(model.flow, flow)
    apr = APRObjective(model)
    apr.fresh = weights is None
    return apr
