"""The documentation is true: its examples run, its commands parse, its links lead somewhere, its numbers come out."""

import importlib
import inspect
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from processes import warm_python

import vfi.commands.main
import vfi_kernels as vk
import vfi_kernels._cli

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
HOSTS = ("integrations/comfyui/README.md",)
TOP = ("README.md", "python/README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", *HOSTS)
TEXTS = [*PAGES, *(ROOT / name for name in TOP)]
OPS = sorted((ROOT / "csrc/ops").iterdir())
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PARSERS = {"vfi": vfi.commands.main.build_parser, "vfi-kernels": vfi_kernels._cli.parser}

every_text = pytest.mark.parametrize("page", TEXTS, ids=lambda page: f"{page.parent.name}-{page.name}")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[list[str]]:
    """The words of every command in the shell blocks of a page, without comments and variables before the program."""
    lines = [shlex.split(line, comments=True) for block in blocks(page, "sh") for line in block.splitlines()]
    for words in lines:
        while words and re.match(r"[A-Z_]+=", words[0]):
            words.pop(0)
    return [words for words in lines if words]


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def test_there_are_pages():
    names = {"api.md", "conventions.md", "add_an_op.md", "benchmarks.md", "install.md", "backends.md", "determinism.md"}
    assert names <= {page.name for page in PAGES}
    assert sum(len(commands(page)) for page in TEXTS) > 30 and len(WORKFLOWS) >= 3


@every_text
def test_examples_run(page):
    """All Python blocks of a page, one after another."""
    names = {}
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), names)


@every_text
def test_commands_parse(page):
    """The arguments of our own programs; the extras and the scripts that are named."""
    extras = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    for program, *arguments in commands(page):
        if Path(program).name in PARSERS:
            PARSERS[Path(program).name]().parse_args(arguments)
        for named in re.findall(r"\.\[([\w,]+)\]", " ".join(arguments) if program == "pip" else ""):
            assert set(named.split(",")) <= set(extras), named
    for script in re.findall(r"\bpython3? ([\w/]+\.py)", page.read_text()):
        assert (ROOT / script).exists(), script


@pytest.mark.parametrize("page", [*TEXTS, *WORKFLOWS], ids=lambda page: f"{page.parent.name}-{page.name}")
def test_make_knows_the_targets(page):
    (targets,) = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    for target in re.findall(r"(?:^|`|run: |\d )make ([a-z-]+)", page.read_text(), flags=re.MULTILINE):
        assert target in targets.split(), target


@every_text
def test_blocks_have_a_language_that_is_checked(page):
    """A block without one is a drawing: it holds no command of ours."""
    for block in blocks(page, ""):
        assert not re.search(r"^(vfi|vfi-kernels|make|python|pip) ", block, flags=re.MULTILINE), block


