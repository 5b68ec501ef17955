"""How the page is laid out, and what calls what."""

from pathlib import Path
from typing import TYPE_CHECKING

from vfi.commands.serve.page import PREVIEW, Page, Settings, bar
from vfi.errors import require
from vfi.models.registry import DEFAULT

gr = require("gradio", "serve")
if TYPE_CHECKING:
    from gradio import Blocks
    from gradio.components import Component
    from gradio.themes import Base
_HERE = Path(__file__).parent
_AMOUNTS = ["2x", "3x", "4x", "8x", "50 per second", "60 per second", "120 per second"]
_FILES = [".mp4", ".mkv", ".mov", ".webm"]
_FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]  # of the reader's own: nobody else is asked
CSS = """
.vfi-bar { display: flex; gap: 10px; align-items: center; }
.vfi-bar progress { flex: 1; min-width: 80px; }
.gradio-container { max-width: 1100px !important; margin: 0 auto; }
"""


def text_of(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def theme() -> "Base":
    return gr.themes.Default(font=_FONT, font_mono=["ui-monospace", "monospace"])


def layout(page: Page, settings: Settings) -> "Blocks":
    """The page as Gradio's Blocks."""
    with gr.Blocks(title="vfi", analytics_enabled=False, delete_cache=(600, 3600)) as blocks:
        gr.Markdown("# vfi: a smoother or slower video")
        with gr.Accordion("Model", open=False), gr.Row():
            model = gr.Dropdown(list(settings.models), value=DEFAULT, label="Model")
            engine = gr.Dropdown(list(settings.engines), value=settings.engines[0], label="Engine")
        with gr.Tab("A video"):
            _video(page, model, engine)
        with gr.Tab("Two pictures"):
            _two_pictures(page, model, engine)
        blocks.unload(page.leave)
    blocks.queue(default_concurrency_limit=settings.jobs, max_size=settings.waiting, api_open=False)
    return blocks


def _upload(label: str) -> "Component":
    """Gives the path. Gradio's own way leaves an empty file behind each time."""
    upload = gr.File(label=label, type="filepath", height=120, elem_id=label.lower().replace(" ", "-"))
    upload.preprocess = lambda sent: sent and sent.path
    return upload


def _video(page: Page, model: "Component", engine: "Component") -> None:
    upload = _upload("Drop a video here")
    with gr.Row():
        choice = gr.Radio(["smoother", "slower"], value="smoother", label="What it should become")
        amount = gr.Dropdown(_AMOUNTS, value="2x", label="How much", allow_custom_value=True)
        file = gr.Dropdown(_FILES, value=".mp4", label="File")
    plan = gr.Textbox(label="What it is, and what will be made", lines=4, max_lines=14, interactive=False)
    begin = gr.Slider(0, 1, value=0, step=0.1, label="Preview from (seconds)", interactive=False)
    with gr.Row():
        preview = gr.Button(f"Preview {PREVIEW} seconds")
        render = gr.Button("Make the video", variant="primary")
        cancel = gr.Button("Cancel", variant="stop")
    status = gr.HTML("")
    player = gr.HTML(
        None,
        html_template=text_of("player.html"),
        css_template=text_of("player.css"),
        js_on_load=text_of("player.js"),
        elem_id="player",
    )
    with gr.Accordion("A frame in the middle, the motion and the holes", open=False, elem_id="behind"):
        at = gr.Slider(0, 1, value=0, step=0.01, label="Moment (seconds)")
        show = gr.Button("Show the frame in the middle")
        slider, behind = _pictures()
    choices = [choice, amount, model, engine, file]
    looked = upload.change(page.look, [upload, *choices], [status, plan, begin, at, player], **_quick())
    planned = gr.on(
        [each.change for each in choices], page.plan, choices, plan,
        **_quick(), concurrency_id="look", trigger_mode="always_last",
    )  # fmt: skip
    shown = {"show_progress": "hidden", "concurrency_id": "render", "api_visibility": "private"}
    for button in (preview, render):
        button.click(lambda: bar("waiting for its turn"), None, status, queue=False, **_quick())
    jobs = [
        preview.click(page.preview, [begin, *choices], [status, player], **shown),
        render.click(page.render, choices, [status, player], **shown),
    ]
    cancel.click(page.cancel, None, status, queue=False, cancels=jobs, **_quick())
    shown_one = show.click(
        page.moment, [at, model, engine], [status, slider, behind], **_quick(), concurrency_id="look"
    )
    for event, shows_words in (
        (looked, status),
        (planned, plan),
        (shown_one, status),
        *((job, status) for job in jobs),
    ):
        event.failure(_nothing, None, shows_words, **_quick())


def _two_pictures(page: Page, model: "Component", engine: "Component") -> None:
    with gr.Row():
        first = _upload("First picture")
        second = _upload("Second picture")
    t = gr.Slider(0, 1, value=0.5, step=0.01, label="When: 0 is the first picture, 1 the second")
    make = gr.Button("Make the frame between", variant="primary")
    status = gr.HTML("")
    slider, behind = _pictures()
    result = gr.File(label="Download", interactive=False)
    first.change(page.first, first, **_quick())
    second.change(page.second, second, **_quick())
    inputs = [t, model, engine]
    made = make.click(page.between, inputs, [status, slider, behind, result], **_quick(), concurrency_id="look")
    made.failure(_nothing, None, status, **_quick())


def _pictures() -> "tuple[Component, Component]":
    slider = gr.ImageSlider(
        label="The first frame, and the frame made", visible=False, interactive=False, type="filepath"
    )
    behind = gr.Gallery(label="What is behind it", visible=False, columns=2, object_fit="contain", interactive=False)
    return slider, behind


def _nothing() -> str:
    """In place of how far it was, once it has failed."""
    return ""


def _quick() -> dict[str, object]:
    return {"show_progress": "hidden", "api_visibility": "private"}
