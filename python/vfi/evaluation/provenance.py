"""What figures depend on: which code made them, and from which files."""

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import vfi_kernels
from vfi.data.planes import PlaneFrame
from vfi.data.truth import TrueScene
from vfi.errors import UserError

_CODE = (".py", ".so", ".pyd", ".json", ".safetensors")


@cache
def code() -> str:
    """The version, and a digest of all code of both packages, compiled or not: another commit has another."""
    return f"{vfi_kernels.__version__} {digest(Path(vfi_kernels.__file__).parent, Path(__file__).parents[1])}"


def digest(*packages: Path) -> str:
    """Of the names and contents of all code in these folders."""
    found = hashlib.sha256()
    for package in packages:
        for path in sorted(path for path in package.rglob("*") if path.suffix in _CODE):
            found.update(f"{path.relative_to(package).as_posix()} {path.stat().st_size}\n".encode())
            found.update(path.read_bytes())
    return found.hexdigest()[:16]


def data(root: Path, scenes: Sequence[TrueScene]) -> str:
    """A digest of the names of the scenes, and of the names and sizes of their files.

    Raises:
        UserError: if one of them has gone.
    """
    digest = hashlib.sha256()
    sizes: dict[Path, int] = {}
    try:
        for scene in scenes:
            digest.update(f"{scene.split} {scene.name}\n".encode(errors="surrogateescape"))
            for frame in scene.paths:
                path, number = (frame.file.path, frame.number) if isinstance(frame, PlaneFrame) else (frame, 0)
                sizes[path] = sizes.get(path) or path.stat().st_size
                name = path.relative_to(root).as_posix()
                digest.update(f"{name} {number} {sizes[path]}\n".encode(errors="surrogateescape"))
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from error
    return digest.hexdigest()[:16]
