"""`python -m vfi_kernels.compat run script.py arguments...`: runs a repository's script on vfi_kernels' functions.
`... check folder`: lists what could be replaced in a repository, and changes nothing."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vfi_kernels.compat import _checking, _patching, _running


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; exit code 2 if it is wrong, else the script's."""
    top = argparse.ArgumentParser(prog="python -m vfi_kernels.compat", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="run | check", dest="command")
    run = commands.add_parser(
        "run",
        help="run a script; cupy, and torchvision.ops, mmcv.ops and spatial_correlation_sampler where they are not "
        "installed, are stand-ins",
    )
    run.add_argument("--quiet", action="store_true", help="do not list what was replaced, and what was left and why")
    run.add_argument("script", type=Path, help="the script, as one would give it to python")
    run.add_argument("arguments", nargs=argparse.REMAINDER, help="what the script gets")
    check = commands.add_parser("check", help="list what could be replaced in a folder; nothing is changed")
    check.add_argument("--json", action="store_true", help="print it as JSON")
    check.add_argument("folder", type=Path, help="the folder of a repository")
    options = top.parse_args(arguments)
    return checked(options.folder, options.json) if options.command == "check" else ran(options)


def checked(folder: Path, as_json: bool) -> int:
    if not folder.is_dir():
        print(f"vfi_kernels.compat: expected a folder, got {folder}, which is none", file=sys.stderr)
        return 2
    report = _checking.check(folder.resolve())
    print(report.json() if as_json else report)
    return 0


def ran(options: argparse.Namespace) -> int:
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
