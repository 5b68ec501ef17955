"""`python -m vfi_kernels.compat run script.py arguments...`: runs a repository's script on vfi_kernels' functions."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vfi_kernels.compat import _patching, _running


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; exit code 2 if it is wrong, else the script's."""
    top = argparse.ArgumentParser(prog="python -m vfi_kernels.compat", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="run", dest="command")
    run = commands.add_parser(
        "run",
        help="run a script; cupy, and torchvision.ops and mmcv.ops where they are not installed, are stand-ins",
    )
    run.add_argument("--quiet", action="store_true", help="do not list what was replaced, and what was left and why")
    run.add_argument("script", type=Path, help="the script, as one would give it to python")
    run.add_argument("arguments", nargs=argparse.REMAINDER, help="what the script gets")
    options = top.parse_args(arguments)
    if not options.script.is_file():
        print(f"vfi_kernels.compat: expected a script, got {options.script}, which is no file", file=sys.stderr)
        return 2
    report = _patching.PatchReport()
    try:
        _running.run(options.script, options.arguments, report)
    finally:
        if not options.quiet:
            print("\n".join(f"vfi_kernels.compat: {line}" for line in str(report).splitlines()), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
