"""RIFE 4.0 to 4.26 as a table: thirty-six published names are seventeen networks, told from their tensors' shapes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

Units = Literal["sum", "plain", "residual"]
ENDS = {"pair": ("0", "1"), "list": ("0", "6"), "named": ("cnn0", "cnn3")}  # an encoder's first and last layer


@dataclass(frozen=True)
class Encoder:
    """Of a frame into a map of `channels` at full size.

    Args:
        width: channels between the convolutions.
        keys: how parameters are called: "pair" of two layers (encode.0, .1), "list" of four (encode.0, .2, .4, .6) or
            "named" (encode.cnn0 .. cnn3).
    """

    channels: int
    width: int
    keys: Literal["pair", "list", "named"] = "named"


@dataclass(frozen=True)
class Network:
    """One of the seventeen.

    Args:
        names: the releases that have it, first the one by which it is known here.
        widths: channels of each block, coarse to fine.
        scales: by which factor each block works smaller.
        units: of the eight convolutions in a block: with PReLU, and their sum with their input ("sum"); with LeakyReLU
            ("plain"); residual, with a factor for each channel.
        groups: of these convolutions.
        outputs: channels of a block's answer: flow 4, mask 1, then what the next block is told (8 of 13).
        shuffled: the answer comes at the block's size, by a pixel shuffle; otherwise at half of it.
        adds_masks: the mask is a sum over the blocks, otherwise the last one's.
        widens: where both flows are large after the second block, it and the first work again at twice the scale.
        multiple: of which height and width must be.
    """

    names: tuple[str, ...]
    widths: tuple[int, ...]
    encoder: Encoder | None
    scales: tuple[int, ...] = (8, 4, 2, 1)
    units: Units = "residual"
    groups: int = 1
    outputs: int = 6
    shuffled: bool = True
    adds_masks: bool = False
    widens: bool = False
    multiple: int = 32

    @property
    def features(self) -> int:
        """Channels that a block hands to the next one."""
        return self.outputs - 5 if self.outputs > 6 else 0

    def smaller(self) -> "Network":
        """A small one, to try things out."""
        encoder = None if self.encoder is None else Encoder(2, 4, self.encoder.keys)
        return replace(self, names=(f"small {self.names[0]}",), widths=(8,) * len(self.widths), encoder=encoder)

    @property
    def takes_ensemble(self) -> bool:
        """Whether the published code averages with the frames exchanged."""
        return not self.features


USUAL, LITE = (192, 128, 96, 64), (128, 96, 64, 48)
FAMILY = (
    Network(
        ("4.0", "4.1"), USUAL, None, units="sum", outputs=5, shuffled=False, adds_masks=True, widens=True
    ),
    Network(("4.2", "4.3", "4.4"), USUAL, None, units="plain", outputs=5, shuffled=False, adds_masks=True),
    Network(("4.5",), USUAL, None, outputs=5, adds_masks=True),
    Network(("4.6",), USUAL, None, adds_masks=True),
    Network(("4.7", "4.8", "4.9"), USUAL, Encoder(4, 16, "pair")),
    Network(("4.10", "4.11", "4.12"), USUAL, Encoder(8, 32, "list")),
    Network(("4.13", "4.14", "4.15", "4.17", "4.18", "4.19", "4.24"), USUAL, Encoder(8, 32)),
    Network(("4.12.lite", "4.13.lite"), LITE, Encoder(4, 32, "list")),
    Network(("4.14.lite",), USUAL, Encoder(8, 32), groups=2),
    Network(("4.15.lite", "4.16.lite", "4.17.lite"), LITE, Encoder(4, 16)),
    Network(("4.20",), (384, 192, 96, 48), Encoder(8, 32)),
    Network(("4.22", "4.21", "4.23"), (256, 192, 96, 48), Encoder(8, 32), outputs=13),
    Network(("4.22.lite",), (192, 128, 64, 32), Encoder(4, 16), outputs=13),
    Network(("4.25", "4.26"), (*USUAL, 32), Encoder(4, 16), (16, 8, 4, 2, 1), outputs=13, multiple=64),
    Network(("4.25.heavy",), (384, 256, 192, 128, 64), Encoder(4, 16), (16, 8, 4, 2, 1), outputs=13, multiple=64),
    Network(("4.26.heavy",), (*USUAL, 32), Encoder(16, 16), (16, 8, 4, 2, 1), outputs=13, multiple=64),
    Network(("4.25.lite",), (*USUAL, 24), Encoder(4, 16), (32, 16, 8, 4, 1), outputs=13, multiple=128),
)  # fmt: skip
NETWORKS = {name: network for network in FAMILY for name in network.names}
NAMES = tuple(sorted(NETWORKS, key=lambda name: (int(name.split(".")[1]), name)))


def is_of_the_family(state: Mapping[str, Tensor]) -> bool:
    """Whether these are weights of some RIFE 4, published or not: blocks, and no network that RIFE had before."""
    heads = {key.partition(".")[0] for key in state}
    return not heads & {"contextnet", "unet"} and any(re.match(r"block\d\.conv0\.", key) for key in state)


def sized_as(network: Network, state: Mapping[str, Tensor]) -> Network:
    """The network with the widths of these weights: of those that somebody trained from the start.

    Raises:
        KeyError: if it lacks the tensors that say so.
    """
    widths = tuple(state[f"block{i}.conv0.1.0.weight"].shape[0] for i in range(len(network.widths)))
    encoder = network.encoder
    if encoder is not None:
        first, last = ENDS[encoder.keys]
        width, outputs = state[f"encode.{first}.bias"].shape[0], state[f"encode.{last}.bias"].shape[0]
        encoder = replace(encoder, width=width, channels=outputs)
    return replace(network, names=(f"like {network.names[0]}",), widths=widths, encoder=encoder)
