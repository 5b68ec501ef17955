"""What `--help` says: of every option of every program of the tree what it is, its default, and what may be chosen."""

import argparse
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("vfi_kernels", "python/vfi", "scripts", "benchmarks", "build_backend")
# A file that makes a parser and is run, or is what a file of that name is run as
PROGRAMS = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    if "Parser(" in (text := path.read_text()) and '__name__ == "__main__"' in text
)


class Parsed(Exception):
    """Instead of running the program."""


def parser_of(program, monkeypatch):
    def parse(parser, *arguments):
        raise Parsed(parser)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", parse)
    monkeypatch.setattr(sys, "argv", [program])
    monkeypatch.syspath_prepend(str((ROOT / program).parent))
    with pytest.raises(Parsed) as parsed:
        runpy.run_path(str(ROOT / program), run_name="__main__")
    return parsed.value.args[0]


def parsers(top):
    yield top
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for parser in {id(parser): parser for parser in action.choices.values()}.values():
                yield from parsers(parser)


def test_the_programs_are_found():
    assert {"vfi_kernels/_cli.py", "python/vfi/commands/main.py", "scripts/compare.py", "benchmarks/run.py"} <= {
        *PROGRAMS
    }


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_option_says_what_it_is(program, monkeypatch):
    for parser in parsers(parser_of(program, monkeypatch)):
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction) or action.help == argparse.SUPPRESS:
                continue
            name = f"{parser.prog} {action.option_strings or action.dest}"
            formatter = parser._get_formatter()
            formatter.add_argument(action)
            told = " ".join(formatter.format_help().split())
            assert action.help and action.help.strip(), f"{name} has no help"
            for choice in action.choices or ():
                assert str(choice) in told, f"{name} does not say {choice}"
            if action.default not in (None, False, True, argparse.SUPPRESS) and action.option_strings:
                usual = action.default if isinstance(action.default, (list, tuple)) else [action.default]
                assert "default" in told, f"{name} does not say that {usual} is the default"
                for value in usual:
                    assert str(value) in told.replace(" ", "") or str(value) in told, f"{name} does not say {value}"
