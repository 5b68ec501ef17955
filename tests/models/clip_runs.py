"""Runs of the command that makes clips."""

import json
from pathlib import Path

from vfi.commands.make_clips.__main__ import main

SHORT = ("--f-max", 9, "--counts", 3, 5, 9)  # videos of 9 to 36 frames


def run(folder: Path, *more: object) -> int:
    arguments = (folder / "videos", "-o", folder / "clips.jsonl", "--quiet", *SHORT, *more)
    return main([str(argument) for argument in arguments])


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]
