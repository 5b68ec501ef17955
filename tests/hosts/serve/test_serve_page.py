"""The page in a real browser: what people do there (`make test-hosts` has an environment with Gradio; Chromium is the
system's)."""

import time

import numpy as np
import pytest
from visitors import MARKS, eventually, frames_of

from vfi.files.images import read_image, write_image

pytestmark = MARKS


def test_a_video_becomes_smoother(visit, video, server):
    visitor = visit()
    visitor.send(video("holiday.mp4"))
    assert "96x64, 10 frames per second" in visitor.plan()
    visitor.press("Make the video")
    (width, height, source), (_, _, result) = sorted(visitor.player())
    assert (width, height) == (96, 64) and source == pytest.approx(0.8, abs=0.05) == result
    name, path = visitor.download()
    assert name == "holiday smoother 2x.mp4" and frames_of(path) == 16
    assert all(url.startswith((server.url, "data:", "blob:")) for url in visitor.asked)


def test_it_becomes_slower_and_the_source_keeps_step(visit, video):
    visitor = visit()
    visitor.send(video())
    visitor.plan()
    visitor.page.get_by_label("slower").check()
    visitor.choose("4x")
    visitor.plan("10 frames per second, about 32 frames")
    visitor.press("Make the video")
    visitor.player()
    name, path = visitor.download()
    assert name == "in slower 4x.mp4" and frames_of(path) == 32
    visitor.page.evaluate("""() => { const seek = document.querySelector('.vfi-player .seek');
        document.querySelector('.vfi-player .after').pause(); seek.value = 0.5; seek.oninput(); }""")
    at = "['before', 'after'].map(name => document.querySelector('.vfi-player .' + name).currentTime)"
    eventually(lambda: visitor.page.evaluate(at)[1] == pytest.approx(1.6, abs=0.1))
    assert visitor.page.evaluate(at)[0] == pytest.approx(0.4, abs=0.1)


def test_a_preview_first_and_the_slider(visit, video):
    visitor = visit()
    visitor.send(video("longer.mp4", frames=50))
    visitor.plan()
    visitor.page.get_by_label("number input for Preview from (seconds)").fill("1")
    visitor.press("Preview 3 seconds")
    assert [round(duration) for _, _, duration in visitor.player()] == [3, 3]
    assert frames_of(visitor.download()[1]) == 60
    clip = "document.querySelector('.vfi-player .before').style.clipPath"
    assert "50%" in visitor.page.evaluate(clip)
    visitor.page.locator(".vfi-player .split").fill("20")
    assert "80%" in visitor.page.evaluate(clip)
    visitor.press("Make the video")
    eventually(lambda: visitor.player()[0][2] > 4)


def test_progress_then_cancel_and_nothing_is_left(visit, video, server):
    visitor = visit()
    visitor.send(video("large.mp4", frames=60, size=(640, 352)))
    visitor.plan()
    before = server.files()
    visitor.press("Make the video")
    visitor.page.get_by_text("left", exact=False).locator("visible=true").first.wait_for()
    assert visitor.page.locator(".vfi-bar progress[max]").count() == 1
    visitor.press("Cancel")
    eventually(lambda: visitor.page.locator(".vfi-bar").count() == 0)
    eventually(lambda: server.files() == before)
    visitor.choose("3x")
    visitor.plan("30 frames per second")


def test_a_waiting_job_can_be_cancelled_too(visit, video, server):
    first, second = visit(), visit()
    for visitor in (first, second):
        visitor.send(video("large.mp4", frames=60, size=(640, 352)))
        visitor.plan()
    first.press("Make the video")
    first.page.locator(".vfi-bar progress[max]").wait_for()
    second.press("Make the video")
    time.sleep(1)
    second.press("Cancel")
    first.press("Cancel")
    time.sleep(3)
    assert second.page.locator(".vfi-bar").count() == 0
    assert not [name for name in server.files() if "result-" in name or ".part" in name]


def test_the_frame_in_the_middle_and_what_is_behind_it(visit, video):
    visitor = visit()
    visitor.send(video())
    visitor.plan()
    visitor.page.get_by_text("A frame in the middle, the motion and the holes").click()
    visitor.press("Show the frame in the middle")
    visitor.page.wait_for_function("""[...document.querySelectorAll('img')].filter(
        each => each.src.includes('picture-') && each.naturalWidth > 0).length >= 4""")


def test_two_pictures(visit, tmp_path):
    texture = np.random.default_rng(0).integers(0, 255, (64, 104, 3), dtype=np.uint8)
    for name, shift in (("a.png", 0), ("b.png", 8)):
        write_image(tmp_path / name, np.ascontiguousarray(texture[:, shift : shift + 96]))
    visitor = visit()
    visitor.page.get_by_role("tab", name="Two pictures").click()
    visitor.press("Make the frame between")
    assert "got none" in visitor.refusal()
    for name, label in (("a.png", "first-picture"), ("b.png", "second-picture")):
        visitor.send(tmp_path / name, label)
        visitor.page.locator(f"#{label} .file-preview").wait_for()
    visitor.press("Make the frame between")
    visitor.page.locator("a[download^='between-']").first.wait_for()
    with visitor.page.expect_download() as started:
        visitor.page.locator("a[download^='between-']").first.click()
    assert read_image(started.value.path().rename(tmp_path / "got.png")).pixels.shape == (64, 96, 3)


def test_on_a_phone(visit, video):
    visitor = visit(width=390)
    visitor.send(video())
    visitor.plan()
    visitor.press("Make the video")
    visitor.player()
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 390
    for name in ("Preview 3 seconds", "Make the video", "Cancel"):
        assert visitor.page.get_by_role("button", name=name).bounding_box()["height"] >= 24
