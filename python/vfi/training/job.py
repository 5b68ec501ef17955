"""What a user asks a training to be, and whether it can be."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from vfi.errors import ArgumentError
from vfi.options import Dtype, converted, shown, whole
from vfi.training.objective import Objective, Stage
from vfi.training.sources import Crop, sides

PRECISIONS: dict[Dtype, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SMALLEST_CROP = 64  # the pyramid of the loss has five levels


@dataclass(frozen=True)
class Job:
    """What to train, on what, where to. None: what the stage says.

    Args:
        model: its name, to know it again when training goes on.
        stage: counted from 1.
        data: as `training.data.sources` takes it.
        output: folder of last.pt, weights.safetensors and log.jsonl.
        epochs, steps, batch, crop, learning_rate, gradient_norm: instead of the stage's; epochs or steps. batch: of all
            processes together.
        accumulate: parts in which each process takes its share of a batch, whose gradients add up. n parts are what n
            times as many processes would be, to rounding.
        stop_after: end after so many steps, as if interrupted; None: never.
        minutes: end after the step in which so many have passed, saved, to be resumed; None: never.
        precision: "float32", or "bfloat16" or "float16" by autocast.
        augment: crop, turn, flip and reverse at random; otherwise the middle of each picture as it is.
        ema: decay of the averaged weights that are written, in (0, 1); None: the trained ones are written.
        workers: processes that read data; 0 reads in the training process.
    """

    model: str
    stage: int
    data: str
    output: Path
    epochs: int | None = None
    steps: int | None = None
    batch: int | None = None
    crop: Crop | None = None
    learning_rate: float | None = None
    gradient_norm: float | None = None
    accumulate: int = 1
    stop_after: int | None = None
    minutes: float | None = None
    precision: Dtype = "float32"
    augment: bool = True
    ema: float | None = None
    seed: int = 0
    workers: int = 0
    device: str = "cpu"
    resume: bool = False
    overwrite: bool = False
    quiet: bool = False


def chosen_stage(objective: Objective, job: Job) -> Stage:
    """The stage, with what the job says otherwise."""
    count = len(objective.stages)
    if converted(int, job.stage) not in range(1, count + 1):
        raise ArgumentError(f"expected `stage` from 1 to {count} of the model {job.model}, got {job.stage!r}")
    values = asdict(objective.stages[job.stage - 1])
    for name in ("batch", "crop", "learning_rate", "gradient_norm"):
        value = getattr(job, name)
        if value is not None:
            values[name] = value
    if job.epochs is not None and job.steps is not None:
        raise ArgumentError("give only one of `epochs` and `steps`")
    if (job.epochs, job.steps) != (None, None):
        values |= {"epochs": job.epochs, "steps": job.steps}
    if job.learning_rate is not None:
        values["final_rate"] = min(values["final_rate"], job.learning_rate)
    return Stage(**values)


def check(job: Job, stage: Stage, processes: int, multiple: int) -> None:
    for name in ("epochs", "steps", "batch", "learning_rate"):
        value, kind = getattr(stage, name), float if name == "learning_rate" else int
        number = converted(kind, value)
        if value is not None and (number is None or not number > 0):
            raise ArgumentError(f"expected `{name}` above 0, got {value!r}")
    if job.stop_after is not None:
        whole("stop_after", job.stop_after, 1)
    if job.minutes is not None and not job.minutes > 0:
        raise ArgumentError(f"expected `minutes` above 0, got {job.minutes:g}")
    if not stage.gradient_norm >= 0:
        raise ArgumentError(f"expected `gradient_norm` of 0 or more, got {stage.gradient_norm:g}")
    if len(sides(stage.crop)) != 2:
        raise ArgumentError(f"expected `crop` to be a side, or height and width, got {shown(stage.crop)}")
    if any(whole("crop", side, 1) % multiple or side < SMALLEST_CROP for side in sides(stage.crop)):
        wanted = f"a multiple of {multiple}, at least {SMALLEST_CROP}"
        raise ArgumentError(f"expected `crop` to be {wanted}, got {shown(stage.crop)}")
    parts = processes * whole("accumulate", job.accumulate, 1)
    if stage.batch % parts:
        wanted = f"a multiple of {parts}, the processes times `accumulate`"
        raise ArgumentError(f"expected `batch` to be {wanted}, got {stage.batch}")
    torch_dtype(job.precision, "precision")
    whole("workers", job.workers, 0)
    whole("seed", job.seed, 0)
    if job.ema is not None and not 0 < job.ema < 1:
        raise ArgumentError(f"expected `ema` between 0 and 1, got {job.ema:g}")


def torch_dtype(name: Dtype, argument: str) -> torch.dtype:
    """The dtype of this name, which came as `argument`."""
    if name not in PRECISIONS:
        raise ArgumentError(f"expected `{argument}` {', '.join(PRECISIONS)}, got {name}")
    return PRECISIONS[name]


def rate_at(step: int, steps: int, stage: Stage, first: int = 0) -> float:
    """The learning rate of a step: a line up from the first one, then half a cosine down, which ends with the last."""
    warm_up = min(stage.warm_up, steps // 20)  # of a short training, a twentieth
    part = min(max((step - warm_up) / max(steps - warm_up - 1, 1), 0), 1)
    rate = stage.final_rate + (stage.learning_rate - stage.final_rate) * (1 + math.cos(math.pi * part)) / 2
    return rate * (step - first + 1) / warm_up if step - first < warm_up else rate
