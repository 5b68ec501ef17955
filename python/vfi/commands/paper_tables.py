"""`vfi evaluate --table PAPER N`."""

from collections.abc import Sequence
from pathlib import Path

from vfi.commands.program import say
from vfi.errors import ARGUMENT, option_of


def run(paper: str, number: str, files: Sequence[Path], scores: Sequence[Path]) -> None:
    """Prints a table with what these files hold beside the paper's figures. scores: files of other tools' scores."""
    from vfi.evaluation import outside_scores, tables
    from vfi.evaluation.results import read_results

    table = tables.load(paper, number)
    for line in tables.lines(table, read_results(files, list(map(outside_scores.read, scores)))):
        say(ARGUMENT.sub(lambda name: option_of(name[1]), line))
