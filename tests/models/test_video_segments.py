"""A video rendered in segments is what it is without; a run that is stopped at any moment can go on."""

import json
import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from processes import warm_python
from tiny_videos import make
from video_runs import read, refused, run, sound

from vfi.commands import video_output
from vfi.files.atomic import alone_in
from vfi.models import pictures
from vfi.video.containers import CONTAINERS
from vfi.video.segments import folder_of

pytestmark = [pytest.mark.usefixtures("mean_frames"), pytest.mark.in_turn]

COUNT = 40
OPTIONS = ("--segment", "0.4", "--scene-cuts", "off")  # of 1.6 s: four segments


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make(tmp_path_factory.mktemp("in") / "in.mkv", COUNT, b_frames=2, sound="aac", sizes=[(64, 48)] * COUNT)


def stopped_at(monkeypatch, call, how):
    """`how` is called before the given interval, from 1, is interpolated."""
    calls, original = [0], pictures.interpolate_many

    def interpolate_many(*arguments):
        calls[0] += 1
        if calls[0] == call:
            how()
        return original(*arguments)

    monkeypatch.setattr(pictures, "interpolate_many", interpolate_many)
    return calls


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def same(first, second):
    times, pictures = zip(read(first), read(second))
    assert times[0] == times[1]
    assert all(map(np.array_equal, *pictures)) and len(pictures[0]) == len(pictures[1])


QUICK = (".mp4", ".mkv", ".ts", ".mpg", ".gif")


@pytest.mark.parametrize(
    "suffix", [suffix if suffix in QUICK else pytest.param(suffix, marks=pytest.mark.slow) for suffix in CONTAINERS]
)
def test_an_interrupted_run_goes_on(source, tmp_path, monkeypatch, capsys, suffix):
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
    assert run(source, "-o", whole, *OPTIONS) == 0
    assert run(source, "-o", tmp_path / f"once{suffix}", "--segment", 0, "--scene-cuts", "off") == 0
    assert read(whole)[0] == read(tmp_path / f"once{suffix}")[0], "segments change no time"
    printed = "\n".join(capsys.readouterr().out.splitlines()[:2])
    with monkeypatch.context() as patch:
        stopped_at(patch, 25, interrupt)
        assert run(source, "-o", out, *OPTIONS) == 130
    assert f"2 finished segments kept in {folder_of(out)}: add --resume to go on" in capsys.readouterr().err
    assert not out.exists() and folder_of(out).is_dir()
    with monkeypatch.context() as patch:
        calls = stopped_at(patch, -1, interrupt)
        assert run(source, "-o", out, *OPTIONS, "--resume") == 0
        assert 0 < calls[0] <= COUNT - 20, "what was finished is not rendered again"
    assert capsys.readouterr().out.strip() == printed.replace(whole.name, out.name)
    same(whole, out)
    if CONTAINERS[suffix].encoder != "gif":
        for first, second in zip(sound(whole), sound(out)):
            assert np.array_equal(first, second), "the sound is in step"
    assert not folder_of(out).exists() and not list(tmp_path.glob(".*"))


KILLED = """
import os, signal, sys
from vfi.models import pictures
from vfi.commands.main import main
from vfi.models.flow_splat import FlowSplat
from video_runs import means
FlowSplat.interpolate_many = means
from vfi.files.json_lines import Lines
from vfi.video.writer import VideoWriter
where, call = sys.argv[1], int(sys.argv[2])
owner, name = {"interval": (pictures, "interpolate_many"), "journal": (Lines, "add"), "join": (VideoWriter, "join"),
               "name": (VideoWriter, "finish")}[where]
original, calls = getattr(owner, name), [0]
def stop(*arguments):
    calls[0] += 1
    if calls[0] == call:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments)
setattr(owner, name, stop)
sys.exit(main(sys.argv[3:]))
"""
MOMENTS = [("interval", 14), ("journal", 4), ("join", 3)]
MORE = [("interval", 1), ("interval", 31), ("journal", 1), ("name", 1)]


@pytest.mark.parametrize("where, call", [*MOMENTS, *(pytest.param(*more, marks=pytest.mark.slow) for more in MORE)])
def test_a_killed_run_goes_on(source, tmp_path, where, call):
    out, whole = tmp_path / "out.mp4", tmp_path / "whole.mp4"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = ["interpolate", "--quiet", source, "-o", out, *OPTIONS, "--resume"]
    program = [*warm_python(), "-c", KILLED, where, str(call), *map(str, command)]
    assert subprocess.run(program, env=environment, capture_output=True).returncode == -signal.SIGKILL
    assert not out.exists()
    assert run(source, "-o", out, *OPTIONS, "--resume") == 0
    assert run(source, "-o", whole, *OPTIONS) == 0
    same(whole, out)
    assert np.array_equal(sound(whole)[1], sound(out)[1])
    assert not list(tmp_path.glob(".*"))


def test_stopped_again_and_again(source, tmp_path, monkeypatch):
    out, tries = tmp_path / "out.mkv", 0
    while not out.exists():
        with monkeypatch.context() as patch:
            stopped_at(patch, 13, interrupt)
            assert run(source, "-o", out, *OPTIONS, "--resume", "--factor", 3) in (0, 130)
        tries += 1
    assert 2 < tries < 6
    assert run(source, "-o", tmp_path / "whole.mkv", *OPTIONS, "--factor", 3) == 0
    same(tmp_path / "whole.mkv", out)


ASKED = [
    *(("--scene-cuts", "auto"), ("--fps", "60"), ("--fps", "7"), ("--slow-motion", "3")),
    ("--start", "0.3", "--end", "1.3"),
]


