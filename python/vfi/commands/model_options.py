"""The options of all models as arguments of a command: made from their dataclasses, none is known here by name."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from vfi import errors
from vfi.errors import option_of
from vfi.models.registry import MODELS, options_of_model, options_of_training
from vfi.options import Option, Options, TrainingOptions, options_of, shown

Takers = dict[str, Option]  # by the names of the models that have an option


def of_models() -> dict[str, type[Options]]:
    """What can be chosen of each model."""
    return {name: options_of_model(name) for name in MODELS}


def of_trainings() -> dict[str, type[TrainingOptions]]:
    """What can be chosen of each training."""
    trainings = {name: options_of_training(name) for name in MODELS}
    return {name: options for name, options in trainings.items() if options is not None}


def add(parser: argparse.ArgumentParser, models: Mapping[str, type[Options]], own: Sequence[str] = ()) -> None:
    """An argument for each name of an option; which models take it is in its help. To be called last: an option may not
    be called as an argument that the parser has.

    Args:
        models: the options of each model.
        own: names that the command has arguments for already, which it shares with the models.

    Raises:
        ArgumentError: if a name is one of the parser's, or means different numbers of values in two models.
    """
    group = parser.add_argument_group("options of models")
    for name, takers in by_name(models).items():
        if name not in own:
            check_name(parser, name, takers, models)
            group.add_argument(option_of(name), dest=name, help=described(takers), **shape(name, takers))


def check_name(parser: argparse.ArgumentParser, name: str, takers: Takers, models: Mapping[str, type[Options]]) -> None:
    """Refuses what the command calls so itself; what it has is what was added to the parser."""
    taken = {*parser._defaults, *(each.dest for each in parser._actions)}
    words = [option_of(name), *(option_of(f"no_{name}") for each in takers.values() if each.kind is bool)]
    if name in taken or any(word in parser._option_string_actions for word in words):
        model = next(iter(takers))
        raise errors.ArgumentError(
            f"the model {model}: {models[model].__name__}.{name}: expected a name that is not one of the command "
            f"{parser.prog} itself, got {name}; it has {', '.join(sorted(taken))}"
        )


def by_name(models: Mapping[str, type[Options]]) -> dict[str, Takers]:
    """The options of all models, and who has each."""
    every: dict[str, Takers] = {}
    for model, options in models.items():
        for each in options_of(options):
            every.setdefault(each.name, {})[model] = each
    return every


def described(takers: Takers) -> str:
    """Who takes it, what it is, and what it is without being given; models that say the same stand together."""
    return joined({model: with_default(each) for model, each in takers.items()}).replace("%", "%%")


def with_default(each: Option) -> str:
    if isinstance(each.default, bool):
        return f"{each.help} (default {option_of(each.name if each.default else f'no_{each.name}')})"
    return each.help if each.default in (None, "") else f"{each.help} (default {shown(each.default)})"


def joined(texts: Mapping[str, str]) -> str:
    """`a, b: what both say; c: what c says`."""
    who: dict[str, list[str]] = {}
    for model, text in texts.items():
        who.setdefault(text, []).append(model)
    return "; ".join(f"{', '.join(models)}: {text}" for text, models in who.items())


def shape(name: str, takers: Takers) -> dict[str, Any]:
    """How many words the command reads. Their type is the chosen model's affair, which is not known here."""
    shapes = {(each.kind is bool, each.count) for each in takers.values()}
    if len(shapes) > 1:
        raise errors.ArgumentError(f"the option {name} takes another number of values in {' and '.join(takers)}")
    ((switch, count),) = shapes
    if switch:
        return {"action": argparse.BooleanOptionalAction}  # --name and --no-name
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
    chosen = {}
    for name in by_name(models):
        value = vars(arguments)[name]
        if value is not None and (name in mine or name not in own):
            chosen[name] = mine[name].read(value) if name in mine else value
    return chosen


def as_words(chosen: Mapping[str, object]) -> str:
    """`--routing static --keep 0.1 0.2`."""
    words = []
    for name, value in chosen.items():
        values = value if isinstance(value, (list, tuple)) else [] if isinstance(value, bool) else [value]
        words += [option_of(f"no_{name}" if value is False else name), *map(str, values)]
    return " ".join(words)
