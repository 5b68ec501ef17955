"""Files that people send, and a server that runs."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from vfi.video.encodings import Encoding
from vfi.video.writer import Picture, VideoWriter


@pytest.fixture(scope="session")
def video(tmp_path_factory):
    """Makes a video of a texture that moves, with 10 frames per second."""
    folder = tmp_path_factory.mktemp("sent")

    def make(name="in.mp4", frames=8, size=(96, 64), **encoding):
        path = folder / name
        if path.exists():
            return path
        width, height = size
        noise = np.random.default_rng(0).integers(
            0, 255, (height // 8, (width + 4 * frames) // 8 + 1, 3), dtype=np.uint8
        )
        wide = noise.repeat(8, 0).repeat(8, 1)
        writer = VideoWriter(path, Picture(width, height, Fraction(10), Fraction(1, 10)), Encoding(**encoding))
        try:
            for number in range(frames):
                writer.write(np.ascontiguousarray(wide[:, 4 * number : 4 * number + width]), Fraction(number, 10))
            writer.finish()
        finally:
            writer.discard()
        return path

    return make


class Server:
    """A `vfi serve` of its own; `folder` holds what it keeps, `url` is its page."""

    def __init__(self, folder, *options, **environment):
        self.folder, self.log = folder, folder.parent / f"{folder.name}.log"
        command = [sys.executable, "-m", "vfi", "serve", "--port", "0", *options]
        self.process = subprocess.Popen(
            command, stdout=self.log.open("w"), stderr=subprocess.STDOUT,
            env=os.environ | {"TMPDIR": str(folder), **environment},
        )  # fmt: skip
        until = time.monotonic() + 120
        while not (found := re.search(r"the page is at (\S+)", self.log.read_text())):
            assert self.process.poll() is None and time.monotonic() < until, self.log.read_text()
            time.sleep(0.1)
        self.url = found[1]

    def files(self):
        """Everything of tabs: their folders, and what is in them."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())

    def children(self):
        """Processes of workers."""
        listed = subprocess.run(["ps", "-ewwo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
        rows = [line.split(None, 2) for line in listed.splitlines()]
        return [int(pid) for pid, parent, args in rows if "serve.worker" in args and parent == str(self.process.pid)]

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture(scope="session")
def serve():
    """Starts a server; all of them end with the tests."""
    started = []

    def start(*options, **environment):
        started.append(Server(Path(tempfile.mkdtemp(prefix="served-")), *options, **environment))
        return started[-1]

    yield start
    for server in started:
        with contextlib.suppress(ProcessLookupError):
            server.process.kill()
        server.process.wait()


@pytest.fixture(scope="module")
def browser():
    from visitors import CHROMIUM, playwright

    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(serve):
    return serve()


@pytest.fixture
def visit(browser, server):
    """Opens the page; whoever is still there leaves at the end, and the page itself had no fault."""
    from visitors import Visitor, playwright

    there = []

    def go(at=server, **more):
        there.append(Visitor(browser, at, **more))
        return there[-1]

    yield go
    for visitor in there:
        faults = visitor.faults
        with contextlib.suppress(playwright.Error):
            visitor.leave()
        assert not faults
