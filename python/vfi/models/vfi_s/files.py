"""Weights of vfi-s: those of a training, which ship with the package."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from vfi.errors import UserError
from vfi.files import checkpoints
from vfi.models import recognition
from vfi.models.vfi_s.network import Network, Widths

VERSION = "1"  # of the network: another one has other tensors, or makes something else of them


def notes(step: int) -> dict[str, str]:
    """What a file of weights says of itself."""
    return {"model": "vfi-s", "version": VERSION, "step": str(step)}


def load_network(path: Path) -> tuple[Network, int]:
    """The network of a file, and after how many steps of training it is.

    Raises:
        UserError: if it cannot be read, or is of another network or version.
    """
    state = checkpoints.read(path)
    recognition.expect(state, path, "vfi-s")
    told = checkpoints.notes(path)
    version = told.get("version", VERSION)
    if version != VERSION:
        raise UserError(f"{path} holds vfi-s of version {version}; this package reads version {VERSION}")
    try:
        widths = widths_of(state)
    except KeyError:
        widths = Widths()  # with which it is compared, to say what is missing
    steps = told.get("step", "0")
    network = checkpoints.built(lambda: Network(widths), state, path)
    return network, int(steps) if steps.isdecimal() else 0


def widths_of(state: Mapping[str, Tensor]) -> Widths:
    """Read off the tensors' shapes.

    Raises:
        KeyError: if one is missing.
    """

    def outputs(place: str) -> int:
        return state[f"{place}.0.bias"].shape[0]

    first, second, third = (outputs(f"encoder.levels.{i}.0") for i in range(3))
    fine, middle, coarse = (outputs(f"{stage}.first") for stage in ("fine", "middle", "coarse"))
    told = outputs("middle.telling"), outputs("coarse.telling")
    return Widths((first, second, third), (fine, middle, coarse), outputs("coarse.deep.0"), told,
                  outputs("colours.body.0"))  # fmt: skip
