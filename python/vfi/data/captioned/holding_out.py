"""Videos that are not trained on: a manifest in two, by videos, so that no clip of one is in both."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vfi.data.captioned.manifest import ClipRecord, read_manifest
from vfi.errors import ArgumentError
from vfi.files.atomic import written_whole


def parts_of(manifest: Path) -> tuple[Path, Path]:
    """The files beside a manifest: what is trained on, and what is held out."""
    return manifest.with_suffix(".train.jsonl"), manifest.with_suffix(".held.jsonl")


def hold_out(manifest: Path, videos: int, seed: int) -> tuple[int, int]:
    """Writes both parts; `videos` of them are drawn, by the seed, whatever their order in the manifest.

    Returns:
        How many clips are trained on, and how many are held out.

    Raises:
        ArgumentError: if there are not more videos than that.
        UserError: if the manifest cannot be read, or a part not be written.
    """
    records = read_manifest(manifest)
    names = sorted({record.video for record in records})
    if not 0 < videos < len(names):
        raise ArgumentError(f"expected `hold_out` from 1 to {len(names) - 1}, of {len(names)} videos, got {videos}")
    drawn = {names[i] for i in np.random.default_rng(seed).permutation(len(names))[:videos]}
    trained, held = ([record for record in records if (record.video in drawn) == held] for held in (False, True))
    for path, part in zip(parts_of(manifest), (trained, held), strict=True):
        write(path, part)
    return len(trained), len(held)


def write(path: Path, records: Sequence[ClipRecord]) -> None:
    """A manifest, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text("".join(json.dumps(record.as_json()) + "\n" for record in records), encoding="utf-8")
