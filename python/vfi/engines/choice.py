"""Which plan is fastest here, measured once and remembered."""

import importlib.metadata
import textwrap
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, cast

import torch
from torch import Tensor, nn

import vfi_kernels
from vfi.data.synthetic import triplet
from vfi.engines import cache, parts
from vfi.engines.machine import Machine
from vfi.engines.plans import USUAL, Model, Network, Plan, built
from vfi.errors import UserError

BOUND = 45.0  # dB to float32: see docs/engines.md for what that is in levels of 8 bits
PATIENCE = 8.0  # s, after which no other plan is tried
LONGEST = 12.0  # s, after which nothing more is built
LARGEST = 384 * 640  # pixels of the probe
PACKAGES = ("openvino", "onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxscript")
ROUNDS = 2
MOST_SHOWN = 80  # characters of a reason


@dataclass(frozen=True)
class Choice(Generic[Model]):
    """
    Attributes:
        plan: the fastest that agrees with float32.
        seconds: of a frame of the probe's size, by plan; empty if it was remembered.
        refused: plans that failed or disagree, and why.
        model: that runs so, if it was built already.
    """

    plan: Plan
    seconds: Mapping[Plan, float] = field(default_factory=dict)
    refused: Mapping[Plan, str] = field(default_factory=dict)
    model: Model | None = None

    def __str__(self) -> str:
        if not self.seconds:
            return f"{self.plan}, as chosen before"
        others = [f"{plan} {s:.2f} s" for plan, s in self.seconds.items() if plan != self.plan]
        others += [f"{plan} not: {shortened(reason)}" for plan, reason in self.refused.items()]
        more = f" ({', '.join(others)})" if others else ""
        return f"{self.plan}: {self.seconds[self.plan]:.2f} s a frame of the probe{more}"


def shortened(reason: str) -> str:
    """Its first line, or less."""
    return textwrap.shorten((reason.strip().splitlines() or ["no reason"])[0], MOST_SHOWN, placeholder=" ...")


def chosen(model: Model, size: tuple[int, int], offered: Sequence[Plan], machine: Machine) -> Choice[Model]:
    """The fastest of `offered` for frames of this height and width; remembered by machine, model, weights, versions
    and size."""
    key = key_of(model, size, offered, machine)
    record = cache.read_record("choices", key)
    if record is not None:
        for plan in (*offered, USUAL):
            if [plan.engine, plan.precision, plan.target] == record.get("plan"):
                return Choice(plan)
    choice = measured(model, size, offered)
    values = {str(plan): seconds for plan, seconds in choice.seconds.items()}
    plan = choice.plan
    cache.keep_record("choices", key, {"plan": [plan.engine, plan.precision, plan.target], "seconds": values})
    return choice


def key_of(model: Network, size: tuple[int, int], offered: Sequence[Plan], machine: Machine) -> dict[str, object]:
    """All on which a choice depends."""
    return {
        "cpu": machine.cpu, "flags": sorted(machine.flags), "threads": machine.threads, "gpu": machine.gpu,
        "model": type(model).__qualname__, "weights": cache.hash_of(cast(nn.Module, model)), "size": list(size),
        "settings": [repr(getattr(model, name, None)) for name in ("scale", "tta", "tile", "ensemble", "routing")],
        "versions": versions(), "offered": [str(plan) for plan in offered],
    }  # fmt: skip


def versions() -> dict[str, str]:
    """Of what is installed."""
    own = {"vfi_kernels": vfi_kernels.__version__, "torch": torch.__version__}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            own[name] = importlib.metadata.version(name)
    return own


def measured(model: Model, size: tuple[int, int], offered: Sequence[Plan]) -> Choice[Model]:
    """Tries one after another until patience ends; what fails, or is not within BOUND of float32, is passed over."""
    frames = probe(size, next(cast(nn.Module, model).parameters()).device)
    start, truth = time.monotonic(), model.interpolate(*frames, 0.5)
    seconds: dict[Plan, float] = {}
    refused: dict[Plan, str] = {}
    models = {}
    for plan in offered:
        if seconds and time.monotonic() - start > PATIENCE:
            break
        try:
            twin = built(model, plan)
            with parts.building_until(start + LONGEST):
                likeness = decibels(twin.interpolate(*frames, 0.5), truth)
            if likeness < BOUND:
                refused[plan] = f"{likeness:.1f} dB to float32"
                continue
            seconds[plan] = min(timed(twin, frames) for _ in range(ROUNDS))
            models[plan] = twin
        except (UserError, RuntimeError) as error:
            refused[plan] = str(error)
    if not seconds:
        return Choice(USUAL, {USUAL: timed(model, frames)}, refused)
    best = min(seconds, key=lambda plan: seconds[plan])
    return Choice(best, seconds, refused, models[best])


def probe(size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Two frames (1, 3, h, w) with motion, of this size or, where that is large, of its shape."""
    shrink = min(1.0, (LARGEST / (size[0] * size[1])) ** 0.5)
    height, width = (max(64, round(side * shrink)) for side in size)
    frames = triplet(seed=0, size=(height, width), max_motion=height / 24).frames.to(device)
    return frames[:1], frames[2:]


def timed(model: Network, frames: tuple[Tensor, Tensor]) -> float:
    """Seconds of a frame between two new ones; what a model has encoded of the same tensors does not count."""
    first, second = (frame.clone() for frame in frames)
    start = time.perf_counter()
    result = model.interpolate(first, second, 0.5)
    result.flatten()[0].item()  # waits for a GPU
    return time.perf_counter() - start


def decibels(result: Tensor, truth: Tensor) -> float:
    """PSNR; of what is not finite none."""
    error = (result.double() - truth.double()).square().mean()
    return float(-10 * torch.log10(error.clamp(min=1e-20))) if bool(error.isfinite()) else -float("inf")
