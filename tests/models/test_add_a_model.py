"""docs/add_a_model.md is true: its files, written into a copy of the tree, are a model of the command and of Python."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vfi.files.images import read_image, write_image

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/add_a_model.md").read_text()
BLOCK = re.compile(r'^```(\w+) title="([^"]+)"\n(.*?)^```', flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def copy(tmp_path):
    """The tree with what the page adds."""
    tree = tmp_path / "tree"
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "python", tree / "python", ignore=skipped)
    shutil.copy(ROOT / "pyproject.toml", tree)
    for language, name, text in BLOCK.findall(PAGE):
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if language == "diff":
            before = "".join(line[1:] for line in text.splitlines(True) if not line.startswith("+"))
            after = "".join(line[1:] for line in text.splitlines(True))
            assert path.read_text().count(before) == 1
            path.write_text(path.read_text().replace(before, after))
        else:
            assert not path.exists()
            path.write_text(text)
    return tree


def run(tree: Path, *arguments: object) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": f"{tree / 'python'}:{ROOT}"}
    words = [sys.executable, *map(str, arguments)]
    return subprocess.run(words, cwd=tree, env=environment, capture_output=True, text=True)


@pytest.mark.nightly
def test_the_tutorial_adds_a_model(copy, sliding):
    assert len(BLOCK.findall(PAGE)) == 8
    for name, x in (("a.png", 20), ("b.png", 40)):
        write_image(copy / name, sliding(x))
    first, second = [text for text in re.findall(r"^```py\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)]
    two_frames = "import torch\nframe0, frame1 = torch.zeros(1, 3, 4, 5), torch.ones(1, 3, 4, 5)\n"
    for program in (first, second):
        done = run(
            copy,
            "-c",
            f"{two_frames}{program}\nassert middle.shape == frame0.shape and vfi.__file__.startswith('{copy}')",
        )
        assert done.returncode == 0, done.stderr
    said = [words for block in re.findall(r"^```console\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
            for words in block.splitlines()]  # fmt: skip
    for command, answer in zip(said[::2], said[1::2], strict=True):
        program, *arguments = shlex.split(command.removeprefix("$ "))
        assert program == "vfi"
        done = run(copy, "-m", "vfi", *arguments, "--overwrite")
        assert (done.stdout + done.stderr).strip().startswith(answer), done
    names = ("a.png", "b.png", "quarter.png", "middle.png")
    a, b, quarter, middle = (read_image(copy / name).rgb.astype(float) for name in names)
    assert abs(quarter - (0.875 * a + 0.125 * b)).max() <= 0.51 and abs(middle - (a + b) / 2).max() <= 0.51

    assert "blend: 0: the nearer frame alone" in " ".join(
        run(copy, "-m", "vfi", "interpolate", "--help").stdout.split()
    )
    tested = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/models/test_blend.py")
    assert tested.returncode == 0 and "2 passed" in tested.stdout, tested.stdout
