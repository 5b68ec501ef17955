"""The sizes of APR-VFI."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from vfi.errors import ArgumentError, UserError
from vfi.files import checkpoints
from vfi.models.apr_vfi.options import FUSIONS, Fusion
from vfi.options import whole

BLOCKS = 5  # refine blocks, of which the first sees every patch
ROUTED = BLOCKS - 1
LARGEST_PATCH = 4096  # of a checkpoint: frames are filled up to whole patches
WITHIN = "synthesis.blocks.0.to_half.0.0.weight"  # whose shape tells the channels inside a block


@dataclass(frozen=True)
class APRConfig:
    """The model of the paper. APRConfig.tiny() is for tests.

    Attributes:
        width: channels of context features and of what the refine blocks hand on.
        middle: channels inside a refine block, at 1/2 and 1/4.
        patch: pixels along each side of a patch; a multiple of 4.
        halo: pixels around a patch that a refine block sees too, a multiple of 4: 0 in the paper. From 20 on a patch
            is what it would be in the block over the whole image, for more work.
        keep: share of the patches that each of the routed blocks sees, of the reference route.
        fusion: what the last convolution sees of the blocks: the sum of what they give, normalised ("add"); a
            convolution of all of it ("concat"); the last one's alone ("none").
    """

    width: int = 32
    middle: int = 64
    patch: int = 64
    halo: int = 0
    keep: tuple[float, ...] = (0.1, 0.4, 0.6, 0.9)
    fusion: Fusion = "add"

    def __post_init__(self) -> None:
        for name, least in (("width", 1), ("middle", 1), ("patch", 4), ("halo", 0)):
            whole(name, vars(self)[name], least)
        for name in ("patch", "halo"):
            if vars(self)[name] % 4:
                raise ArgumentError(f"APRConfig: expected {name} to be a multiple of 4, got {vars(self)[name]}")
        if len(self.keep) != ROUTED or not all(0 <= share <= 1 for share in self.keep):
            raise ArgumentError(f"APRConfig: expected keep to be {ROUTED} shares in [0, 1], got {self.keep}")
        if self.fusion not in FUSIONS:
            raise ArgumentError(f"APRConfig: expected fusion {', '.join(FUSIONS)}, got {self.fusion!r}")

    @classmethod
    def tiny(cls) -> "APRConfig":
        return cls(width=8, middle=16, patch=16)


def sizes_of(state: Mapping[str, Tensor], path: str | Path) -> APRConfig:
    """The sizes of a state dict; the halo is no part of it.

    Raises:
        UserError: if it is no APR-VFI.
    """
    first, inner, patch = (state.get(key) for key in ("context.0.0.0.weight", WITHIN, "patch"))
    if first is None or inner is None or patch is None or patch.numel() != 1 or not first.dim() or not inner.dim():
        wanted = f"expected context.0.0.0.weight, {WITHIN} and one patch"
        raise UserError(f"{path} is no checkpoint of APR-VFI: {wanted}, got {checkpoints.listed(list(state))}")
    try:
        if not patch <= LARGEST_PATCH:
            raise ArgumentError(f"expected a patch of at most {LARGEST_PATCH}, got {patch.item():g}")
        told = {"concat": "synthesis.fuse.0.weight", "none": "synthesis.unfused"}
        fusion: Fusion = next((each for each in FUSIONS if told.get(each) in state), "add")
        return APRConfig(len(first), len(inner), int(patch), fusion=fusion)
    except ValueError as error:
        raise UserError(f"{path} is no checkpoint that can be used: {error}") from error
