"""The page in a real browser: who sees what of others, what is hostile, and what is left."""

import contextlib
import signal
import subprocess

import pytest
from visitors import MARKS, eventually, frames_of, playwright, status

pytestmark = MARKS


def test_two_at_once_see_their_own(visit, video, server):
    one, two = visit(), visit()
    one.send(video("one.mp4"))
    two.send(video("two.mkv", frames=12))
    assert "one.mp4" in one.plan() and "two.mkv" in two.plan()
    for visitor in (one, two):
        visitor.press("Make the video")
    assert frames_of(one.download()[1]) == 16
    assert frames_of(two.download()[1]) == 24
    links = [each.page.locator(".vfi-player .download").get_attribute("href") for each in (one, two)]
    folders = [link.split("/")[1] for link in links]
    assert folders[0] != folders[1]
    assert status(server, links[0]) == 200
    for wrong in (f"vfi-files/{folders[0]}/nothing.mp4", f"vfi-files/{'x' * 32}/source.mp4", "vfi-files/../source.mp4",
                  f"vfi-files/{folders[0]}/..%2F{folders[1]}%2Fsource.mkv", "gradio_api/file=/etc/passwd",
                  f"gradio_api/file={server.log}"):  # fmt: skip
        assert status(server, wrong) in (403, 404)
    one.leave()
    eventually(lambda: not any(folders[0] in name for name in server.files()))
    assert status(server, links[0]) == 404 and status(server, links[1]) == 200


NAMES = ["../../x.mp4", "%05d.mp4", "-o.mp4", "<img src=x onerror=document.title='owned'>.mp4", "concat:a|b.mp4",
         "a" * 180 + ".mp4", "фильм №1 $(touch x) `y`.mp4"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names(visit, video, server, name):
    visitor = visit()
    visitor.send((name, video().read_bytes()))
    visitor.plan()
    visitor.press("Make the video")
    saved, path = visitor.download()
    assert frames_of(path) == 16 and "/" not in saved and saved.endswith(" smoother 2x.mp4")
    assert visitor.page.title() != "owned"
    made = {file.split("/")[-1] for file in server.files() if "/result-" in file}
    assert made == {"result-2.mp4"}


@pytest.mark.parametrize(("name", "data", "sentence"), [
    ("text.mp4", b"no video at all", "text.mp4 as a video"),
    ("empty.mp4", b"", "empty.mp4 as a video: it is empty"),
    ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n", "list.m3u8 as a video"),
    ("zip.mp4", b"PK\x03\x04" + bytes(99), "it is an archive"),
])  # fmt: skip
def test_what_is_no_video(visit, server, name, data, sentence):
    visitor = visit()
    visitor.send((name, data))
    assert sentence in visitor.refusal()
    eventually(lambda: visitor.page.locator(".vfi-bar").count() == 0)
    visitor.press("Make the video")
    eventually(lambda: "got none: drop one" in visitor.refusal())


def test_a_password(serve, visit, video):
    server = serve("--host", "0.0.0.0", "--password", "geheim")
    server.url = server.url.replace("0.0.0.0", "127.0.0.1")
    assert status(server, "config") == 401
    assert status(server, "gradio_api/info") == 401
    with pytest.raises(playwright.TimeoutError):
        visit(server, name="me", password="falsch", patience=3000)
    visitor = visit(server, name="me", password="geheim")
    visitor.send(video())
    visitor.plan()


def test_limits(serve, visit, video):
    server = serve("--max-size", "1M", "--max-length", "0.5", "--max-time", "1")
    visitor = visit(server)
    visitor.send(("large.mp4", bytes(2 << 20)))
    assert "1048576" in visitor.refusal() or "1.0 MB" in visitor.refusal() or "size" in visitor.refusal()
    visitor = visit(server)
    visitor.send(video())
    assert "at most 0.5 seconds" in visitor.refusal()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_at_its_end_nothing_is_left(serve, visit, video, number):
    server = serve()
    visitor = visit(server)
    visitor.send(video("large.mp4", frames=60, size=(640, 352)))
    visitor.plan()
    visitor.press("Make the video")
    visitor.page.locator(".vfi-bar progress[max]").wait_for()
    workers = server.children()
    assert workers
    server.end(number)
    assert list(server.folder.iterdir()) == []
    running = subprocess.run(["ps", "-ewwo", "pid"], capture_output=True, text=True, check=True).stdout.split()
    assert not {str(pid) for pid in workers} & set(running)


def test_who_leaves_while_it_works_takes_everything_along(visit, video, server):
    visitor = visit()
    visitor.send(video("large.mp4", frames=60, size=(640, 352)))
    visitor.plan()
    visitor.press("Make the video")
    visitor.page.locator(".vfi-bar progress[max]").wait_for()
    visitor.leave()
    with contextlib.suppress(AssertionError):
        eventually(lambda: server.files() == [])
    assert server.files() == []
