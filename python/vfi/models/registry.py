"""Interpolation models by name, and how the rest of the package talks to them."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from vfi.errors import UserError, require

if TYPE_CHECKING:
    from vfi.training.objective import Objective


class Interpolator(Protocol):
    """What every model offers.

    A model may also have `interpolate_many(frame0, frame1, times)`, when several times share work, and
    `explain(frame0, frame1, t)`, whose result has `panels()`, pictures of motion and the like. With `shows_route`, that
    result also has `route_panels(frame)`, pictures of what was worked on where.
    """

    channel_order: str  # "rgb" or "bgr"

    def interpolate(self, frame0: Tensor, frame1: Tensor, t: float) -> Tensor:
        """Frames (B, 3, H, W) in [0, 1], in the model's channel order -> the frame at t in [0, 1]."""


@dataclass(frozen=True)
class ModelEntry:
    """Where a model is made: `factory` of `module`, called with the path of its weights if it has any, and with those
    of `settings` that are given."""

    module: str
    factory: str
    summary: str
    weights: str | None = None  # what file they are; None: it has none
    settings: tuple[str, ...] = ()
    training: str | None = None  # the module of its objective; None: it is not trained
    training_settings: tuple[str, ...] = ()
    variant: str | None = None  # of models that share a module: goes to the factory and the objective
    places_itself: bool = False  # the factory takes the device
    needs: str | None = None  # what must be imported, of the extra `diffusion`


MODELS = {
    "flow-splat": ModelEntry("vfi.models.flow_splat", "FlowSplat", "optical flow and softmax splatting, no weights"),
    "ebme-splat": ModelEntry(
        "vfi.models.ebme", "load_for_command", "EBME's flow and softmax splatting", weights="bi-flownet.pkl of EBME"
    ),
    "apr-vfi": ModelEntry(
        "vfi.models.apr_vfi",
        "load_for_command",
        "APR-VFI: work on each patch by how hard it is",
        weights="weights.safetensors of the whole network",
        settings=("routing", "keep"),
        training="vfi.models.apr_vfi.training",
        training_settings=("flow",),
    ),
    **{
        f"rdvfi-{variant}": ModelEntry(
            "vfi.models.rdvfi.command",
            "load_for_command",
            f"RDVFI: trajectories from one step of diffusion, on {backbone}",
            weights="a folder of a whole RDVFI, or weights.safetensors of a training together with --backbone",
            settings=("backbone", "dtype", "offload", "warp", "seed"),
            training="vfi.models.rdvfi.training",
            training_settings=("backbone", "lpips_weights"),
            variant=variant,
            places_itself=True,
            needs="diffusers",
        )
        for variant, backbone in (("d", "Wan2.1-Fun-1.3B-InP"), ("u", "Stable Video Diffusion"))
    },
    "semfi": ModelEntry(
        "vfi.models.semfi.command",
        "load_for_command",
        "SemFi: frames by Wan 2.1, guided by a text",
        weights="semfi.ckpt together with --backbone, or a folder of a whole SemFi",
        settings=("backbone", "dtype", "offload", "seed", "prompt", "negative_prompt", "steps", "cfg", "size"),
        training="vfi.models.semfi.training",
        training_settings=("backbone", "dtype"),
        places_itself=True,
        needs="diffusers",
    ),
    "rife": ModelEntry(
        "vfi.models.rife",
        "load_for_command",
        "RIFE and RIFEm",
        weights="flownet.pkl of ECCV2022-RIFE",
        settings=("scale", "tta", "tile"),
        training="vfi.models.rife.training",
    ),
    "sg-rife": ModelEntry(
        "vfi.models.sg_rife",
        "load_for_command",
        "RIFE guided by features of DINOv3",
        weights="flownet.pkl of SG-RIFE",
        settings=("scale", "tta", "tile", "dino", "dino_max_side"),
        training="vfi.models.sg_rife.training",
        training_settings=("dino",),
    ),
}


def load_model(name: str, weights: str | None = None, device: str = "cpu", **settings: Any) -> Interpolator:
    """The model called `name`, ready to interpolate on `device`; settings that are None are not given."""
    if name not in MODELS:
        raise UserError(f"unknown model {name!r}; known models: {', '.join(MODELS)}")
    entry = MODELS[name]
    if weights is not None and entry.weights is None:
        raise UserError(f"the model {name} has no weights, so --weights cannot be used with it")
    if weights is None and entry.weights is not None:
        raise UserError(f"the model {name} needs --weights, such as {entry.weights}; nothing is downloaded")
    given = allowed(name, entry.settings, settings) | fixed(entry)
    prepare(entry)
    if entry.places_itself:
        given["device"] = device
    factory = getattr(importlib.import_module(entry.module), entry.factory)
    model: Any = factory(**given) if entry.weights is None else factory(weights, **given)
    if hasattr(model, "eval"):
        model = model.to(device).eval()
    return model


def load_objective(name: str, weights: str | None, tiny: bool, **settings: Any) -> "Objective":
    """What training the model called `name` means, on the CPU; settings that are None are not given."""
    trained = [known for known, entry in MODELS.items() if entry.training]
    entry = MODELS.get(name)
    if entry is None or entry.training is None:
        raise UserError(f"expected a model that is trained: {', '.join(trained)}; got {name!r}")
    given = allowed(name, entry.training_settings, settings) | fixed(entry)
    prepare(entry)
    return importlib.import_module(entry.training).objective(weights, tiny, **given)


def prepare(entry: ModelEntry) -> None:
    """What must be imported can be; its own notes at import, on what is not needed here, are not shown."""
    if entry.needs:
        require("transformers.utils.logging", "diffusion").set_verbosity_error()
        require(entry.needs, "diffusion")


def fixed(entry: ModelEntry) -> dict[str, Any]:
    return {} if entry.variant is None else {"variant": entry.variant}


def allowed(name: str, known: Sequence[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are given; an error if the model does not know one."""
    given = {key: value for key, value in settings.items() if value is not None}
    for key in given:
        if key not in known:
            raise UserError(f"--{key.replace('_', '-')} is not for the model {name}")
    return given


def choose_device(name: str | None) -> str:
    """`name` if it can be used; without a name, CUDA where there is one, else the CPU."""
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"the device {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return name


def interpolate_many(model: Interpolator, frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> list[Tensor]:
    """RGB frames at several times between two RGB frames, whatever the model's channel order."""
    first, second = _reordered(model, frame0), _reordered(model, frame1)
    if hasattr(model, "interpolate_many"):
        results = model.interpolate_many(first, second, times)
    else:
        results = [model.interpolate(first, second, t) for t in times]
    return [_reordered(model, result) for result in results]


def _reordered(model: Interpolator, frame: Tensor) -> Tensor:
    """RGB to the model's order, or back: both swap the outer channels."""
    return frame.flip(1) if model.channel_order == "bgr" else frame
