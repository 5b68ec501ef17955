"""Costs and ablations of the papers' tables: what can be measured here, and what each other cell needs.

python benchmarks/papers.py                                 counts, and what a CPU measures in minutes
python benchmarks/papers.py --device cuda                   also time and memory of the diffusion models
python benchmarks/papers.py --apr-weights apr.safetensors   also along the routes that these weights choose
python benchmarks/papers.py --ablate 200                    also: tiny networks of each variant, trained so many steps

Every table of vfi.evaluation.papers, our rows of it: the paper's figure, and the one here. Fresh weights of the
published sizes, on whose values time and memory do not depend. Quality needs weights and data: `vfi evaluate --table`.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import paper_costs as costs
import torch
from paper_ablations import ABLATIONS, trained
from paper_costs import Setting

from vfi.errors import UserError
from vfi.evaluation import tables
from vfi.evaluation.papers import papers
from vfi.evaluation.tables import Block, Column, PaperRow

GPU = "not measured: needs a GPU (`--device cuda`), or `--large` on a CPU"
APR_WEIGHTS = "not measured: needs trained weights (`--apr-weights FILE`)"

# What trains the weights of a row, where it is not the model's usual training.
TRAININGS = {
    ("apr-vfi", "3"): "vfi train --model apr-vfi --stage 3 --keep {shares}",
    "image difference": "vfi train --model apr-vfi --stage 3 --supervision image",
    "reconstruction loss": "vfi train --model apr-vfi --stage 3 --supervision reconstruction",
    "concat&conv": "vfi train --model apr-vfi --fusion concat",
    "no fusion": "vfi train --model apr-vfi --fusion none",
    "Direct Warping": "vfi train --model rdvfi-d --direct",
    "L loss": "vfi train --model rdvfi-d --stage 2 --losses latent",
    "L+P-L2 loss": "vfi train --model rdvfi-d --stage 2 --losses l2",
    "w/o Multi-frame": "vfi train --model semfi --frames 65",
    "w/o MoL": "vfi train --model semfi --no-experts",
}


@dataclass(frozen=True)
class Cell:
    """One figure of a paper, and the one here; "-": the paper has none."""

    table: str
    row: str
    column: str
    published: str
    here: str


def cells(setting: Setting, chosen: Sequence[str]) -> Iterator[Cell]:
    """Of our rows in each table of these papers."""
    for paper in chosen:
        for number, table in tables.tables_of(paper).items():
            for row in (row for row in table.rows if row.model is not None):
                for block, figures in zip(table.blocks, row.figures, strict=True):
                    for column, figure in zip(block.columns, figures, strict=True):
                        title = column.title if block.dataset is None else f"{block.title} {column.title}"
                        here = measured(setting, paper, number, row, block, column)
                        yield Cell(f"{paper} {number}", row.method, title, figure or "-", here)


def measured(setting: Setting, paper: str, number: str, row: PaperRow, block: Block, column: Column) -> str:
    """The figure, or what it needs."""
    if column.measure is not None or (paper, number) == ("rdvfi", "3"):
        return f"not measured: needs {weights_of(paper, number, row)}, and {block.dataset or 'its data set, not named'}"
    measure: Callable[[Setting, PaperRow, str], str] = {
        "millions": lambda setting, row, title: f"{costs.parts_of_sg_rife()[row.method]:.2f}",
        "seconds": lambda setting, row, title: seconds(setting, row.model or ""),
        "M parameters": lambda setting, row, title: f"{costs.millions(costs.apr_network()):.2f}",
        "VRAM GB": rdvfi,
        "seconds per frame": rdvfi,
    }.get(column.title, apr)
    return measure(setting, row, column.title)


def weights_of(paper: str, number: str, row: PaperRow) -> str:
    """Which weights a figure of quality is of."""
    if row.method == "Wan":
        return "the backbone alone (`--no-adapters`)"
    command = TRAININGS.get(row.method)
    if (paper, number) == ("apr-vfi", "2"):
        command = f"vfi train --model apr-vfi --patch {row.method.split()[-1]}"
    if (paper, number) == ("apr-vfi", "3"):
        command = TRAININGS[paper, number].format(shares=" ".join(row.method.split()[1:]))
    return f"weights of {row.model}" + (f" by `{command}`" if command else "")


def seconds(setting: Setting, model: str) -> str:
    return f"{costs.frame_of(setting, model)[0]:.3f}"


def apr(setting: Setting, row: PaperRow, title: str) -> str:
    """Seconds and TFLOPs of APR-VFI: static, by given shares, or along the routes of weights."""
    learned = row.method == "Ours(with APR)"
    if learned and setting.apr is None:
        return APR_WEIGHTS
    if title.endswith("seconds"):
        return seconds(setting, "apr" if learned else "static")
    if learned:
        return f"{costs.learned_terms(setting):.3f}"
    if row.method.startswith("keep "):
        keep = [float(share) for share in row.method.split()[1:]]
        return f"{costs.apr_terms(setting, routing='apr', keep=keep):.3f}"
    return f"{costs.apr_terms(setting, routing='static'):.3f}"


def rdvfi(setting: Setting, row: PaperRow, title: str) -> str:
    found = costs.frame_of_rdvfi(setting, (row.model or "")[-1])
    return GPU if found is None else f"{found[title == 'VRAM GB']:.3f}"


def models(setting: Setting, chosen: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Parameters, multiply-accumulates, seconds and memory of each network, at the papers' sizes."""
    yield "network", "M parameters", "T multiply-accumulates", "s/frame", "GiB"
    if "sg-rife" in chosen:
        from vfi.models.rife import RIFE

        with torch.device("meta"):
            own = {"rife": costs.millions(RIFE()), "sg-rife": costs.parts_of_sg_rife()["Total Inference"]}
        for name, millions in own.items():
            terms = costs.terms_of(setting, name)
            yield name, f"{millions:.2f}", f"{terms:.3f}", *told(costs.frame_of(setting, name))
    if "apr-vfi" in chosen:
        for fusion in ("add", "concat", "none"):
            parameters = f"{costs.millions(costs.apr_network(fusion)):.2f}"
            taken = told(costs.frame_of(setting, "static")) if fusion == "add" else ("-", "-")
            terms = costs.apr_terms(setting, fusion, routing="static")
            yield f"apr-vfi, fusion {fusion}", parameters, f"{terms:.3f}", *taken
    if "rdvfi" in chosen:
        for name in ("rdvfi-d", "rdvfi-u"):
            count, work = costs.denoiser(name)
            found = costs.frame_of_rdvfi(setting, name[-1])
            yield f"{name}, its denoiser", f"{count:.0f}", f"{work:.2f} a pair", *told(found)
    if "semfi" in chosen:
        count, work = costs.denoiser("semfi")
        steps = f"{work:.0f} a step, {costs.STEPS * costs.GUIDED} steps"
        yield "semfi, Wan's transformer", f"{count:.0f}", steps, GPU_14B, GPU_14B
        yield "semfi, its adapters", f"{costs.adapters_of_semfi():.1f}", "0, merged", "-", "-"


