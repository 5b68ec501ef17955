"""The pictures of docs/architecture.md are those of the code, and their drawing says what is imported."""

import re
from pathlib import Path

from scripts_of_the_tree import script

draw = script("draw_architecture")
DOCS = Path(__file__).parents[1] / "docs"


def test_the_pictures_are_those_of_the_code_and_the_page_shows_them():
    pictures = draw.pictures()
    assert {path: path.read_text() for path in DOCS.glob("architecture_*.svg")} == pictures, (
        "run python scripts/draw_architecture.py"
    )
    for path in pictures:
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
