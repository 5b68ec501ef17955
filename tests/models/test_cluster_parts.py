"""A film that is planned, rendered in parts and joined, in whatever order, is the one of one machine to the last bit."""

import re

import numpy as np
import pytest
from cluster_runs import packets, run_in_parts
from tiny_videos import join, make
from video_runs import run

pytestmark = pytest.mark.usefixtures("mean_frames")

SIZE = (64, 48)
# With one thread the encoder's packets are the same; of more, how a picture is cut depends on their number.
LOSSLESS = ("--segment", 1, "--codec", "ffv1", "--encoder-option", "threads=1")


def source(folder, name, count, **more):
    return make(folder / name, count, sizes=[SIZE] * count, b_frames=2, **more)


def both(monkeypatch, capsys, path, folder, *options, suffix=".mkv", seed=0, code=0):
    """The names of the tasks that ran; what they made is what one machine makes."""
    alone, parts = folder / f"alone{suffix}", folder / f"parts{suffix}"
    assert run(path, "-o", alone, *LOSSLESS, *options) == code
    first = capsys.readouterr()
    found, ray = run_in_parts(monkeypatch, path, "-o", parts, *LOSSLESS, *options, seed=seed)
    second = capsys.readouterr()
    assert found == code, second.err
    for kind in ("video", "audio"):
        assert packets(parts, kind) == packets(alone, kind), kind
    assert said(first.out) == said(second.out), "frames are counted alike"
    assert not list(folder.glob(".*")), "nothing is left"
    return [name for name, _ in ray.done]


def said(printed):
    return re.findall(r": (\d+ frames?) \((.*)\)", printed)


FILMS = {
    "mp4": ("in.mp4", 120, {"sound": "aac"}),
    "mkv": ("in.mkv", 101, {"sound": "aac"}),
    "23.976": ("in.mkv", 121, {"rate": "24000/1001"}),
    "29.97": ("in.mkv", 135, {"rate": "30000/1001"}),
    "2 a second": ("in.mkv", 17, {"rate": 2}),
}


@pytest.mark.parametrize("name", FILMS)
def test_it(tmp_path, monkeypatch, capsys, name):
    from fractions import Fraction

    file, count, more = FILMS[name]
    more = more | {"rate": Fraction(more.get("rate", 25))}
    path = source(tmp_path, file, count, **more)
    names = both(monkeypatch, capsys, path, tmp_path)
    assert names.count("render") >= 4 and names.count("join") == 1
