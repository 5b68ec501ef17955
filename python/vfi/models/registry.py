"""Interpolation models by name. Imports nothing heavy before a model is loaded: `vfi --help` lists them all."""

import importlib
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from vfi import errors
from vfi.errors import require
from vfi.files.pointers import BEGIN, is_pointer
from vfi.options import Options, TrainingOptions, options_of

if TYPE_CHECKING:
    import torch

    from vfi.engines.names import Engine, Precision
    from vfi.models.interpolator import Interpolator
    from vfi.training.objective import Objective

Chosen = TypeVar("Chosen", bound=Options)


@dataclass(frozen=True)
class ModelEntry:
    """Where a model is. Places are "module:class", the module below vfi.models.

    Attributes:
        model: its `Interpolator`.
        summary: what it is, in a line.
        weights: what file they are; None: it has none.
        ships: where those in the package are, which are taken if no others are given.
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
    ships: Path | None = None

    @property
    def shipped(self) -> Path | None:
        """The file of the weights that are in the package; None: there are none, or a pointer of Git LFS to them."""
        if self.ships is None or not self.ships.is_file():
            return None
        with self.ships.open("rb") as file:
            return None if is_pointer(file.read(len(BEGIN))) else self.ships

    def loaded(self) -> "type[Interpolator]":
        """The model's class."""
        if self.needs:
            # Its own notes at import, on what is not needed here, are not shown.
            require("transformers.utils.logging", "diffusion").set_verbosity_error()
            require(self.needs, "diffusion")
        from vfi.models.interpolator import Interpolator  # which imports torch

        model: type[Interpolator] = at(self.model, Interpolator)
        return model

    def options_class(self) -> type[Options]:
        options: type[Options] = Options if self.options is None else at(self.options, Options)
        return options

    def training_class(self) -> type[TrainingOptions] | None:
        options: type[TrainingOptions] | None = None
        if self.training is not None:
            options = at(self.training, TrainingOptions)
        return options


