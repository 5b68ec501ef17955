"""`vfi evaluate --table PAPER N`."""

from collections.abc import Sequence
from pathlib import Path

from vfi.commands.program import say
from vfi.errors import ARGUMENT, option_of


def run(paper: str, number: str, files: Sequence[Path], scores: Sequence[Path], plot: Path | None) -> None:
    """Prints a table with what these files hold beside the paper's figures.

    Args:
        scores: files of other tools' scores.
        plot: a chart of it is written here.
    """
    from vfi.evaluation import outside_scores, plots, tables
    from vfi.evaluation.results import read_results

    if plot is not None:
        plots.check_name(plot)
    table, results = tables.load(paper, number), read_results(files, list(map(outside_scores.read, scores)))
    for line in tables.lines(table, results):
        say(ARGUMENT.sub(lambda name: option_of(name[1]), line))
    if plot is not None:
        plots.write(plot, plots.of_table(table, results))
