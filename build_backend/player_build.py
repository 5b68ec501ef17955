"""Builds the player, which runs the ops for another kind of processor, where there is no torch (csrc/testing/player).

    python setup.py build_player --machine aarch64

It needs a compiler for that processor (Debian: g++-aarch64-linux-gnu) and writes build/player-<machine>-torch<version>/
player. Only what has changed is compiled again. vfi_kernels.bench.player calls it by itself.
"""

from __future__ import annotations

import json
import shutil
import sys
from typing import ClassVar

from ninja_build import CPU_LEVELS, CSRC, ROOT, NinjaBuild, argument
from ninja_file import NinjaFile, write_if_changed

COMPILERS = {machine: f"{machine}-linux-gnu-g++" for machine in CPU_LEVELS if machine != "other"}


class PlayerBuild(NinjaBuild):
    """The command; its last line of output is JSON: the program."""

    description = "build the player of ops for another kind of processor"
    user_options: ClassVar[list[tuple[str, str | None, str]]] = [
        *NinjaBuild.user_options,
        ("machine=", None, "aarch64 (default) or x86_64"),
    ]

    def initialize_options(self) -> None:
        super().initialize_options()
        self.machine = "aarch64"

    def run(self) -> None:
        import torch

        if self.machine not in COMPILERS:
            sys.exit(f"vfi_kernels: expected --machine to be {' or '.join(COMPILERS)}, got {self.machine}")
        self.configure()
        self.cxx = COMPILERS[self.machine]
        if shutil.which(self.cxx) is None:
            sys.exit(f"vfi_kernels: expected a compiler for {self.machine}, found no {self.cxx}")
        self.folder = ROOT / "build" / f"player-{self.machine}-torch{torch.__version__}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.includes = f"{argument(f'-I{self.folder}')} {self.includes}"
        write_if_changed(self.folder / "build_info.h", self.build_info())
        ninja = NinjaFile(self.cxx, "", "-static", self.folder)
        objects = self.add_cpu_units(ninja)
        for source in sorted(CSRC.glob("testing/player/*.cpp")):
            objects.append(self.add_unit(ninja, source, self.glue_flags(), "glue"))
        ninja.link("player", objects, "")
        ninja.run(["player"])
        print(json.dumps(str(self.folder / "player")))
