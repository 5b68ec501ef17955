"""PEP 517 backend: setuptools, building against the torch of the environment that is being installed into.

pip builds in an isolated environment, which would download a second torch (gigabytes) only to read its headers. This
backend lets the isolated build see the torch that is already installed, and asks for one only where there is none.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import site
import sys
import sysconfig
from pathlib import Path
from typing import Any

from setuptools import build_meta as _setuptools
from setuptools.build_meta import build_sdist, get_requires_for_build_sdist  # noqa: F401  (the PEP 517 interface)

ROOT = Path(__file__).resolve().parents[1]


def _stated(file: str, pattern: str) -> str:
    """What `pattern` finds in a file of the source tree: a version is told in one place."""
    statement = re.search(pattern, (ROOT / file).read_text(), re.MULTILINE)
    if statement is None:
        raise RuntimeError(f"{file}: expected a line like {pattern}, found none")
    return statement[1]


MINIMUM_TORCH = tuple(int(n) for n in _stated("pyproject.toml", r'"torch>=([\d.]+)"').split("."))  # major, minor
PINNED_TORCH = _stated("constraints.txt", r"^(torch==.+)$")


def _version(folder: str) -> tuple[int, int]:
    """Major and minor version of the torch installed in `folder`; (0, 0) if there is none."""
    for distribution in importlib.metadata.distributions(name="torch", path=[folder]):
        major, minor = distribution.version.split(".")[:2]
        return int(major), int(minor)
    return 0, 0


def _expose_installed_torch() -> bool:
    """Makes the installed torch importable; False if the environment has none that is new enough."""
    if importlib.util.find_spec("torch"):
        return True
    paths = sysconfig.get_paths()
    for folder in dict.fromkeys(
        [paths["purelib"], paths["platlib"], *site.getsitepackages(), site.getusersitepackages()]
    ):
        if _version(folder) >= MINIMUM_TORCH:
            sys.path.append(folder)  # last: what the isolated environment has itself comes first
            return True
    return False


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    tools = ["ninja"] + ["pybind11"] * (os.environ.get("VFI_KERNELS_TESTING") == "1")
    return tools if _expose_installed_torch() else [*tools, PINNED_TORCH]


get_requires_for_build_editable = get_requires_for_build_wheel


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    _expose_installed_torch()
    for folder in Path("build").glob("lib.*"):  # setuptools packs whatever an earlier build left there
        shutil.rmtree(folder)
    return _setuptools.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    _expose_installed_torch()
    return _setuptools.build_editable(wheel_directory, config_settings, metadata_directory)
