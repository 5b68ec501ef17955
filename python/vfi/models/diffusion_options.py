"""What a user of any model on a published diffusion backbone may choose."""

from dataclasses import dataclass
from pathlib import Path

from vfi.options import Dtype, Options, option

BACKBONE = "folder of the backbone's published files"


@dataclass(frozen=True)
class DiffusionOptions(Options):
    backbone: Path | None = option(None, f"{BACKBONE}, beside a file of the model's own weights", metavar="FOLDER")
    dtype: Dtype = option("float32", "of the weights")
    offload: bool = option(False, "keep each part of the diffusion on the GPU only while it works")
    seed: int = option(0, "of the noise that frames are drawn from", least=0, most=2**63 - 1)
