"""A model whose network is run by an engine: chosen for the size of the frames, or asked for by name."""

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from torch import Tensor

from vfi.engines.choice import chosen
from vfi.engines.machine import Machine
from vfi.engines.names import Engine, Precision
from vfi.engines.plans import USUAL, Plan, built, check_names, plans
from vfi.engines.stop import EngineFailed
from vfi.errors import ArgumentError
from vfi.models.around import Around
from vfi.models.interpolator import Interpolator
from vfi.networks.sized_inference import check_frames

LOG = logging.getLogger("vfi")
Say = Callable[[str], None]
Result = TypeVar("Result")


def on_engine(
    model: Interpolator, engine: Engine, precision: Precision, device: str, say: Say | None = None
) -> Interpolator:
    """The model, run by an engine. One without a network of its own stays as it is.

    Args:
        device: torch's, where the model is.
        say: takes what a user should know, a sentence each; None: it is logged.

    Raises:
        ArgumentError: if there is no such engine or precision, here or for this model.
        UserError: if the engine is not installed.
    """
    check_names(engine, precision)
    if not model.programs:
        asked = [f"`engine` {engine}"] if engine not in ("auto", "torch") else []
        asked += [f"`precision` {precision}"] if precision not in ("auto", "float32") else []
        if asked:
            noted = "".join(f"; {notice}" for notice in model.notices)
            raise ArgumentError(f"{model.called} has no network that engines run, got {', '.join(asked)}{noted}")
        return model
    return OnEngine(model, engine, precision, device, say)


class OnEngine(Around):
    """What is asked for by name runs, or stops with the reason. With "auto", each size of frames has what is fastest
    for it, and if that fails, torch in float32 takes over. Either is said in a line."""

    def __init__(
        self, model: Interpolator, engine: Engine, precision: Precision, device: str, say: Say | None = None
    ) -> None:
        super().__init__(model)
        self.named = engine != "auto"
        self.machine = Machine.here(device)
        self.offered = plans(engine, precision, device, self.machine)
        self.say, self.warn = say or LOG.info, say or LOG.warning
        self.failed = self.told = False
        self.running: dict[Plan, Interpolator] = {}
        self.by_size: dict[tuple[int, int], Plan] = {}

    def interpolate(self, frame0: Tensor, frame1: Tensor, t: float) -> Tensor:
        """As the model's own."""
        return self._run(lambda model: model.interpolate(frame0, frame1, t), frame0, frame1)

    def interpolate_many(self, frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> list[Tensor]:
        """As the model's own."""
        return self._run(lambda model: model.interpolate_many(frame0, frame1, times), frame0, frame1)

    def plan_for(self, size: tuple[int, int]) -> Plan:
        """What runs frames of this height and width."""
        if self.failed:
            return USUAL
        if self.named or len(self.offered) == 1:
            if not self.told:
                self.told = True
                self.say(f"engine {self.offered[0]}")
            return self.offered[0]
        if size not in self.by_size:
            choice = chosen(self.model, size, self.offered, self.machine)
            self.by_size[size] = choice.plan
            if choice.model is not None:
                self.running.setdefault(choice.plan, choice.model)
            self.say(f"engine {choice}")
        return self.by_size[size]

    def _run(self, action: Callable[[Interpolator], Result], frame0: Tensor, frame1: Tensor) -> Result:
        check_frames(frame0, frame1)
        height, width = frame0.shape[2:]
        try:
            return action(self._model_for(self.plan_for((height, width))))
        except EngineFailed as error:
            if self.named:
                raise
            self.warn(f"{error}; {USUAL} takes over")
            self.failed, self.running = True, {}
            return action(self._model_for(USUAL))

    def _model_for(self, plan: Plan) -> Interpolator:
        if plan not in self.running:
            self.running[plan] = built(self.model, plan)
        return self.running[plan]
