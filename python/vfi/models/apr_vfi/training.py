"""Training of APR-VFI in three stages: whole pictures, patches, then the routing (section 3.3)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from vfi.errors import ArgumentError
from vfi.files import checkpoints
from vfi.models import recognition
from vfi.models.apr_vfi.alignment import Result
from vfi.models.apr_vfi.config import APRConfig, sizes_of
from vfi.models.apr_vfi.model import APRVFI, load
from vfi.models.apr_vfi.options import Fusion, Holes, Routing, Supervision
from vfi.models.apr_vfi.routing import misalignment, top_shares
from vfi.models.ebme import flow as ebme
from vfi.training.losses import census, charbonnier
from vfi.training.objective import Group, Objective, Outcome, Stage, weighted

ROUTINGS: tuple[Routing, ...] = ("static", "patches", "apr")  # of the stages


def stage(summary: str, steps: int) -> Stage:
    return Stage(
        summary, None, 32, 256, learning_rate=2e-4, final_rate=2e-5, warm_up=2000, weight_decay=1e-4, steps=steps,
        gradient_norm=0,
    )  # fmt: skip


class APRObjective(Objective):
    """The truth, its census, and in the last stage the reference route.

    supervision: what ranks its patches: the difference of the warped frames ("warped"), of the frames themselves
    ("image"), or of the result from the truth ("reconstruction").
    """

    stages = (
        stage("flow, context and synthesis, on whole pictures", 800_000),
        stage("context and synthesis, on patches; the flow is frozen", 200_000),
        stage("context, synthesis and routing; the flow is frozen", 200_000),
    )
    weights: Mapping[str, float] = {"reconstruction": 1.0, "census": 0.1, "route": 0.01}
    network: APRVFI

    def __init__(self, network: APRVFI, supervision: Supervision = "warped"):
        super().__init__(network)
        self.supervision = supervision
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
            scores = self.hardness(frames, result)
            reference = top_shares(scores[..., None], self.network.config.keep).to(result.route.dtype)
            terms["route"] = (result.route - reference).abs().mean()
        return weighted(terms, self.weights, result.frame)

    @torch.no_grad()
    def hardness(self, frames: Tensor, result: Result) -> Tensor:
        """(B, rows, columns), by which the patches of the reference route are ranked."""
        before, truth, after = frames.unbind(1)
        everywhere = torch.ones_like(result.seen)
        first, second, where = {
            "warped": (result.warped0, result.warped1, result.seen),
            "image": (before, after, everywhere),
            "reconstruction": (result.frame, truth, everywhere),
        }[self.supervision]
        if self.supervision == "warped":
            where = self.network.compared(where)
        return misalignment(first, second, where, self.network.config.patch)

    def rgb(self, frames: Tensor) -> Tensor:
        return frames.flip(1) if self.network.channel_order == "bgr" else frames

    def watched(self, network: APRVFI, frames: Tensor, time: float) -> Tensor:
        result: Tensor = network.interpolate(frames[:, 0], frames[:, -1], time, routing=self.routing)
        return result


def objective(
    weights: str | Path | None, tiny: bool, flow: str | Path | None = None, patch: int | None = None,
    keep: Sequence[float] | None = None, holes: Holes = "edge", supervision: Supervision = "warped",
    fusion: Fusion | None = None,
) -> APRObjective:  # fmt: skip
    """What `vfi train --model apr-vfi` trains. weights: of the stage before; flow: bi-flownet.pkl of EBME; the rest as
    `APRConfig`, `APRVFI.compared` and `APRObjective`, None: as the weights say.

    Without weights, the last layer is 0: training begins with the mean of the two warped frames.
    """
    if tiny and weights is not None:
        raise ArgumentError("`tiny` makes fresh weights: give either `tiny` or `weights`, whose sizes are taken")
    told = APRConfig.tiny() if tiny else APRConfig()
    if weights is not None:
        state = checkpoints.read(weights)
        recognition.expect(state, weights, "APR-VFI")
        told = sizes_of(state, weights)
        if fusion not in (None, told.fusion):
            raise ArgumentError(f"{weights} was trained with `fusion` {told.fusion}, not {fusion}")
    config = replace(told, patch=patch or told.patch, keep=tuple(keep or told.keep), fusion=fusion or told.fusion)
    model = (APRVFI(config) if weights is None else load(weights, config=config)).set_usual(holes=holes)
    if weights is None:
        nn.init.zeros_(model.synthesis.head.weight)
        nn.init.zeros_(torch.as_tensor(model.synthesis.head.bias))
    if flow is not None:
        ebme.load_into(model.flow, flow)
    apr = APRObjective(model, supervision)
    apr.fresh = weights is None
    return apr
