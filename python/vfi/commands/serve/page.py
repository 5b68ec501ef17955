"""The page: what is on it, and what happens when something is pressed. The only module that imports Gradio."""

import html
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from vfi.commands.dry_run import in_bytes
from vfi.commands.serve.answers import Pictured, Planned, Rendered
from vfi.commands.serve.sessions import Session, Sessions, how
from vfi.commands.serve.workers import Cancelled, Job, Progress, Workers
from vfi.errors import UserError, require

gr = require("gradio", "serve")
if TYPE_CHECKING:
    from gradio import Request
    from starlette.requests import Request as StarletteRequest
    from starlette.responses import Response
    from starlette.routing import Route
else:
    Request = gr.Request  # by which Gradio knows to give one
PREVIEW = 3  # seconds
FILES = "vfi-files"  # the address of files, as player.js has it
_QUICK = 900.0  # seconds that anything but a video may take
_READ = 15.0  # seconds that a sentence stays on the page
_TICK = 0.5  # seconds from one look at a job to the next


@dataclass(frozen=True)
class Settings:
    """models: names, each with the file of its weights if it has one. engines: that can be chosen. longest: seconds of
    a video. most: seconds that a job may take. jobs: at the same time. waiting: that may wait besides. size: bytes of
    an upload."""

    models: Mapping[str, str | None]
    engines: tuple[str, ...]
    device: str | None
    longest: float
    most: float
    jobs: int
    waiting: int
    size: int


class Watched:
    """A job whose progress is gone through, a few times a second; `answer` is there afterwards."""

    answer: object

    def __init__(self, job: Job) -> None:
        self._job = job

    def __iter__(self) -> Iterator[Progress]:
        try:
            while not self._job.wait(_TICK):
                yield self._job.progress
        finally:
            self._job.cancel()  # whoever watched is gone
        self.answer = self._job.result()


class Page:
    """What is pressed, done by workers on the files of a session. Methods give what is shown in each output."""

    def __init__(self, settings: Settings, workers: Workers, sessions: Sessions) -> None:
        self._settings, self._workers, self._sessions = settings, workers, sessions

    def session(self, request: "Request") -> Session:
        return self._sessions.of(str(request.session_hash))

    def _begun(self, session: Session, do: str, model: str, engine: str, **more: object) -> Watched:
        """Of an `output`, a name with a suffix, the job's number comes between the two."""
        number, output = session.next_number(), more.pop("output", None)
        asked = {
            "do": do,
            "folder": str(session.folder),
            "model": model,
            "weights": self._settings.models[model],
            "engine": None if engine == self._settings.engines[0] else engine,
            "device": self._settings.device,
            "number": number,
            "output": output and f"-{number}.".join(str(output).split(".")),
            **more,
        }
        most = self._settings.most if do == "render" else _QUICK
        job = Job(self._workers, asked, most, partial(session.remove, number))
        return Watched(session.begin(job, main=do in ("render", "between")))

    def check(self) -> None:
        """Raises:
        UserError: if a model that is offered cannot be loaded.
        """
        for name, weights in self._settings.models.items():
            if weights is not None:
                asked = {"do": "load", "folder": tempfile.gettempdir(), "model": name, "weights": weights}
                Job(self._workers, asked | {"device": self._settings.device}, _QUICK).result()

    def look(self, request: "Request", upload: str | None, *choices: str) -> Iterator[tuple[object, ...]]:
        """Of a video that was sent: what it is, and what would be made of it."""
        session = self.session(request)
        session.stop()
        self._sent(session, "source", upload)
        if upload is None:
            yield "", "", gr.skip(), gr.skip(), None
            return
        try:
            with told(session):
                planned = self._planned(session, *choices)
                for _ in planned:
                    yield bar("looking at it"), "", gr.skip(), gr.skip(), None
        except gr.Error:
            session.forget("source")
            raise
        answer = cast(Planned, planned.answer)
        last = max(0.0, (answer["seconds"] or 0.0) - 0.01)
        begin = gr.update(maximum=max(0.1, round(last, 1)), value=0, interactive=last > PREVIEW)
        moment = gr.update(maximum=max(0.1, round(last, 2)), value=round(last / 2, 2))
        yield "", plan_text(session, answer), begin, moment, None

    def plan(self, request: "Request", *choices: str) -> Iterator[str]:
        """After another choice."""
        session = self.session(request)
        if "source" not in session.files:
            yield ""
            return
        with told(session):
            planned = self._planned(session, *choices)
            for _ in planned:
                yield "..."
        yield plan_text(session, cast(Planned, planned.answer))

    def _planned(self, session: Session, choice: str, amount: str, model: str, engine: str, file: str) -> Watched:
        request = {"how": how(choice, amount), "longest": self._settings.longest, "output": f"result{file}"}
        return self._begun(session, "plan", model, engine, source=session.file("source"), **request)

    def preview(self, request: "Request", begin: float, *choices: str) -> Iterator[tuple[object, ...]]:
        yield from self._rendered(self.session(request), *choices, start=begin, end=begin + PREVIEW)

    def render(self, request: "Request", *choices: str) -> Iterator[tuple[object, ...]]:
        yield from self._rendered(self.session(request), *choices)

    def _rendered(
        self, session: Session, choice: str, amount: str, model: str, engine: str, file: str, **part: float
    ) -> Iterator[tuple[object, ...]]:
        with told(session):
            asked = how(choice, amount)
            output = f"{'preview' if part else 'result'}{file}"
            source = {"source": session.file("source"), "output": output, "how": asked}
            watched = self._begun(session, "render", model, engine, **source, **part)
            for progress in watched:
                yield bar_of(progress), gr.skip()
        made = cast(Rendered, watched.answer)
        slower = float(asked.get("slow_motion", 1))  # type: ignore[arg-type]
        words = [session.in_their_words(line) for line in made["said"] if not line.startswith(("wrote", "encoded"))]
        if made["cut"] and not part:
            words.append("What plays here is a copy for browsers, of no more than the first 30 seconds.")
        name = f"{Path(session.names['source']).stem} {choice} {amount}{' preview' if part else ''}{file}"
        shown = {
            "folder": session.folder.name,
            "before": made["before"],
            "after": made["after"],
            "begins": made["begins"],
            "output": made["output"],
            "slower": slower,
            "name": name,
            "size": in_bytes(made["bytes"]),
            "note": " ".join(words),
        }
        yield "", shown

    def moment(self, request: "Request", at: float, model: str, engine: str) -> Iterator[tuple[object, ...]]:
        """The frame in the middle of two, beside the one that is seen there, and what is behind it."""
        session = self.session(request)
        with told(session):
            watched = self._begun(session, "moment", model, engine, source=session.file("source"), at=str(at))
            for _ in watched:
                yield bar("making the frame in the middle"), gr.skip(), gr.skip()
        yield "", *pictures(session, cast(Pictured, watched.answer))

    def first(self, request: "Request", upload: str | None) -> None:
        self._sent(self.session(request), "first", upload)

    def second(self, request: "Request", upload: str | None) -> None:
        self._sent(self.session(request), "second", upload)

    @staticmethod
    def _sent(session: Session, role: str, upload: str | None) -> None:
        session.forget(role)
        if upload is not None:
            with told(session):
                session.take(Path(upload), role)

    def between(self, request: "Request", t: float, model: str, engine: str) -> Iterator[tuple[object, ...]]:
        """What is between two images."""
        session = self.session(request)
        with told(session):
            sources: dict[str, object] = {"sources": [session.file("first"), session.file("second")], "t": t}
            watched = self._begun(session, "between", model, engine, output="between.png", **sources)
            for _ in watched:
                yield bar("making the frame"), gr.skip(), gr.skip(), gr.skip()
        made = cast(Pictured, watched.answer)
        yield "", *pictures(session, made), str(session.folder / made["output"])

    def cancel(self, request: "Request") -> str:
        self.session(request).stop()
        return ""

    def leave(self, request: "Request") -> None:
        self._sessions.end(str(request.session_hash))


