"""The pictures of `vfi serve` in the docs: python scripts/draw_serve.py, with Gradio, playwright and Chromium
(make environments: .environments/serve/bin/python).

serve.jpg is the page with a result, serve_phone.jpg the same on a phone, serve_frame.jpg a frame in the middle with its
motion and holes. The clip is the one of `make demo`.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
CLIP = ROOT / "python" / "vfi" / "commands" / "big_buck_bunny.mp4"
QUALITY = 82


def main() -> None:
    command = [sys.executable, "-m", "vfi", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as started:
        assert server.stdout is not None
        found = re.search(r"at (\S+)", server.stdout.readline())
        assert found is not None
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, width in (("serve", 1000), ("serve_phone", 390)):
            page = with_result(browser, found[1], width)
            page.screenshot(path=ROOT / "docs" / f"{name}.jpg", full_page=True, quality=QUALITY)
        page = with_result(browser, found[1], 1000)
        page.get_by_text("A frame in the middle, the motion and the holes").click()
        page.get_by_role("button", name="Show the frame in the middle").click()
        page.wait_for_function(
            "[...document.querySelectorAll('img')].filter(e => e.src.includes('picture-') && e.naturalWidth).length > 3"
        )
        page.wait_for_timeout(500)
        part = page.locator("#behind")
        part.screenshot(path=ROOT / "docs" / "serve_frame.jpg", quality=QUALITY)
        browser.close()
        server.terminate()


def with_result(browser: Browser, address: str, width: int) -> Page:
    """The page once the clip was made twice as smooth, in the middle of its playback."""
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(address)
    page.locator("#drop-a-video-here input[type=file]").set_input_files(CLIP)
    page.wait_for_function("document.querySelector('textarea')?.value.includes('frames per second')")
    page.get_by_role("button", name="Make the video").click()
    page.locator(".vfi-player:not([hidden])").wait_for()
    page.wait_for_function("[...document.querySelectorAll('.vfi-player video')].every(v => v.readyState > 1)")
    page.evaluate("""() => { document.querySelector('.vfi-player .after').pause();
        const seek = document.querySelector('.vfi-player .seek'); seek.value = 0.6; seek.oninput(); }""")
    page.wait_for_timeout(700)
    return page


if __name__ == "__main__":
    main()
