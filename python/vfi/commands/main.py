"""The `vfi` command: interpolate images and videos, probe videos, evaluate, train, export and list models."""

import argparse
import sys
from collections.abc import Sequence

from vfi.commands import evaluate, export, interpolate, models, probe, serve, train
from vfi.commands.program import SentenceParser, exit_code
from vfi.commands.settings_file import SettingsParser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code: 0, 2 for a wrong request or input, 130 after Ctrl-C or SIGTERM."""

    def run() -> None:
        options = build_parser().parse_args(arguments)
        options.run(options)

    return exit_code("vfi", run)


def build_parser() -> argparse.ArgumentParser:
    """The arguments of every subcommand; imports nothing heavy, so that --help is instant."""
    parser = SentenceParser(prog="vfi", description="Video frame interpolation.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=SettingsParser)
    for command in (interpolate, probe, evaluate, train, export, serve, models):
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
