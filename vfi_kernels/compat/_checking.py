"""`python -m vfi_kernels.compat check FOLDER`: what a repository has that vfi_kernels could replace. Every module is
imported in a process of its own, in which nothing can be written, and nothing is left of it."""

import ast
import contextlib
import functools
import importlib
import importlib.util
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

from vfi_kernels.compat import _children, _roles, _stubs, _targets, _trials
from vfi_kernels.compat._report import Left, PatchReport, Replaced

Row = tuple[str, str, str]  # place, by ("" where it stays), reason
Candidates = list[tuple[str, _roles.Candidate]]

# Names of C++ and CUDA extensions, and what of ours does what these names say.
EXTENSIONS = (
    ("alt_cuda_corr", "vk.correlation_lookup"),
    ("correlation|corr_", "vk.correlation"),
    ("resample2d|backwarp", "vk.backward_warp"),
    ("splat|forward_?warp", "vk.splat"),
    ("deform|dcn", "vk.modulated_deform_conv2d"),
    ("adacof", "vk.adacof"),
    ("sepconv|separable", "vk.sepconv"),
)
MAKERS = ("CUDAExtension", "CppExtension", "load", "load_inline")


def check(folder: Path) -> PatchReport:
    """What `patch` would do with the modules of a folder, and its extensions; nothing in the folder changes. What is
    not looked at is named."""
    report = PatchReport()
    for name, why in files_in(folder):
        for place, by, reason in [("", "", why)] if why else rows_of(folder, folder / name):
            where = f"{name}: {place}" if place else name
            if by:
                report.replaced.append(Replaced(where, by, reason))
            else:
                report.left.append(Left(where, reason))
    return report


def files_in(folder: Path) -> Iterator[tuple[str, str]]:
    """The Python files of a folder, by their names in it; and folders and files that are not read, with the reason."""
    count = 0
    unread: list[OSError] = []
    for top, folders, files in os.walk(folder, onerror=unread.append):
        passed = {name: why for name in sorted(folders) if (why := why_not_entered(Path(top, name)))}
        folders[:] = sorted(set(folders) - passed.keys())
        for name in sorted(name for name in files if name.endswith(".py")):
            count += 1
            path = Path(top, name)
            why = "" if path.is_file() else "it is not read: it is no file"
            why = f"it is not read: there are more than {_targets.MOST_FILES}" if count > _targets.MOST_FILES else why
            yield str(path.relative_to(folder)), why
        yield from ((str(Path(top, name).relative_to(folder)), why) for name, why in passed.items() if why != NOTHING)
    for error in unread:
        yield os.path.relpath(error.filename, folder), f"it is not read: {error.strerror}"


NOTHING = "nothing to read"


def why_not_entered(folder: Path) -> str:
    """NOTHING where nobody would look; "" of a folder that is read."""
    if folder.name in ("__pycache__", ".git"):
        return NOTHING
    if folder.is_symlink():
        return "it is not read: it is a link"
    if (folder / "pyvenv.cfg").exists():
        return "it is not read: it is an environment of Python"
    if folder.name.startswith("."):
        return "it is not read: its name begins with a dot" if next(folder.rglob("*.py"), None) else NOTHING
    return ""


def rows_of(folder: Path, file: Path) -> list[Row]:
    """The verdicts on the extensions that a file builds, and on the functions and classes that it defines, or why it is
    not known what it has."""
    (rows,) = _children.answers([lambda: extensions_of(file)], lambda why: [("", "", f"it is not read: {why}")])
    if file.name == "setup.py":
        return rows or [("", "", "it installs, and is not imported")]
    (counted,) = _children.answers([lambda: counted_in(folder, file)], lambda why: why)
    if isinstance(counted, str):
        return [*rows, ("", "", f"it is not imported: {counted}")]
    tasks: list[Callable[[], Row | None]] = [functools.partial(row_of, folder, file, n) for n in range(len(counted))]
    found = _children.answers(tasks, lambda why: ("", "", why))
    named = [row and (row[0] or place, *row[1:]) for row, place in zip(found, counted)]
    return [*rows, *(row for row in named if row is not None)]


