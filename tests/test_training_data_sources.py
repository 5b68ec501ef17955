"""What scripts/training_data.py takes: which sources, how they are fetched, triplets of clips."""

import hashlib
import sys
from pathlib import Path

import av
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from clips import CLIPS, Package, unpacked
from data_steps import fetch, triplets
from data_steps.card import table
from data_steps.pictures import Pictures
from data_steps.sources import ALBUMS, SERIES, TRAINING_CLIPS, Album, Series

from vfi.data.synthetic.textures import noise
from vfi.files.images import write_image

ROOT = Path(__file__).resolve().parents[1]


def drawn(seed, height, width):
    return np.clip(127 + 50 * noise(np.random.default_rng(seed), height, width, 3, 0.6), 0, 255).astype(np.uint8)


def test_nothing_that_is_measured_is_trained_on():
    measured = [clip for clip in CLIPS if clip.cuts]
    assert measured and len(TRAINING_CLIPS) > 10
    assert not {clip.digest for clip in measured} & {clip.digest for clip in TRAINING_CLIPS}
    files = {(clip.package.name, Path(clip.member).name) for clip in measured}
    assert not files & {(clip.package.name, Path(clip.member).name) for clip in TRAINING_CLIPS}
    albums = [*ALBUMS, *(one.album for one in SERIES)]
    assert not {clip.package.name for clip in measured} & {album.package.name for album in albums}
    names = [clip.name for clip in TRAINING_CLIPS] + [one.name for one in SERIES]
    assert len(set(names)) == len(names)


def test_every_source_has_a_hash_and_a_licence_and_is_in_the_card():
    free = ("public domain", "CC0", "CC-BY-", "CC-BY-SA-", "GPL-", "LGPL-", "BSD-", "BSL-1.0", "Expat")
    sources = [(one.package, one.digest) for one in (*ALBUMS, *TRAINING_CLIPS, *(each.album for each in SERIES))]
    for package, digest in sources:
        assert len(digest) == 16 and int(digest, 16)
        licences = package.licence.split(", ")
        assert all(licence.startswith(free) and "NC" not in licence and "ND" not in licence for licence in licences)
    page = (ROOT / "docs/training_data.md").read_text()
    assert table() in page, "run python scripts/training_data.py --card"


def test_triplets_are_where_something_moves_and_nothing_is_cut():
    picture = drawn(1, 300, 400)
    moving = np.stack([picture[:256, i : i + 256] for i in (0, 3, 6)])
    assert triplets.moves(moving)
    other = drawn(2, 256, 256)
    assert not triplets.moves(np.stack([moving[0], moving[0], moving[0]]))  # nothing moves
    assert not triplets.moves(np.stack([moving[0], moving[0], moving[2]]))  # a copy
    assert not triplets.moves(np.stack([moving[0], moving[1], other]))  # a cut
    small = triplets.window(np.random.default_rng(0), [frame[:144, :176] for frame in moving])
    assert small.shape == (3, 256, 256, 3) and np.array_equal(small[:, 144], small[:, 143])


@pytest.mark.parametrize("kind", ["video", "series"])
def test_a_clip_is_cut_within_its_scenes(tmp_path, kind):
    """Two of them, a dark one and a light one; the last frames of the clip are held out."""
    scenes = drawn(0, 260, 400) // 3, 170 + drawn(1, 260, 400) // 3
    frames = [np.ascontiguousarray(scenes[i >= 20][:, 2 * i : 2 * i + 300]) for i in range(40)]
    clip = tmp_path / ("clip.mkv" if kind == "video" else "clip")
    if kind == "video":
        with av.open(str(clip), "w") as container:
            stream = container.add_stream("ffv1", rate=25, width=300, height=260, pix_fmt="bgr0")
            for frame in [*frames, None]:
                picture = None if frame is None else av.VideoFrame.from_ndarray(frame, format="rgb24")
                container.mux(stream.encode(picture))
    else:
        clip.mkdir()
        for i, frame in enumerate(frames):
            write_image(clip / f"{i:04d}.png", frame)
    assert triplets.length(clip) == 40 and all(map(np.array_equal, triplets.read(clip), frames))
    found, again = triplets.cut_clip(clip), triplets.cut_clip(clip)
    for part, fewest in (("train", 60), ("held", 1)):
        light = np.array([[frame.mean() > 127 for frame in crop] for crop in found[part]])
        assert len(light) >= fewest and (light.all(1) | ~light.any(1)).all()
        assert np.array_equal(found[part], again[part])
    assert light.all() and not all(crop.mean() > 127 for crop in found["train"])


