"""Sizes of SG-RIFE's networks: the published ones, a tiny one, and those of a checkpoint."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from vfi.models.rife.config import TINY as TINY_RIFE
from vfi.models.rife.config import Config, shape_of, sizes_of
from vfi.options import whole


@dataclass(frozen=True)
class GuidedConfig(Config):
    """RIFE's, and those of the adapters; the defaults are the public checkpoint's.

    Args:
        dino: channels of DINO's maps.
        compressed: to which they are projected.
        groups: of the deformable convolutions, of channels and offsets alike: at 1/8, at 1/16.
    """

    dino: int = 384
    compressed: int = 256
    groups: tuple[int, int] = (4, 8)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("dino", "compressed"):
            whole(name, vars(self)[name], 1)
        for groups in self.groups:
            whole("groups", groups, 1)

    @property
    def levels(self) -> tuple[int, int]:
        """Channels of the refined maps: of DINO's block 8 for 1/8 of the picture, of block 11 for 1/16."""
        return 8 * self.width, 16 * self.width


PUBLISHED = GuidedConfig()
TINY = GuidedConfig(**asdict(TINY_RIFE), dino=32, compressed=16, groups=(2, 4))


def guided_sizes_of(state: Mapping[str, Tensor], path: str | Path) -> dict[str, object]:
    """What a state dict says; without adapters in it, those sizes are left out."""
    sizes = sizes_of(state, path)
    basis = shape_of(state, "dino_compressor.shared_basis.weight")
    fusions = [shape_of(state, f"unet.fusion_{level}.dcn_weight") for level in ("s2", "s3")]
    if len(basis) == 4:
        sizes |= {"compressed": basis[0], "dino": basis[1]}
    if all(len(shape) == 4 and shape[1] for shape in fusions):
        sizes |= {"groups": tuple(shape[0] // shape[1] for shape in fusions)}
    return sizes
