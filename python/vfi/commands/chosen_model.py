"""`--model` and what belongs to it, of the commands that use one."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vfi.commands import model_options
from vfi.commands.program import note
from vfi.files.opencv import opencv
from vfi.models import registry
from vfi.models.registry import DEFAULT, MODELS

if TYPE_CHECKING:
    from vfi.models.interpolator import Interpolator


def add(parser: argparse.ArgumentParser) -> None:
    others = ", ".join(name for name in MODELS if name != DEFAULT)
    parser.add_argument("--model", default=DEFAULT, help=f"%(default)s (default), {others}")
    parser.add_argument("--weights", help="file, or folder, of the model's weights, for models that have any")
    parser.add_argument("--device", help="such as cpu or cuda:0 (default: a GPU if there is one)")


def add_options(parser: argparse.ArgumentParser, own: Sequence[str] = ()) -> None:
    """Last: see `model_options.add`, own as well."""
    model_options.add(parser, model_options.of_models(), own)


def load(options: argparse.Namespace, own: Sequence[str] = ()) -> "tuple[Interpolator, str]":
    """The model, and the device it is on."""
    opencv()  # says what to install before anything slower is imported
    from vfi.models.devices import choose_device

    device = choose_device(options.device)
    chosen = model_options.given(options, model_options.of_models(), options.model, own)
    model = registry.load_model(options.model, options.weights, device, **chosen)
    for notice in model.notices:
        note(notice)
    return model, device
