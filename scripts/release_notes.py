"""The notes of a release, from CHANGELOG.md: `python scripts/release_notes.py v0.1.0` prints them, or says in one
sentence why this tree is not that release. The workflow of a release asks it before anything is built."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class NotReady(ValueError):
    """Why a tree is not the release that a tag names."""


def version(package: str) -> str:
    """`__version__` of the text of vfi_kernels/__init__.py: the one place that names it."""
    version_line = re.search(r'^__version__ = "(.+)"$', package, re.MULTILINE)
    if version_line is None:
        raise NotReady("expected vfi_kernels/__init__.py to set __version__, found no such line")
    return version_line[1]


def notes(tag: str, package: str, changelog: str) -> str:
    """The section of `changelog` that `tag` names, without its heading, once all three agree and it has a date."""
    number = version(package)
    if tag != f"v{number}":
        raise NotReady(f"expected the tag v{number}, as vfi_kernels.__version__ says, got {tag}")
    section = re.search(rf"^## {re.escape(number)} - ([^\n]+)\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if section is None:
        raise NotReady(f"expected CHANGELOG.md to have a heading like '## {number} - 2026-01-31', found none")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", section[1]):
        raise NotReady(f"expected CHANGELOG.md to give {number} a date like 2026-01-31, got '{section[1]}'")
    if not section[2].strip():
        raise NotReady(f"expected CHANGELOG.md to say what is new in {number}, got nothing")
    return section[2].strip() + "\n"


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("release_notes: expected one argument, the tag", file=sys.stderr)
        return 2
    try:
        package, changelog = (ROOT / "vfi_kernels/__init__.py").read_text(), (ROOT / "CHANGELOG.md").read_text()
        print(notes(arguments[0], package, changelog), end="")
    except NotReady as error:
        print(f"release_notes: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
