"""What `patch` did, as a table and as data."""

import json
from dataclasses import dataclass, field

COLUMNS = ("verdict", "place", "by", "reason")


@dataclass(frozen=True)
class Replaced:
    """`place` (module.name) is now `by` (a name of vfi_kernels); `reason`: how it was recognised, what it computes."""

    place: str
    by: str
    reason: str


@dataclass(frozen=True)
class Left:
    """`place` looked like something we replace, and stayed; `reason`: why."""

    place: str
    reason: str


@dataclass
class PatchReport:
    """What `patch` did, or with dry_run would do. str() of it is a table, `rows` and `json` are the same as data."""

    replaced: list[Replaced] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)

    def rows(self) -> list[dict[str, str]]:
        """A dictionary for each: verdict ("replaced" or "left"), place, by ("" of what was left) and reason."""
        rows = [("replaced", r.place, r.by, r.reason) for r in self.replaced]
        rows += [("left", item.place, "", item.reason) for item in self.left]
        return [dict(zip(COLUMNS, row)) for row in rows]

    def json(self) -> str:
        """`rows` as JSON."""
        return json.dumps(self.rows(), indent=2)

    def __str__(self) -> str:
        rows = [tuple(row.values()) for row in self.rows()]
        if not rows:
            return "nothing to replace was found"
        return table([COLUMNS, *rows])


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns as wide as what is in them, the last one as long as it is."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[-1]]).rstrip() for row in rows
    )
