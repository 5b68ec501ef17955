"""`--model` and what belongs to it, of the commands that use one."""

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from vfi.commands import model_options, option_values
from vfi.commands.program import note
from vfi.engines.names import ENGINES, PRECISIONS, Engine, taken
from vfi.files.opencv import opencv
from vfi.models import registry
from vfi.models.registry import DEFAULT, MODELS

if TYPE_CHECKING:
    from vfi.models.interpolator import Interpolator


def add(parser: argparse.ArgumentParser, engine: Engine | None = None, *, several: bool = False) -> None:
    """engine: what is taken, in float32, where neither it nor a precision is asked for; None: engines do not matter.
    several: more than one device may work."""
    others = ", ".join(name for name in MODELS if name != DEFAULT)
    parser.add_argument("--model", default=DEFAULT, help=f"%(default)s (default), {others}")
    parser.add_argument("--weights", help="file, or folder, of the model's weights, for models that have any")
    what = "such as cpu or cuda:0 (default: a GPU if there is one)"
    if several:
        what += "; several, such as cuda:0 cuda:1, work on one video together"
        parser.add_argument("--device", nargs="+", help=what)
    else:
        parser.add_argument("--device", help=what)
    parser.set_defaults(usual_engine=engine, loaded=None)
    if engine is not None:
        what = "such as 4G: what a frame between may take beside the weights; larger pictures are cut into squares"
        parser.add_argument("--max-memory", type=option_values.memory, metavar="BYTES", help=what)
        add_engines(parser, engine)


def add_engines(parser: argparse.ArgumentParser, engine: Engine) -> None:
    what = "what runs the network: the fastest that is installed and agrees with float32 (auto), or one of "
    what += f"{', '.join(ENGINES[1:])}; see docs/engines.md (default: {engine})"
    parser.add_argument("--engine", choices=ENGINES, help=what)
    what = f"of the network: what the engine is fastest in here (auto), or one of {', '.join(PRECISIONS[1:])} "
    parser.add_argument("--precision", choices=PRECISIONS, help=f"{what}(default: float32; with --engine auto)")


def add_options(parser: argparse.ArgumentParser, own: Sequence[str] = ()) -> None:
    """Last: see `model_options.add`, own as well."""
    model_options.add(parser, model_options.of_models(), own)


def load(options: argparse.Namespace, own: Sequence[str] = ()) -> "tuple[Interpolator, str]":
    """The model, and the device it is on."""
    return _on_device(options, options.device, own)


def load_each(options: argparse.Namespace) -> "list[tuple[Interpolator, str]]":
    """The model, on each of several devices; what there is to say of it is said once. Python may have loaded it."""
    if options.loaded is not None:
        return [options.loaded]
    first, *others = options.device or [None]
    return [_on_device(options, first), *(_on_device(options, device, heard=False) for device in others)]


def _on_device(
    options: argparse.Namespace, name: str | None, own: Sequence[str] = (), *, heard: bool = True
) -> "tuple[Interpolator, str]":
    opencv()  # says what to install before anything slower is imported
    from vfi.models.devices import choose_device

    say = note if heard else _nothing
    device = choose_device(name)
    chosen = model_options.given(options, model_options.of_models(), options.model, own)
    load: Callable[..., Interpolator] = registry.load_model
    most = getattr(options, "max_memory", None)
    model = load(options.model, options.weights, device, max_memory=most, **engine_of(options, say), **chosen)
    for notice in model.notices:
        say(notice)
    return model, device


def _nothing(text: str) -> None:
    """Of a model that has been spoken of."""


def engine_of(options: argparse.Namespace, say: Callable[[str], None] = note) -> dict[str, object]:
    """As `load_model` takes it."""
    if options.usual_engine is None:
        return {}
    engine, precision = taken(options.engine, options.precision, options.usual_engine)
    asked = engine == "auto" or options.engine or options.precision  # by somebody who wants to know
    return {"engine": engine, "precision": precision, "say": say if asked else None}
