"""Instructions per output pixel on ARM, NEON beside the baseline there: `python benchmarks/arm_counts.py`.

--write puts the table into docs/benchmarks.md. --only WORD counts ops of such a name. Ops run in the player
(vfi_kernels/bench/player.py) under qemu, with a plugin that counts; a call's instructions are half of what three calls
take more than one. It needs gcc, g++ for aarch64, and a qemu that takes plugins of version 1 (Debian: gcc, qemu-user,
g++-aarch64-linux-gnu).
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import vfi_kernels.testing as cases
from vfi_kernels._arguments import dtype_name
from vfi_kernels.bench.jobs import UsageError
from vfi_kernels.bench.player import ROOT, PlayedOps, Player, built
from vfi_kernels.bench.report import between_marks, markdown_table, text_table

PAGE = ROOT / "docs" / "benchmarks.md"
MARKS = "<!-- arm: written by benchmarks/arm_counts.py -->\n", "<!-- end of arm -->\n"
LEVELS = ("baseline", "neon", "neon_bf16")
HEAD = ["op", "input", "dtype", *LEVELS, "times fewer"]
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
# Case, what its inputs are made with, shape.
ROWS: tuple[tuple[str, dict[str, str], tuple[int, int, int, int]], ...] = (
    ("backward_warp-border", {"flow": "smooth"}, (1, 3, 128, 224)),
    ("backward_warp-border", {"flow": "smooth"}, (1, 32, 64, 112)),
    ("splat-softmax", {"flow": "smooth"}, (1, 3, 128, 224)),
    ("splat-softmax", {"flow": "smooth"}, (1, 32, 64, 112)),
    ("modulated_deform_conv2d-8", {}, (1, 64, 32, 56)),
)


def compiled_plugin(folder: Path) -> Path:
    if shutil.which("gcc") is None:
        raise UsageError("expected gcc for the plugin that counts, found none")
    target = folder / "count.so"
    source = ROOT / "csrc" / "testing" / "player" / "count.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", source, "-o", target], check=True)
    return target


def instructions(plugin: Path, level: str, times: int, call: Callable[[], object]) -> int:
    """That a process takes which does the call so many times."""
    log = plugin.with_name("count.log")
    player = Player(level, times, ("-plugin", str(plugin), "-d", "plugin", "-D", str(log)))
    try:
        with PlayedOps(player):
            call()
        player.close()
    except (BrokenPipeError, RuntimeError) as error:
        raise UsageError(f"expected a qemu that takes plugins of version 1, got one that ended: {error}") from None
    return int(log.read_text().split()[0])


def counted(plugin: Path, name: str, options: dict[str, str], shape: tuple[int, ...], dtype: torch.dtype) -> list[str]:
    """A row of the table."""
    case = cases.generic_cases()[name]
    generator = torch.Generator().manual_seed(3)
    arguments = case.make_inputs(*shape, dtype=dtype, generator=generator, **options)
    pixels = shape[0] * shape[2] * shape[3]

    def call() -> Tensor | list[Tensor]:
        return cases.tensors(case.call(*arguments))

    found = [(instructions(plugin, n, 3, call) - instructions(plugin, n, 1, call)) / 2 / pixels for n in LEVELS]
    texts = [f"{n:.0f}" for n in found]
    size = "x".join(map(str, shape))
    return [name, size, dtype_name(dtype), *texts, f"{found[0] / found[-1]:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    parser.add_argument("--only", metavar="WORD", help="ops of such a name (default: all)")
    options = parser.parse_args()
    if options.write and options.only:
        parser.error("expected --write or --only, got both")
    try:
        built()
        with tempfile.TemporaryDirectory() as folder:
            plugin = compiled_plugin(Path(folder))
            chosen = [row for row in ROWS if (options.only or "") in row[0]]
            rows = [counted(plugin, *row, dtype) for row in chosen for dtype in DTYPES]
    except UsageError as error:
        sys.exit(f"arm_counts: {error}")
    print(text_table(HEAD, rows))
    if options.write:
        PAGE.write_text(between_marks(PAGE.read_text(), MARKS, f"{markdown_table(HEAD, rows)}\n"))


if __name__ == "__main__":
    main()
