"""`python -m vfi_kernels.compat check`: a repository is read, and stays as it is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import warm_python

from vfi_kernels.compat import _checking

REPOSITORIES = Path(__file__).parent / "repositories"
FILES = {
    "net.py": "from model.warplayer import warp as w\n\nclass Net:\n  def forward(self, x, flow): return w(x, flow)\n",
    "model/warplayer.py": (REPOSITORIES / "rife/model/warplayer.py").read_text(),
    "model/splat.py": (REPOSITORIES / "splatting/softsplat.py").read_text(),
    "package/__init__.py": "from .inner import backwarp\n",
    "package/inner.py": "from model.warplayer import warp\ndef backwarp(x, flow): return warp(x, -flow)\n",
    "raises.py": "raise RuntimeError('no')\n",
    "needs.py": "import a_module_that_nobody_has\n",
    "exits.py": "import sys\nsys.exit(3)\n",
    "ends.py": "import os\nos._exit(4)\n",
    "prints.py": "print('hello')\n",
    "writes.py": "open('made.txt', 'w')\n",
    "reads.py": "open('weights.bin')\n",
    "broken.py": "def (:\n",
    "setup.py": "from torch.utils.cpp_extension import CUDAExtension\nCUDAExtension('correlation_cuda', ['a.cu'])\n",
}


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_repository_is_read(folder):
    before = contents(folder), dict(sys.modules), os.getcwd(), list(sys.path)
    report = _checking.check(folder)
    assert contents(folder) == before[0] and os.getcwd() == before[2] and sys.path == before[3]
    assert set(sys.modules) == set(before[1])
    assert {(r.place, r.by) for r in report.replaced} == {
        ("model/warplayer.py: warp", "compat.rife.warp"),
        ("model/splat.py: softsplat", "compat.softsplat.softsplat"),
        ("model/splat.py: FunctionSoftsplat", "compat.ebme.FunctionSoftsplat"),
        ("model/splat.py: softsplat_func", "compat.softsplat.softsplat_func.apply"),
    }
    left = {item.place: item.reason for item in report.left}
    not_imported = {place: reason for place, reason in left.items() if reason.startswith("it is not imported: ")}
    assert {place: reason.removeprefix("it is not imported: ") for place, reason in not_imported.items()} == {
        "raises.py": "RuntimeError: no",
        "needs.py": "ModuleNotFoundError: No module named 'a_module_that_nobody_has'",
        "exits.py": "SystemExit: 3",
        "ends.py": "it ended its process (exit code 4)",
        "prints.py": "it prints",
        "writes.py": "it asks for 'made.txt'",
        "reads.py": "it asks for 'weights.bin'",
        "broken.py": "SyntaxError: invalid syntax (broken.py, line 1)",
    }
    assert left["package/inner.py: backwarp"].startswith("none of our warps computes the same")
    assert left["setup.py: extension correlation_cuda"].endswith("by its name vk.correlation")
    assert len(left) == len(not_imported) + 2


def test_a_module_that_does_not_end(tmp_path, monkeypatch):
    (tmp_path / "endless.py").write_text("while True: pass\n")
    monkeypatch.setattr(_checking._children.answers, "__defaults__", (0.5,))
    report = _checking.check(tmp_path)
    assert [(i.place, i.reason) for i in report.left] == [
        ("endless.py", "it is not imported: it did not end within 0.5 s")
    ]


def test_the_command(tmp_path):
    (tmp_path / "warps.py").write_text((REPOSITORIES / "rife/model/warplayer.py").read_text())
    command = [*warm_python(), "-m", "vfi_kernels.compat", "check"]
    found = subprocess.run([*command, "--json", tmp_path], capture_output=True, text=True)
    (row,) = json.loads(found.stdout)
    assert found.returncode == 0 and (row["verdict"], row["place"]) == ("replaced", "warps.py: warp")
    assert os.listdir(tmp_path) == ["warps.py"]
    found = subprocess.run([*command, tmp_path / "none"], capture_output=True, text=True)
    assert found.returncode == 2 and found.stderr.startswith("vfi_kernels.compat: expected a folder, got ")


WARP = (REPOSITORIES / "rife/model/warplayer.py").read_text()
ANYWHERE = (
    "my-warp.py", "2stage.py", "v4.6.py", "copy.py", "types.py", "random.py", "torch.py", "vfi_kernels.py", "class.py",
    "collections/net.py", "test/abc.py", "RIFE-v4.6/train_log/net.py", "my package/a b.py", "json/__init__.py",
    "packed/__init__.py", "packed/v1.2.py", "packed/string.py", "packed/in ner/x.py", "__main__.py", "conftest.py",
)  # fmt: skip


@pytest.mark.nightly
def test_files_are_found_whatever_they_are_called(tmp_path):
    for name in ANYWHERE:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(WARP)
    (tmp_path / "packed/v1.2.py").write_text("from . import warp as other\nfrom .string import warp as third\n" + WARP)
    report = _checking.check(tmp_path)
    assert {r.place: r.by for r in report.replaced} == {f"{name}: warp": "compat.rife.warp" for name in ANYWHERE}
    assert report.left == []


def test_what_is_not_read_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(_checking._targets, "MOST_FILES", 2)
    for name in (".hidden/a.py", "env/pyvenv.cfg", "env/b.py", "__pycache__/c.py", ".git/d.py", ".nothing/e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(WARP)
    (tmp_path / "a.py").write_text("")
    (tmp_path / "setup.py").write_text("raise RuntimeError\n")
    (tmp_path / "z.py").write_text(WARP)
    (tmp_path / "linked").symlink_to(tmp_path / "env")
    report = _checking.check(tmp_path)
    assert report.replaced == []
    assert {item.place: item.reason for item in report.left} == {
        ".hidden": "it is not read: its name begins with a dot",
        "env": "it is not read: it is an environment of Python",
        "linked": "it is not read: it is a link",
        "setup.py": "it installs, and is not imported",
        "z.py": "it is not read: there are more than 2",
    }


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_files_that_are_none(tmp_path):
    os.mkfifo(tmp_path / "waits.py")
    (tmp_path / "nowhere.py").symlink_to(tmp_path / "nothing")
    (tmp_path / "deep.py").write_text("x = " + "-" * 200_000 + "1\n")
    left = {item.place: item.reason for item in _checking.check(tmp_path).left}
    assert left.keys() == {"waits.py", "nowhere.py", "deep.py"}
    assert left["waits.py"] == left["nowhere.py"] == "it is not read: it is no file"
    assert left["deep.py"].startswith("it is not ")


@pytest.mark.parametrize("name", ["", "nothing", "a" * 5000, "test_check.py"])
@pytest.mark.parametrize("command", ["check", "run"])
def test_names_that_are_none(command, name, capsys, monkeypatch):
    from vfi_kernels.compat.__main__ import main

    monkeypatch.chdir(Path(__file__).parent)
    if command == "check" or name != "test_check.py":
        assert main([command, name]) == 2
        out, err = capsys.readouterr()
        assert out == "" and len(err.splitlines()) == 1 and f"got {name or repr(name)}, which is no" in err
