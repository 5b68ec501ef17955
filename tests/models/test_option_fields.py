"""What a field of a model's options must be, and that a wrong one is a sentence that names model and field."""

import argparse
import dataclasses
import inspect
import re
import sys
from pathlib import Path
from typing import Any, Literal

import pytest

import vfi
from vfi.commands import model_options
from vfi.commands.main import build_parser, main
from vfi.models.registry import MODELS, ModelEntry, load_model, load_objective
from vfi.options import Options, TrainingOptions, option, options_of

PARSERS = build_parser()._subparsers._group_actions[0].choices


def names_in(parser):
    return {action.dest for action in parser._actions}


def made(field, hint=float, name="strength", base=Options):
    """A class of options with one field."""
    options = type("ItsOptions", (base,), {"__annotations__": {name: hint}, **({} if field is None else {name: field})})
    return dataclasses.dataclass(frozen=True)(options)


@pytest.fixture
def registered(monkeypatch):
    """Registers a model, `its`, with these options."""

    def register(options):
        monkeypatch.setitem(sys.modules, "vfi.models.its.options", argparse.Namespace(ItsOptions=options))
        part = "training" if issubclass(options, TrainingOptions) else "options"
        monkeypatch.setitem(MODELS, "its", ModelEntry("its.model:Its", "a model", **{part: "its.options:ItsOptions"}))

    return register


class Own:
    """Of no kind that an option can have."""


@pytest.mark.parametrize(
    ("hint", "got"),
    [
        (int | str, "int | str"), (tuple[int, ...], "tuple[int, ...]"), (list, "list"), (list[int], "list[int]"),
        (tuple, "tuple"), (tuple[()], "tuple[()]"), (tuple[int, str], "tuple[int, str]"), (dict, "dict"),
        (Any, "Any"), (None, "NoneType"), (object, "object"), (bytes, "bytes"), (complex, "complex"),
        (Own, "Own"), (tuple[bool, bool], "tuple[bool, bool]"), (Literal["a", 1], "Literal['a', 1]"),
        (Literal[True, False], "Literal[True, False]"), (int | float | None, "int | float | None"),
    ],
)  # fmt: skip
def test_a_type_that_no_option_has_is_a_sentence(hint, got, registered, capsys):
    registered(made(option(None, "what"), hint))
    said = "the model its: ItsOptions.strength: expected a type of int, float, str, bool, pathlib.Path, "
    for call in (lambda: load_model("its"), model_options.of_models):
        with pytest.raises(vfi.ArgumentError) as caught:
            call()
        assert str(caught.value).startswith(said)
        assert re.search(rf", got (typing\.)?{re.escape(got)}$", str(caught.value))
    assert main(["interpolate", "a", "b"]) == 2
    assert capsys.readouterr().err == f"vfi: {caught.value}\n"


OPTION = "a field made by vfi.options.option(default, help), got"
DEFAULT = "a default that is allowed, got"
CHOICES = "choices to be numbers in a tuple, of a field of that type, got"
METAVAR = "as many words of metavar as values"
FIELDS = [
    (1.0, float, f"{OPTION} 1.0"),
    (None, float, f"{OPTION} no default"),
    (dataclasses.field(default_factory=list), list, f"{OPTION} []"),
    (option("1.0", "what"), float, f"{DEFAULT} '1.0' (expected strength to be a number, got '1.0')"),
    (option(True, "what"), int, f"{DEFAULT} True (expected strength to be a whole number, got True)"),
    (option(0, "what"), bool, f"{DEFAULT} 0 (expected strength to be true or false, got 0)"),
    (option([1], "what"), tuple[int, int], f"{DEFAULT} [1] (expected strength to be 2 values, got [1])"),
    (option({}, "what"), str, f"{DEFAULT} {{}} (expected strength to be text, got {{}})"),
    (option("c", "what"), Literal["a", "b"], f"{DEFAULT} 'c' (expected strength a, b, got c)"),
    (option(2.0, "what", least=0, most=1), float, f"{DEFAULT} 2.0 (expected strength from 0 to 1, got 2.0)"),
    (option(0.7, "what", choices=(0.5, 1.0)), float, f"{DEFAULT} 0.7 (expected strength 0.5, 1, got 0.7)"),
    (option(None, "what"), float, "a type with | None, as its default is None, got <class 'float'>"),
    (option(1.0, ""), float, "help to be a text, got ''"),
    (option(1.0, None), float, "help to be a text, got None"),
    (option(1.0, "what", choices=()), float, f"{CHOICES} ()"),
    (option(1.0, "what", choices=1.0), float, f"{CHOICES} 1.0"),
    (option("a", "what", choices=("a", "b")), str, f"{CHOICES} ('a', 'b')"),
    (option(1, "what", choices=(1, 2.5)), int, f"{CHOICES} (1, 2.5)"),
    (option(1.0, "what", least="0"), float, "least to be a number, of a field of numbers, got '0'"),
    (option("a", "what", most=3), str, "most to be a number, of a field of numbers, got 3"),
    (option(1.0, "what", metavar=5), float, "metavar to be a word or several, got 5"),
    (option((1, 2), "what", metavar=("A",)), tuple[int, int], f"{METAVAR} (2), got ('A',)"),
    (option(1.0, "what", metavar=("A", "B")), float, f"{METAVAR} (1), got ('A', 'B')"),
]


@pytest.mark.parametrize(("field", "hint", "said"), FIELDS)
def test_a_field_that_is_no_option_is_a_sentence(field, hint, said, registered):
    registered(made(field, hint))
    with pytest.raises(vfi.ArgumentError) as caught:
        load_model("its")
    assert str(caught.value) == f"the model its: ItsOptions.strength: expected {said}"
    registered(made(field, hint, base=TrainingOptions))
    with pytest.raises(vfi.ArgumentError) as caught:
        load_objective("its", None, True)
    assert str(caught.value) == f"the training of its: ItsOptions.strength: expected {said}"


