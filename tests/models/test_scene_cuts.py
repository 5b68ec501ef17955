"""Cuts are found, and what moves or changes its brightness is none."""

import cv2
import numpy as np
import pytest
from tiny_videos import film, make
from video_runs import refused, run, standard_input

from vfi.video.scene_cuts import SceneCuts, is_cut

pytestmark = pytest.mark.usefixtures("mean_frames")

SEEDS = [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 8))]


def landscape(seed, width=320, height=180):
    """Detail of several sizes."""
    random, total = np.random.default_rng(seed), np.zeros((height, width, 3))
    for cell in (8, 16, 32, 64):
        noise = random.uniform(-1, 1, (height // cell + 2, width // cell + 2, 3)).astype(np.float32)
        total += cv2.resize(noise, (width + 64, height + 64))[:height, :width]
    return np.clip(128 + 55 * total, 0, 255).astype(np.uint8)


def blobs(seed, low=20, high=235, width=320, height=180):
    noise = np.random.default_rng(seed).uniform(low, high, (6, 8, 3)).astype(np.float32)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_NEAREST).astype(np.uint8)


def noisy(rgb, strength=3):
    return np.clip(rgb + np.random.default_rng(0).normal(0, strength, rgb.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("top, left", [(0, 0), (0, 40), (0, 110), (40, 0)])
def test_cuts_between_bars(seed, top, left):
    """None, 4:3 in 16:9, an upright phone in 16:9, cinema."""
    size = {"width": 320 - 2 * left, "height": 180 - 2 * top}
    bars = ((top, top), (left, left), (0, 0))
    assert is_cut(*(noisy(np.pad(blobs(number, **size), bars), 2) for number in (seed, seed + 100)))


@pytest.mark.parametrize("seed", SEEDS)
def test_dark_and_plain_scenes(seed):
    scene = landscape(seed)
    assert is_cut(blobs(seed, 2, 38), blobs(seed + 100, 2, 38))
    assert not is_cut(noisy(blobs(seed, 2, 20), 5), blobs(seed, 2, 20))
    for level in (0, 16, 128, 255):
        plain = np.full_like(scene, level)
        assert is_cut(scene, plain) and is_cut(plain, scene) and not is_cut(plain, plain)


@pytest.mark.parametrize("seed", SEEDS)
def test_motion_and_light_are_no_cuts(seed):
    wide, high = landscape(seed, width=480), landscape(seed, height=260)
    for step in (40, 80, 160):
        assert not is_cut(noisy(wide[:, :320]), wide[:, step : step + 320])
    assert not is_cut(noisy(high[:180]), high[80:])
    scene = landscape(seed)
    assert not is_cut(scene, cv2.resize(scene[9:-9, 16:-16], (320, 180))), "a zoom"
    assert not is_cut(scene, np.clip(scene.astype(int) + 100, 0, 255).astype(np.uint8)), "a flash"
    fade = [(scene * (step / 12)).astype(np.uint8) for step in range(13)]
    assert not any(map(is_cut, fade, fade[1:])) and not any(map(is_cut, fade[1:], fade))


def test_photographs():
    from skimage import data

    shown = [cv2.resize(data.__getattr__(name)(), (640, 360)) for name in ("astronaut", "coffee", "chelsea", "rocket")]
    for first in shown:
        assert all(is_cut(first, other) == (first is not other) for other in shown)
        assert not any(is_cut(first[:, :-step], first[:, step:]) for step in (40, 100))


def begins(frames):
    return [n for n, (_, begin) in enumerate(SceneCuts().marked(frames, lambda rgb: rgb)) if begin]


def pan(seed, share, count=8):
    wide = landscape(seed, width=round(320 * (1 + share * count)))
    return [noisy(wide[:, round(n * share * 320) :][:, :320]) for n in range(count)]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("depth", (np.uint8, np.uint16))
def test_what_is_around_tells(seed, depth):
    """A cut between pans, also on twos; no cut in a pan however fast, at its begin and end, in flashes and fades."""
    first, second, fast = pan(seed, 0.1), pan(seed + 100, 0.1), pan(seed, 0.3)
    black, white = np.full_like(first[0], 16), np.full_like(first[0], 235)
    flash = [*first[:4], np.clip(first[4].astype(int) + 120, 0, 255).astype(np.uint8), *first[5:]]
    fade = [*[first[0]] * 4, *(cv2.addWeighted(first[0], 1 - n / 8, black, n / 8, 0) for n in range(9)), *[black] * 4]
    cases = [
        ([*first, *second], [8]),
        ([rgb for rgb in (*first, *second) for _ in range(2)], [16]),
        ([*[first[0]] * 5, *[second[0]] * 5], [5]),
        ([*first, *[black] * 5, *second], [8, 13]),
        ([*first, *[white] * 5, *second], [8, 13]),
        (pan(seed, 0.4), []),
        (pan(seed, 0.7), []),
        ([*[fast[0]] * 4, *fast, *[fast[-1]] * 4], []),
        (flash, []),
        (fade, []),
        (fade[::-1], []),
        (first[:2], []),
        ([first[0], second[0]], [1]),
        (first[:1], []),
        ([], []),
    ]
    for number, (frames, expected) in enumerate(cases):
        frames = [rgb.astype(depth) * (257 if depth == np.uint16 else 1) for rgb in frames]
        assert begins(frames) == expected, number


def test_nothing_is_kept_of_a_long_video():
    """Every frame comes out, in order and soon: at most four wait."""
    taken = []

    def frames():
        for number in range(50):
            taken.append(number)
            yield number

    picture = landscape(0)
    for number, (frame, begin) in enumerate(SceneCuts().marked(frames(), lambda number: picture)):
        assert frame == number and not begin and len(taken) <= number + 4 + 1
    assert number == 49


@pytest.fixture(scope="module")
def two_scenes(tmp_path_factory):
    return film(tmp_path_factory.mktemp("scenes") / "in.mkv", [*pan(0, 0.02, 6), *pan(100, 0.02, 6)])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Frames as many and as long that nobody looks at, as each kind of input."""
    folder = tmp_path_factory.mktemp("tiny")
    source = make(folder / "in.mkv", 12)
    kinds = {"video": source, "pipe": source, "images": folder / "f_%d.png", "animation": folder / "f.webp"}
    for kind in ("images", "animation"):
        assert run(source, "-o", kinds[kind], "--factor", 1, "--scene-cuts", "off") == 0
    return kinds


def test_cuts_are_listed_and_given(two_scenes, tiny, tmp_path, capsys):
    """What --list-cuts prints can be edited and given again; wrong lines are named."""
    assert run(two_scenes, "--list-cuts") == 0
    assert capsys.readouterr().out == "0.240000\n"
    source = tiny["video"]
    for text, cuts in (("0.24\n", 1), ("# none\n\n", 0), ("0.08\n0:00:00.24 # the second\n", 2)):
        (tmp_path / "cuts.txt").write_text(text)
        given = ("--scene-cuts", tmp_path / "cuts.txt", "--overwrite")
        assert run(source, "-o", tmp_path / "out.mkv", *given) == 0
        assert f"{cuts} scene cut" in capsys.readouterr().out
    (tmp_path / "cuts.txt").write_text("0.24\nsoon\n")
    assert "cuts.txt, line 2: expected seconds" in refused(capsys, source, "-o", tmp_path / "o.mkv", *given[:2])
    assert "expected auto, off or a file" in refused(capsys, source, "-o", tmp_path / "o.mkv", "--scene-cuts", "nope")
    assert "-o is missing" in refused(capsys, source)


STRAY = {
    "7\n": (2, "none of 1 time lies within the video: the video ends after 0.48 seconds"),
    "0.24\n7\n8\n": (0, "note: --scene-cuts: of 3 times, 2 with no frame of the video: 7, 8\n"),
    "0.24\n0.26\n": (0, "of 2 times, 1 with no frame of the video: 0.26"),
    "".join(f"{n}\n" for n in range(1, 9)) + "0.24\n": (
        0,
        "of 9 times, 8 with no frame of the video: 1, 2, 3, 4, 5 and so on",
    ),
    "0.24\n": (0, ""),
}


@pytest.mark.parametrize("text", STRAY)
@pytest.mark.parametrize("kind", ("video", "images", "animation", "pipe"))
def test_times_outside_of_the_video_are_said(tiny, tmp_path, capsys, text, kind):
    source, (code, said) = tiny[kind], STRAY[text]
    (tmp_path / "cuts.txt").write_text(text)
    capsys.readouterr()
    words = ("-o", tmp_path / "out.mkv", "--scene-cuts", tmp_path / "cuts.txt")
    if kind == "pipe":
        with standard_input(source.read_bytes()):
            assert run("-", *words) in (code, 0)
    else:
        assert run(source, *words) == (0 if kind == "animation" else code)
    heard = capsys.readouterr().err
    assert heard.count("--scene-cuts: ") == bool(said)
    assert said in heard or kind in ("animation", "pipe"), "which do not tell their length before"


def test_a_list_of_the_whole_is_good_for_a_part(tiny, tmp_path, capsys):
    source = tiny["video"]
    (tmp_path / "cuts.txt").write_text("0.04\n0.24\n0.4\n")
    part = ("--start", 0.16, "--end", 0.32)
    assert run(source, "-o", tmp_path / "out.mkv", "--scene-cuts", tmp_path / "cuts.txt", *part) == 0
    said = capsys.readouterr()
    assert said.err == "" and "1 scene cut" in said.out


def test_cuts_of_images_and_animations_are_listed(two_scenes, tmp_path, capsys):
    for name in ("f_%d.png", "f.webp", "f.apng", "f.gif"):
        assert run(two_scenes, "-o", tmp_path / name, "--factor", 1, "--scene-cuts", "off") == 0
        capsys.readouterr()
        assert run(tmp_path / name, "--list-cuts") == 0
        assert capsys.readouterr().out == "0.240000\n", name
