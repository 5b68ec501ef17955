"""Options that write themselves: what a dataclass says is what the command, its help and `load_model` do."""

import argparse
import ast
import dataclasses
import importlib
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

import vfi
from vfi.commands import model_options
from vfi.commands.main import build_parser, main
from vfi.errors import ArgumentError, UserError, called
from vfi.models.interpolator import Interpolator, interpolate_many
from vfi.models.registry import DEFAULT, MODELS, load_model
from vfi.options import Options, option, options_of

LAZY = [p for p in Path(vfi.__file__).parent.glob("models/*/__init__.py") if "lazily" in p.read_text()]
PACKAGES = sorted(path.parent for path in LAZY)


@dataclasses.dataclass(frozen=True)
class Every(Options):
    """One option of each kind."""

    word: Literal["near", "far"] = option("near", "which")
    count: int = option(3, "how many", least=1)
    share: float = option(0.5, "of all", least=0, most=1)
    grid: float = option(1.0, "steps", choices=(0.5, 1.0))
    text: str = option("", "said")
    on: bool = option(False, "turned on")
    smooth: bool = option(True, "smoothed")
    file: Path | None = option(None, "a file")
    size: tuple[int, int] | None = option(None, "height and width", metavar=("H", "W"))


GIVEN = {
    "word": "far", "count": 4, "share": 0.25, "grid": 0.5, "text": "a cat", "on": True, "smooth": False,
    "file": Path("x.pth"), "size": (3, 5),
}  # fmt: skip


@pytest.fixture
def parser():
    made = argparse.ArgumentParser()
    model_options.add(made, {"every": Every, "none": Options})
    return made


def test_the_command_reads_what_the_fields_say(parser):
    words = "--word far --count 4 --share 0.25 --grid 0.5 --on --no-smooth --file x.pth --size 3 5"
    arguments = parser.parse_args([*words.split(), "--text", "a cat"])
    chosen = model_options.given(arguments, {"every": Every}, "every")
    assert chosen | {"file": Path("x.pth"), "size": (3, 5)} == GIVEN
    assert vars(Every.of("it", chosen)) == GIVEN
    assert model_options.given(parser.parse_args([]), {"every": Every}, "every") == {}
    text = " ".join(parser.format_help().split())
    for each in options_of(Every):
        assert f"every: {each.help}" in text
    assert "{near,far}" in text and "--size H W" in text


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("word", "away", "expected word near, far, got away"),
        ("word", 3, "expected word near, far, got 3"),
        ("count", 0, "expected count of 1 or more, got 0"),
        ("count", 1.5, "expected count to be a whole number, got 1.5"),
        ("count", True, "expected count to be a whole number, got True"),
        ("count", "many", "expected count to be a whole number, got 'many'"),
        ("share", 1.5, "expected share from 0 to 1, got 1.5"),
        ("share", float("nan"), "expected share from 0 to 1, got nan"),
        ("share", "x", "expected share to be a number, got 'x'"),
        ("grid", 0.7, "expected grid 0.5, 1, got 0.7"),
        ("text", 5, "expected text to be text, got 5"),
        ("on", 1, "expected on to be true or false, got 1"),
        ("file", 5, "expected file to be the name of a file, got 5"),
        ("size", 5, "expected size to be 2 values, got 5"),
        ("size", (5, 5, 5), r"expected size to be 2 values, got \(5, 5, 5\)"),
        ("size", (5, 2.5), "expected size to be a whole number, got 2.5"),
        ("speed", 5, "speed is not for the model it: it has word, count, share, grid, text, on, smooth, file, size"),
    ],
)
def test_a_wrong_value_is_one_sentence(name, value, said):
    for wrong in (ValueError, UserError):
        with pytest.raises(wrong, match=f"^{said}$") as caught:
            Every.of("the model it", {name: value})
    assert name in caught.value.arguments and f"--{name}" in caught.value.for_command()


def test_values_of_arrays_and_lists_are_values():
    options_of_it = Every(count=np.int64(5), share=np.float32(0.5), size=[3, 5], file="x")
    assert (options_of_it.count, options_of_it.share, options_of_it.size, options_of_it.file) == (
        5,
        0.5,
        (3, 5),
        Path("x"),
    )
    assert type(options_of_it.count) is int and Every(share=1).share == 1.0


