"""Draws the pictures of docs/where.md: `python scripts/draw_hosts.py`.

where_comfyui.svg shows the nodes of integrations/comfyui as they are: their inputs, their defaults, what goes together.
where_python.jpg is what `vfi.between` makes of two photographs. tests/hosts/comfyui/test_comfyui_picture.py compares
the first with the nodes.
"""

import sys
import tempfile
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
WIDTH, ROW, TITLE, GAP, BETWEEN = 268, 19, 26, 22, 96  # px: of a node, a line of it, its title; beside and between
COLUMNS = (
    ("VFIKernelsLoadModel", "VFIKernelsSkipFrames", "VFIKernelsOpticalFlow"),
    ("VFIKernelsInterpolateFrames", "VFIKernelsInterpolateVideo", "VFIKernelsWarp", "VFIKernelsSplat"),
    ("VFIKernelsRIFE",),
)
COLOURS = {
    "IMAGE": "#64b5f6", "MASK": "#81c784", "VIDEO": "#ff8a65", "VFI_MODEL": "#b39ddb", "VFI_FLOW": "#ffd54f",
    "INTERPOLATION_STATES": "#4db6ac",
}  # fmt: skip


def loaded_nodes() -> tuple[dict[str, type], dict[str, str]]:
    """The nodes, in a ComfyUI that is none, without files of weights."""
    sys.path.insert(0, str(ROOT / "tests/hosts/comfyui"))
    from comfyui_stand_in import ComfyUI

    before = {}
    with tempfile.TemporaryDirectory() as folder:
        host = ComfyUI(Path(folder))
        for name, module in host.modules.items():
            before[name] = sys.modules.get(name)
            sys.modules[name] = module
        try:
            nodes = host.load(ROOT / "integrations/comfyui")
            for node in nodes.values():
                inputs = node.INPUT_TYPES()
                node.INPUT_TYPES = classmethod(lambda cls, inputs=inputs: inputs)  # while there is a ComfyUI
        finally:
            for name, module in before.items():
                sys.modules.pop(name) if module is None else sys.modules.update({name: module})
    return nodes, host.shown


def parts(node: type) -> tuple[list[tuple[str, str]], list[tuple[str, str]], list[tuple[str, str]]]:
    """Sockets, widgets with what they are at first, and outputs, each with its name."""
    sockets, widgets = [], []
    for group in node.INPUT_TYPES().values():
        for name, (kind, *more) in group.items():
            settings = more[0] if more else {}
            if isinstance(kind, str) and kind in COLOURS:
                sockets.append((name, kind))
            else:
                usual = settings.get("default", kind[0] if isinstance(kind, list) else "")
                widgets.append((name, str(usual).lower() if isinstance(usual, bool) else str(usual)))
    names = getattr(node, "RETURN_NAMES", node.RETURN_TYPES)
    return sockets, widgets, list(zip(names, node.RETURN_TYPES))


def text(x: float, y: float, words: str, colour: str = "#ddd", anchor: str = "start", size: int = 12) -> str:
    words = words if len(words) < 31 else f"{words[:29]}…"
    return f'<text x="{x:g}" y="{y:g}" fill="{colour}" text-anchor="{anchor}" font-size="{size}">{escape(words)}</text>'


def drawn(node: type, title: str, x: float, y: float) -> tuple[list[str], float, dict, dict]:
    """A node at a place: its shapes, where it ends, and the places of its inputs and outputs."""
    sockets, widgets, outputs = parts(node)
    lines = max(len(sockets), len(outputs))
    height = TITLE + ROW * (lines + len(widgets)) + 10
    made = [
        f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{height:g}" rx="7" fill="#353535" stroke="#555"/>',
        f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{TITLE}" rx="7" fill="#454545"/>',
        text(x + 10, y + 18, title, "#fff", size=13),
    ]
    entries, exits = {}, {}
    for side, named, places, shift, anchor in ((0, sockets, entries, 12, "start"), (WIDTH, outputs, exits, -12, "end")):
        for number, (name, kind) in enumerate(named):
            at = x + side, y + TITLE + 14 + ROW * number
            places[kind] = at
            made.append(f'<circle cx="{at[0]:g}" cy="{at[1] - 4:g}" r="5" fill="{COLOURS[kind]}"/>')
            made.append(text(at[0] + shift, at[1], name.lower(), anchor=anchor))
    for number, (name, usual) in enumerate(widgets):
        row = y + TITLE + 14 + ROW * (lines + number)
        made.append(
            f'<rect x="{x + 8:g}" y="{row - 13:g}" width="{WIDTH - 16}" height="{ROW - 3}" rx="8" fill="#222"/>'
        )
        made.append(text(x + 16, row, name, "#999", size=11))
        made.append(text(x + WIDTH - 16, row, usual, "#eee", "end", 11))
    return made, y + height, entries, exits


def picture() -> str:
    """The nodes in columns, and a wire from each output to the inputs of its kind in the next column."""
    nodes, shown = loaded_nodes()
    shapes, wires, bottom = [], [], 0.0
    before: list[dict] = []
    for column, names in enumerate(COLUMNS):
        x, y, exits = GAP + column * (WIDTH + BETWEEN), float(GAP), []
        for name in names:
            made, end, entries, out = drawn(nodes[name], shown[name], x, y)
            shapes += made
            for kind in ("VFI_MODEL", "VFI_FLOW", "INTERPOLATION_STATES"):
                for place in [each[kind] for each in before if kind in each and kind in entries and column == 1]:
                    (x0, y0), (x1, y1) = place, entries[kind]
                    bend = f"M{x0:g} {y0 - 4:g} C{x0 + 60:g} {y0 - 4:g} {x1 - 60:g} {y1 - 4:g} {x1:g} {y1 - 4:g}"
                    wires.append(f'<path d="{bend}" fill="none" stroke="{COLOURS[kind]}" stroke-width="2.5"/>')
            exits.append(out)
            y, bottom = end + GAP, max(bottom, end + GAP)
        before = exits
    width = 2 * GAP + len(COLUMNS) * WIDTH + (len(COLUMNS) - 1) * BETWEEN
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom:g}" font-family="sans-serif">'
    ground = f'<rect width="{width}" height="{bottom:g}" fill="#1e1e1e"/>'
    return "\n".join([head, ground, *wires, *shapes, "</svg>", ""])


def write_strip(path: Path) -> None:
    """Two photographs, and what lies between."""
    import vfi
    from vfi.commands.moving_photographs import true_frame
    from vfi.drawing.panels import Panel, strip
    from vfi.files.images import write_image

    first, second = true_frame(0), true_frame(1)
    middle, late = vfi.between(first, second, [0.5, 0.75])
    named = {"first": first, "vfi.between(first, second)": middle, "t = 0.75": late, "second": second}
    write_image(path, strip([Panel(name, frame) for name, frame in named.items()], columns=4, panel_width=280))


if __name__ == "__main__":
    (DOCS / "where_comfyui.svg").write_text(picture(), encoding="utf-8")
    write_strip(DOCS / "where_python.jpg")
