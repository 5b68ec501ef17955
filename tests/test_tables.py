"""Tables and lists of the documents name the ops that they must: what the cases and the schemas say."""

import inspect
import re
from pathlib import Path

import torch

import vfi_kernels as vk
from vfi_kernels.testing import load_cases

DOCS = Path(__file__).resolve().parents[1] / "docs"
CASES = load_cases()
OPS = sorted({case.op for case in CASES.values()})


def named(text: str) -> set[str]:
    """The ops in code type."""
    return set(re.findall(r"`(\w+)`", text)) & set(OPS)


def section(page: str, heading: str) -> str:
    (text,) = re.findall(rf"^#+ {heading}\n(.*?)(?=^#|\Z)", (DOCS / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    return text


def row(text: str, first: str) -> list[str]:
    """The other cells of the row of a table that begins so."""
    (cells,) = re.findall(rf"^\| {re.escape(first)} \|(.*)\|$", text, flags=re.MULTILINE)
    return cells.split("|")


def choosing(suffix: str) -> set[str]:
    """Ops with a deterministic way beside the usual one: by the schema of the op, or of its gradient."""
    names = set()
    for op in OPS:
        arguments = getattr(torch.ops.vfi_kernels, op + suffix).default._schema.arguments
        if any(argument.name == "deterministic" for argument in arguments):
            names.add(op)
    return names


def test_the_first_table_links_every_function():
    """Those that write into their last argument stand with the others of their name."""
    page = (DOCS / "api.md").read_text()
    for name in vk.__all__:
        if inspect.isfunction(getattr(vk, name)) and not name.endswith("_"):
            assert f"[`{name}`](#{name})" in page, f"docs/api.md has no row of {name}"


def test_the_table_of_what_is_not_finite_has_every_op():
    missing = set(OPS) - named(section("conventions.md", "What is not finite"))
    assert not missing, f"docs/conventions.md does not say what NaN does in {sorted(missing)}"


def test_what_varies_on_a_gpu_is_what_has_a_deterministic_way():
    forward, gradients = row(section("determinism.md", "Determinism"), "GPU")
    assert named(forward) == choosing("")
    assert named(gradients) == choosing("_grad")


def test_what_the_threads_decide_is_what_torch_multiplies():
    forward, _ = row(section("determinism.md", "Determinism"), "CPU")
    assert named(forward) == {case.op for case in CASES.values() if case.library}


def test_what_autocast_casts():
    assert named(section("determinism.md", "Autocast")) == {case.op for case in CASES.values() if case.autocast}
