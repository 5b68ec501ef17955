"""Figures of papers, a file of each: every row says where in the paper it stands."""

from pathlib import Path

FOLDER = Path(__file__).parent


def papers() -> list[str]:
    """Their short names."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))
