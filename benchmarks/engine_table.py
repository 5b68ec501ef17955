"""What `benchmarks/engines.py --json FILE` wrote, as the table of docs/engines.md: give it the files.

A column for each network and size: milliseconds of plain torch, then the share of it that each engine takes; in
brackets PSNR to float32, and the error in levels of 255 that one value in a thousand exceeds.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

PLAIN = "plain torch"
EXACT = 90  # dB to float32: rounding


def table(files: Sequence[Path]) -> str:
    rows = [row for file in files for row in json.loads(file.read_text())]
    columns = list(dict.fromkeys((row["network"], row["size"]) for row in rows))
    cells: dict[tuple[str, str, str], str] = {}
    for row in rows:
        lost = f" ({row['psnr_db']:.0f} dB, {row['levels_99_9']:.1f})" if row["psnr_db"] < EXACT else ""
        text = f"{row['ms']:.0f}" if row["engine"] == PLAIN else f"{row['of_plain']:.2f}{lost}"
        cells[row["engine"], row["network"], row["size"]] = text
    lines = [["", *(f"{network}, {size}" for network, size in columns)], ["---"] * (len(columns) + 1)]
    for engine in dict.fromkeys(row["engine"] for row in rows):
        unit = ", ms" if engine == PLAIN else ""
        lines.append([engine + unit, *(cells.get((engine, *each), "-") for each in columns)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Rows of benchmarks/engines.py as one table.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="what --json wrote")
    print(table(parser.parse_args().files))
