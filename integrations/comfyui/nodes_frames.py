"""Nodes for models, and for batches of frames."""

import logging
import sys

from torch import Tensor

from vfi.engines.names import ENGINES, PRECISIONS
from vfi.errors import ArgumentError, UserError, require
from vfi.models.kept import kept_model
from vfi.models.registry import DEFAULT, MODELS
from vfi.video.timeline import MOST_TIMES

from . import host
from .sequence import (
    FramesToSkip,
    LoadedModel,
    check_frames,
    cuts_of,
    interpolated,
    intervals,
    multipliers,
    numbers,
)

CATEGORY = "vfi"
MODEL, STATES = "VFI_MODEL", "INTERPOLATION_STATES"
CLEAR = (
    "INT",
    {"default": 10, "min": 1, "max": 1000, "tooltip": "pairs of frames after which the GPU's unused memory is freed"},
)
MULTIPLIER = (
    "INT",
    {
        "default": 2,
        "min": 1,
        "max": MOST_TIMES,
        "tooltip": "2 puts one frame between each two, 3 two; a list from another node has one for each pair",
    },
)
BATCH = (
    "INT",
    {"default": 1, "min": 1, "max": 64, "tooltip": "pairs made at once: quicker on a large GPU, in more memory"},
)
CUTS = "find cuts between scenes, and repeat the frame before instead of mixing the two"


class LoadModel:
    """Any model of the registry."""

    DESCRIPTION = "Loads an interpolation model. Files of weights lie in models/vfi; flow-splat needs none."
    CATEGORY, FUNCTION = CATEGORY, "load"
    RETURN_TYPES, RETURN_NAMES = (MODEL,), ("model",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, tuple]]:
        told = "; ".join(f"{name}: {entry.summary}" for name, entry in MODELS.items())
        options = "of the model, one in a line, as `vfi interpolate --help` has them: scale = 0.5"
        return {
            "required": {
                "model": (list(MODELS), {"default": DEFAULT, "tooltip": told}),
                "weights": ([host.NONE, *host.files()], {"default": host.NONE, "tooltip": "a file of models/vfi"}),
            },
            "optional": {
                "precision": (list(PRECISIONS), {"default": "float32", "tooltip": "of the network"}),
                "engine": (list(ENGINES), {"default": "torch", "tooltip": "what runs the network"}),
                "options": ("STRING", {"default": "", "multiline": True, "tooltip": options}),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, model: str | None = None, weights: str | None = None) -> bool | str:
        """Before anything runs; None is what comes from another node, or is missing, which ComfyUI says by itself."""
        if model is None or weights is None:
            return True
        entry = MODELS.get(model) if isinstance(model, str) else None
        if entry is None:
            return f"there is no model {model}; there are {', '.join(MODELS)}"
        if weights != host.NONE and entry.weights is None:
            return f"the model {model} has no weights: choose {host.NONE}"
        if weights == host.NONE and entry.weights is not None and entry.shipped is None:
            return f"the model {model} needs weights, such as {entry.weights}: put them into models/vfi"
        return host.why_not_there(weights) or True

    @classmethod
    def IS_CHANGED(cls, weights: str | None = None, **others: object) -> str:
        return host.state_of(weights)

    @host.in_one_sentence
    def load(
        self, model: str, weights: str, precision: str = "float32", engine: str = "torch", options: str = ""
    ) -> tuple[LoadedModel]:
        chosen = {**run_by(engine, precision), **options_in(options)}
        return (loaded(model, host.weights_of(weights), chosen),)


class InterpolateFrames:
    """Any model, on a batch of images."""

    DESCRIPTION = "Puts frames between those of a batch: N frames become (N - 1) * multiplier + 1."
    CATEGORY, FUNCTION = CATEGORY, "vfi"
    RETURN_TYPES, RETURN_NAMES = ("IMAGE",), ("frames",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, tuple]]:
        listed = "one for each pair, such as 2, 4, 0; empty: the multiplier for all. 0 leaves a frame out"
        skip = "frames behind which nothing is put, from 0, such as 3, 7, 10-12"
        return {
            "required": {
                "model": (MODEL,),
                "frames": ("IMAGE",),
                "clear_cache_after_n_frames": CLEAR,
                "multiplier": MULTIPLIER,
            },
            "optional": {
                "multipliers": ("STRING", {"default": "", "tooltip": listed}),
                "skip_frames": ("STRING", {"default": "", "tooltip": skip}),
                "scene_cuts": ("BOOLEAN", {"default": False, "tooltip": CUTS}),
                "batch_size": BATCH,
                "optional_interpolation_states": (STATES,),
            },
        }

    @host.in_one_sentence
    def vfi(
        self,
        model: LoadedModel,
        frames: Tensor,
        clear_cache_after_n_frames: int = 10,
        multiplier: object = 2,
        multipliers: str = "",
        skip_frames: str = "",
        scene_cuts: bool = False,
        batch_size: int = 1,
        optional_interpolation_states: object = None,
    ) -> tuple[Tensor]:
        skipped = optional_interpolation_states
        if skip_frames.strip():
            if skipped is not None:
                raise host.NodeError("skip_frames and optional_interpolation_states are given: give only one")
            skipped = FramesToSkip(numbers(skip_frames, "frames to skip"))
        return (
            run(model, frames, multiplier, multipliers, skipped, clear_cache_after_n_frames, batch_size, scene_cuts),
        )


