"""Mutated files: whatever is in a file, the command does what it can or says one sentence."""

import json
import os
import subprocess
import sys
from pathlib import Path

import fuzzed_runs
import pytest

COUNT, SLICE, TOGETHER = 2000, 100, 250
PROGRAM = Path(__file__).with_name("fuzzed_runs.py")


def found(folder, first, count):
    """Faults of these cases, and how the runs ended."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    words = [sys.executable, str(PROGRAM), str(folder), str(first), str(count)]
    process = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    *faults, last = map(json.loads, process.stdout.splitlines())
    return faults, last["ends"]


@pytest.mark.slow
def test_a_slice_of_mutated_files(tmp_path):
    faults, ends = found(tmp_path, 0, SLICE)
    assert faults == []
    # Cases that mean something: some are read, some with a loss, some are refused.
    assert min(ends[f"interpolate {code}"] for code in (0, 2, 3)) > SLICE // 20


@pytest.mark.nightly
@pytest.mark.parametrize("first", range(SLICE, COUNT, TOGETHER))
def test_mutated_files(tmp_path, first):
    assert found(tmp_path, first, min(TOGETHER, COUNT - first))[0] == []


def test_faults_are_seen(tmp_path):
    """What the runs above look for is found in a command that fails in every way."""

    def prints(text, code=0):
        return lambda: print(text) or code

    def ended(action, left=()):
        code = fuzzed_runs.ended(action, tmp_path / "said")
        return list(fuzzed_runs.faults(code, (tmp_path / "said").read_text(), set(left)))

    assert ended(prints("wrote a film"), ["out.mkv"]) == [] and ended(prints("vfi: it is no video", 2)) == []
    assert ended(lambda: 1 // 0)[:2] == ["it ends with 77", "a traceback"]
    assert ended(lambda: os.kill(os.getpid(), 9)) != [] and ended(lambda: bytearray(1 << 34) and 0) != []
    assert ended(prints("vfi: one\nvfi: two", 2)) == ["2 sentences"]
    assert ended(prints("vfi: cannot read in.mp4: invalid argument", 2)) == ["words of FFmpeg"]
    assert ended(prints("[h264 @ 0x1] no frame")) == ["a line that nobody wrote: '[h264 @ 0x1] no frame'"]
    assert ended(prints("vfi: it is no video", 2), ["out.mkv"]) == ["left behind: ['out.mkv']"]
    assert ended(prints("wrote a film"), ["out.mkv", ".out.unfinished-7.mkv"]) != []
    fuzzed_runs.SECONDS, before = 0.2, fuzzed_runs.SECONDS
    assert ended(lambda: __import__("time").sleep(9) or 0)[0] == "it ends with hang"
    fuzzed_runs.SECONDS = before