@contextmanager
def told(session: Session) -> Iterator[None]:
    """Inside, what is wrong is said on the page, by the names that people know."""
    try:
        yield
    except Cancelled:
        gr.Info("cancelled: nothing of it was kept", duration=3)
        raise gr.Error("cancelled", visible=False, print_exception=False) from None
    except UserError as error:
        raise _error(session.in_their_words(str(error))) from error
    except OSError as error:
        raise _error(f"the server cannot keep the file: {error.strerror}") from error


def _error(sentence: str) -> Exception:
    error: Exception = gr.Error(html.escape(sentence), duration=_READ, print_exception=False)
    return error


def bar(what: str) -> str:
    return f'<div class="vfi-bar" role="status"><progress></progress> {what}</div>'


def bar_of(progress: Progress) -> str:
    """How far it is, and how long it will take."""
    if not progress.frames:
        return bar("opening the video, loading the model")
    done, rate = progress.frames, progress.frames / progress.seconds
    if progress.total is None:
        return bar(f"{done} frames, {rate:.2f} per second")
    total = max(progress.total, done)
    left = timedelta(seconds=round((total - done) / rate))
    words = f"frame {done} of {total}, {rate:.2f} per second, {left} left"
    return f'<div class="vfi-bar" role="status"><progress max="{total}" value="{done}"></progress> {words}</div>'


def plan_text(session: Session, answer: Planned) -> str:
    lines = (re.sub(r"result-\d+", "result", line) for line in (*answer["file"], *answer["plan"]))
    return session.in_their_words("\n".join(lines))


def files_of(sessions: Sessions) -> "list[Route]":
    """A route to the files of a session, for who knows the name of its folder; ?as=NAME saves it under that name."""
    routing, responses = require("starlette.routing"), require("starlette.responses")

    async def send(request: "StarletteRequest") -> "Response":
        path = sessions.file(request.path_params["folder"], request.path_params["name"])
        if path is None:
            return responses.PlainTextResponse("there is no such file", 404)
        return responses.FileResponse(path, filename=request.query_params.get("as"))

    return [routing.Route(f"/{FILES}/{{folder}}/{{name}}", send)]


def pictures(session: Session, answer: Pictured) -> tuple[object, object]:
    """For the slider, and for what is behind the frame."""
    pair, behind = ([str(session.folder / name) for name in names] for names in (answer["pair"], answer["behind"]))
    return gr.update(value=tuple(pair), visible=True), gr.update(value=behind, visible=bool(behind))
