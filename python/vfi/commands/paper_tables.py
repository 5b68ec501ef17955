"""`vfi evaluate --table PAPER N`."""

from collections.abc import Sequence
from pathlib import Path

from vfi.commands.program import say
from vfi.errors import ARGUMENT, option_of


def run(paper: str, number: str, files: Sequence[Path]) -> None:
    """Prints a table with what these files hold beside the paper's figures."""
    from vfi.evaluation import tables
    from vfi.evaluation.results import read_results

    table = tables.load(paper, number)
    for line in tables.lines(table, read_results(files)):
        say(ARGUMENT.sub(lambda name: option_of(name[1]), line))