FUNCTIONS = [name for name in vk.__all__ if inspect.isfunction(getattr(vk, name))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_api_page_has_every_signature(name):
    signature = inspect.signature(getattr(vk, name))
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    text = f"`{name}{signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)}`"
    assert text in (DOCS / "api.md").read_text()


@pytest.mark.parametrize("function", [getattr(vk, name) for name in FUNCTIONS], ids=FUNCTIONS)
def test_results_are_described_without_a_colon(function):
    """The reference would take what stands before it for the result's type."""
    match = re.search(r"^ *Returns:\n(.+?)(\n\n|\Z)", function.__doc__, flags=re.DOTALL | re.MULTILINE)
    assert not match or ":" not in match[1]


@pytest.mark.parametrize("folder", OPS, ids=lambda folder: folder.name)
def test_every_op_is_derived(folder):
    """Its header names the heading that says why its formulas are so."""
    derived = f"docs/derivations.md#{folder.name}"
    assert f"Derived in {derived}." in (folder / f"{folder.name}.h").read_text()
    assert f"\n## {folder.name}\n" in (DOCS / "derivations.md").read_text()


def test_the_constants_that_are_explained_are_there():
    texts = "".join(path.read_text() for path in (ROOT / "csrc").rglob("*") if path.suffix in (".h", ".cpp", ".cuh"))
    named = set(re.findall(r"`(k[A-Z]\w+)", (DOCS / "derivations.md").read_text()))
    assert len(named) > 20
    assert sorted(name for name in named if not re.search(rf"constexpr [^;]*\b{name}\b", texts)) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_that_are_named_exist(page):
    """Paths of this repository in code type, also with <op> or * for a name."""
    for path in re.findall(r"`((?:csrc|vfi_kernels|python|scripts|tests|benchmarks)/[\w./<>*-]+)`", page.read_text()):
        assert list(ROOT.glob(re.sub(r"<\w+>", "*", path.rstrip("/")))), path


@every_text
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target, anchor in re.findall(r"\]\(([^)#]*)(#[^)]*)?\)", text):
        if target.startswith("http"):
            continue
        path = page.parent / target if target else page
        assert path.exists(), target
        if anchor:
            assert anchor[1:] in map(slug, re.findall(r"^#+ (.+)$", path.read_text(), flags=re.MULTILINE)), anchor


def test_the_tables_of_precision_come_out():
    """To a factor of three: instruction sets differ in the last bits."""
    script = [*warm_python(), ROOT / "scripts" / "precision.py"]
    page = (DOCS / "determinism.md").read_text()
    number = r"\d+e[+-]\d+"
    for line in subprocess.check_output(script, text=True).splitlines():
        figures = [float(value) for value in re.findall(number, line)]
        if not figures:
            assert line in page
            continue
        row = line.split(" | ")[0]
        told = re.search(rf"^{re.escape(row)} \|.*$", page, flags=re.MULTILINE)
        assert told, f"docs/determinism.md has no row {line}"
        for now, then in zip(figures, map(float, re.findall(number, told[0])), strict=True):
            assert then / 3 <= now <= then * 3, line


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text()
    for page in PAGES:
        assert f": {page.relative_to(DOCS).as_posix()}\n" in text, page


@pytest.mark.slow
def test_the_web_pages(tmp_path):
    """They build without a warning, have every public name, need no other server, and leave no formula in TeX."""
    subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", tmp_path], cwd=ROOT, check=True)
    html = {path: path.read_text() for path in tmp_path.rglob("*.html")}
    reference = "".join(text for path, text in html.items() if path.parent.name == "reference")
    names = {f"vfi_kernels.{name}" for name in FUNCTIONS if name != "use_backend"} | {
        "vfi_kernels.backends.use_backend"
    }
    names |= {f"vfi_kernels.nn.{name}" for name in vk.nn.__all__}
    for module in pkgutil.iter_modules(vk.compat.__path__, "vfi_kernels.compat."):
        if "._" not in module.name:
            names |= {f"{module.name}.{name}" for name in importlib.import_module(module.name).__all__}
    assert [name for name in sorted(names) if f'id="{name}"' not in reference] == []
    assert "<math" in reference and ":math:" not in reference and ".. math::" not in reference
    for path, text in html.items():
        assert not re.search(r"""<(script|link|img|iframe)[^>]*(src|href)=["'](https?:)?//""", text), path
    for path in tmp_path.rglob("*.css"):
        assert not re.search(r"""(@import|url\()\s*["']?(https?:)?//""", path.read_text()), path


def test_the_numbers_of_the_migration_guide_are_those_of_its_script(monkeypatch):
    """Roundings differ from processor to processor: within a factor of 3."""
    monkeypatch.syspath_prepend(str(DOCS.parent / "benchmarks"))
    import migration

    number = re.compile(r"\d+(?:\.\d+)?(?:e-\d+)?")
    page, now = (DOCS / "migrate.md").read_text().splitlines(), migration.table().splitlines()
    begin = page.index(now[0])
    for shown, printed in zip(page[begin : begin + len(now)], now, strict=True):
        assert number.sub("#", shown) == number.sub("#", printed), "run python benchmarks/migration.py"
        for a, b in zip(number.findall(shown), number.findall(printed)):
            assert float(a) == float(b) or 1 / 3 < float(a) / float(b) < 3, (shown, printed)
