"""The picture of the nodes in docs/where.md shows the nodes as they are."""

from scripts_of_the_tree import script

draw = script("draw_hosts")


def test_the_picture_is_that_of_the_nodes():
    path = draw.DOCS / "where_comfyui.svg"
    assert path.read_text(encoding="utf-8") == draw.picture(), "run python scripts/draw_hosts.py"
    assert f"]({path.name})" in (draw.DOCS / "where.md").read_text()


def test_every_node_is_in_it():
    nodes, shown = draw.loaded_nodes()
    assert {name for column in draw.COLUMNS for name in column} == set(nodes) == set(shown)
