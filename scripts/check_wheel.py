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
    problems_of_wheel = []
    if wheel.stat().st_size > LIMIT:
        problems_of_wheel.append(f"expected at most {LIMIT} bytes, got {wheel.stat().st_size}")
    *_, python, abi, platform = wheel.stem.split("-")
    if (python, abi) != ("cp310", "abi3"):
        problems_of_wheel.append(f"expected the tag cp310-abi3, got {python}-{abi}")
    if re.match(r"linux_", platform):
        problems_of_wheel.append(f"expected a platform like manylinux_2_28_x86_64, got {platform}")
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        libraries = [name for name in archive.namelist() if LIBRARY.fullmatch(name)]
        if len(libraries) != 1:
            return [*problems_of_wheel, f"expected one library vfi_kernels/_C, got {libraries}"]
        library = Path(archive.extract(libraries[0], folder))
        if cuda and not CUDA.search(library.read_bytes()):
            problems_of_wheel.append("expected CUDA 13 kernels in the library, got none")
        return [*problems_of_wheel, *foreign_symbols(library, python, platform)]


def foreign_symbols(library: Path, python: str, platform: str) -> list[str]:
    """What the oldest Python and system lack. (Windows has no such names.)"""
    from kernel_abi_check import ObjectFile

    checked = ObjectFile(str(library))
    report = checked.check_python_abi(f"3.{python.removeprefix('cp3')}")
    for version in re.findall(r"manylinux_\d+_\d+", platform):
        report += checked.check_manylinux(version)
    for version in re.findall(r"macosx_(\d+_\d+)", platform):
        report += checked.check_macos(version.replace("_", "."))
    return [f"needs what is not there: {symbol!r}" for symbol in report]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", nargs="+", type=Path, help="files .whl")
    parser.add_argument("--cuda", action="store_true", help="refuse wheels without CUDA kernels")
    options = parser.parse_args(arguments)
    problems_of = {wheel: problems(wheel, options.cuda) for wheel in options.wheels}
    for wheel, reasons in problems_of.items():
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, {'; '.join(reasons) or 'good'}")
    return 1 if any(problems_of.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
