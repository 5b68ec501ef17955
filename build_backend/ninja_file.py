"""Writes and runs one ninja file."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def argument(text: str) -> str:
    """One argument of a command line that ninja passes on: quoted where the shell, or Windows, would split it."""
    return (subprocess.list2cmdline([text]) if sys.platform == "win32" else shlex.quote(text)).replace("$", "$$")


def escaped(path: Path | str) -> str:
    """A path as a word of ninja's own language."""
    return re.sub(r"[$: ]", lambda match: f"${match[0]}", str(path))


def compiling(rule: str) -> str:
    """The head of a rule; ninja prints one name for each step, and the whole command where one fails."""
    return f"rule {rule}\n  description = $out\n  depfile = $out.d\n  deps = gcc\n"


class NinjaFile:
    """Collects the build edges of one ninja file."""

    def __init__(self, cxx: str, nvcc: str, link_flags: str, folder: Path) -> None:
        """cxx and nvcc: how commands of the compilers begin. folder: where objects go."""
        self.folder = folder
        self.lines = [
            f"{compiling('cxx')}  command = {cxx} -MMD -MF $out.d $flags -c $in -o $out",
            f"{compiling('pch')}  command = {cxx} -MMD -MF $out.d $flags -x c++-header $in -o $out",
            f"{compiling('nvcc')}  command = {nvcc} -MD -MF $out.d $flags -c $in -o $out",
            f"rule link\n  description = $out\n  command = {cxx} {link_flags} $in -o $out $flags",
        ]

    def precompile(self, name: str, header: str, flags: str) -> None:
        """An edge that reads `header` once for all units of `flags` that are added with before=name. GCC and clang take
        the .gch beside an included file in its place."""
        write_if_changed(self.folder / f"{name}.h", f'#include "{header}"\n')
        self.lines.append(f"build {name}.h.gch: pch {name}.h\n  flags = {flags}")

    def add(self, rule: str, source: Path, name: str, flags: str, before: str = "") -> str:
        """An edge that compiles `source` to the object file `name`, with the precompiled header `before`."""
        needs, flags = (f" | {before}.h.gch", f"-include {before}.h {flags}") if before else ("", flags)
        self.lines.append(f"build {name}: {rule} {escaped(source)}{needs}\n  flags = {flags}")
        return name

    def link(self, name: str, objects: list[str], flags: str) -> None:
        self.lines.append(f"build {name}: link {' '.join(objects)}\n  flags = {flags}\ndefault {name}")

    def command(self) -> list[str]:
        """Writes the file and returns how ninja is called on it: through Python where that has it, for in an isolated
        build the program is not on PATH."""
        write_if_changed(self.folder / "build.ninja", "\n".join(self.lines) + "\n")
        has_module = subprocess.run([sys.executable, "-m", "ninja", "--version"], capture_output=True).returncode == 0
        return [*([sys.executable, "-m"] if has_module else []), "ninja", "-C", str(self.folder)]

    def compile_commands(self) -> str:
        """What compile_commands.json holds: how each source is compiled."""
        return subprocess.check_output([*self.command(), "-t", "compdb", "cxx", "nvcc"], text=True)

    def run(self, targets: Sequence[str] = ()) -> None:
        """Makes the targets, or all that has been linked."""
        jobs = os.environ.get("MAX_JOBS")
        if jobs and (not jobs.isdecimal() or int(jobs) < 1):
            sys.exit(f"vfi_kernels: expected MAX_JOBS to be a number of 1 or more, got {jobs}")
        subprocess.check_call([*self.command(), *(["-j", jobs] if jobs else []), *targets])


def write_if_changed(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
