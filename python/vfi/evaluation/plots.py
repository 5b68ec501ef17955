"""Charts of a paper's table, and of results."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vfi.drawing.charts import Band, Chart, Panel, Point, picture, svg
from vfi.errors import UserError
from vfi.evaluation.metrics import TITLES
from vfi.evaluation.results import VARIANCE, Result, parse
from vfi.evaluation.sfibench.kept import COLUMNS
from vfi.evaluation.tables import PaperTable, with_results
from vfi.files.atomic import written_whole
from vfi.files.images import write_image

SUFFIXES = (".svg", ".png")
NAMES = {**COLUMNS, **TITLES, "fvd": "FVD"}


def check_name(path: Path) -> None:
    """Refuses what is no chart."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"expected a chart's name to end in {' or '.join(SUFFIXES)}, got {path}")


def write(path: Path, chart: Chart) -> None:
    """
    Raises:
        UserError: if the file cannot be written.
    """
    if path.suffix.lower() == ".png":
        write_image(path, picture(chart))
        return
    with written_whole(path) as temporary:
        temporary.write_text(svg(chart), encoding="utf-8")


def of_table(table: PaperTable, results: Sequence[Result]) -> Chart:
    """A band for each block, a panel for each measure: the paper's figures, and what was measured here."""
    rows = with_results(table, results)
    bands = []
    for number, block in enumerate(table.blocks):
        panels = []
        for place, column in enumerate(block.columns):
            points = []
            for index, (row, matching) in enumerate(rows):
                figure = row.figures[number][place] if row.figures else None
                if figure is not None:
                    points.append(Point(index, float(figure)))
                fitting = (each for each in matching if each.dataset == block.dataset and block.part in each.parts)
                if column.measure is not None and (result := next(fitting, None)) is not None:
                    points += _points(index, result, block.part, column.measure, 1)
            panels.append(Panel(column.title, tuple(points)))
        bands.append(Band(block.title, tuple(row.method for row, _ in rows), tuple(panels)))
    return Chart(table.caption, tuple(bands), ("paper", "here"))


def of_results(document: Mapping[str, object]) -> Chart:
    """Of one model on a data set: a row for each part of it, and for quarters by motion; a panel for each measure."""
    result = parse(Path(), dict(document))
    rows = {part or "all": part for part in result.parts if part != VARIANCE}
    found = {
        row: {name: _points(i, result, part, name, 1) for name in NAMES} for i, (row, part) in enumerate(rows.items())
    }
    means = document.get("means")
    for part, mean in means.items() if isinstance(means, dict) else ():
        for number, quarter in enumerate(mean.get("by_motion", ()), 1):
            values = {name: float(quarter[name]) for name in NAMES if name in quarter}
            row = f"{part} quarter {number} by motion".strip()
            found[row] = {name: [Point(len(found), value, 1)] for name, value in values.items()}
    panels = []
    for name, title in NAMES.items():
        points = tuple(point for of_row in found.values() for point in of_row.get(name, ()))
        if points:
            panels.append(Panel(title, points))
    return Chart(f"{result.model} on {result.dataset}", (Band("", tuple(found), tuple(panels)),))


def _points(row: int, result: Result, part: str, measure: str, series: int) -> list[Point]:
    value = result.parts[part].get(measure)
    return [] if value is None else [Point(row, value, series, *result.bounds.get(part, {}).get(measure, (None, None)))]