def test_models_that_share_a_name_share_its_number_of_values(parser):
    @dataclasses.dataclass(frozen=True)
    class Other(Options):
        size: int = option(1, "one number")
        count: int = option(3, "how many others")

    with pytest.raises(ValueError, match="size takes another number of values in every and other"):
        model_options.add(argparse.ArgumentParser(), {"every": Every, "other": Other})
    own = argparse.ArgumentParser()
    own.add_argument("--size", type=int)
    model_options.add(own, {"every": Every, "other": Other}, own=["size"])
    assert "every: how many (default 3); other: how many others (default 3)" in " ".join(own.format_help().split())
    arguments = own.parse_args(["--size", "7"])
    models = {"other": Other, "none": Options}
    assert model_options.given(arguments, models, "other", ["size"]) == {"size": 7}
    assert model_options.given(arguments, models, "none", ["size"]) == {}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_says_what_its_options_are(name):
    entry = MODELS[name]
    both = [entry.options_class(), *([] if entry.training is None else [entry.training_class()])]
    for options in both:
        options()  # the defaults are allowed
        assert all(each.help and not each.help.endswith(".") for each in options_of(options))
    text = " ".join(build_parser()._subparsers._group_actions[0].choices["interpolate"].format_help().split())
    assert name == DEFAULT or name in text
    with pytest.raises(ArgumentError, match=f"nothing_such is not for the model {name}: it has"):
        load_model(name, None if entry.weights is None else "weights", nothing_such=1)


def test_options_need_no_torch():
    """Nor does the list of models: `vfi --help` is instant."""
    code = "import sys, vfi; from vfi.commands.main import build_parser; build_parser()"
    check = "assert not {'torch', 'numpy', 'cv2'} & set(sys.modules); assert 'rife' in vfi.MODELS"
    subprocess.run([sys.executable, "-c", f"{code}; {check}"], check=True)


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda folder: folder.name)
def test_lazy_packages_give_what_they_say(folder):
    """What type checkers are told is what is found."""
    pytest.importorskip("diffusers" if folder.name in ("rdvfi", "semfi") else "torch")
    package = importlib.import_module(f"vfi.models.{folder.name}")
    tree = ast.parse((folder / "__init__.py").read_text())
    told = {alias.name: node.module for block in tree.body if isinstance(block, ast.If)
            for node in block.body for alias in node.names}  # fmt: skip
    assert sorted(told) == sorted(package.__all__) and told
    for name, module in told.items():
        assert getattr(package, name) is vars(importlib.import_module(module))[name]
    with pytest.raises(AttributeError, match="no attribute 'nothing_such'"):
        package.nothing_such  # noqa: B018


def test_errors_say_arguments_in_python_and_options_in_a_command(capsys):
    with pytest.raises(ArgumentError, match=r"^the model rife needs weights, such as") as caught:
        vfi.load_model("rife")
    assert caught.value.arguments == ("weights",)
    assert main(["interpolate", __file__, __file__, "-o", "x.png", "--model", "rife"]) == 2
    assert "vfi: the model rife needs --weights, such as flownet.pkl" in capsys.readouterr().err
    again = pickle.loads(pickle.dumps(caught.value))  # as from a process that reads data
    assert str(again) == str(caught.value) and again.for_command() == caught.value.for_command()
    with pytest.raises(ArgumentError, match="needs flow_weights, such as"), called(weights="flow_weights"):
        vfi.load_model("rife")
    assert ArgumentError("give `learning_rate`").for_command() == "give --learning-rate"


def test_an_interpolator_has_defaults():
    class Mean(Interpolator):
        channel_order = "bgr"

        def interpolate(self, frame0, frame1, t):
            assert frame0[0, 0].max() == 0  # blue comes first
            return torch.lerp(frame0, frame1, t)

    frame0 = torch.zeros(1, 3, 2, 2)
    frame0[:, 0] = 1
    model = Mean.load(None, "cpu", Options())
    assert isinstance(model, vfi.Interpolator) and model.explain(frame0, frame0, 0.5) is None
    assert not model.shows_route and model.whole_frames(7) == 7
    assert torch.equal(interpolate_many(model, frame0, frame0, [0.25])[0], frame0)
    assert torch.equal(model.generate(frame0, frame0, "", 3), frame0.expand(3, -1, -1, -1))
    with pytest.raises(UserError, match="Mean is not trained"):
        Mean.objective(None, True, Options())
    with pytest.raises(TypeError, match="interpolate"):
        type("Nothing", (Interpolator,), {})()
