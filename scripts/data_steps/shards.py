"""Folders of arrays that numpy maps into memory: `frames`, `time`, `flow` and `visible`, a sample in each row."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from data_steps.samples import Sample
from vfi.training.shards import FIELDS, array

SAMPLES = 32  # of a shard


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """An empty folder under another name, which becomes `path` when it is whole; what a dead run left is removed."""
    partial = path.with_name(f".{path.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    partial.rename(path)


def write(folder: Path, name: str, samples: Iterable[Sample]) -> bool:
    """Writes folder/name; nothing if it is there already."""
    if (folder / name).exists():
        return False
    rows = list(samples)
    arrays = {
        "frames": np.stack([row.frames for row in rows]),
        "time": np.array([row.time for row in rows], np.float32),
        "flow": np.stack([row.flow for row in rows]),
        "visible": np.stack([row.visible for row in rows]),
    }
    with whole_folder(folder / name) as partial:
        for field in FIELDS:
            np.save(partial / f"{field}.npy", arrays[field])
    return True


def read(folder: Path, name: str) -> dict[str, np.ndarray]:
    return {field: array(folder / name, field) for field in FIELDS}


def generator(seed: int, *place: int) -> np.random.Generator:
    """Of one sample, wherever a run begins and ends."""
    return np.random.default_rng([seed, *place])
