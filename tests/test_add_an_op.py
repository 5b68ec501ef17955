"""docs/add_an_op.md is true: its files, written into a copy of the tree, are an op that builds and passes the tests."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_build import newest_build

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/add_an_op.md").read_text()
BLOCK = re.compile(r'^```(\w+) title="([^"]+)"\n(.*?)^```', flags=re.DOTALL | re.MULTILINE)
FOLDERS = (
    "build_backend",
    "csrc",
    "vfi_kernels",
    "python",
    "tests",
    "benchmarks",
    "scripts",
    "docs",
    "integrations",
    ".github",
)


def write_files(tree: Path) -> None:
    """What the page adds."""
    for language, name, text in BLOCK.findall(PAGE):
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if language == "diff":
            before = "".join(line[1:] for line in text.splitlines(True) if not line.startswith("+"))
            after = "".join(line[1:] for line in text.splitlines(True))
            assert path.read_text().count(before) == 1, f"{name}: {before}"
            path.write_text(path.read_text().replace(before, after))
        else:
            assert not path.exists(), name
            path.write_text(text)


def run(tree: Path, *words: str, **environment: str) -> str:
    """What the command prints; it must succeed."""
    path = os.pathsep.join([str(tree), str(tree / "python")])
    done = subprocess.run(
        [sys.executable, *words], cwd=tree, env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture
def copy(tmp_path):
    """The tree, and its objects as far as they were compiled, with their times."""
    tree = tmp_path / "tree"
    skipped = shutil.ignore_patterns("__pycache__", "*.so", "results", "out")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tree / folder, ignore=skipped)
    for path in ROOT.iterdir():
        if path.is_file() and path.suffix != ".so":
            shutil.copy2(path, tree)
    return tree


# A compiler that takes the tree's own objects where they are up to date: of sources that the page neither writes nor
# changes. A precompiled header knows the paths of what it holds: those that sources of the page read are made anew.
COMPILER = """
import shutil, subprocess, sys
built, written, stale, *command = sys.argv[1:]
if "-c" in command:
    source, target = (command[command.index(flag) + 1] for flag in ("-c", "-o"))
    known = Path(built, target)
    changed = any(source.endswith(name) for name in written.split(":"))
    needed = changed or target in ("glue.h.gch", "emulated.h.gch", *stale.split(":"))
    if known.exists() and not needed:
        sys.exit(shutil.copy(known, target) is None)
sys.exit(subprocess.call(command))
"""


def build(tree: Path) -> None:
    folder = newest_build()
    todo = subprocess.run([sys.executable, "-m", "ninja", "-n"], cwd=folder, capture_output=True, text=True).stdout
    stale = ":".join(re.findall(r"^\[\d+/\d+\] (\S+)$", todo, re.MULTILINE))  # by other tests' builds
    (tree / "compiler.py").write_text(f"from pathlib import Path{COMPILER}")
    written = ":".join(name for _, name, _ in BLOCK.findall(PAGE) if name.startswith("csrc/"))
    compiler = shlex.join([sys.executable, str(tree / "compiler.py"), str(folder), written, stale])
    compiler += f" {os.environ.get('CXX', 'g++')}"
    run(tree, "setup.py", "build_ext", "--inplace", CXX=compiler, VFI_KERNELS_TESTING="1", VFI_KERNELS_CUDA="0")


def passed(tree: Path, *words: str) -> int:
    """How many tests; none may fail."""
    said = run(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-x", *words)
    return int(re.search(r"(\d+) passed", said)[1])


LAUNCHES = """
import sys, torch
sys.path.insert(0, "tests")
import triton_calls
from vfi_kernels.ops.scale import triton_kernels
launched = []
triton_kernels.launch = lambda kernel, *_, **__: launched.append(kernel)
triton_calls.Calls(torch.float32, size=(2, 3)).others()
print(len(launched))
"""


@pytest.mark.slow
@pytest.mark.xdist_group("builds")
def test_the_tutorial_adds_an_op(copy):
    write_files(copy)
    build(copy)
    own = ("tests/ops/test_scale.py", "tests/test_structure.py", "tests/test_tables.py", "tests/test_docs.py")
    pages = ("api", "derivations", "add_an_op")  # whose examples run
    passed(copy, *own, "-m", "not slow", "-k", f"not examples_run or {' or '.join(pages)}")
    assert run(copy, "-c", LAUNCHES, TRITON_INTERPRET="1").split() == ["2"]  # what tests/test_triton_aot.py compiles
    lists = "function_and_option or with_kernels_has_tests or every_goal"
    ignored = (f"--ignore=tests/{folder}" for folder in ("models", "gpu", "compat", "ptx"))  # ptx: nvcc, minutes
    assert passed(copy, "tests", *ignored, "-m", "not nightly", "-k", f"scale or {lists}") > 100
