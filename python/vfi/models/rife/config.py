"""Sizes of RIFE's networks: the published ones, a tiny one, and those of a checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from vfi.errors import ArgumentError, UserError
from vfi.files import checkpoints
from vfi.options import ChannelOrder, whole

Variant = Literal["rife", "rife_m"]
VARIANTS: dict[Variant, int] = {"rife": 6, "rife_m": 7}  # channels that the first layer reads


@dataclass(frozen=True)
class Config:
    """The defaults are the public checkpoints'.

    Args:
        variant: "rife" finds the middle frame, "rife_m" the frame at any time.
        channel_order: "bgr" or "rgb", what the weights were trained on; the public ones on BGR.
        flow: channels of the three blocks of IFNet, even.
        teacher: of the block that sees the true frame, for training; even.
        width: channels of ContextNet's first level, and of FusionNet's last.
    """

    variant: Variant = "rife"
    channel_order: ChannelOrder = "bgr"
    flow: tuple[int, int, int] = (240, 150, 90)
    teacher: int = 90
    width: int = 16

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ArgumentError(f"RIFE: expected variant {' or '.join(VARIANTS)}, got {self.variant!r}")
        if self.channel_order not in ("bgr", "rgb"):
            raise ArgumentError(f"RIFE: expected channel_order bgr or rgb, got {self.channel_order!r}")
        for width in self.flow:
            whole("flow", width, 2)
        whole("teacher", self.teacher, 2)
        whole("width", self.width, 1)
        if len(self.flow) != 3 or any(c % 2 for c in (*self.flow, self.teacher)):
            raise ArgumentError(
                f"RIFE: expected three even flow widths and an even teacher, got {self.flow}, {self.teacher}"
            )


PUBLISHED = Config()
TINY = Config(flow=(24, 18, 12), teacher=12, width=4)  # to try things out, and for tests


def sizes_of(state: Mapping[str, Tensor], path: str | Path) -> dict[str, object]:
    """What a state dict says of variant, flow, teacher and width.

    Raises:
        UserError: if it is no RIFE.
    """
    first = shape_of(state, "block0.conv0.0.0.weight")
    variant = next((name for name, inputs in VARIANTS.items() if first[1:2] == (inputs,)), None)
    if variant is None or len(first) != 4:
        got = str(first) if first else f"no such key, but {checkpoints.listed(list(state))}"
        raise UserError(
            f"{path} is no checkpoint of RIFE: expected block0.conv0.0.0.weight of 6 or 7 input channels, got {got}"
        )
    sizes: dict[str, object] = {"variant": variant}
    widths = [shape_of(state, f"{block}.conv0.1.0.weight")[:1] for block in ("block0", "block1", "block2", "block_tea")]
    if all(width and width[0] % 2 == 0 for width in widths):
        sizes |= {"flow": tuple(w[0] for w in widths[:3]), "teacher": widths[3][0]}
    width = shape_of(state, "contextnet.conv1.conv1.0.weight")[:1]
    return sizes | ({"width": width[0]} if width else {})


def shape_of(state: Mapping[str, Tensor], key: str) -> tuple[int, ...]:
    """() if there is no such key."""
    return tuple(state[key].shape) if key in state else ()
