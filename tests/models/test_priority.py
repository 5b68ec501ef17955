"""Encoding AV1 leaves the process and its threads at the priority that they had."""

import os

import pytest
from tiny_videos import make
from video_runs import run

pytestmark = pytest.mark.usefixtures("mean_frames")


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="there are no real-time threads here")
@pytest.mark.parametrize("words", [(), ("--segment", "0.2")])
def test_av1_makes_nothing_real_time(tmp_path, words):
    source = make(tmp_path / "in.mkv", 12)
    assert run(source, "-o", tmp_path / "out.mkv", "--codec", "libsvtav1", *words) == 0
    policies = {os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")}
    assert policies == {os.SCHED_OTHER}
