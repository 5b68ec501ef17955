"""`python -m vfi_kernels.compat run script.py arguments...`: runs a repository's script on vfi_kernels' functions.
`... check folder`: lists what could be replaced in a repository, and changes nothing."""

import argparse
import os
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
    run.add_argument("script", help="the script, as one would give it to python")
    run.add_argument("arguments", nargs=argparse.REMAINDER, help="what the script gets")
    check = commands.add_parser("check", help="list what could be replaced in a folder; nothing is changed")
    check.add_argument("--json", action="store_true", help="print it as JSON")
    check.add_argument("folder", help="the folder of a repository")
    options = top.parse_args(arguments)
    return checked(options.folder, options.json) if options.command == "check" else ran(options)


def checked(folder: str, as_json: bool) -> int:
    if not os.path.isdir(folder):  # which takes everything: a Path of "" is the current folder
        print(f"vfi_kernels.compat: expected a folder, got {folder or repr(folder)}, which is none", file=sys.stderr)
        return 2
    report = _checking.check(Path(folder).resolve())
    print(report.json() if as_json else report)
    return 0


def ran(options: argparse.Namespace) -> int:
    script = options.script
    if not os.path.isfile(script):
        print(f"vfi_kernels.compat: expected a script, got {script or repr(script)}, which is no file", file=sys.stderr)
        return 2
    report = _patching.PatchReport()
    try:
        _running.run(Path(script), options.arguments, report)
    finally:
        if not options.quiet:
            print("\n".join(f"vfi_kernels.compat: {line}" for line in str(report).splitlines()), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
