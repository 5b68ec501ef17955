"""`--config` and `--save-config`: a command's options in a file, for every option of every command."""

import argparse
import functools

import pytest

from vfi.commands.main import build_parser, main
from vfi.errors import UserError
from vfi.files.images import write_image

OWN = ("help", "config", "save_config")
# Words that options of each kind of value take.
WORDS = ("7", "0.5", "60000/1001", "8M", "a=b", "CPU=4", "word")


parser_of_all = functools.cache(build_parser)


def commands():
    (subparsers,) = (each for each in parser_of_all()._actions if isinstance(each, argparse._SubParsersAction))
    return subparsers.choices


def words_for(parser, action):
    """What gives the option a value that it takes."""
    option = next(word for word in action.option_strings if word.startswith("--"))
    if action.nargs == 0:
        return [option]
    count = action.nargs if isinstance(action.nargs, int) else 2 if action.nargs == "+" else 1
    for word in (*map(str, action.choices or ()), *WORDS):
        try:
            parser._get_value(action, word)
            parser._check_value(action, parser._get_value(action, word))
        except argparse.ArgumentError:
            continue
        return [option, *[word] * count]
    raise AssertionError(f"no word for {option}")


def options_of_commands():
    return [
        pytest.param(name, action.dest, id=f"{name}-{action.dest}")
        for name, parser in commands().items()
        for action in parser._actions
        if action.option_strings and action.dest not in OWN
    ]


def inputs_of(parser):
    return [f"in_{action.dest}" for action in parser._actions if not action.option_strings]


def asked(words):
    ours = ("config", "save_config")
    return {name: value for name, value in vars(parser_of_all().parse_args(words)).items() if name not in ours}


@pytest.mark.parametrize(("command", "dest"), options_of_commands())
def test_every_option_comes_back_from_the_file(tmp_path, command, dest):
    parser = commands()[command]
    action = next(each for each in parser._actions if each.dest == dest)
    required = [
        word
        for each in parser._actions
        if each.required and each.option_strings and each is not action
        for word in words_for(parser, each)
    ]
    words = [*inputs_of(parser), *required, *words_for(parser, action)]
    file = tmp_path / "job.toml"
    parser_of_all().parse_args([command, *words, "--save-config", str(file)])
    assert asked([command, "--config", str(file)]) == asked([command, *words])


def written(tmp_path, text):
    file = tmp_path / "job.toml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_the_command_line_comes_before_the_file(tmp_path):
    file = written(tmp_path, 'input = ["a.mp4"]\noutput = "b.mkv"\nfps = 60\nencoder-option = ["g=1"]\nquiet = true\n')
    options = asked(["interpolate", "--config", file, "--fps", "30", "--encoder-option", "b=2"])
    assert (options["fps"], options["quiet"], options["encoder_option"]) == (30, True, [("g", "1"), ("b", "2")])
    assert [str(path) for path in options["input"]] == ["a.mp4"]
    assert [str(path) for path in asked(["interpolate", "c.mp4", "--config", file])["input"]] == ["c.mp4"]
    assert [str(path) for path in asked(["interpolate", f"--config={file}", "--", "-c.mp4"])["input"]] == ["-c.mp4"]


def test_names_of_options_may_have_underscores_and_inputs_may_be_a_word(tmp_path):
    file = written(tmp_path, 'input = "-"\nslow_motion = 2\ntimes = [1, 2.5]\ntta = true\n')
    options = asked(["interpolate", "--config", file])
    assert (options["slow_motion"], options["times"], options["tta"]) == (2, [1, 2.5], True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fsp = 3", "no option fsp; is it fps?"),
        ("config = 3", "no option config"),
        ("fps = 'x'", "--fps: expected a number"),
        ("resume = 3", "expected resume to be true or false, got 3"),
        ("resume = ", "expected a TOML file"),
        ("[fps]\nx = 1", "expected fps to be a word, a number"),
        ("fps = 2000-01-01", "expected fps to be a word, a number"),
        ("deinterlace = 'on'", "--deinterlace"),
        ("x = " + "[" * 10_000, "expected a TOML file"),
        ("\x00", "expected a TOML file"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_name(tmp_path, text, said):
    file = written(tmp_path, text)
    with pytest.raises(UserError) as error:
        parser_of_all().parse_args(["interpolate", "a.mp4", "--config", file])
    assert str(error.value).startswith(f"{file}: ") and said in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read_or_written(tmp_path, capfd):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for name, said in (("none", "No such file"), (".", "Is a directory"), ("bytes", "bytes that are no text")):
        assert main(["interpolate", "a", "--config", str(tmp_path / name)]) == 2
        assert said in capfd.readouterr().err
    taken = written(tmp_path, "")
    assert main(["interpolate", "a", "-o", "b.png", "--save-config", taken]) == 2
    assert "exists already; add --overwrite" in capfd.readouterr().err


def test_a_saved_job_is_the_same_job(tmp_path, sliding):
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    for path, x in zip((first, second), (20, 28), strict=True):
        write_image(path, sliding(x))
    out, file = tmp_path / "out.png", tmp_path / "job.toml"
    assert (
        main(["interpolate", str(first), str(second), "-o", str(out), "--t", "0.25", "--save-config", str(file)]) == 0
    )
    before = out.read_bytes()
    out.unlink()
    assert main(["interpolate", "--config", str(file)]) == 0
    assert out.read_bytes() == before