def counted_in(folder: Path, file: Path) -> list[str] | str:
    """The places of a file that are tried; or in words why it cannot be imported."""
    try:
        return [place for place, _ in candidates_of(folder, file)]
    except _trials.CannotRun as error:
        return str(error)


def row_of(folder: Path, file: Path, number: int) -> Row | None:
    place, c = candidates_of(folder, file)[number]
    verdict = _roles.judge(c)
    if verdict is None:
        return None
    return place, "" if verdict.plan is None else verdict.plan.by, verdict.reason


@functools.cache
def candidates_of(folder: Path, file: Path) -> Candidates:
    """What is tried of the functions and classes that a file defines. It is imported here, once in a process."""
    module = imported(folder, file)
    found: Candidates = []
    for place in _targets.places([module], ()):
        owner = place.owner if place.in_class else None
        c = _roles.candidate(place.value, place.in_class, owner, None, place.name)
        if c is not None and getattr(c.function, "__module__", None) == module.__name__:
            found.append((place.path.removeprefix(f"{module.__name__}."), c))
    return found


def imported(folder: Path, file: Path) -> ModuleType:
    """The module of a file. CannotRun if it raises, exits, prints, or asks for a file, the network or a process."""
    sys.dont_write_bytecode = True
    os.chdir(folder)
    _stubs.install()
    said, asked = io.StringIO(), list[str]()
    try:
        with (
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
            _trials.watched(asked),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            module = by_its_names(folder, file)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _trials.CannotRun(asked[0] if asked else error) from None
    if asked or said.getvalue():
        raise _trials.CannotRun(asked[0] if asked else "it prints")
    return module


def by_its_names(folder: Path, file: Path) -> ModuleType:
    """Imported as from the folder; where it is part of a package that begins above, as from there; by its path where
    its name is another module's, or none."""
    top = file.parent
    while (top / "__init__.py").exists():
        top = top.parent
    failed: list[ImportError] = []
    for root in dict.fromkeys((folder.resolve(), top.resolve(), file.parent.resolve())):
        parts = list(file.resolve().relative_to(root).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if not name:
            continue
        sys.path.insert(0, str(root))
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            if not (error.name and f"{name}.".startswith(f"{error.name}.")):
                failed.append(error)
        else:
            if is_of(module, file):
                return module
        sys.path.remove(str(root))
    if failed:
        raise failed[0]
    return by_path(folder, file)


def is_of(module: ModuleType, file: Path) -> bool:
    path = getattr(module, "__file__", None)
    return path is not None and os.path.realpath(path) == os.path.realpath(file)


def by_path(folder: Path, file: Path) -> ModuleType:
    """Under a name that no other module has."""
    init, sys.path[0:0] = file.parent / "__init__.py", [str(file.parent), str(folder)]
    name = (file.parent if file == init else file).stem.replace(".", "_")
    while name in sys.modules or name in sys.stdlib_module_names:
        name += "_"
    if file != init and init.exists():
        name = f"{by_its_names(folder, init).__name__}.{name}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def extensions_of(file: Path) -> list[Row]:
    """The extensions that a file builds, and what of ours has their task. Their names are all that is known of them."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError, MemoryError):
        return []
    rows: list[Row] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in MAKERS:
            words = [a.value for a in (*node.args[:1], *(k.value for k in node.keywords if k.arg == "name"))
                     if isinstance(a, ast.Constant) and isinstance(a.value, str)]  # fmt: skip
            for word in words[:1]:
                ours = next((by for pattern, by in EXTENSIONS if re.search(pattern, word, re.IGNORECASE)), None)
                if ours is not None:
                    reason = f"it is not compared; functions around it are; by its name {ours}"
                    rows.append((f"extension {word}", "", reason))
    return rows
