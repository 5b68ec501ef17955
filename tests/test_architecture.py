"""The pictures of docs/architecture.md are those of the code, and their drawing says what is imported."""

import re

import pytest
from scripts_of_the_tree import script

draw = script("draw_architecture")
PICTURES = draw.pictures()


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_a_picture_is_that_of_the_code(path):
    assert path.read_text() == PICTURES[path], "run python scripts/draw_architecture.py"


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_the_page_shows_it(path):
    assert f"]({path.name})" in (path.parent / "architecture.md").read_text()


def test_imports_of_every_form_are_seen(tmp_path):
    package = tmp_path / "lib"
    texts = {
        "__init__.py": "from lib.top import face",
        "top/__init__.py": "",
        "top/inner.py": "def f():\n    import lib.middle.deep\n    from lib import low\n    import os",
        "middle/deep.py": "from lib.low import x",
        "low.py": "from lib import name_of_the_face",
    }
    for name, text in texts.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    assert draw.python_uses(package) == {"lib": {"top"}, "top": {"middle", "low"}, "middle": {"low"}, "low": {"lib"}}


def test_what_follows_is_left_out_and_circles_are_one_box():
    graph = {"a": {"b", "c", "d"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}
    assert draw.simplified(graph) == {"a": {"b, c"}, "b, c": {"d"}, "d": set()}


def test_a_long_arrow_bends_past_the_rows_between():
    rows, steps = draw.rows_of({"a": {"b", "d"}, "b": {"c"}, "c": set(), "d": set()})
    assert list(map(set, rows)) == [{"a"}, {"b", "|a d 1"}, {"c", "d"}]
    assert steps["a"] == {"b", "|a d 1"} and steps["|a d 1"] == {"d"}


def test_every_box_and_arrow_is_drawn():
    text = draw.drawn({"a": {"b"}, "b": {"c"}, "c": set()}, "title")
    assert re.findall(r">(\w)</text>", text) == ["a", "b", "c"] and text.count("marker-end") == 2