@pytest.mark.parametrize("options", ASKED)
def test_whatever_is_asked_for(source, tmp_path, monkeypatch, options):
    assert run(source, "-o", tmp_path / "whole.mp4", *OPTIONS, *options) == 0
    assert run(source, "-o", tmp_path / "once.mp4", *options, "--scene-cuts", "off", "--segment", 0) == 0
    assert read(tmp_path / "whole.mp4")[0] == read(tmp_path / "once.mp4")[0]
    with monkeypatch.context() as patch:
        stopped_at(patch, 7 if "7" in options else 15, interrupt)
        assert run(source, "-o", tmp_path / "out.mp4", *OPTIONS, *options) == 130
    assert run(source, "-o", tmp_path / "out.mp4", *OPTIONS, *options, "--resume") == 0
    same(tmp_path / "whole.mp4", tmp_path / "out.mp4")


def test_a_video_of_uneven_times(tmp_path, monkeypatch):
    stamps = list(np.cumsum([1, 2, 1, 3, 1, 1, 5, 20, 1, 2] * 4))
    uneven = make(tmp_path / "in.mkv", COUNT, stamps=stamps, b_frames=2)
    assert run(uneven, "-o", tmp_path / "whole.mp4", *OPTIONS) == 0
    with monkeypatch.context() as patch:
        stopped_at(patch, 20, interrupt)
        assert run(uneven, "-o", tmp_path / "out.mp4", *OPTIONS) == 130
    assert run(uneven, "-o", tmp_path / "out.mp4", *OPTIONS, "--resume") == 0
    same(tmp_path / "whole.mp4", tmp_path / "out.mp4")


@pytest.fixture
def left(source, tmp_path, monkeypatch, capsys):
    """What a run into a full disk leaves: two segments of out.mp4."""
    with monkeypatch.context() as patch:
        patch.setattr(video_output.SegmentWriter, "write", _full_after(25, video_output.SegmentWriter.write))
        code = run(source, "-o", tmp_path / "out.mp4", *OPTIONS)
    message = capsys.readouterr().err
    assert code == 2 and "no space left on device" in message.lower() and "Traceback" not in message
    assert f"2 finished segments kept in {folder_of(tmp_path / 'out.mp4')}" in message
    return tmp_path / "out.mp4"


def _full_after(count, original):
    done = [0]

    def write(self, rgb, time, own=None):
        done[0] += 1
        if done[0] == 2 * count:
            self._file.close()
            self._file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115
        original(self, rgb, time, own)

    return write


def test_a_full_disk_keeps_what_is_done(source, left):
    assert run(source, "-o", left, *OPTIONS, "--resume") == 0
    assert len(read(left)[0]) == 2 * COUNT


def test_what_is_left_is_not_lost_by_accident(source, left, capsys):
    for options in (OPTIONS, ("--segment", "0", "--scene-cuts", "off")):
        message = refused(capsys, source, "-o", left, *options)
        assert "an earlier run left 2 finished segments of out.mp4" in message
        assert "add --resume to go on with them, or --overwrite to begin anew" in message
    assert folder_of(left).is_dir()
    assert run(source, "-o", left, *OPTIONS, "--overwrite") == 0
    assert not folder_of(left).exists()


def test_work_of_other_options_is_refused(source, left, tmp_path, capsys):
    other = make(tmp_path / "other.mkv", COUNT, first=3)
    for differs, arguments in (
        ("factor", (source, "--factor", 3)),
        ("crf", (source, "--crf", 30)),
        ("segment", (source, "--segment", 0.5)),
        ("input", (other,)),
        ("model-scale", None),
    ):
        if arguments is not None:
            message = refused(capsys, "-o", left, "--resume", *OPTIONS, *arguments)
            assert f"is of another run, which differs in {differs}: give the same ones" in message
    assert run(source, "-o", left, *OPTIONS, "--resume", "--no-audio") == 0, "sound is not of the segments"


def test_a_second_run_is_refused(source, left, capsys):
    with alone_in(folder_of(left), "run"):
        for options in (OPTIONS, ("--segment", "0")):
            assert "another process is writing" in refused(capsys, source, "-o", left, *options, "--overwrite")
    assert folder_of(left).is_dir()


def test_a_file_that_appears_meanwhile_is_not_replaced(source, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out.mp4"
    stopped_at(monkeypatch, 30, lambda: out.write_bytes(b"precious"))
    message = refused(capsys, source, "-o", out, *OPTIONS)
    assert out.read_bytes() == b"precious" and message.endswith(f"this result is {tmp_path / 'out-2.mp4'}")
    assert len(read(tmp_path / "out-2.mp4")[0]) == 2 * COUNT and not folder_of(out).exists()


def test_damage_is_said_in_the_end(source, tmp_path, monkeypatch):
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with monkeypatch.context() as patch:
        stopped_at(patch, 15, interrupt)
        assert run(cut, "-o", tmp_path / "out.mp4", *OPTIONS) == 130
    assert run(cut, "-o", tmp_path / "out.mp4", *OPTIONS, "--resume") == 3


def test_a_damaged_journal_is_a_sentence(source, left, capsys):
    journal = folder_of(left) / "journal.jsonl"
    first, *rest = journal.read_text().splitlines()
    for line in ("[]", '{"file": "../../x"}', json.dumps(json.loads(rest[0]) | {"file": "../x"}), '{"until": 1}', "x"):
        journal.write_text(f"{first}\n{line}\n")
        assert refused(capsys, source, "-o", left, *OPTIONS, "--resume")


def test_short_videos_need_no_segments(source, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(video_output, "work_of", lambda job: made.append(job))
    assert run(source, "-o", tmp_path / "out.mp4", "--resume") == 0
    assert not made and Fraction(read(tmp_path / "out.mp4")[0][-1]) > 1