class RifeVFI:
    """Inputs, their order and defaults as those of the node "RIFE VFI" of ComfyUI-Frame-Interpolation."""

    DESCRIPTION = "In place of the node RIFE VFI of ComfyUI-Frame-Interpolation, with the same inputs."
    CATEGORY, FUNCTION = CATEGORY, "vfi"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, tuple]]:
        names = host.files()
        usual = {"default": "rife47.pth"} if "rife47.pth" in names else {}
        fast = "changes nothing: RIFE 4 has no other mode"
        both = "also the frames exchanged, averaged; left out of releases that cannot"
        return {
            "required": {
                "ckpt_name": (names or [host.NONE], {**usual, "tooltip": "a file of models/vfi: RIFE 4.0 to 4.26"}),
                "frames": ("IMAGE",),
                "clear_cache_after_n_frames": CLEAR,
                "multiplier": MULTIPLIER,
                "fast_mode": ("BOOLEAN", {"default": True, "tooltip": fast}),
                "ensemble": ("BOOLEAN", {"default": True, "tooltip": both}),
                "scale_factor": ([0.25, 0.5, 1.0, 2.0, 4.0], {"default": 1.0, "tooltip": "0.5 for pictures above 2K"}),
            },
            "optional": {  # graphs of earlier releases do without the first three
                "dtype": (["float32", "float16", "bfloat16"], {"default": "float32", "tooltip": "of the network"}),
                "torch_compile": ("BOOLEAN", {"default": False, "tooltip": "takes a minute at first, then is quicker"}),
                "batch_size": BATCH,
                "optional_interpolation_states": (STATES,),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, ckpt_name: str | None = None) -> bool | str:
        if ckpt_name == host.NONE:
            return "put a file of RIFE 4, such as rife47.pth, into models/vfi; nothing is downloaded"
        return host.why_not_there(ckpt_name) or True

    @classmethod
    def IS_CHANGED(cls, ckpt_name: str | None = None, **others: object) -> str:
        return host.state_of(ckpt_name)

    @host.in_one_sentence
    def vfi(
        self,
        ckpt_name: str,
        frames: Tensor,
        clear_cache_after_n_frames: int = 10,
        multiplier: object = 2,
        fast_mode: bool = True,
        ensemble: bool = True,
        scale_factor: float = 1.0,
        dtype: str = "float32",
        torch_compile: bool = False,
        batch_size: int = 1,
        optional_interpolation_states: object = None,
    ) -> tuple[Tensor]:
        path = host.weights_of(ckpt_name)
        chosen = {**run_by("compile" if torch_compile else "torch", dtype), "scale": float(scale_factor)}
        try:
            model = loaded("rife", path, {**chosen, "ensemble": bool(ensemble)})
        except ArgumentError as error:
            if "ensemble" not in error.arguments:
                raise
            logging.getLogger("vfi").info("%s", error)
            model = loaded("rife", path, chosen)
        states = optional_interpolation_states
        return (run(model, frames, multiplier, "", states, clear_cache_after_n_frames, batch_size),)


class SkipFrames:
    """As the node "Make Interpolation State List" of ComfyUI-Frame-Interpolation, whose output is taken as well."""

    DESCRIPTION = "Frames behind which nothing is put, or the only ones behind which something is. The first is 0."
    CATEGORY, FUNCTION = CATEGORY, "create_options"
    RETURN_TYPES, RETURN_NAMES = (STATES,), ("states",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, tuple]]:
        only = "on: nothing is put behind these; off: something only behind these"
        return {
            "required": {
                "frame_indices": ("STRING", {"multiline": True, "default": "1,2,3", "tooltip": "such as 3, 7, 10-12"}),
                "is_skip_list": ("BOOLEAN", {"default": True, "tooltip": only}),
            }
        }

    @host.in_one_sentence
    def create_options(self, frame_indices: str, is_skip_list: bool) -> tuple[FramesToSkip]:
        return (FramesToSkip(numbers(frame_indices, "frames"), is_skip_list),)


def run(
    model: LoadedModel,
    frames: Tensor,
    multiplier: object,
    listed: str,
    skipped: object,
    clear_after: int,
    batch_size: int,
    scene_cuts: bool = False,
) -> Tensor:
    """The batch of a node."""
    check_frames(frames)
    between = len(frames) - 1
    cuts = cuts_of(frames) if scene_cuts else [False] * between
    plan = intervals(multipliers(multiplier, listed, between), skipped, cuts)
    return interpolated(model, frames, plan, batch_size, clear_after)


def loaded(name: str, path: str | None, options: dict[str, object]) -> LoadedModel:
    device = host.device()
    model, _ = kept_model(name, path, device, **options)
    return LoadedModel(model, device)


def run_by(engine: str, precision: str) -> dict[str, object]:
    """Nothing where the model runs as it is."""
    usual = (engine, precision) == ("torch", "float32")
    return {} if usual else {"engine": engine, "precision": precision}


def options_in(text: str) -> dict[str, object]:
    toml = require("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        return {name.replace("-", "_"): value for name, value in toml.loads(text).items()}
    except (ValueError, RecursionError) as error:
        raise UserError(f"expected options such as scale = 0.5, one in a line: {error}") from error
