"""The user's cache folder: what was chosen, and engines that were built. Whatever in it is damaged, or not the user's
own, is as if it were not there; where it cannot be written, nothing is kept."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn

from vfi.errors import UserError
from vfi.files.atomic import written_whole

LARGEST_RECORD = 1 << 16
MOST_BYTES = 4 << 30  # of built engines; those that were not used for longest go
DIGEST = 32


def folder() -> Path:
    """VFI_CACHE, or vfi in the system's folder for caches."""
    given = os.environ.get("VFI_CACHE")
    if given:
        return Path(given)
    home = Path.home()
    usual = {"win32": home / "AppData/Local", "darwin": home / "Library/Caches"}.get(sys.platform, home / ".cache")
    names = {"win32": "LOCALAPPDATA", "darwin": ""}
    return Path(os.environ.get(names.get(sys.platform, "XDG_CACHE_HOME"), "") or usual) / "vfi"


def usable(kind: str) -> Path | None:
    """The folder for this kind of file, made if it is not there; None if it cannot be, or others may write into it."""
    path = folder() / kind
    try:
        for each in (path.parent, path):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = [path.stat(), path.parent.stat()]
    except (OSError, RuntimeError):
        return None
    foreign = os.name == "posix" and any(f.st_uid != os.getuid() or f.st_mode & 0o022 for f in found)
    return None if foreign else path


def name_of(key: Mapping[str, object]) -> str:
    """A file's name for all that the key says."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:40]


def read_record(kind: str, key: Mapping[str, object]) -> dict[str, object] | None:
    """What was kept under this very key."""
    path = usable(kind)
    if path is None:
        return None
    try:
        with (path / f"{name_of(key)}.json").open("rb") as file:
            record = json.loads(file.read(LARGEST_RECORD).decode())
    except (OSError, ValueError, RecursionError):
        return None
    same = isinstance(record, dict) and record.get("key") == json.loads(json.dumps(key))
    return record if same else None


def keep_record(kind: str, key: Mapping[str, object], values: Mapping[str, object]) -> None:
    keep(kind, f"{name_of(key)}.json", json.dumps({**values, "key": key}, indent=1).encode())


def keep(kind: str, name: str, data: bytes) -> None:
    path = usable(kind)
    with suppress(UserError, OSError):
        if path is not None:
            with written_whole(path / name) as temporary:
                temporary.write_bytes(data)


def bytes_for(kind: str, key: Mapping[str, object], build: Callable[[], bytes]) -> bytes:
    """What `build` made once for this key: a file of its digest and itself."""
    path, name = usable(kind), f"{name_of(key)}.bin"
    with suppress(OSError):
        whole = b"" if path is None else (path / name).read_bytes()
        if len(whole) > DIGEST and hashlib.sha256(whole[DIGEST:]).digest() == whole[:DIGEST]:
            if path is not None:
                os.utime(path / name)
            return whole[DIGEST:]
    data = build()
    keep(kind, name, hashlib.sha256(data).digest() + data)
    if path is not None:
        remove_oldest(path)
    return data


def remove_oldest(path: Path) -> None:
    """Until MOST_BYTES are left."""
    with suppress(OSError):
        files = sorted(((f.stat().st_mtime, f.stat().st_size, f) for f in path.glob("*.bin")), reverse=True)
        total = 0
        for _, size, file in files:
            total += size
            if total > MOST_BYTES:
                file.unlink(missing_ok=True)


def hash_of(module: nn.Module) -> str:
    """Of its weights, and of how it is made."""
    digest = hashlib.sha256(repr(module).encode())
    with torch.no_grad():
        for name, value in module.state_dict().items():
            digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
