"""A release is one number in one place, told by its tag and by the changelog; the versions of torch stand once, too."""

import re
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest
from scripts_of_the_tree import script
from setuptools.config.pyprojecttoml import read_configuration
from vfi_build import MINIMUM_TORCH, PINNED_TORCH

import vfi_kernels as vk

ROOT = Path(__file__).resolve().parents[1]
OLDEST = ".".join(map(str, MINIMUM_TORCH))
TEXTS = [ROOT / "README.md", ROOT / "python/README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]


release = script("release_notes")
PACKAGE = '__version__ = "1.2.0"\n'
CHANGELOG = """# Changelog

## 1.2.0 - 2026-12-01

### Added

- A thing.

## 1.1.0 - 2026-11-01

- Another.
"""


def test_the_notes_are_the_section_of_the_version():
    assert release.notes("v1.2.0", PACKAGE, CHANGELOG) == "### Added\n\n- A thing.\n"
    last = release.notes("v1.1.0", PACKAGE.replace("1.2.0", "1.1.0"), CHANGELOG)
    assert last == "- Another.\n"


@pytest.mark.parametrize(
    ("tag", "package", "changelog", "message"),
    [
        ("v1.3.0", PACKAGE, CHANGELOG, "expected the tag v1.2.0, as vfi_kernels.__version__ says, got v1.3.0"),
        ("1.2.0", PACKAGE, CHANGELOG, "got 1.2.0"),
        ("v1x2.0", PACKAGE, CHANGELOG, "got v1x2.0"),
        ("v1.2.0", "", CHANGELOG, "expected vfi_kernels/__init__.py to set __version__"),
        ("v1.2.0", PACKAGE, CHANGELOG.replace("1.2.0", "1.2.1"), "a heading like '## 1.2.0 - 2026-01-31'"),
        ("v1.2.0", PACKAGE, CHANGELOG.replace("2026-12-01", "unreleased"), "a date like 2026-01-31, got 'unreleased'"),
        ("v1.2.0", PACKAGE, "## 1.2.0 - 2026-12-01\n\n## 1.1.0 - 2026-11-01\n", "got nothing"),
    ],
)
def test_a_tree_that_is_not_the_release_is_refused(tag, package, changelog, message):
    with pytest.raises(release.NotReady, match=re.escape(message)):
        release.notes(tag, package, changelog)


def test_the_command_prints_one_sentence():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/release_notes.py", "v99.0.0"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "") and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"release_notes: expected the tag v{vk.__version__}")


def test_the_version_stands_in_one_place():
    project = read_configuration(ROOT / "pyproject.toml")["project"]
    assert project["dynamic"] == ["version"] and project["version"] == vk.__version__
    assert f"\n## {vk.__version__} - " in (ROOT / "CHANGELOG.md").read_text()


def test_the_oldest_torch_stands_in_one_place():
    """Texts may name it, if they name the right one; what runs reads it from pyproject.toml."""
    for page in TEXTS:
        for told in re.findall(r"torch(?: >= | from |>=)(2\.\d+)|torch (2\.\d+) or later", page.read_text()):
            told = "".join(told)
            assert told == OLDEST, f"{page}: torch {told}, pyproject.toml says {OLDEST}"
    tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split()
    building = re.compile(r"build_backend/|\.github/|setup\.py|Makefile|Dockerfile|tests/.*\.py")
    build = [name for name in tracked if building.match(name)]
    assert len(build) > 20
    for name in build:
        text = (ROOT / name).read_text()
        assert not re.search(rf"torch[-=>]=*{re.escape(OLDEST)}\b", text), f"{name} names torch {OLDEST}"
        assert PINNED_TORCH not in text, f"{name} names {PINNED_TORCH}"


def test_what_machines_are_told_to_run_is_there():
    """Files of this tree that workflows, images and the configuration of wheels name."""
    files = [*(ROOT / ".github").rglob("*.yml"), ROOT / "Dockerfile", ROOT / "pyproject.toml", ROOT / "Makefile"]
    texts = "".join(path.read_text() for path in files)
    named = set(re.findall(r"\b(?:scripts|build_backend|tests|benchmarks)/\w+\.\w+", texts))
    assert {"scripts/check_wheel.py", "scripts/release_notes.py", "build_backend/cuda_toolkit.txt"} <= named
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


class Checked:
    """Stands in for kernel-abi-check, which only the workflow installs. "new" calls what came with Python 3.12."""

    def __init__(self, path):
        self.text = Path(path).read_bytes()

    def check_python_abi(self, version):
        assert version in ("3.10", "3.12")
        return ["PyType_FromMetaclass"] * (b"new" in self.text)

    def check_manylinux(self, version):
        assert version == "manylinux_2_28"
        return []


@pytest.mark.parametrize(
    ("name", "library", "options", "said"),
    [
        ("cp310-abi3-manylinux_2_28_x86_64", '"cuda": "13.0"', ["--cuda"], "good"),
        ("cp310-abi3-manylinux_2_28_x86_64", '"cuda": null', [], "good"),
        ("cp310-abi3-manylinux_2_28_x86_64", '"cuda": null', ["--cuda"], "expected CUDA 13 kernels in the library"),
        ("cp310-abi3-manylinux_2_28_x86_64", "new", [], "needs what is not there: 'PyType_FromMetaclass'"),
        ("cp312-cp312-manylinux_2_28_x86_64", "", [], "expected the tag cp310-abi3, got cp312-cp312"),
        ("cp310-abi3-linux_x86_64", "", [], "expected a platform like manylinux_2_28_x86_64, got linux_x86_64"),
        ("cp310-abi3-manylinux_2_28_x86_64", 200 * "x", [], "expected at most"),
        ("cp310-abi3-manylinux_2_28_x86_64", None, [], "expected one library vfi_kernels/_C, got []"),
    ],
)
def test_a_wheel_is_checked_before_it_is_released(tmp_path, monkeypatch, capsys, name, library, options, said):
    check = script("check_wheel")
    monkeypatch.setitem(sys.modules, "kernel_abi_check", types.SimpleNamespace(ObjectFile=Checked))
    wheel = tmp_path / f"vfi_kernels-0.1.0-{name}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("vfi_kernels/__init__.py", "")
        if library is not None:
            archive.writestr("vfi_kernels/_C.abi3.so", library)
    monkeypatch.setattr(check, "LIMIT", wheel.stat().st_size - said.startswith("expected at most"))
    assert check.main([str(wheel), *options]) == (said != "good")
    assert said in capsys.readouterr().out
