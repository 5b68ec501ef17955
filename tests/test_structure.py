"""The tree keeps the rules of docs/conventions.md: who may import whom, sizes, one test file per op."""

import ast
import re
import subprocess
from pathlib import Path

import pytest
from processes import warm_python

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("vfi_kernels", "python/vfi", "integrations", "tests", "benchmarks", "build_backend", "scripts")
PYTHON = [p for folder in FOLDERS
          for p in (ROOT / folder).rglob("*.py")] + [ROOT / "setup.py"]  # fmt: skip
NATIVE = [p for suffix in ("*.h", "*.cpp", "*.cu", "*.cuh") for p in (ROOT / "csrc").rglob(suffix)]
OPS = sorted(p.name for p in (ROOT / "vfi_kernels/ops").iterdir() if (p / "op.py").exists())


def imports(path):
    """Every module that a Python file imports, with the names taken from it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)


def test_the_lists_are_not_empty():
    assert len(PYTHON) > 20 and len(NATIVE) > 10 and {"backward_warp", "splat", "warp_blend"} <= set(OPS)


def test_the_kernel_library_stands_alone():
    for path in (ROOT / "vfi_kernels").rglob("*.py"):
        packages = {module.split(".")[0] for module, _ in imports(path)}
        assert not packages & {"vfi", "tests", "benchmarks"}, path


# Of vfi, from below: each imports itself and those before it; the package's face is not imported inside.
LAYERS = (
    "errors",
    "options",
    "files",
    "video",
    "drawing",
    "networks",
    "data",
    "training",
    "engines",
    "models",
    "export",
    "evaluation",
    "hosts",
    "commands",
)


def test_vfi_imports_downwards():
    root = ROOT / "python/vfi"
    top = {p.stem for p in root.iterdir() if not p.name.startswith(".") and p.name not in ("__pycache__", "py.typed")}
    assert top == {*LAYERS, "__init__", "__main__"}
    for path in root.rglob("*.py"):
        layer = path.relative_to(root).parts[0].removesuffix(".py")
        for module, name in imports(path):
            if module.split(".")[0] == "vfi" and layer in LAYERS:
                used = [*module.split("."), name][1]
                assert LAYERS.index(used) <= LAYERS.index(layer), f"{path}: {module} {name}"


def test_the_promise_is_what_dir_shows():
    """Modules that are imported with vfi_kernels have an underscore or are promised; ops holds the functions."""
    program = "import vfi_kernels as vk; assert dir(vk) == sorted(vk.__all__); print(*{*vars(vk)} - {*vk.__all__})"
    names = subprocess.check_output([*warm_python(), "-c", program], cwd=ROOT, text=True).split()
    assert [n for n in names if not n.startswith("_")] == ["ops"]


def words_of(path):
    """The text in a Python file that is no docstring."""
    tree = ast.parse(path.read_text())
    told = [n.body[0].value for n in ast.walk(tree) if isinstance(n, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and n.body and isinstance(n.body[0], ast.Expr)]  # fmt: skip
    return [
        n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str) and n not in told
    ]


def test_errors_below_the_commands_name_arguments():
    """As Python spells them; a command makes options of them, in one place."""
    root = ROOT / "python/vfi"
    below = [p for p in root.rglob("*.py") if p.relative_to(root).parts[0] != "commands" and p.name != "__main__.py"]
    options_told = [(path, text) for path in below for text in words_of(path) if re.search(r"(^|\W)--[a-z]", text)]
    assert len(below) > 50 and options_told == []


def test_the_names_of_dtypes_are_made_in_one_place():
    """Of each package: `dtype_name` of _arguments, and of errors, which needs no torch."""
    made = [path.relative_to(ROOT).as_posix() for path in PYTHON
            if re.search(r"removeprefix\(.torch\.|str\([\w.]*dtype\)", path.read_text())
            and not path.is_relative_to(ROOT / "tests")]  # fmt: skip
    assert made == ["vfi_kernels/_arguments.py", "python/vfi/errors/__init__.py"]


def test_what_a_model_does_is_not_guessed():
    """It is what `Interpolator` says, with a default."""
    for path in (ROOT / "python/vfi").rglob("*.py"):
        assert "hasattr(" not in path.read_text(), path


def test_the_command_knows_no_model_by_name():
    """But for its default and its demo: names, options and their help come from the registry."""
    registry = (ROOT / "python/vfi/models/registry.py").read_text()
    names = re.findall(r'^    "([a-z-]+)": ', registry, flags=re.MULTILINE)
    assert {"rife", "semfi", "rdvfi-d"} <= set(names)
    for name in ("main", "interpolate", "evaluate", "train", "chosen_model", "model_options", "program"):
        words = " ".join(words_of(ROOT / f"python/vfi/commands/{name}.py"))
        assert not re.search(rf"\b({'|'.join(names)})\b", words), name


@pytest.mark.parametrize("package", ["vfi_kernels", "python/vfi"])
def test_a_package_says_what_its_values_are(package):
    """mypy is strict there; where nothing is known, `Any` stands: rarely. The lines that import it do not count."""
    lines = [line for path in (ROOT / package).rglob("*.py") for line in path.read_text().splitlines()]
    assert sum(len(re.findall(r"\bAny\b", line)) for line in lines if "import" not in line) < 60


def test_models_use_public_names_only():
    for path in (ROOT / "python").rglob("*.py"):
        used = {module for module, _ in imports(path) if module.startswith("vfi_kernels")}
        assert used <= {"vfi_kernels", "vfi_kernels.onnx"}, path


@pytest.mark.parametrize("op", OPS)
def test_an_op_imports_downwards(op):
    """reference <- op <- cases; triton_kernels (and its triton_grad) is loaded by backends.py only."""
    folder = ROOT / "vfi_kernels/ops" / op
    allowed = {"reference": set(), "op": {"reference"}, "cases": {"op"}, "triton_kernels": {"reference", "triton_grad"}}
    for name, below in allowed.items():
        for module, imported in imports(folder / f"{name}.py"):
            if module.startswith("vfi_kernels.ops") and not module.startswith("vfi_kernels.ops._shared"):
                target = module if module.count(".") > 2 else f"{module}.{imported}"
                own = name == "triton_kernels" and target.startswith(f"vfi_kernels.ops.{op}.triton_")
                assert own or target in {f"vfi_kernels.ops.{op}.{other}" for other in below}, f"{name}: {target}"


@pytest.mark.parametrize("op", OPS)
def test_an_op_is_complete(op):
    python, native = ROOT / "vfi_kernels/ops" / op, ROOT / "csrc/ops" / op
    for name in ("op.py", "reference.py", "triton_kernels.py", "cases.py"):
        assert (python / name).exists()
    for suffix in (".h", "_cpu.cpp", "_kernels.cuh", "_cuda.cu"):
        assert (native / f"{op}{suffix}").exists()
    assert (ROOT / "tests/ops" / f"test_{op}.py").exists()


NATIVE_LAYERS = (
    "base", "cpu", "simd", "cuda", "torch", "sampling", "trajectories", "splatting", "patch_lists",
)  # fmt: skip


def test_native_includes():
    """A layer includes itself and those before it, an op all of them and its own folder; testing/ sees everything."""
    for path in NATIVE:
        folder, *rest = path.relative_to(ROOT / "csrc").parts
        for name in re.findall(r'#include "([^"]+)"', path.read_text()):
            to, *inside = name.split("/")
            if folder in NATIVE_LAYERS and name != "build_info.h":
                assert to in NATIVE_LAYERS[: NATIVE_LAYERS.index(folder) + 1], f"{path}: {name}"
            elif folder == "ops":
                assert to in NATIVE_LAYERS or (to == "ops" and inside[0] == rest[0]), f"{path}: {name}"
            else:
                assert folder in ("testing", "ops.cpp"), path


def test_a_native_type_has_one_definition():
    """CPU and CUDA share a type, or the one of CUDA ends in Gpu; simd/ has alternatives, testing/ is apart."""
    defined = {}
    for path in NATIVE:
        if path.relative_to(ROOT / "csrc").parts[0] not in ("simd", "testing"):
            for name in re.findall(r"^(?:struct|class|enum class) (\w+)(?: : .*)? \{", path.read_text(), re.M):
                defined.setdefault(name, set()).add(path)
    assert {name: paths for name, paths in defined.items() if len(paths) > 1} == {}


def python_functions(text):
    """Name and lines of code of each function, without its decorators, signature and docstring."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            yield node.name, node.end_lineno - body[0].lineno + 1 if body else 0


