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
    """What `patch` would do with the modules of a folder, and its extensions; nothing in the folder changes."""
    report = PatchReport()
    for file in _targets.files_in(folder):
        name = str(file.relative_to(folder))
        report.left += [Left(f"{name}: {place}", reason) for place, reason in extensions_of(file)]
        for place, by, reason in [] if file.name == "setup.py" else rows_of(folder, file):
            where = f"{name}: {place}" if place else name
            if by:
                report.replaced.append(Replaced(where, by, reason))
            else:
                report.left.append(Left(where, reason))
    return report


def rows_of(folder: Path, file: Path) -> list[Row]:
    """The verdicts on the functions and classes that a file defines, or why it is not known what it has."""
    (counted,) = _children.answers([lambda: counted_in(folder, file)], lambda why: why)
    if isinstance(counted, str):
        return [("", "", f"it is not imported: {counted}")]
    tasks: list[Callable[[], Row | None]] = [functools.partial(row_of, folder, file, n) for n in range(len(counted))]
    found = _children.answers(tasks, lambda why: ("", "", why))
    named = [row and (row[0] or place, *row[1:]) for row, place in zip(found, counted)]
    return [row for row in named if row is not None]


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
    """Imported as from the folder; where it is part of a package that begins above, as from there."""
    top = file.parent
    while (top / "__init__.py").exists():
        top = top.parent
    failed: ImportError | None = None
    for root in dict.fromkeys((folder.resolve(), top.resolve(), file.parent.resolve())):
        parts = list(file.resolve().relative_to(root).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if not name:
            continue
        sys.path.insert(0, str(root))
        try:
            return importlib.import_module(name)
        except ImportError as error:
            failed = failed or error
            sys.path.remove(str(root))
    assert failed is not None
    raise failed


def extensions_of(file: Path) -> Iterator[tuple[str, str]]:
    """The extensions that a file builds, and what of ours has their task. Their names are all that is known of them."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in MAKERS:
            words = [a.value for a in (*node.args[:1], *(k.value for k in node.keywords if k.arg == "name"))
                     if isinstance(a, ast.Constant) and isinstance(a.value, str)]  # fmt: skip
            for word in words[:1]:
                ours = next((by for pattern, by in EXTENSIONS if re.search(pattern, word, re.IGNORECASE)), None)
                if ours is not None:
                    yield f"extension {word}", f"it is not compared; functions around it are; by its name {ours}"
