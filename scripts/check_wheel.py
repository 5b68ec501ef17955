"""Whether wheels may go to the package index: `python scripts/check_wheel.py dist/*.whl`; needs kernel-abi-check.

A wheel must be smaller than the limit, and for Python's stable ABI and a platform that the index takes. What its
library calls must be there on the oldest Python and system that its name promises.
"""

import argparse
import re
import sys
import tempfile
import zipfile
from pathlib import Path

LIMIT = 100_000_000  # bytes of one file, unless the index is asked for more
LIBRARY = re.compile(r"vfi_kernels/_C\.(abi3\.so|pyd)")
CUDA = re.compile(rb'"cuda": "13\.')  # of build_info, which the library holds as JSON


def problems(wheel: Path, cuda: bool) -> list[str]:
    """What speaks against `wheel`, one sentence each."""
    found = []
    if wheel.stat().st_size > LIMIT:
        found.append(f"expected at most {LIMIT} bytes, got {wheel.stat().st_size}")
    *_, python, abi, platform = wheel.stem.split("-")
    if (python, abi) != ("cp310", "abi3"):
        found.append(f"expected the tag cp310-abi3, got {python}-{abi}")
    if re.match(r"linux_", platform):
        found.append(f"expected a platform like manylinux_2_28_x86_64, got {platform}")
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        libraries = [name for name in archive.namelist() if LIBRARY.fullmatch(name)]
        if len(libraries) != 1:
            return [*found, f"expected one library vfi_kernels/_C, got {libraries}"]
        library = Path(archive.extract(libraries[0], folder))
        if cuda and not CUDA.search(library.read_bytes()):
            found.append("expected CUDA 13 kernels in the library, got none")
        return [*found, *foreign_symbols(library, python, platform)]


def foreign_symbols(library: Path, python: str, platform: str) -> list[str]:
    """What the oldest Python and system lack. (Windows has no such names.)"""
    from kernel_abi_check import ObjectFile

    checked = ObjectFile(str(library))
    found = checked.check_python_abi(f"3.{python.removeprefix('cp3')}")
    for version in re.findall(r"manylinux_\d+_\d+", platform):
        found += checked.check_manylinux(version)
    for version in re.findall(r"macosx_(\d+_\d+)", platform):
        found += checked.check_macos(version.replace("_", "."))
    return [f"needs what is not there: {symbol!r}" for symbol in found]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", nargs="+", type=Path, help="files .whl")
    parser.add_argument("--cuda", action="store_true", help="refuse wheels without CUDA kernels")
    options = parser.parse_args(arguments)
    found = {wheel: problems(wheel, options.cuda) for wheel in options.wheels}
    for wheel, reasons in found.items():
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, {'; '.join(reasons) or 'good'}")
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