def at(place: str, base: type) -> type:
    """The class at "module:name", made from `base`."""
    module, _, name = place.partition(":")
    path = f"vfi.models.{module}"
    try:
        named = vars(importlib.import_module(path)).get(name)
    except ModuleNotFoundError as error:
        if not path.startswith(error.name or "-"):  # else something that the module needs
            raise
        named = None
    if not isinstance(named, type) or not issubclass(named, base):
        raise errors.ArgumentError(f"expected {base.__name__} at {place!r} below vfi.models, got {named!r}")
    return named


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
    "flow-splat": ModelEntry(
        "flow_splat:FlowSplat", "optical flow and softmax splatting, no weights", options="tile_options:TileOptions"
    ),
    "vfi-s": ModelEntry(
        "vfi_s.model:VFIS",
        "a small network of our own on optical flow",
        weights="weights.safetensors of a training",
        options="tile_options:TileOptions",
        training="vfi_s.options:VFISTraining",
        ships=Path(__file__).parent / "vfi_s" / "vfi-s.safetensors",
    ),
    "ebme-splat": ModelEntry(
        "ebme.model:EBMESplat",
        "EBME's flow and softmax splatting",
        weights="bi-flownet.pkl of EBME",
        options="tile_options:TileOptions",
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
        weights="flownet.pkl of any of these: RIFE 4.0 to 4.26, RIFE (ECCV 2022), RIFEm",
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


def load_model(
    name: str,
    weights: str | Path | None = None,
    device: "str | torch.device | None" = "cpu",
    *,
    engine: "Engine | None" = None,
    precision: "Precision | None" = None,
    say: Callable[[str], None] | None = None,
    max_memory: int | None = None,
    **options: object,
) -> "Interpolator":
    """The model called `name`, ready to interpolate.

    Args:
        name: one of `MODELS`.
        weights: file or folder of its weights; None of a model that has none. Nothing is downloaded.
        device: where it runs, such as "cpu" or "cuda:0"; None: a GPU if there is one.
        engine: what runs its network: "torch", "compile", "openvino", "onnxruntime", "tensorrt", or "auto", the
            fastest of those that are installed. None, and no precision: the model as it is, in float32.
        precision: "float32", "float16", "bfloat16", or "auto", what the engine is fastest in here.
        say: takes what an engine has to say, a sentence each; None: it is logged.
        max_memory: bytes that a frame between may take, beside weights and frames: larger pictures are cut into squares
            that fit. On the CPU it is measured, on Linux; elsewhere 2.5 kB per pixel are supposed. None: no matter.
        options: the model's own, such as `scale=0.5` of "rife"; None is not given.

    Raises:
        ArgumentError: if there is no such model or device, an option is not the model's, or weights or a value are
            wrong.
        UserError: which an ArgumentError is, too; if a file is missing or cannot be read.
    """
    entry = entry_of(name)
    if weights is not None and entry.weights is None:
        raise errors.ArgumentError(f"the model {name} has no weights, so `weights` cannot be used with it")
    check_weights(weights)
    chosen = options_of_model(name).of(f"the model {name}", options)
    if weights is None and entry.weights is not None and entry.ships is None and chosen.needs_weights:
        raise errors.ArgumentError(f"the model {name} needs `weights`, such as {entry.weights}; nothing is downloaded")
    weights = entry.shipped if weights is None else weights
    from vfi.models.devices import choose_device  # which imports torch

    place = choose_device(device)
    from vfi.models.tiled import tiled

    if engine is None and precision is None:
        model = entry.loaded().load(weights, place, chosen)
    else:
        from vfi.engines.plans import check_names
        from vfi.models.on_engine import on_engine

        engine, precision = engine or "torch", precision or "auto"
        check_names(engine, precision)  # before anything slow
        model = on_engine(entry.loaded().load(weights, place, chosen), engine, precision, place, say)
    return tiled(model, getattr(chosen, "tile", None), max_memory, place)


def load_objective(name: str, weights: str | Path | None, tiny: bool, **options: object) -> "Objective":
    """What training the model called `name` means, on the CPU; options that are None are not given."""
    training = options_of_training(name)
    if training is None:
        trained = ", ".join(each for each, entry in MODELS.items() if entry.training)
        raise errors.ArgumentError(f"expected a model that is trained: {trained}; got {name!r}")
    check_weights(weights)
    chosen = training.of(f"the training of {name}", options)
    objective = MODELS[name].loaded().objective(weights, tiny, chosen)
    objective.begins_with = None if weights is None else Path(weights)
    return objective


def entry_of(name: str) -> ModelEntry:
    """The line of the registry."""
    entry = MODELS.get(name) if isinstance(name, str) else None
    if entry is None:
        raise errors.ArgumentError(f"unknown model {name!r}; known models: {', '.join(MODELS)}")
    return entry


def name_of(model: type) -> str | None:
    """The name of a model's class here, or of the nearest one that it is made from."""
    for each in model.__mro__:
        for name, entry in MODELS.items():
            if f"{each.__module__}:{each.__name__}" == f"vfi.models.{entry.model}":
                return name
    return None


def check_weights(weights: object) -> None:
    if weights is not None and not isinstance(weights, (str, os.PathLike)):
        raise errors.ArgumentError(f"expected `weights` to be the name of a file or folder, got {weights!r}")


def options_of_model(name: str) -> type[Options]:
    """What a user of the model may choose.

    Raises:
        ArgumentError: if a field cannot be an option; says of which model, and what was expected.
    """
    with _speaking_of(f"the model {name}"):
        return _without(load_model, entry_of(name).options_class())


def options_of_training(name: str) -> type[TrainingOptions] | None:
    """The same of its training; None: it is not trained."""
    if not isinstance(name, str) or name not in MODELS:
        return None
    with _speaking_of(f"the training of {name}"):
        options = MODELS[name].training_class()
        return None if options is None else _without(load_objective, options)


def _without(taker: Callable[..., object], options: type[Chosen]) -> type[Chosen]:
    """The options, none of which may be called as an argument that `taker` has beside them."""
    own = [each.name for each in inspect.signature(taker).parameters.values() if each.kind is not each.VAR_KEYWORD]
    for each in options_of(options):
        if each.name in own:
            place, expected = f"{options.__name__}.{each.name}", f"a name that {taker.__name__} has not itself"
            raise errors.ArgumentError(f"{place}: expected {expected}, got {each.name}")
    return options


@contextmanager
def _speaking_of(owner: str) -> Iterator[None]:
    """Errors inside begin with `owner`."""
    try:
        yield
    except errors.ArgumentError as error:
        raise errors.ArgumentError(f"{owner}: {error.args[0]}") from error
