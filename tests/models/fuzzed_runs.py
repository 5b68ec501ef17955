"""Runs `vfi` on mutated files, each in a fork of its own: `fuzzed_runs.py FOLDER FIRST COUNT` prints faults as JSON."""

import json
import os
import re
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import fuzzed_files
import torch

from vfi.commands import interpolate_images, interpolate_video, probe  # noqa: F401  before the forks
from vfi.commands.main import main
from vfi.files.images import write_image
from vfi.files.opencv import opencv
from vfi.models import registry
from vfi.models.interpolator import Interpolator

MEMORY, SECONDS = 6 << 30, 30
# FFmpeg's own words, which tell nobody what to do.
BARE = r"(?m)^(?:vfi|note): .*(?:invalid data found|invalid argument|: end of file|not permitted|generic error|errno)"
# What is printed that is no sentence: results of probe, the end of a video, what libraries of images say of damage.
OTHER = r"(?:note|vfi|wrote|encoded by)\b|\w+(?: videos)?: |[ {}]|libpng |<[Tt]iff|(?:Corrupt|Premature|Invalid) "


class Blend(Interpolator):
    def interpolate(self, frame0: torch.Tensor, frame1: torch.Tensor, t: float) -> torch.Tensor:
        return frame0.lerp(frame1, t)


def commands(source: Path, draw: fuzzed_files.random.Random) -> Iterator[list[str]]:
    out = source.with_name("out.png" if source.name in fuzzed_files.IMAGES else "out.mkv")
    words = ["interpolate", "--quiet", str(source), "-o", str(out)]
    if source.name in fuzzed_files.IMAGES:
        yield [*words[:2], *draw.sample([str(source), str(source.with_name("whole.png"))], 2), *words[3:]]
        return
    yield [*words, *draw.choice(((), ("--codec", "ffv1"), ("--codec", "ffv1", "--start", "0.1", "--fps", "60")))]
    yield ["probe", str(source), *draw.choice(((), ("--count",), ("--json", "--count")))]


def ended(action: Callable[[], int], said: Path) -> int | str:
    """The exit code of a fork, or how it failed; what it prints is in `said`."""
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        target = os.open(said, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(target, 1)
        os.dup2(target, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
        try:
            code = action()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            code = 77
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            signalled = os.WIFSIGNALED(status)
            return signal.Signals(os.WTERMSIG(status)).name if signalled else os.WEXITSTATUS(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hang"


def faults(code: int | str, said: str, left: set[str]) -> Iterator[str]:
    """What is wrong with a run. left: the files that are there beside its input."""
    if code not in (0, 1, 2, 3):
        yield f"it ends with {code}"
    if "Traceback" in said:
        yield "a traceback"
    lines = [line for line in said.splitlines() if line.startswith("vfi: ")]
    if len(lines) != (code != 0):
        yield f"{len(lines)} sentences"
    last = said.strip().rpartition("\n")[2]
    if code != 0 and not last.startswith("vfi: "):
        yield f"the last line is {last[:200]!r}"
    strange = [line for line in said.splitlines() if not re.match(OTHER, line)]
    if strange:
        yield f"a line that nobody wrote: {strange[0][:200]!r}"
    if re.search(BARE, said, re.IGNORECASE):
        yield "words of FFmpeg"
    if left - ({"out.mkv", "out.png"} if code in (0, 3) else set()):
        yield f"left behind: {sorted(left)}"


def run(folder: Path, first: int, count: int) -> None:
    # In a fork too: some encoders leave threads, without which the next forks could not go on.
    assert ended(lambda: fuzzed_files.make_seeds(folder) or 0, folder / "said") == 0, (folder / "said").read_text()
    files = {name: (folder / name).read_bytes() for name in (*fuzzed_files.VIDEOS, *fuzzed_files.IMAGES)}
    registry.load_model = lambda *_, **__: Blend()
    opencv()
    ends: Counter[str] = Counter()
    for number in range(first, first + count):
        name, data, draw = fuzzed_files.mutated(files, number)
        case = folder / "case"
        shutil.rmtree(case, ignore_errors=True)
        case.mkdir()
        (case / name).write_bytes(data)
        write_image(case / "whole.png", fuzzed_files.picture(4))
        for words in commands(case / name, draw):
            code = ended(lambda: main(words), folder / "said")  # noqa: B023  called at once
            said = (folder / "said").read_text(errors="replace")
            left = {path.name for path in case.iterdir()} - {name, "whole.png"}
            ends[f"{words[0]} {code}"] += 1
            for fault in faults(code, said, left):
                print(json.dumps({"case": number, "command": words, "fault": fault, "said": said[-2000:]}), flush=True)
            (case / "out.mkv").unlink(missing_ok=True)
    print(json.dumps({"ends": ends}))


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