def native_functions(text):
    """The line that opens each C++ function, or lambda, and the lines between its braces, laid out by clang-format."""
    lines = [re.sub(r'"(\\.|[^"\\])*"|//.*', "", line).rstrip() for line in text.splitlines()]
    for start, line in enumerate(lines):
        statement = re.match(r" *(\} )?(else|if|for|while|switch)\b", line)
        if re.search(r"\)( const| noexcept| override)* \{$", line) and not statement:
            end, depth = start, 1
            while depth > 0:
                end += 1
                depth += lines[end].count("{") - lines[end].count("}")
            yield line.strip(), end - start - 1


def too_long(path):
    """What is longer than a reader likes: the file, its lines, its functions."""
    text = path.read_text()
    lines = text.splitlines()
    if len(lines) > 300:
        yield f"{path} has {len(lines)} lines"
    if max(map(len, lines), default=0) > (120 if path.suffix == ".py" else 130):
        yield f"{path} has a line of {max(map(len, lines))} characters"
    for name, count in (python_functions if path.suffix == ".py" else native_functions)(text):
        if count > 50:
            yield f"{path}: {name} has {count} lines"


def test_files_stay_readable():
    assert [fault for path in PYTHON + NATIVE for fault in too_long(path)] == []


def test_the_readme_shows_the_tree():
    text = (ROOT / "README.md").read_text()
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    for name in {t.split("/")[0] + "/" for t in tracked if "/" in t and not t.startswith(".")}:
        assert name in text, f"README.md does not mention {name}"


def test_no_path_of_one_machine_is_tracked():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    pattern = re.compile("/(" + "|".join(["work", "root", "home", "tmp"]) + r")\b")
    for name in tracked:
        path = ROOT / name
        assert not path.is_symlink(), f"{name} is a link to {path.readlink()}"
        if path.suffix in {".py", ".cpp", ".h", ".cu", ".cuh", ".toml", ".md", ".txt", ""} and path.is_file():
            match = pattern.search(path.read_text(errors="ignore"))
            assert not match, f"{name}: {match}"


def test_deleting_python_leaves_a_complete_package():
    """vfi_kernels imports with vfi out of reach."""
    code = "import sys; sys.modules['vfi'] = None; import vfi_kernels; print(vfi_kernels.__version__)"
    assert subprocess.run([*warm_python(), "-c", code], cwd=ROOT, capture_output=True, text=True).stdout.strip()


def test_what_a_thread_throws_keeps_its_sentence():
    """torch's own parallel_for says only that the call failed."""
    users = [p.name for p in (ROOT / "csrc").rglob("*") if p.is_file() and "stable::parallel_for" in p.read_text()]
    assert users == ["parallel.h"]
