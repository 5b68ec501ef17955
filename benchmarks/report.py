"""Rewrites the tables of docs/benchmarks.md, and its figures, from the newest file of each machine.

python benchmarks/report.py            rewrites the part between the markers, and the figures (matplotlib)
python benchmarks/report.py --check    changes nothing; exit code 1 if the page is out of date
"""

import json
import sys
from pathlib import Path
from typing import Any

import figures
import memory
import rdvfi_phases
import routed
import routed_network

from vfi_kernels.bench.overhead import TINY
from vfi_kernels.bench.report import between_marks, by_op, columns, markdown_table, notes

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- results: written by benchmarks/report.py -->\n", "<!-- end of results -->\n"


def newest(folder: Path = RESULTS) -> list[Path]:
    """The newest file of each machine; their names are dates."""
    files = {file.parent: file for file in sorted(folder.glob("*/*.json"))}
    return list(files.values())


def results(folder: Path = RESULTS) -> str:
    """A section per machine."""
    files = newest(folder)
    if not files:
        return "\nNothing has been measured for the record yet.\n\n"
    heads = [f"\n## {file.parent.name}, {file.stem}\n\n" for file in files]
    parts = [section(json.loads(file.read_text()), file.parent.name) for file in files]
    return "".join(f"{head}{part}\n" for head, part in zip(heads, parts, strict=True))


def section(document: dict[str, Any], machine: str) -> str:
    parts = [machine_line(document["machine"])]
    if document.get("goals"):
        parts.append(goal_table(document["goals"]))
    for name, (title, _) in figures.FIGURES.items():
        if (PAGE.parent / f"{name}_{machine}.png").exists():
            parts.append(f"![{title}]({name}_{machine}.png)")
    rows = [row for row in document["rows"] if row["shape"] != TINY]
    for op, group in by_op(rows).items():
        common, header, cells = columns(group)
        parts.append(f"### {op}\n\n{common}\n\n{markdown_table(header, cells)}")
    tiny = [row for row in document["rows"] if row["shape"] == TINY]
    if tiny:
        parts.append("### What a call and the import cost")
    for group in by_op(tiny).values():
        common, header, cells = columns(group)
        parts.append(f"{common}\n\n{markdown_table(header, cells)}")
    imports = document["imports"]
    if imports:
        parts.append(
            f"`import vfi_kernels` takes {imports['vfi_kernels_s']:.3f} s after torch's own {imports['torch_s']:.2f} s "
            f"(median of {imports['processes']} fresh processes)."
        )
    model = document.get("flow-splat")
    if model:
        cells = [[s["scene"], f"{s['psnr']:.2f}", f"{s['ssim']:.4f}", f"{s['seconds']:.3f}"] for s in model["scenes"]]
        table = markdown_table(["scene", "PSNR dB", "SSIM", "seconds"], cells)
        parts.append(f"### flow-splat on Middlebury, {model['threads']} threads\n\n{table}")
    if document.get("memory"):
        title = f"### Peak memory beyond arguments and results, float32, {memory.THREADS} threads"
        parts.append(f"{title}\n\n{markdown_table(*memory.cells(document['memory']))}")
    block = document.get("routed_block")
    if block:
        title = f"### The refine block of APR-VFI on active patches, {block['threads']} threads"
        dense = f"Dense: {block[routed.DENSE]:.0f} ms, in channels_last {block[routed.DENSE_LAST]:.0f} ms."
        parts.append(f"{title}\n\n{dense}\n\n{markdown_table(*routed.cells(block))}")
    for name, title in NETWORKS.items():
        network = (document.get("networks") or {}).get(name)
        if network:
            parts.append(network_table(title, network))
    parts += other_networks(document.get("networks") or {})
    parts += [f"{op}: refused, because {reason}." for op, reason in document["refused"].items()]
    parts.append(notes(document["rows"]).replace("\n", "  \n"))
    return "\n\n".join(parts) + "\n"


NETWORKS = {
    "rife": "RIFE, a forward: our warp in place of its own",
    "sg_rife_adapters": "Adapters of SG-RIFE without DINO: our deformable convolution in place of columns of all taps",
}