GPU_14B = "not measured: needs a GPU of 80 GB and the backbone"


def told(found: tuple[float, float] | None) -> tuple[str, str]:
    return (GPU, GPU) if found is None else (f"{found[0]:.3f}", f"{found[1]:.2f}")


def shown(every: Sequence[Cell]) -> Iterator[tuple[str, ...]]:
    """A line for each figure that is measured, and one for those of a row that need the same."""
    yield "table", "row", "column", "paper", "here"
    for (table, row, here), same in groupby(every, key=lambda cell: (cell.table, cell.row, cell.here)):
        group = list(same)
        if len(group) == 1 or not here.startswith("not measured"):
            yield from ((table, row, cell.column, cell.published, here) for cell in group)
        else:
            what = f"{len(group)} columns, {group[0].column} to {group[-1].column}"
            yield table, row, what, f"{group[0].published} to {group[-1].published}", here


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--paper", nargs="+", choices=papers(), default=papers(), help="which (default: all)")
    add("--device", default="cpu", help="such as cuda:0 (default: %(default)s)")
    add("--size", type=int, nargs=2, metavar=("H", "W"), help="of the frames, instead of the papers'")
    add("--rounds", type=int, default=3, help="of which the median is taken (default: %(default)s)")
    add("--large", action="store_true", help="diffusion models of the published sizes on a CPU too: minutes, 16 GiB")
    add("--apr-weights", type=Path, metavar="FILE", help="of APR-VFI, for the cost along its learned routes")
    add("--pairs", type=Path, metavar="FOLDER", help="frames for these routes (default: made-up scenes)")
    add("--ablate", type=int, metavar="STEPS", help="train tiny networks of each variant on made-up scenes")
    add("--work", type=Path, default=Path("out/papers"), help="folder of these trainings (default: %(default)s)")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    size = None if asked.size is None else (asked.size[0], asked.size[1])
    setting = Setting(asked.device, size, asked.rounds, asked.large, asked.apr_weights, asked.pairs)
    if setting.apr is not None and not setting.apr.is_file():
        raise UserError(f"expected weights of apr-vfi as --apr-weights, got {setting.apr}, which is no file")
    place = f"{setting.device}, {torch.get_num_threads()} threads" if not setting.on_gpu else setting.device
    print(f"{place}; sizes {'of the papers' if size is None else f'{size[1]}x{size[0]}'}\n")
    print("\n".join(aligned(list(models(setting, asked.paper)))), end="\n\n")
    print("\n".join(aligned(list(shown(list(cells(setting, asked.paper)))))))
    if asked.ablate is not None:
        print(f"\ntiny networks after {asked.ablate} steps of each stage on made-up scenes")
        for ablation in (each for each in ABLATIONS if each.paper in asked.paper):
            found = trained(ablation, asked.ablate, asked.work)
            print(f"{ablation.paper} {ablation.table}  {ablation.row}: {found}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"papers: {error}")
