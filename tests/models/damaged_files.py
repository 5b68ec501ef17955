"""Checkpoints that are not what they say, and how they are refused."""

import io
import os
import resource
import zipfile
from functools import cache

import pytest
import torch

pytest.importorskip("diffusers")
from vfi.errors import UserError
from vfi.models import rdvfi, semfi

whole_rdvfi, whole_semfi = cache(lambda: rdvfi.tiny("d")), cache(semfi.tiny)


def saved(state, **options):
    file = io.BytesIO()
    torch.save(state, file, **options)
    return file.getvalue()


def zipped(parts, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in parts:
            archive.writestr(name, data)
    return file.getvalue()


def unzipped(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def each(state, change):
    """`change` of every tensor of real numbers, however deep."""
    if isinstance(state, dict):
        return {key: each(value, change) for key, value in state.items()}
    return change(state) if isinstance(state, torch.Tensor) and state.is_floating_point() else state


def wider(value):
    return torch.zeros(1).expand(10**6, *value.shape[1:]) if value.dim() else value


def cyclic(state):
    mapping = {}
    mapping["state_dict"] = mapping
    return mapping


def beside(state):
    """Weights and a mapping that holds itself."""
    return {"model": state, "other": cyclic(state)}


class Payload:
    def __reduce__(self):
        return os.mkdir, ("was-run",)


def most_memory():
    """MB that this process has had at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def refused(load, path, reason):
    before, size = most_memory(), path.stat().st_size >> 20 if path.is_file() else 0
    with pytest.raises(UserError, match=reason) as error:
        load(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600
    assert most_memory() - before < 200 + 4 * size, "MB"
