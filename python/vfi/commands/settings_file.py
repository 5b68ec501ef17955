"""`--config` and `--save-config`: what a command is asked for, in a TOML file with the names of its options."""

import argparse
import difflib
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

from vfi.commands.program import SentenceParser
from vfi.errors import UserError, require
from vfi.files.atomic import cannot_write, check_target, written_whole

_OWN = ("help", "config", "save_config")
_LARGEST = 1 << 20  # bytes


class SettingsParser(SentenceParser):
    """Has the two options, and reads the words of the file of `--config` before those of the command line."""

    def __init__(self, *words: object, **settings: object) -> None:
        super().__init__(*words, **settings)  # type: ignore[arg-type]
        group = self.add_argument_group("settings").add_argument
        what = "a TOML file with names of options, such as fps = 60; options of the command line come before it"
        group("--config", type=Path, metavar="FILE", help=what)
        what = "also write what was asked for into such a file"
        group("--save-config", type=Path, metavar="FILE", help=what)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        words = list(sys.argv[1:] if args is None else args)
        path = self._config(words)
        options, unknown = super().parse_known_args(words if path is None else self._with_file(words, path), namespace)
        if options.save_config is not None:
            _save(self, options)
        return options, unknown

    def _with_file(self, words: list[str], path: Path) -> list[str]:
        """The words of a file, then those given; inputs of the file if none are given."""
        table = _read(path)
        inputs = [action for action in self._actions if not action.option_strings]
        with _optional(self._actions):  # what is asked for may be in the file or among the words
            given = super().parse_known_args(words)[0]
            try:
                from_file = self.words(table)
                super().parse_known_args(from_file)
            except UserError as error:
                raise UserError(f"{path}: {error}") from error
        missing = [action.dest for action in inputs if action.dest in table and not getattr(given, action.dest)]
        positional = [word for name in missing for word in _list(table[name])]
        # An option of one value stands between those of the file, which may take several, and the words.
        return [*from_file, f"--config={path}", *words, *(["--", *positional] if positional else [])]

    @staticmethod
    def _config(words: list[str]) -> Path | None:
        finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        finder.add_argument("--config", type=Path, nargs="?")
        path: Path | None = finder.parse_known_args(words)[0].config
        return path

    def words(self, table: dict[str, object]) -> list[str]:
        """What the file says, as on a command line; inputs are not in it."""
        words: list[str] = []
        for name, value in table.items():
            action = self._named(name)
            if not action.option_strings:
                continue
            option = f"--{_name(action)}"
            if action.nargs == 0:
                if not isinstance(value, bool):
                    raise UserError(f"expected {name} to be true or false, got {value!r}")
                opposite = [word for word in action.option_strings[1:] if word.startswith("--no-")]
                words += [option] if value else opposite
            elif isinstance(value, list) and not isinstance(action, argparse._AppendAction):
                words += [option, *_list(value)]
            else:
                words += [f"{option}={each}" for each in _list(value)]
        return words

    def spelled(self, name: str) -> str:
        """What is as on the command line, as its user writes it."""
        return name

    def _named(self, name: str) -> argparse.Action:
        """The option that the file calls so: as on the command line, or with underscores."""
        named = {_name(action): action for action in self._actions if action.dest not in _OWN}
        action = named.get(name.replace("_", "-"))
        if action is None:
            near = difflib.get_close_matches(name.replace("_", "-"), named, 1)
            meant = f"; is it {self.spelled(near[0])}?" if near else ""
            raise UserError(f"{self.prog} has no option {name}{meant}")
        return action


def _read(path: Path) -> dict[str, object]:
    """The table of a file, whose values are words, numbers, true or false, and lists of them."""
    toml = require("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST).decode()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: expected a TOML file, got bytes that are no text") from error
    try:
        table: dict[str, object] = toml.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: expected a TOML file with lines such as fps = 60: {error}") from error
    for name, value in table.items():
        for each in value if isinstance(value, list) else [value]:
            if not isinstance(each, (str, int, float)):
                raise UserError(f"{path}: expected {name} to be a word, a number, true or false, or a list of such")
    return table


@contextmanager
def _optional(actions: Sequence[argparse.Action]) -> Iterator[None]:
    """Inside, none of them is asked for."""
    before = [(action, action.required) for action in actions]
    for action in actions:
        action.required = False
    try:
        yield
    finally:
        for action, required in before:
            action.required = required


def _save(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Writes what is not as it is by default to the file of `--save-config`."""
    path: Path = options.save_config
    check_target(path, overwrite=bool(getattr(options, "overwrite", False)))
    lines = []
    for action in parser._actions:
        value = getattr(options, action.dest, None)
        if action.dest not in _OWN and value is not None and value != action.default:
            given = True if isinstance(action, argparse._StoreConstAction) else value  # --no-x may store false
            lines.append(f"{_name(action)} = {_toml(given)}\n")
    try:
        with written_whole(path) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")
    except UnicodeEncodeError as error:
        raise UserError(f"cannot write {path}: a name in it is no text in UTF-8") from error
    except OSError as error:
        raise cannot_write(path, error) from error


def _name(action: argparse.Action) -> str:
    """As on the command line, without dashes before it."""
    long = [option for option in action.option_strings if option.startswith("--")]
    return long[0].removeprefix("--") if long else action.dest


def _list(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]


def _toml(value: object) -> str:
    """A value of an option, as words that would give it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):  # of --encoder-option
        return _toml("=".join(value))
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Fraction) and value.denominator == 1:
        return str(value)
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
