"""Interpolation models by name. Imports nothing heavy before a model is loaded: `vfi --help` lists them all."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vfi.errors import ArgumentError, UserError, require
from vfi.options import Options, TrainingOptions

if TYPE_CHECKING:
    from vfi.models.interpolator import Interpolator
    from vfi.training.objective import Objective


@dataclass(frozen=True)
class ModelEntry:
    """Where a model is. Places are "module:class", the module below vfi.models.

    Attributes:
        model: its `Interpolator`.
        summary: what it is, in a line.
        weights: what file they are; None: it has none.
        options: its `Options`, in a module that imports nothing heavy.
        training: those of its training, likewise; None: it is not trained.
        needs: what must be imported, of the extra `diffusion`.
    """

    model: str
    summary: str
    weights: str | None = None
    options: str | None = None
    training: str | None = None
    needs: str | None = None

    def loaded(self) -> "type[Interpolator]":
        """The model's class."""
        if self.needs:
            # Its own notes at import, on what is not needed here, are not shown.
            require("transformers.utils.logging", "diffusion").set_verbosity_error()
            require(self.needs, "diffusion")
        found: type[Interpolator] = at(self.model)
        return found

    def options_class(self) -> type[Options]:
        found: type[Options] = Options if self.options is None else at(self.options)
        return found

    def training_class(self) -> type[TrainingOptions] | None:
        found: type[TrainingOptions] | None = None if self.training is None else at(self.training)
        return found


def at(place: str) -> type:
    """What stands at "module:name"."""
    module, name = place.split(":")
    found: type = vars(importlib.import_module(f"vfi.models.{module}"))[name]
    return found


def _rdvfi(variant: str, backbone: str) -> ModelEntry:
    return ModelEntry(
        f"rdvfi.interpolator:RDVFI{variant}",
        f"RDVFI: trajectories from one step of diffusion, on {backbone}",
        weights="a folder of a whole RDVFI, or weights.safetensors of a training together with `backbone`",
        options="rdvfi.options:RDVFIOptions",
        training="rdvfi.options:RDVFITraining",
        needs="diffusers",
    )


DEFAULT = "flow-splat"
MODELS = {
    "flow-splat": ModelEntry("flow_splat:FlowSplat", "optical flow and softmax splatting, no weights"),
    "ebme-splat": ModelEntry(
        "ebme.model:EBMESplat", "EBME's flow and softmax splatting", weights="bi-flownet.pkl of EBME"
    ),
    "apr-vfi": ModelEntry(
        "apr_vfi.model:APRVFI",
        "APR-VFI: work on each patch by how hard it is",
        weights="weights.safetensors of the whole network",
        options="apr_vfi.options:APROptions",
        training="apr_vfi.options:APRTraining",
    ),
    "rdvfi-d": _rdvfi("D", "Wan2.1-Fun-1.3B-InP"),
    "rdvfi-u": _rdvfi("U", "Stable Video Diffusion"),
    "semfi": ModelEntry(
        "semfi.interpolator:PromptedSemFi",
        "SemFi: frames by Wan 2.1, guided by a text",
        weights="semfi.ckpt together with `backbone`, or a folder of a whole SemFi",
        options="semfi.options:SemFiOptions",
        training="semfi.options:SemFiTraining",
        needs="diffusers",
    ),
    "rife": ModelEntry(
        "rife.model:RIFE",
        "RIFE 4.0 to 4.26, RIFE (ECCV 2022) and RIFEm",
        weights="flownet.pkl of any of these",
        options="rife.options:RIFEOptions",
        training="rife.options:RIFETraining",
    ),
    "sg-rife": ModelEntry(
        "sg_rife.model:SGRIFE",
        "RIFE guided by features of DINOv3",
        weights="flownet.pkl of SG-RIFE",
        options="sg_rife.options:SGRIFEOptions",
        training="sg_rife.options:SGRIFETraining",
    ),
}


def load_model(name: str, weights: str | Path | None = None, device: str = "cpu", **options: object) -> "Interpolator":
    """The model called `name`, ready to interpolate.

    Args:
        name: one of `MODELS`.
        weights: file or folder of its weights; None of a model that has none. Nothing is downloaded.
        device: where it runs, such as "cpu" or "cuda:0".
        options: the model's own, such as `scale=0.5` of "rife"; None is not given.

    Raises:
        UserError: if there is no such model, or a file is missing or cannot be read.
        ArgumentError: a UserError and ValueError; if an option is not the model's, or weights or a value are wrong.
    """
    entry = MODELS.get(name)
    if entry is None:
        raise UserError(f"unknown model {name!r}; known models: {', '.join(MODELS)}")
    if weights is not None and entry.weights is None:
        raise ArgumentError(f"the model {name} has no weights, so `weights` cannot be used with it")
    if weights is None and entry.weights is not None:
        raise ArgumentError(f"the model {name} needs `weights`, such as {entry.weights}; nothing is downloaded")
    chosen = entry.options_class().of(f"the model {name}", options)
    from vfi.models.devices import choose_device  # which imports torch

    return entry.loaded().load(weights, choose_device(device), chosen)


def load_objective(name: str, weights: str | Path | None, tiny: bool, **options: object) -> "Objective":
    """What training the model called `name` means, on the CPU; options that are None are not given."""
    entry = MODELS.get(name)
    training = None if entry is None else entry.training_class()
    if entry is None or training is None:
        trained = ", ".join(known for known, each in MODELS.items() if each.training)
        raise UserError(f"expected a model that is trained: {trained}; got {name!r}")
    chosen = training.of(f"the training of {name}", options)
    return entry.loaded().objective(weights, tiny, chosen)
