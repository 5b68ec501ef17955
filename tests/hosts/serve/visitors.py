"""Somebody who has the page open in Chromium, and what tests ask of a server beside it."""

import re
import shutil
import time
import urllib.error
import urllib.request

import av
import pytest

pytest.importorskip("gradio", reason="needs Gradio: make test-hosts")
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: make test-hosts")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MARKS = [pytest.mark.nightly, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]
SECONDS = 30_000  # milliseconds that anything may take


class Visitor:
    """Somebody with the page open, from a profile of their own."""

    def __init__(self, browser, server, width=1200, name=None, password=None, patience=SECONDS):
        self.server, self.context = server, browser.new_context(viewport={"width": width, "height": 900})
        self.page = self.context.new_page()
        self.page.set_default_timeout(patience)
        self.asked, self.faults = [], []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(error.stack))
        self.page.goto(server.url)
        if password is not None:
            self.page.get_by_label("username").fill(name)
            self.page.get_by_label("password").fill(password)
            self.page.get_by_role("button", name="Login").click()
        self.page.get_by_role("button", name="Make the video").wait_for()

    def send(self, what, label="drop-a-video-here"):
        """Files, or a name and the bytes of one."""
        if isinstance(what, tuple):
            what = {"name": what[0], "mimeType": "application/octet-stream", "buffer": what[1]}
        self.page.locator(f"#{label} input[type=file]").set_input_files(what)

    def plan(self, words="frames per second"):
        box = self.page.get_by_label("What it is, and what will be made")
        playwright.expect(box).to_have_value(re.compile(words), timeout=SECONDS)
        return box.input_value()

    def choose(self, amount):
        box = self.page.get_by_role("combobox", name="How much")
        box.fill(amount)
        box.press("Enter")

    def press(self, name):
        self.page.get_by_role("button", name=name, exact=True).click()

    def refusal(self):
        """The sentence that is shown."""
        toast = self.page.locator(".toast-body").last
        toast.wait_for()
        return toast.inner_text()

    def player(self):
        """The two videos, once they are there: source and result."""
        self.page.locator(".vfi-player:not([hidden])").wait_for()
        self.page.wait_for_function("[...document.querySelectorAll('.vfi-player video')].every(v => v.readyState > 1)")
        return self.page.evaluate(
            "[...document.querySelectorAll('.vfi-player video')].map(v => [v.videoWidth, v.videoHeight, v.duration])"
        )

    def download(self):
        with self.page.expect_download() as started:
            self.page.locator(".vfi-player .download").click()
        return started.value.suggested_filename, started.value.path()

    def leave(self):
        self.context.close()


def eventually(condition, seconds=30):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def frames_of(path):
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def status(server, path):
    try:
        return urllib.request.urlopen(server.url + path).status
    except urllib.error.HTTPError as error:
        return error.code
