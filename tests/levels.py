"""Runs a function of a test file in a process forced to one instruction set: the level is chosen once per process."""

import os
import subprocess
from pathlib import Path

import pytest
from processes import warm_python

from vfi_kernels import backends

# avx512+tiles: the avx512 kernels with the products of level amx, in plain C++: they run where there is no matrix unit.
TILES = "avx512+tiles"
LEVELS = tuple(backends.build_info()["cpu_levels"])
_each = pytest.mark.parametrize("level", (*LEVELS, TILES) if "avx512" in LEVELS else LEVELS)


def every_level(test):
    """By day every second of them, others in another file."""
    return pytest.mark.in_turn(_each(test))


def run_at_level(level: str, file: str, call: str) -> None:
    """`call` of the test file; skips where this CPU has no such level."""
    tiles, level = "emulated" if level == TILES else "", level.removesuffix("+tiles")
    here = Path(file).resolve()
    paths = [str(here.parents[2]), str(here.parents[1]), str(here.parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [*warm_python(), "-c", f"import {here.stem} as test; test.{call}"],
        capture_output=True,
        text=True,
        env={**os.environ, "VFI_KERNELS_CPU": level, "VFI_KERNELS_TILES": tiles, "PYTHONPATH": os.pathsep.join(paths)},
    )
    if "this CPU's best level is" in done.stderr:
        pytest.skip(f"this CPU has no {level}")
    assert done.returncode == 0, done.stderr[-2000:]
