"""What models on a published diffusion backbone have in common when they are loaded."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from diffusers import DiffusionPipeline

from vfi.errors import ArgumentError
from vfi.files import checkpoints
from vfi.models import recognition
from vfi.models.diffusion_options import DiffusionOptions
from vfi.networks.diffusers_folders import INDEX, is_whole, quieted
from vfi.training.job import torch_dtype

Pipeline = TypeVar("Pipeline")


@dataclass(frozen=True)
class Source(Generic[Pipeline]):
    """Where a pipeline's weights come from.

    Attributes:
        name: of the model.
        pipeline: name of the pipeline's class.
        part: what a file holds of it, beside the backbone.
        kind: the same for vfi.models.recognition.
        backbone: name of the published files.
        whole: a folder and the dtype -> the pipeline.
        beside: the backbone's folder, a file and the dtype -> the pipeline.
    """

    name: str
    pipeline: str
    part: str
    kind: str
    backbone: str
    whole: Callable[[str, torch.dtype], Pipeline]
    beside: Callable[[Path, str, torch.dtype], Pipeline]


def load_pipeline(source: Source[Pipeline], weights: str, device: str, options: DiffusionOptions) -> Pipeline:
    """The pipeline of a whole folder, or of a file beside the backbone.

    Raises:
        UserError: if there is no such file, the backbone is missing or one too many, or the device cannot be spared.
    """
    if options.offload and torch.device(device).type == "cpu":
        raise ArgumentError(
            "`offload` is for a GPU, to keep parts of the model on the CPU meanwhile; the device is cpu"
        )
    dtype = torch_dtype(options.dtype, "dtype")
    quieted()
    if is_whole(weights, options.backbone, source.pipeline, source.part):
        return source.whole(weights, dtype)
    if options.backbone is None:
        if Path(weights).is_file():  # which is said first if it is another model's
            recognition.expect(checkpoints.read(weights), weights, source.kind)
        raise ArgumentError(
            f"the model {source.name} needs `backbone`, the folder of {source.backbone}, beside a file of "
            f"{source.part}; or give a folder with {INDEX} as `weights`"
        )
    return source.beside(options.backbone, weights, dtype)


def placed(pipeline: DiffusionPipeline, device: str, options: DiffusionOptions) -> None:
    """Moves the pipeline to the device; with `offload` each part while it works."""
    if options.offload:
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.to(device)
