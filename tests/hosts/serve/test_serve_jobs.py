"""Without the page: sessions and their files, jobs, and the processes that do them."""

import json
import os
import signal
import subprocess
import sys
import time

import av
import numpy as np
import pytest

import vfi
from vfi.commands.serve.sessions import Sessions
from vfi.commands.serve.workers import Cancelled, Job, Workers
from vfi.errors import UserError
from vfi.files.images import read_image, write_image

LONG = 600.0


@pytest.fixture(scope="module")
def workers():
    started = Workers()
    yield started
    started.close()


@pytest.fixture
def session(tmp_path):
    return Sessions(tmp_path).of("a")


def asked(session, do, **more):
    return {"do": do, "folder": str(session.folder), "model": "flow-splat", "number": session.next_number(), **more}


def done(workers, session, do, seconds=LONG, **more):
    return Job(workers, asked(session, do, **more), seconds).result()


def rendering(session, **more):
    return {"source": session.file("source"), "output": "result.mp4", "how": {"factor": "2"}, **more}


# Names of uploads, and what they are called in the folder.
NAMES = {
    "film.MP4": "source.mp4", "%05d.mp4": "source.mp4", "-o.mkv": "source.mkv", "concat:a|b.ts": "source.ts",
    "a.": "source", "noname": "source", ".mp4": "source", "a.m/p4": "source", "a.m p": "source", "a.тхт": "source",
    "x" * 200 + ".mov": "source.mov", "a.mp4\n.mp4": "source.mp4", "a.abcdefg": "source",
    "<img src=x onerror=alert(1)>.mp4": "source.mp4",
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_of_uploads_are_no_paths(tmp_path, session, name):
    upload = tmp_path / "up"
    upload.mkdir()
    path = upload / name.replace("/", "\\")
    path.write_bytes(b"1")
    session.take(path, "source")
    assert os.listdir(session.folder) == [session.file("source")]
    assert session.file("source") == NAMES[name]
    assert session.in_their_words(f"cannot read {NAMES[name]}") == f"cannot read {path.name}"


def test_a_new_upload_takes_the_place_of_the_last(tmp_path, session):
    for name in ("one.mp4", "two.mkv"):
        (tmp_path / name).write_bytes(name.encode())
        session.take(tmp_path / name, "source")
        for made in ("result-1.mp4", ".result-2.unfinished-1.mp4"):
            (session.folder / made).touch()
    (session.folder / "result-3.mkv.segments").mkdir()
    session.take(tmp_path / "one.mp4", "first")
    (session.folder / "between-4.png").touch()
    session.forget("source")
    assert sorted(os.listdir(session.folder)) == ["between-4.png", "first.mp4"]
    session.take(tmp_path / "two.mkv", "first")
    assert os.listdir(session.folder) == ["first.mkv"]
    with pytest.raises(UserError, match="expected a video, got none"):
        session.file("source")


def test_what_a_job_left_is_removed(session):
    keep = ["before-1.mp4", "result-11.mp4", "source.mp4"]
    for name in (*keep, "before-12.mp4", "picture-12-before.png", ".result-12.unfinished-7.mp4"):
        (session.folder / name).touch()
    (session.folder / ".result-12.mp4.parts").mkdir()
    session.remove(12)
    assert sorted(os.listdir(session.folder)) == keep


def test_sessions_do_not_see_each_other(tmp_path):
    sessions = Sessions(tmp_path)
    one, two = sessions.of("one"), sessions.of("two")
    assert one is sessions.of("one") and one.folder != two.folder and len(one.folder.name) >= 32
    assert os.stat(one.folder).st_mode & 0o077 == 0
    (one.folder / "result.mp4").write_bytes(b"1")
    assert sessions.file(one.folder.name, "result.mp4") == one.folder / "result.mp4"
    for folder, name in [
        (two.folder.name, "result.mp4"), ("..", "result.mp4"), ("", "result.mp4"), (one.folder.name, "../x"),
        (one.folder.name, ".."), (one.folder.name, ""),
    ]:  # fmt: skip
        assert sessions.file(folder, name) is None
    upload = tmp_path / "sent.mp4"
    upload.write_bytes(b"2")
    one.take(upload, "source")
    sessions.end("one")
    sessions.end("never there")
    assert os.listdir(tmp_path) == [two.folder.name]


def test_old_uploads_are_swept(tmp_path):
    sessions = Sessions(tmp_path)
    session = sessions.of("a")
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "in.mp4").write_bytes(b"1")
    session.take(tmp_path / "old" / "in.mp4", "source")
    for path in (tmp_path / "old", session.folder):
        os.utime(path, (1, 1))
    sessions.sweep(60)
    assert sorted(os.listdir(tmp_path)) == sorted([session.folder.name, "new"])
    assert (session.folder / "source.mp4").read_bytes() == b"1"


@pytest.mark.slow
def test_weights_that_are_none_are_refused_at_once(workers, session, tmp_path):
    (tmp_path / "flownet.pkl").write_bytes(b"no weights")
    with pytest.raises(UserError, match="not a checkpoint"):
        Job(
            workers, asked(session, "load") | {"model": "rife", "weights": str(tmp_path / "flownet.pkl")}, LONG
        ).result()


@pytest.mark.slow
def test_a_result_is_that_of_the_command(workers, session, video, tmp_path):
    source = video()
    session.take(source, "source")
    assert done(workers, session, "plan", longest=60, **rendering(session))["seconds"] == pytest.approx(0.8)
    made = done(workers, session, "render", **rendering(session))
    assert [made[name] for name in ("before", "after", "output")] == ["source.mp4", "result.mp4", "result.mp4"]
    vfi.interpolate(source, tmp_path / "own.mp4", factor=2, progress=False)
    assert (session.folder / "result.mp4").read_bytes() == (tmp_path / "own.mp4").read_bytes()