def test_a_class_that_is_no_dataclass_is_a_sentence(registered):
    class ItsOptions(Options):
        strength: float = option(1.0, "what")

    registered(ItsOptions)
    with pytest.raises(vfi.ArgumentError, match=r"ItsOptions.strength: expected ItsOptions to be a dataclass\(f"):
        load_model("its")
    with pytest.raises(vfi.ArgumentError, match="ItsOptions: expected types that are imported, got name 'Missing' is"):
        options_of(made(option(1.0, "what"), "Missing"))


def test_a_place_without_the_class_is_a_sentence(registered):
    for place in ("nothing.model:Nothing", "registry:ModelEntry", "lazy"):
        with pytest.raises(vfi.ArgumentError, match=f"expected Interpolator at '{place}' below vfi.models, got "):
            ModelEntry(place, "").loaded()
    registered(int)
    with pytest.raises(
        vfi.ArgumentError, match=r"expected Options at 'its.options:ItsOptions' below vfi.models, got <"
    ):
        load_model("its")


@pytest.mark.parametrize("command", [name for name, parser in PARSERS.items() if "model" in names_in(parser)])
def test_a_name_of_the_command_is_a_sentence(command, registered):
    """Whatever the command calls so."""
    base, of_all = Options, model_options.of_models
    if command == "train":
        base, of_all = TrainingOptions, model_options.of_trainings
    parser = PARSERS[command]
    names = {*names_in(parser), *parser._defaults} - {*model_options.by_name(of_all())}
    assert names > {"help", "run", "model", "weights", "device"} and len(names) > 8
    for name in sorted(names):
        registered(made(option(1.0, "what"), float, name, base))
        with pytest.raises(vfi.ArgumentError, match=rf": ItsOptions\.{name}: expected a name [^\n]*, got {name}\b"):
            build_parser()


@pytest.mark.parametrize(("taker", "base"), [(load_model, Options), (load_objective, TrainingOptions)])
def test_a_name_of_the_function_is_a_sentence(taker, base, registered):
    arguments = ("its",) if base is Options else ("its", None, True)
    for name in {*inspect.signature(taker).parameters} - {"options"}:
        registered(made(option(1.0, "what"), float, name, base))
        with pytest.raises(vfi.ArgumentError, match=rf"ItsOptions\.{name}: expected a name that {taker.__name__} has"):
            taker(*arguments)


@pytest.mark.parametrize("name", ["check", "of", "Strength", "_strength"])
def test_a_name_that_options_cannot_have_is_a_sentence(name, registered):
    registered(made(option(1.0, "what"), float, name))
    with pytest.raises(vfi.ArgumentError, match=rf"its: ItsOptions\.{name}: expected a name [^\n]*, got {name}$"):
        load_model("its")


def test_switches_do_not_collide():
    fields = [("no_flow", bool, option(False, "what")), ("flow", bool, option(True, "what"))]
    two = dataclasses.make_dataclass("Two", fields, bases=(Options,), frozen=True)
    with pytest.raises(vfi.ArgumentError, match=r"its: Two\.flow: expected a name that is not one of the command it"):
        model_options.add(argparse.ArgumentParser(prog="it"), {"its": two})


@pytest.mark.parametrize(
    ("hint", "default", "words", "wanted"),
    [
        (int, 3, ["4"], 4), (int | None, None, ["4"], 4), (float, 0.5, ["4"], 4.0), (str, "", ["4"], "4"),
        (str | None, None, ["a b"], "a b"), (Path, Path("x"), ["y"], Path("y")), (Path | None, None, ["y"], Path("y")),
        (Literal["a", "b"], "a", ["b"], "b"), (Literal["a"] | None, None, ["a"], "a"), (Literal[1, 2], 1, ["2"], 2),
        (tuple[int, int], [3, 5], ["4", "6"], (4, 6)), (tuple[float, float] | None, None, ["4", "6"], (4.0, 6.0)),
        (tuple[str, str, str], ("a", "b", "c"), ["x", "y", "z"], ("x", "y", "z")),
        (tuple[Path], ("a",), ["y"], (Path("y"),)),
        (bool, False, [], True), (bool, True, [], True), (bool | None, None, [], True),
    ],
)  # fmt: skip
def test_types_that_options_have(hint, default, words, wanted):
    """Their values reach the model, from the command as from Python; the help says what happens without."""
    its = made(option(default, "what"), hint)
    parser = argparse.ArgumentParser()
    model_options.add(parser, {"its": its})

    def read(*arguments):
        return its.of("its", model_options.given(parser.parse_args(arguments), {"its": its}, "its")).strength

    assert read("--strength", *words) == wanted == its(wanted).strength
    usual = its().strength
    assert read() == usual and type(usual) is type(its(usual).strength)
    if not words:
        assert read("--no-strength") is False
        assert model_options.as_words({"strength": True}) == "--strength"
        assert model_options.as_words({"strength": False}) == "--no-strength"
    text = " ".join(parser.format_help().split())
    assert ("(default " in text) == (default not in (None, ""))


def test_a_model_that_does_not_take_its_options_is_a_sentence():
    class Its(vfi.Interpolator):
        def interpolate(self, frame0, frame1, t):
            return frame0

    with pytest.raises(vfi.ArgumentError, match=r"expected Its to take its options \(strength\) as keywords, [^\n]+$"):
        Its.load(None, "cpu", made(option(1.0, "what"))())
    assert isinstance(Its.load(None, "cpu", Options()), Its)
