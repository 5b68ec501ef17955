"""Other environments, which `make environments` installs; a test whose environment is not there is skipped by name."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".environments"


def run(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Python of the environment with this tree's library, its own torch and nothing else of ours."""
    if not (FOLDER / name / "done").exists():
        pytest.skip(f"no environment {name}: make {FOLDER.name}/{name}")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("VFI_", "PYTHON"))}
    search = os.pathsep.join(str(p) for p in (ROOT, ROOT / "python", ROOT / "tests"))
    return subprocess.run(
        [str(FOLDER / name / "bin" / "python"), *arguments],
        cwd=ROOT,
        env={**env, "PYTHONPATH": search, **environment},
        capture_output=True,
        text=True,
    )