@pytest.mark.slow
def test_a_preview_is_a_part(workers, session, video):
    session.take(video("long.mp4", frames=40), "source")
    made = done(workers, session, "render", **rendering(session, start=1.0, end=3.0))
    frames = {}
    for name in ("before", "after"):
        with av.open(str(session.folder / made[name])) as container:
            frames[name] = sum(1 for _ in container.decode(video=0))
    assert frames == {"before": 20, "after": 40}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["odd.avi", "odd.mkv", "deep.mp4"])
def test_a_browser_gets_what_it_shows(workers, session, video, name):
    more = {"codec": "hevc", "pixels": "yuv420p10le"} if name == "deep.mp4" else {}
    session.take(video(name, **more), "source")
    made = done(workers, session, "render", **rendering(session))
    assert made["cut"] and made["output"] == "result.mp4"
    for each in ("before", "after"):
        assert made[each].endswith(".mp4")
        with av.open(str(session.folder / made[each])) as container:
            context = container.streams.video[0].codec_context
            assert (context.codec.canonical_name, context.pix_fmt) == ("h264", "yuv420p")


@pytest.mark.slow
def test_moments_and_pictures(workers, session, video, tmp_path):
    session.take(video(), "source")
    with pytest.raises(UserError, match="expected a moment with a frame behind it, got 70"):
        done(workers, session, "moment", source=session.file("source"), at="70")
    for at in ("0", "0.35", "0.7", "0.8"):
        made = done(workers, session, "moment", source=session.file("source"), at=at)
        assert len(made["pair"]) == 2 and len(made["behind"]) >= 2
        for name in (*made["pair"], *made["behind"]):
            assert read_image(session.folder / name).pixels.shape[2] == 3
    texture = np.random.default_rng(0).integers(0, 255, (48, 80, 3), dtype=np.uint8)
    for role, shift in (("first", 0), ("second", 8)):
        write_image(tmp_path / f"{role}.png", np.ascontiguousarray(texture[:, shift : shift + 64]))
        session.take(tmp_path / f"{role}.png", role)
    made = done(workers, session, "between", sources=["first.png", "second.png"], output="between.png", t=0.25)
    middle = vfi.between(*(read_image(tmp_path / f"{role}.png").pixels for role in ("first", "second")), 0.25)
    assert np.array_equal(read_image(session.folder / made["output"]).pixels, middle)


FFCONCAT = "ffconcat version 1.0\nfile {0}\n"
HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{0}\n#EXT-X-ENDLIST\n"
DASH = """<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S"
profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet mimeType="video/mp4"><Representation id="0"
bandwidth="1" width="96" height="64"><BaseURL>{0}</BaseURL></Representation></AdaptationSet></Period></MPD>"""
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".txt", ""])
@pytest.mark.parametrize("text", [FFCONCAT, HLS, DASH, SDP, "no video\n", ""])
def test_what_refers_to_other_files_is_no_video(workers, session, video, tmp_path, text, suffix):
    secret = session.folder / "secret.mp4"
    secret.write_bytes(video().read_bytes())
    path = tmp_path / f"list{suffix}"
    path.write_text(text.format("secret.mp4"))
    session.take(path, "source")
    secret.write_bytes(video().read_bytes())
    with pytest.raises(UserError, match="cannot read source"):
        done(workers, session, "plan", longest=60, **rendering(session))


@pytest.mark.slow
def test_limits(workers, session, video, tmp_path):
    session.take(video(), "source")
    with pytest.raises(UserError, match=r"at most 0\.5 seconds, got 0\.8"):
        done(workers, session, "plan", longest=0.5, **rendering(session))
    write_image(tmp_path / "still.png", np.zeros((8, 8, 3), np.uint8))
    session.take(tmp_path / "still.png", "source")
    with pytest.raises(UserError, match="expected a video, got an image"):
        done(workers, session, "plan", longest=60, **rendering(session))


@pytest.mark.slow
def test_cancelled_late_and_broken_jobs_end(workers, session, video):
    session.take(video("large.mp4", frames=60, size=(640, 352)), "source")
    long = rendering(session, how={"factor": "8"})
    job = session.begin(Job(workers, asked(session, "render", **long), LONG))
    while not job.progress.frames:
        assert not job.wait(0.1)
    session.stop()
    with pytest.raises(Cancelled):
        job.result()
    with pytest.raises(UserError, match="may take 1 seconds"):
        done(workers, session, "render", seconds=1.0, **long)
    job = Job(workers, asked(session, "render", **long), LONG)
    while not job.progress.frames:
        assert not job.wait(0.1)
    (worker,) = (each for each in workers._all if each not in workers._idle)
    os.kill(worker._process.pid, signal.SIGKILL)
    with pytest.raises(UserError, match="ended without a word"):
        job.result()
    assert all(each.lives for each in workers._all)
    assert done(workers, session, "render", **rendering(session, how={"factor": "1"}))["output"] == "result.mp4"


@pytest.mark.slow
def test_a_worker_ends_with_the_server(session, video):
    session.take(video("large.mp4", frames=60, size=(640, 352)), "source")
    command = [sys.executable, "-m", "vfi.commands.serve.worker"]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    worker.stdin.write(json.dumps(asked(session, "render", **rendering(session, how={"factor": "8"}))) + "\n")
    worker.stdin.flush()
    assert "frames" in json.loads(worker.stdout.readline())
    worker.stdin.close()
    begun = time.monotonic()
    assert worker.wait(10) == 0 and time.monotonic() - begun < 5
