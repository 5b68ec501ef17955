"""The user's cache folder: what was chosen, and engines that were built. Whatever in it is damaged, or not the user's
own, is as if it were not there; where it cannot be written, nothing is kept."""

import functools
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
PACKAGE = Path(__file__).parents[1]


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
    """What `build` made once for this key: a file of a digest of the key and itself, and itself."""
    path, name = usable(kind), f"{name_of(key)}.bin"
    with suppress(OSError):
        whole = b"" if path is None else (path / name).read_bytes()
        if len(whole) > DIGEST and digest(kind, key, whole[DIGEST:]) == whole[:DIGEST]:
            if path is not None:
                os.utime(path / name)
            return whole[DIGEST:]
    data = build()
    keep(kind, name, digest(kind, key, data) + data)
    if path is not None:
        remove_oldest(path)
    return data


def digest(kind: str, key: Mapping[str, object], data: bytes) -> bytes:
    """Of what was kept and for what: a file in another one's place has another."""
    return hashlib.sha256(f"{kind}/{name_of(key)}:".encode() + data).digest()


def remove_changed(kind: str, name: str) -> None:
    """Of files that a library keeps in the folder itself, those of this name that are not as `remember_files` saw
    them."""
    path, record = usable(kind), read_record(kind, {"files": name}) or {}
    for file in [] if path is None else path.glob(f"{name}*"):
        if record.get(file.name) != digest_of(file):
            with suppress(OSError):
                file.unlink()


def remember_files(kind: str, name: str) -> None:
    """How the files of this name are, that a library has made."""
    path = usable(kind)
    if path is not None:
        keep_record(kind, {"files": name}, {file.name: digest_of(file) for file in path.glob(f"{name}*")})


def digest_of(file: Path) -> str | None:
    """None of a file that cannot be read."""
    with suppress(OSError), file.open("rb") as opened:
        return hashlib.sha256(opened.read()).hexdigest()
    return None


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
    """Of its weights, of how it is made, and of what it does: the text of this package."""
    found = hashlib.sha256(f"{hash_of_sources()} {module!r}".encode())
    with torch.no_grad():
        for name, value in module.state_dict().items():
            found.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


@functools.cache
def hash_of_sources() -> str:
    found = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        found.update(f"{path.relative_to(PACKAGE).as_posix()} {path.stat().st_size}:".encode() + path.read_bytes())
    return found.hexdigest()
