"""The options of all models as arguments of a command: made from their dataclasses, none is known here by name."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from vfi.errors import option_of
from vfi.models.registry import MODELS
from vfi.options import Option, Options, TrainingOptions, options_of

Takers = dict[str, Option]  # by the names of the models that have an option


def of_models() -> dict[str, type[Options]]:
    """What can be chosen of each model."""
    return {name: entry.options_class() for name, entry in MODELS.items()}


def of_trainings() -> dict[str, type[TrainingOptions]]:
    """What can be chosen of each training."""
    found = {name: entry.training_class() for name, entry in MODELS.items()}
    return {name: options for name, options in found.items() if options is not None}


def add(parser: argparse.ArgumentParser, models: Mapping[str, type[Options]], own: Sequence[str] = ()) -> None:
    """An argument for each name of an option; which models take it is in its help.

    Args:
        models: the options of each model.
        own: names that the command has arguments for already, which it shares with the models.
    """
    group = parser.add_argument_group("options of models")
    for name, takers in by_name(models).items():
        if name not in own:
            group.add_argument(*flags(name, takers), dest=name, help=described(takers), **shape(name, takers))


def by_name(models: Mapping[str, type[Options]]) -> dict[str, Takers]:
    found: dict[str, Takers] = {}
    for model, options in models.items():
        for each in options_of(options):
            found.setdefault(each.name, {})[model] = each
    return found


def flags(name: str, takers: Takers) -> list[str]:
    """--name; what is usual and can be left out is --no-name."""
    first = next(iter(takers.values()))
    return [option_of(f"no_{name}" if first.default is True else name)]


def described(takers: Takers) -> str:
    """Who takes it, and what it is; models that say the same stand together."""
    return joined({model: each.help for model, each in takers.items()}).replace("%", "%%")


def joined(texts: Mapping[str, str]) -> str:
    """`a, b: what both say; c: what c says`."""
    who: dict[str, list[str]] = {}
    for model, text in texts.items():
        who.setdefault(text, []).append(model)
    return "; ".join(f"{', '.join(models)}: {text}" for text, models in who.items())


def shape(name: str, takers: Takers) -> dict[str, Any]:
    """How many words the command reads. Their type is the chosen model's affair, which is not known here."""
    shapes = {(each.kind is bool, each.count, each.kind is bool and each.default) for each in takers.values()}
    if len(shapes) > 1:
        raise ValueError(f"the option {name} takes another number of values in {' and '.join(takers)}")
    ((switch, count, usual),) = shapes
    if switch:
        return {"action": "store_const", "const": not usual}
    choices = {each.choices for each in takers.values()}
    (one,) = choices if len(choices) == 1 else (None,)
    named = next((each.metavar for each in takers.values() if each.metavar), None)
    if one is not None:
        named = "{" + ",".join(map(str, one)) + "}"
    return {"nargs": count, "metavar": named or name.upper()}


def given(
    arguments: argparse.Namespace, models: Mapping[str, type[Options]], model: str, own: Sequence[str] = ()
) -> dict[str, object]:
    """What the command was given, as `load_model` takes it: in the types of the model, if these are its options.

    own: names that count only if the model has them, since they are the command's too.
    """
    mine = {each.name: each for each in options_of(models.get(model, Options))}
    found = {}
    for name in by_name(models):
        value = vars(arguments)[name]
        if value is not None and (name in mine or name not in own):
            found[name] = mine[name].read(value) if name in mine else value
    return found


def as_words(chosen: Mapping[str, object]) -> str:
    """`--routing static --keep 0.1 0.2`."""
    words = []
    for name, value in chosen.items():
        values = value if isinstance(value, (list, tuple)) else [] if isinstance(value, bool) else [value]
        words += [option_of(name), *map(str, values)]
    return " ".join(words)
