"""`--model` and what belongs to it, of the commands that use one."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vfi.commands import model_options
from vfi.commands.program import note
from vfi.engines.names import ENGINES, PRECISIONS, Engine, Precision
from vfi.files.opencv import opencv
from vfi.models import registry
from vfi.models.registry import DEFAULT, MODELS

if TYPE_CHECKING:
    from vfi.models.interpolator import Interpolator


def add(parser: argparse.ArgumentParser, engine: Engine, precision: Precision) -> None:
    """engine, precision: what is taken unless told otherwise."""
    others = ", ".join(name for name in MODELS if name != DEFAULT)
    parser.add_argument("--model", default=DEFAULT, help=f"%(default)s (default), {others}")
    parser.add_argument("--weights", help="file, or folder, of the model's weights, for models that have any")
    parser.add_argument("--device", help="such as cpu or cuda:0 (default: a GPU if there is one)")
    what = "what runs the network: the fastest that is installed and agrees with float32 (auto), or one of "
    what += f"{', '.join(ENGINES[1:])}; docs/engines.md (default %(default)s)"
    parser.add_argument("--engine", choices=ENGINES, default=engine, help=what)
    what = f"of the network: what the engine is fastest in here (auto), or one of {', '.join(PRECISIONS[1:])}"
    parser.add_argument("--precision", choices=PRECISIONS, default=precision, help=f"{what} (default %(default)s)")


def add_options(parser: argparse.ArgumentParser, own: Sequence[str] = ()) -> None:
    """Last: see `model_options.add`, own as well."""
    model_options.add(parser, model_options.of_models(), own)


def load(options: argparse.Namespace, own: Sequence[str] = ()) -> "tuple[Interpolator, str]":
    """The model, and the device it is on."""
    opencv()  # says what to install before anything slower is imported
    from vfi.models.devices import choose_device

    device = choose_device(options.device)
    chosen = model_options.given(options, model_options.of_models(), options.model, own)
    usual = options.engine == "torch" and options.precision == "float32"  # as it is
    engine = {} if usual else {"engine": options.engine, "precision": options.precision, "say": note}
    model = registry.load_model(options.model, options.weights, device, **engine, **chosen)
    for notice in model.notices:
        note(notice)
    return model, device
