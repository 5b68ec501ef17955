"""VapourSynth's core into the environment whose Python runs this, where its own package did not bring it.

Its wheels are for Python 3.12 and later. For an older Python, the last release that compiles its module there (R73) is
linked with the core of such a wheel. That module says that the versions differ, and vspipe does not run with it.
"""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from zipfile import ZipFile

CORE, MODULE = "vapoursynth==81", "vapoursynth==73"


def pip(*arguments: str, **environment: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", *arguments], check=True, env={**os.environ, **environment})


def main() -> None:
    if sys.version_info >= (3, 12):
        pip("install", CORE)
        return
    folder = Path(sysconfig.get_path("data")) / "vapoursynth-core"
    download = ["--python-version", "3.12", "--only-binary=:all:", "--dest", str(folder)]
    pip("download", "--no-deps", *download, CORE)
    (wheel,) = folder.glob("*.whl")
    with ZipFile(wheel) as whole:
        whole.extractall(folder)
    libraries = folder / "vapoursynth"
    (core,) = libraries.glob("libvapoursynth.so.*")
    (libraries / "libvapoursynth.so").unlink(missing_ok=True)
    (libraries / "libvapoursynth.so").symlink_to(core.name)
    link = f"-L{libraries} -Wl,-rpath,{libraries}"
    pip("install", "--no-cache-dir", "--no-deps", MODULE, LDFLAGS=link)


if __name__ == "__main__":
    main()
