"""Folders of arrays that numpy maps into memory: `frames`, `time`, `flow` and `visible`, a sample in each row."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from data_steps.samples import Sample

SAMPLES = 32  # of a shard
FIELDS = ("frames", "time", "flow", "visible")


def write(folder: Path, name: str, samples: Iterable[Sample]) -> bool:
    """Writes folder/name; nothing if it is there already. Under another name until it is whole."""
    if (folder / name).exists():
        return False
    partial = folder / f".{name}.part"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    rows = list(samples)
    arrays = {
        "frames": np.stack([row.frames for row in rows]),
        "time": np.array([row.time for row in rows], np.float32),
        "flow": np.stack([row.flow for row in rows]),
        "visible": np.stack([row.visible for row in rows]),
    }
    for field, array in arrays.items():
        np.save(partial / f"{field}.npy", array)
    partial.rename(folder / name)
    return True


def read(folder: Path, name: str) -> dict[str, np.ndarray]:
    return {field: np.load(folder / name / f"{field}.npy", mmap_mode="r") for field in FIELDS}


def names(folder: Path) -> list[str]:
    """Of the shards that are whole."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def generator(seed: int, *place: int) -> np.random.Generator:
    """Of one sample, wherever a run begins and ends."""
    return np.random.default_rng([seed, *place])
