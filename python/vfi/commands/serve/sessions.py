"""What belongs to one tab of a browser: a folder with what it has sent and got, and its job."""

import os
import re
import secrets
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from vfi.commands.serve.workers import Job
from vfi.errors import UserError

_PATIENCE = 10.0  # seconds for a job to end that was cancelled
_SUFFIX = re.compile(r"\.[a-z0-9]{1,5}")
_MISSING = {
    "source": "expected a video, got none: drop one on the page",
    "first": "expected two images, got none: drop the first one on the page",
    "second": "expected two images, got one: drop the second one on the page",
}


@dataclass
class Session:
    """files: name in the folder by role ("source", "first", "second"). names: those that people know them by, which are
    never paths. jobs: those that were begun and may not have ended."""

    folder: Path
    files: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    _main: Job | None = None
    _number: int = 0
    _uploads: list[Path] = field(default_factory=list)

    def take(self, upload: Path, role: str) -> None:
        """Puts a file that was sent into the folder; of its name there, only the suffix was somebody else's."""
        self.forget(role)
        suffix = upload.suffix.lower()
        name = role + (suffix if _SUFFIX.fullmatch(suffix) else "")
        self._uploads.append(upload)
        try:
            os.link(upload, self.folder / name)
        except OSError:
            shutil.copyfile(upload, self.folder / name)
        self.files[role], self.names[role] = name, upload.name

    def forget(self, role: str) -> None:
        """Removes what was sent as this, and what was made of it so far."""
        made = "between-" if role in ("first", "second") else ("result-", "preview-", "before-", "after-", "picture-")
        for path in self.folder.iterdir():
            if path.name == self.files.get(role) or path.name.lstrip(".").startswith(made):
                remove(path)
        self.files.pop(role, None)
        self.names.pop(role, None)

    def file(self, role: str) -> str:
        """Raises:
        UserError: if nothing was sent as this.
        """
        if role not in self.files:
            raise UserError(_MISSING[role])
        return self.files[role]

    def next_number(self) -> int:
        """Of a job, in the names of what it makes, such as result-3.mp4: a browser keeps what it has seen under one."""
        self._number += 1
        return self._number

    def remove(self, number: int) -> None:
        """What a job has made, and not ended."""
        for path in self.folder.glob(f"*-{number}[.-]*"):
            remove(path)

    def in_their_words(self, text: str) -> str:
        """With the names that people gave."""
        for role, name in self.files.items():
            text = text.replace(name, self.names[role])
        return text

    def begin(self, job: Job, *, main: bool = True) -> Job:
        """main: it takes the place of the main one before, and is what `stop` ends."""
        self.jobs = [each for each in self.jobs if not each.wait(0)] + [job]
        if main:
            self.stop()
            self._main = job
        return job

    def stop(self) -> None:
        if self._main is not None:
            self._main.cancel()

    def end(self) -> None:
        """Nothing of it is left."""
        for job in self.jobs:
            job.cancel()
        for job in self.jobs:
            job.wait(_PATIENCE)
        shutil.rmtree(self.folder, ignore_errors=True)
        for upload in self._uploads:
            upload.unlink(missing_ok=True)
            with suppress(OSError):
                upload.parent.rmdir()


def remove(path: Path) -> None:
    """A file, or a folder."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


class Sessions:
    """All of them, by what the page calls a tab; each with a folder of an unguessable name below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._all: dict[str, Session] = {}
        self._lock = threading.Lock()

    def of(self, tab: str) -> Session:
        with self._lock:
            if tab not in self._all:
                folder = self._root / secrets.token_urlsafe(24)
                folder.mkdir(mode=0o700)
                self._all[tab] = Session(folder)
            return self._all[tab]

    def file(self, folder: str, name: str) -> Path | None:
        """A file of the session with this folder; None: there is no such one."""
        with self._lock:
            session = next((each for each in self._all.values() if each.folder.name == folder), None)
        if session is None or name not in os.listdir(session.folder):
            return None
        return session.folder / name

    def sweep(self, seconds: float) -> None:
        """Removes uploads that are older than this: a session has its own link to those that it works on."""
        with self._lock:
            kept = {session.folder for session in self._all.values()}
        for path in self._root.iterdir():
            if path not in kept and time.time() - path.stat().st_mtime > seconds:
                remove(path)

    def end(self, tab: str) -> None:
        with self._lock:
            session = self._all.pop(tab, None)
        if session is not None:
            session.end()


def how(choice: str, amount: str) -> dict[str, object]:
    """What is asked of `vfi.interpolate` by the words of the page: smoother by "2x" or to "60 per second", slower by
    "4x"."""
    number, _, per_second = amount.strip().partition(" ")
    try:
        value = Fraction(number.rstrip("x"))
    except (ValueError, ZeroDivisionError):
        raise UserError(f"expected an amount such as 2x or 60 per second, got {amount!r}") from None
    if choice == "slower":
        if per_second:
            raise UserError(f"expected how much slower, such as 4x, got {amount!r}")
        return {"slow_motion": str(value)}
    return {"fps" if per_second else "factor": str(value)}
