"""The picture of the nodes in ComfyUI's own page: python scripts/draw_comfyui.py, with playwright and Chromium (make
environments: .environments/serve/bin/python). VFI_COMFYUI is the folder of a ComfyUI, VFI_COMFYUI_PYTHON its Python.

docs/comfyui.jpg shows a graph after it has run: two photographs, what is between them, and their flow.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/hosts"))
WIDTH, HEIGHT, BELOW = 1500, 790, 110  # px; what lies below has the page's own tools
QUALITY = 78
# Nodes by their places; widgets are what the page fills, but for these.
NODES = {
    1: ("LoadImage", (20, 40), (250, 314), ["first.png", "image"]),
    2: ("LoadImage", (20, 400), (250, 314), ["second.png", "image"]),
    3: ("ImageBatch", (300, 290), (180, 46), []),
    4: ("VFIKernelsLoadModel", (300, 40), (290, 200), None),
    5: ("VFIKernelsInterpolateFrames", (620, 40), (340, 250), {"multiplier": 4}),
    6: ("PreviewImage", (1000, 40), (400, 320), []),
    7: ("VFIKernelsOpticalFlow", (300, 400), (290, 150), None),
    8: ("VFIKernelsSplat", (620, 400), (340, 200), {"amount": 0.5}),
    9: ("PreviewImage", (1000, 400), (190, 250), []),
    10: ("PreviewImage", (1210, 400), (190, 250), []),
}
# From a node's output to another's input, by its name.
LINKS = [
    (1, 0, 3, "image1"), (2, 0, 3, "image2"), (4, 0, 5, "model"), (3, 0, 5, "frames"), (5, 0, 6, "images"),
    (1, 0, 7, "first"), (2, 0, 7, "second"), (1, 0, 8, "image"), (7, 0, 8, "flow"), (7, 1, 9, "images"),
    (8, 0, 10, "images"),
]  # fmt: skip
DRAWN = """([nodes, links]) => {
    const graph = window.app.graph, made = {};
    graph.clear();
    for (const [id, [kind, place, size, values]] of Object.entries(nodes)) {
        const node = made[id] = LiteGraph.createNode(kind);
        node.pos = place; graph.add(node); node.setSize(size);
        for (const [at, widget] of (node.widgets ?? []).entries()) {
            const given = Array.isArray(values) ? values[at] : values?.[widget.name];
            if (given !== undefined) { widget.value = given; widget.callback?.(given); }
        }
    }
    for (const [from, output, to, input] of links) made[from].connect(output, made[to], input);
    window.app.canvas.ds.scale = 1; window.app.canvas.ds.offset = [20, 40];
    graph.setDirtyCanvas(true, true);
}"""


def main() -> None:
    from comfyui_server import COMFYUI, Server

    from vfi.commands.moving_photographs import true_frame
    from vfi.files.images import write_image

    if COMFYUI is None:
        sys.exit("VFI_COMFYUI, the folder of a ComfyUI, is not set")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        server = Server(Path(folder) / "ComfyUI")
        try:
            for name, time in (("first", 0), ("second", 1)):
                write_image(server.folder / f"input/{name}.png", true_frame(time))
            browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT + BELOW})
            page.goto(server.url)
            page.wait_for_function(
                "window.app?.graph && !!LiteGraph.registered_node_types.VFIKernelsSplat", timeout=120_000
            )
            page.wait_for_timeout(4000)  # its offer of templates comes late
            page.keyboard.press("Escape")
            page.evaluate("window.app.extensionManager.setting.set('Comfy.Minimap.Visible', false)")
            page.evaluate(DRAWN, [NODES, LINKS])
            page.evaluate("window.app.queuePrompt(0)")
            page.wait_for_function("window.app.graph._nodes.filter(n => n.imgs?.length).length == 5", timeout=120_000)
            page.wait_for_timeout(2000)
            part = {"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT}
            page.screenshot(path=ROOT / "docs/comfyui.jpg", quality=QUALITY, clip=part)
            browser.close()
        finally:
            server.end()


if __name__ == "__main__":
    main()