def other_networks(networks: dict[str, Any]) -> list[str]:
    """What routing saves in APR-VFI, RDVFI's phases, and the time of ebme-splat, where they were measured."""
    parts = []
    apr, splat, phases = (networks.get(name) for name in ("apr_vfi", "ebme_splat", "rdvfi_phases"))
    if apr:
        shares = ", ".join(f"{share:.0%}" for share in apr["keep"])
        title = f"### APR-VFI, {size_of(apr)}, blocks 2 to 5 on {shares} of the patches"
        over = f"{routed_network.efficiency(apr):.2f}"
        quotient = f"Share of the synthesis' time saved over that of its multiply-accumulates: {over}."
        parts.append(f"{title}\n\n{markdown_table(*routed_network.cells(apr))}\n\n{quotient}")
    if phases:
        faster = rdvfi_phases.faster(networks["rdvfi_warping"])
        title = (
            f"### RDVFI-D, published sizes, {phases['dtype']} but for VAE and estimator, {phases['threads']} threads"
        )
        note = f"Warping of both frames to 24 times at 576x1024 is {faster:.1f}x faster than in steps of torch."
        parts.append(f"{title}\n\n{markdown_table(*rdvfi_phases.cells(phases))}\n\n{note}")
    if splat:
        parts.append(f"ebme-splat takes {splat['seconds']:.2f} s for a frame, {size_of(splat)}.")
    return parts


def size_of(figures: dict[str, Any]) -> str:
    height, width = figures["size"]
    return f"{height}x{width}, float32, {figures['threads']} threads"


def network_table(title: str, figures: dict[str, Any]) -> str:
    """Times and peak memory of a network with ours and with what it replaces."""
    ours = figures["ours"]
    cells = []
    for who, timing in figures.items():
        if not isinstance(timing, dict):
            continue
        peak = timing.get("peak_mib")
        cells.append(
            [
                who,
                f"{1000 * timing['whole_s']:.0f} ms",
                f"{1000 * timing['inside_s']:.0f} ms",
                f"{timing['whole_s'] / ours['whole_s']:.2f}x",
                f"{timing['inside_s'] / ours['inside_s']:.2f}x",
                "-" if peak is None else f"{peak:.0f} MiB",
            ]
        )
    header = ["with", "whole", "in the op", "ours: whole faster", "in the op faster", "peak memory beyond the frames"]
    return f"### {title}, {size_of(figures)}\n\n{markdown_table(header, cells)}"


def machine_line(machine: dict[str, Any]) -> str:
    cpu, versions = machine["cpu"], machine["versions"]
    facts = [
        f"{cpu['model']} (family {cpu['family']}, model {cpu['model_number']}), {cpu['cores']} cores",
        f"level {cpu['level']}",
        *(f"{gpu['name']}, driver {gpu['driver']}" for gpu in machine["gpus"]),
        f"torch {versions['torch']}",
        f"Python {versions['python']}",
        f"commit {versions['commit']}",
    ]
    return "; ".join(facts) + "."


def goal_table(goals: list[dict[str, Any]]) -> str:
    """Required next to reached."""
    words = {True: "yes", False: "no", None: "not measured"}
    cells = []
    for goal in goals:
        reached = "-" if goal["reached"] is None else f"{goal['reached']:.2f}{goal['unit']}"
        cells.append([goal["text"], goal["required"], reached, words[goal["met"]]])
    return markdown_table(["goal", "required", "reached", "met"], cells)


def updated(page: str, text: str) -> str:
    """`page` with `text` between the markers."""
    return between_marks(page, (BEGIN, END), text)


def main() -> int:
    page = PAGE.read_text()
    new = updated(page, results())
    if "--check" in sys.argv[1:]:
        if new != page:
            print("docs/benchmarks.md is out of date: run python benchmarks/report.py", file=sys.stderr)
        return int(new != page)
    for file in newest():
        figures.draw(json.loads(file.read_text()), file.parent.name, PAGE.parent)
    PAGE.write_text(updated(page, results()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
