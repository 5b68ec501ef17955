"""In the real core (`make test-hosts` has an environment with it): the pictures that the command makes, in any order,
by several threads, without more and more memory; and out by y4m."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

vs = pytest.importorskip("vapoursynth", reason="needs VapourSynth's core: make test-hosts", exc_type=ImportError)

from textured_clips import SIZE, clip, planes, same, taken, textures  # noqa: E402

from vfi.commands.main import main  # noqa: E402
from vfi.files.images import read_image, write_image  # noqa: E402
from vfi.hosts.vapoursynth import interpolate  # noqa: E402
from vfi.models.interpolator import interpolate_many  # noqa: E402
from vfi.models.registry import load_model  # noqa: E402

pytestmark = [pytest.mark.nightly, pytest.mark.usefixtures("torch_alone")]
CPU = {"device": "cpu"}
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("name", "dtype"), [("RGB24", np.uint8), ("RGB48", np.uint16)])
@pytest.mark.parametrize(("model", "asked"), [("flow-splat", 3), ("flow-splat", 10), ("rife", 2), ("rife", 4)])
def test_frames_are_those_of_the_command(tmp_path, weights, name, dtype, model, asked):
    own, made = tmp_path / "own", tmp_path / "made"
    own.mkdir(), made.mkdir()
    pictures = [np.round(picture * np.iinfo(dtype).max).astype(dtype) for picture in textures(4, SIZE)]
    for number, picture in enumerate(pictures):
        write_image(own / f"{number:03}.png", np.moveaxis(picture, 0, 2))
    chosen = {"weights": weights} if model == "rife" else {}
    words = [word for key, value in chosen.items() for word in (f"--{key}", value)]
    command = ["interpolate", str(own / "%03d.png"), "-o", str(made / "%05d.png"), "--factor", str(asked)]
    command += ["--device", "cpu", "--model", model, "--scene-cuts", "off", "--quiet", "--input-fps", "24", *words]
    assert main(command) == 0
    source = clip(name, pictures=[picture / np.iinfo(dtype).max for picture in pictures])
    frames = taken(interpolate(source, model, factor=asked, **chosen, **CPU))
    files = sorted(made.iterdir())
    assert len(files) == len(frames) == 4 * asked
    for file, (ours, _) in zip(files, frames):
        assert np.array_equal(np.moveaxis(read_image(file).pixels, 2, 0), np.stack(ours)), file.name


@pytest.mark.parametrize("model", ["flow-splat", "rife"])
@pytest.mark.parametrize(("name", "dtype"), [("RGBS", np.float32), ("RGBH", np.float16)])
def test_floats_are_those_of_the_model(weights, model, name, dtype):
    """To the last bit, and rounded those of the command."""
    chosen = {"weights": weights} if model == "rife" else {}
    source = clip(name)
    own = [torch.from_numpy(np.stack(values)).float()[None] for values, _ in taken(source)]
    frames = taken(interpolate(source, model, factor=4, **chosen, **CPU))
    network = load_model(model, device="cpu", engine="torch", precision="float32", **chosen)
    for number in range(5):
        made = interpolate_many(network, own[number], own[number + 1], [0.25, 0.5, 0.75])
        for place, frame in enumerate(made, 1):
            values = np.stack(frames[number * 4 + place][0])
            assert values.dtype == dtype and np.array_equal(values, frame[0].numpy().astype(dtype))


@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize(("asked", "name"), [({"factor": 4}, "RGBS"), ({"fps": 55}, "YUV420P8")])
def test_any_order_gives_the_same(weights, streams, asked, name):
    source = clip(name, _Matrix=0 if name == "RGBS" else 1)
    expected = taken(interpolate(source, "rife", weights, **asked, **CPU))
    result = interpolate(source, "rife", weights, num_streams=streams, **asked, **CPU)
    order = np.random.default_rng(streams).permutation(result.num_frames)
    waiting = [(int(n), result.get_frame_async(int(n))) for n in order]
    for number, frame in waiting:
        with frame.result() as got:
            assert same(planes(got), expected[number][0]) and dict(got.props) == expected[number][1], number
    backwards = [planes(result.get_frame(n)) for n in reversed(range(result.num_frames))]
    assert all(same(ours, theirs[0]) for ours, theirs in zip(reversed(backwards), expected))


def test_memory_stays():
    """Of 3200 frames of 1.5 MB, made four at a time by a quick model; the core's own cache is held small."""
    program = """
import torch
import vapoursynth as vs
import vfi.hosts.vapoursynth as host
from vfi.models.interpolator import Interpolator
class Mean(Interpolator):
    def interpolate(self, frame0, frame1, t):
        return torch.lerp(frame0, frame1, t)
host.load_model = lambda *arguments, **options: Mean()
vs.core.max_cache_size = 32
def size():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20
blank = vs.core.std.BlankClip(None, 416, 320, vs.RGBS, 400, keep=True)
source = vs.core.std.Interleave([blank.std.BlankClip(color=[0.2, 0.3, level], keep=True) for level in (0.1, 0.9)])
result = host.interpolate(source, device="cpu", factor=4, num_streams=2)
sizes = []
for number, frame in enumerate(result.frames(close=True, prefetch=2, backlog=2)):
    if number in (800, 3199):
        sizes.append(size())
print(sizes[1] - sizes[0])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout) < 200, (
        "a plane kept of each picture would be 1200 MB, blocks between which memory is free a gigabyte"
    )


def test_options_reach_the_model(weights):
    source = clip("RGBS", 2)
    plain, other = (planes(interpolate(source, "rife", weights, scale=scale, **CPU).get_frame(1)) for scale in (1, 0.5))
    assert not same(plain, other)
    ensemble = interpolate(source, "rife", weights, ensemble=True, **CPU)
    assert not same(planes(ensemble.get_frame(1)), plain)
    squares = interpolate(source, "rife", weights, tile=64, **CPU)
    assert len(planes(squares.get_frame(1))) == 3


SCRIPT = """
import sys
sys.path[:0] = [{here!r}]
from textured_clips import clip
from vfi.hosts.vapoursynth import interpolate
interpolate(clip("YUV420P8", 4, _Matrix=1), factor=2, device="cpu", engine="torch", num_streams=2).set_output()
"""


def frames_of(data, size=SIZE, count=8):
    header, *frames = data.split(b"FRAME\n")
    assert header.startswith(b"YUV4MPEG2 ") and b" F48:1 " in header and len(frames) == count
    assert all(len(frame) == size[0] * size[1] * 3 // 2 for frame in frames)
    return frames


def test_y4m(tmp_path):
    """From Python, and by vspipe where the core and its module are of one version."""
    result = interpolate(clip("YUV420P8", 4, _Matrix=1), engine="torch", **CPU)
    with open(tmp_path / "python.y4m", "w+b") as file:
        result.output(file, y4m=True)
    written = frames_of((tmp_path / "python.y4m").read_bytes())
    assert [b"".join(plane.tobytes() for plane in planes(frame)) for frame in result.frames()] == written
    vspipe = shutil.which("vspipe", path=str(Path(sys.executable).parent))
    if vspipe is None:
        pytest.skip("vspipe runs in Python 3.12 or later: it is not in this environment")
    (tmp_path / "in.vpy").write_text(SCRIPT.format(here=str(ROOT / "tests/hosts")))
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path), "PYTHONPATH": f"{ROOT}:{ROOT / 'python'}",
                   "PATH": f"{Path(vspipe).parent}:{os.environ['PATH']}"}  # fmt: skip
    done = subprocess.run([vspipe, "-c", "y4m", str(tmp_path / "in.vpy"), str(tmp_path / "pipe.y4m")], env=environment,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert frames_of((tmp_path / "pipe.y4m").read_bytes()) == written