@pytest.fixture
def packages(monkeypatch):
    """Stand in for Debian's: what a package holds, by its name, and which were fetched."""
    held, fetched = {}, []

    def unpacked(package, folder):
        fetched.append(package.name)
        for name, pixels in held[package.name].items():
            file = folder / "usr" / "share" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            write_image(file, pixels)

    monkeypatch.setattr(fetch, "unpacked", unpacked)
    return held, fetched


def digest(folder, files):
    total = hashlib.sha256()
    for i, pixels in enumerate(files):
        write_image(folder / f"{i}.png", pixels)
        total.update(hashlib.sha256((folder / f"{i}.png").read_bytes()).digest())
    return total.hexdigest()[:16]


def test_an_album_is_fetched_once_and_held_against_its_hash(tmp_path, packages):
    """Pictures with holes are objects, large ones are reduced, small ones left out."""
    held, fetched = packages
    cut_out = np.dstack((drawn(0, 120, 100), np.where(np.arange(100) < 50, 255, 0) + np.zeros((120, 1)))).astype(
        np.uint8
    )
    files = {
        "a/1.png": drawn(1, 300, 2000),
        "a/2.png": cut_out,
        "a/3.png": drawn(2, 60, 60),
        "b/no.png": drawn(3, 8, 8),
    }
    held["album"] = files
    right = digest(tmp_path, list(files.values())[:3])
    album = Album(Package("album", "CC0"), ("*/share/?/*.png",), right, ("*/no.png",))
    for _ in (0, 1):
        fetch.fetch_albums(tmp_path / "pictures", [album])
    assert fetched == ["album"]
    (photograph,), (found,) = (
        (tmp_path / "pictures" / "album" / kind).iterdir() for kind in ("photographs", "objects")
    )
    assert np.load(photograph).shape == (240, 1600, 3) and np.array_equal(np.load(found), cut_out)
    pictures = Pictures([np.load(photograph)], [np.load(found)])
    made = pictures.object(np.random.default_rng(0), 60)
    assert made.shape == (60, 50, 4) and made.min() >= 0 and made.max() <= 1
    files["a/1.png"] = drawn(4, 300, 300)
    with pytest.raises(SystemExit, match=f"album: expected pictures with the digest {right}, got 3 with"):
        fetch.fetch_albums(tmp_path / "others", [album])
    assert not (tmp_path / "others" / "album").exists()


def test_a_package_of_several_series_is_fetched_once(tmp_path, packages, monkeypatch):
    held, fetched = packages
    monkeypatch.setattr(fetch, "fetch", lambda folder, clips: folder.mkdir(exist_ok=True))
    held["frames"] = {f"{name}/{i:02d}.png": drawn(10 * k + i, 40, 40) for k, name in enumerate("ab") for i in range(3)}
    package = Package("frames", "CC0")
    series = []
    for name in "ab":
        files = [pixels for file, pixels in held["frames"].items() if file.startswith(name)]
        series.append(Series(f"series-{name}", Album(package, (f"*/{name}/*.png",), digest(tmp_path, files))))
    for _ in (0, 1):
        fetch.fetch_clips(tmp_path / "clips", [], series)
    assert fetched == ["frames"]
    assert [np.array_equal(frame, drawn(10 + i, 40, 40)) for i, frame in
            enumerate(triplets.read(tmp_path / "clips" / "series-b"))] == [True] * 3  # fmt: skip


@pytest.mark.parametrize("name", ["no-such-package", "no-such-package==1.0"])
def test_a_package_that_cannot_be_had_is_one_sentence(tmp_path, monkeypatch, name):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(SystemExit, match=f"{name}: expected a package to be had, got .*No such file"):
        unpacked(Package(name, "CC0"), tmp_path)
