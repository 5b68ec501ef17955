"""A table of a paper, with what has been measured here beside the paper's own figures."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from vfi.errors import UserError
from vfi.evaluation.papers import FOLDER, papers
from vfi.evaluation.results import Result, other_data, same_source
from vfi.options import shown

# What a measure needs that is not in results; `names` are those of options.
_NEEDS = {
    "lpips": "`lpips`",
    "fid": "`inception`",
    "flolpips": "`flolpips` pwc-net, by which it is published",
    "fvd": "`i3d`",
}


@dataclass(frozen=True)
class Column:
    """measure: by its name in results; None: they do not hold it, and `needs` says what would."""

    title: str
    measure: str | None
    needs: str = ""


@dataclass(frozen=True)
class Block:
    """Columns of one part of a data set: a split, or a number of frames."""

    title: str
    columns: tuple[Column, ...]
    dataset: str | None = None
    part: str = ""


@dataclass(frozen=True)
class PaperRow:
    """figures: as printed, of each block; None: the paper has none. source: where it stands. model, options: which
    results are beside it; needs: why none can be."""

    method: str
    source: str
    figures: tuple[tuple[str | None, ...], ...]
    model: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    needs: str = ""


@dataclass(frozen=True)
class PaperTable:
    caption: str
    note: str
    blocks: tuple[Block, ...]
    rows: tuple[PaperRow, ...]


def load(paper: str, number: str) -> PaperTable:
    """A table by the paper's short name and its number there.

    Raises:
        UserError: if there is no such paper, or it has no such table.
    """
    known = tables_of(paper)
    if number not in known:
        raise UserError(f"expected a table of {paper}, {', '.join(known)}, got {number}")
    return known[number]


def tables_of(paper: str) -> dict[str, PaperTable]:
    """All that a paper has, by their numbers.

    Raises:
        UserError: if there is no such paper.
    """
    if paper not in papers():
        raise UserError(f"expected a paper of {', '.join(papers())}, got {paper}")
    document = json.loads((FOLDER / f"{paper}.json").read_text(encoding="utf-8"))
    found = {}
    for number, table in document["tables"].items():
        blocks = [{**block, "columns": tuple(Column(**each) for each in block["columns"])} for block in table["blocks"]]
        rows = [{**row, "figures": tuple(map(tuple, row["figures"]))} for row in table["rows"]]
        caption = f"{document['title']}, table {number}: {table['caption']}"
        parts = tuple(Block(**block) for block in blocks), tuple(PaperRow(**row) for row in rows)
        found[number] = PaperTable(caption, table.get("note", ""), *parts)
    return found


def lines(table: PaperTable, results: Sequence[Result]) -> Iterator[str]:
    """The table, a block after the other; below each row of the paper what is measured here, or why it is not.

    Raises:
        UserError: if results that are to stand in one row are of different weights or options.
    """
    rows, reasons = with_results(table, results), _Reasons()
    for _, matching in rows:
        same_source(matching)
    yield table.caption
    for number, block in enumerate(table.blocks):
        lines = [(block.title, *(column.title for column in block.columns), "source")]
        for row, matching in rows:
            if row.figures:
                lines.append((row.method, *(figure or "-" for figure in row.figures[number]), row.source))
            if row.model is not None:
                figures = row.figures[number] if row.figures else [None] * len(block.columns)
                cells = [_cell(row, block, *each, matching, reasons) for each in zip(block.columns, figures)]
                lines.append((f"  {'here' if row.figures else row.method}", *cells, ""))
        yield ""
        yield from _aligned(lines)
    yield ""
    yield from reasons.told()
    yield from other_data(results)
    unknown = ", ".join(row.method for row in table.rows if row.model is None)
    yield from [f"Not measured, for want of such a model here: {unknown}."] if unknown else []
    yield from [table.note] if table.note else []


class _Reasons:
    """Remarks, by the numbers that stand in cells."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, reason: str) -> str:
        return f"({self._numbers.setdefault(reason, len(self._numbers) + 1)})"

    def told(self) -> list[str]:
        return [f"({number}) {reason}" for reason, number in self._numbers.items()]


def with_results(table: PaperTable, results: Sequence[Result]) -> list[tuple[PaperRow, list[Result]]]:
    """The paper's rows with the results that belong to them; then one for each model that is in none of them."""
    rows = [(row, [each for each in results if not row.needs and each.is_of(row.model, row.options)])
            for row in table.rows]  # fmt: skip
    others = [result for result in results if not any(result in matching for _, matching in rows)]
    while others:
        chosen = others[0].chosen()
        words = ", ".join(f"{name} {shown(value)}" for name, value in chosen.items())
        row = PaperRow(others[0].model + (words and f" ({words})"), "", (), others[0].model)
        same = [each for each in others if (each.model, each.chosen()) == (others[0].model, chosen)]
        rows.append((row, same))
        others = [each for each in others if each not in same]
    return rows


def _cell(
    row: PaperRow, block: Block, column: Column, figure: str | None, results: Sequence[Result], reasons: _Reasons
) -> str:
    def missing(why: str) -> str:
        return f"not measured {reasons.mark(f'not measured: {why}')}"

    if column.measure is None or row.needs:
        return missing(f"needs {row.needs or column.needs}")
    fitting = [each for each in results if each.dataset == block.dataset and block.part in each.parts]
    if not fitting:
        return missing(f"needs results of {row.model} on {block.dataset}")
    (result,) = fitting
    part = result.parts[block.part]
    value = part.get(column.measure)
    if value is None and column.measure in part and column.measure not in result.not_measured:
        return missing("needs more than one of them")  # a Frechet distance
    if value is None:
        other = _NEEDS.get(column.measure, f"{column.measure}, which {result.path} does not have")
        return missing(result.not_measured.get(column.measure, f"needs {other}"))
    digits = len(figure.partition(".")[2]) if figure is not None else 2 if abs(value) >= 10 else 4
    here, published = result.counts.get(block.part, (0, 0))
    other = f"of {here} of {published} scenes" if published else f"of {here} scenes, perhaps others than the paper's"
    remarks = [other] if published != here else []
    departures = result.departures(row.options)
    remarks += [f"with {departures}"] if departures and row.figures else []
    remarks += [note for name, note in result.measured_with.items() if name == column.measure]
    return f"{value:.{digits}f} {reasons.mark('; '.join(remarks)) if remarks else ''}".rstrip()


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    for first, *cells, source in rows:
        middle = "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths[1:-1]))
        yield f"{first:{widths[0]}}  {middle}  {source}".rstrip()
