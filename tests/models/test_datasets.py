"""Every reader of a data set, on made-up data in the published layout: what is taken, what is refused, and how."""

import json
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from dataset_layouts import LAYOUTS, Y4M, make_atd, make_hd, make_xiph, numbered, planar
from test_evaluate import Average

from vfi.commands.main import main
from vfi.data import datasets, planes, videos
from vfi.data.planes import PlaneFile, PlaneFrame, y4m
from vfi.data.truth import same_sizes
from vfi.errors import UserError
from vfi.evaluation.scoring import evaluate
from vfi.files.images import read_image, write_image


@pytest.fixture(autouse=True)
def small_xiph_and_hd(monkeypatch):
    """Five frames of Xiph, of another size; HD at a tenth."""
    monkeypatch.setattr(videos, "XIPH_MIDDLES", range(2, 5, 2))
    monkeypatch.setattr(videos, "SIZE_4K", (64, 96))
    small = {s: (folder, height // 10, width // 10, names) for s, (folder, height, width, names) in videos.HD.items()}
    monkeypatch.setattr(videos, "HD", small)


def test_every_reader_is_here():
    assert set(LAYOUTS) == set(datasets.DATASETS)


every = pytest.mark.parametrize("name", LAYOUTS)


@every
def test_what_is_taken(name, tmp_path, sliding):
    layout = LAYOUTS[name]
    layout.make(tmp_path, sliding)
    found = datasets.scenes(name, tmp_path)
    assert {split: [s.name for s in found if s.split == split] for split in layout.names} == layout.names
    assert {len(scene.times) for scene in found} == {layout.between}
    assert found[0].times == [pytest.approx((i + 1) / (layout.between + 1)) for i in range(layout.between)]
    same_sizes(found)


@every
def test_from_end_to_end(name, tmp_path, sliding, monkeypatch, capsys):
    """The command, on the split that is the smallest: frames between are measured against the true ones."""
    monkeypatch.setattr("vfi.models.registry.load_model", lambda *arguments, **settings: Average())
    if name == "xiph":
        monkeypatch.setattr(videos, "_xiph_4k", lambda frame: frame)
    LAYOUTS[name].make(tmp_path, sliding)
    split = [] if len(LAYOUTS[name].names) == 1 else ["--split", list(LAYOUTS[name].names)[-1]]
    out = tmp_path.parent / f"{tmp_path.name}.json"
    assert main(["evaluate", "--dataset", name, str(tmp_path), *split, "--json", str(out)]) == 0
    document = json.loads(out.read_text())
    assert [row["name"] for row in document["scenes"]] == list(LAYOUTS[name].names.values())[-1]
    for row, scene in zip(
        document["scenes"], datasets.scenes(name, tmp_path, split[-1] if split else None), strict=True
    ):
        first, *truth, last = [frame.astype(float) for frame in scene.read()]
        errors = [((((first + last) / 2).round() - frame) ** 2).mean() for frame in truth]
        expected = np.mean([10 * np.log10(255**2 / error) if error else np.inf for error in errors])
        assert float(row["psnr"]) == pytest.approx(expected, abs=0.02)


def refused(capsys, name: str, root: Path, *more: str, ended: bool = True) -> str:
    """One sentence, before anything is scored. ended: also before there is a head to print."""
    capsys.readouterr()
    assert main(["evaluate", "--dataset", name, str(root), "--results", str(root.parent / "kept"), *more]) == 2
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if not line.startswith("note:")]
    assert len(lines) == 1 and (not ended or (printed.out == "" and not (root.parent / "kept").exists()))
    return lines[0]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.mark.parametrize("name", [name for name, layout in LAYOUTS.items() if layout.lost])
def test_an_incomplete_data_set(name, root, sliding, capsys):
    """It is counted and named."""
    layout = LAYOUTS[name]
    layout.make(root, sliding)
    (root / layout.lost).unlink()
    said = refused(capsys, name, root)
    stem = Path(layout.lost).stem
    assert layout.lacking in said and ("clip" in layout.lacking or stem in said), said


# With what makes a scene of it: a folder that holds any of its frames.
FOLDERS = ("middlebury", "triplets", "ucf101", "atd-12k")


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_lacks_any_frame(name, place, root, sliding, capsys):
    """Whichever it is, nothing is scored; of Middlebury the true frame may be missing."""
    LAYOUTS[name].make(root, sliding)
    lost = datasets.scenes(name, root)[0].paths[place]
    lost.unlink()
    if (name, place) != ("middlebury", 1):
        said = refused(capsys, name, root)
        assert f"is incomplete: {lost} does not exist" in said, said


@pytest.mark.parametrize("name", FOLDERS)
def test_links_to_folders_of_scenes(name, root, sliding, tmp_path):
    """They count as folders; a link into a folder that it lies in is not followed."""
    LAYOUTS[name].make(root, sliding)
    scenes = datasets.scenes(name, root)
    folder = scenes[0].paths[0].parent
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (folder / "again").symlink_to(root, target_is_directory=True)
    assert datasets.scenes(name, root) == scenes


@every
def test_another_layout(name, root, capsys):
    """An empty folder, and one of something else, and none."""
    for change in (lambda: None, lambda: (root / "notes.txt").write_text("none"), lambda: shutil.rmtree(root)):
        change()
        said = refused(capsys, name, root)
        assert str(root) in said and "Traceback" not in said


def test_scenes_of_middlebury_without_truth_are_left_out(root, sliding):
    """The published set has some."""
    LAYOUTS["middlebury"].make(root, sliding)
    (root / "Beanbags/frame10i11.png").unlink()
    assert [scene.name for scene in datasets.scenes("middlebury", root)] == ["Dimetrodon"]


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name != "hd"])  # all frames of a raw file have one size
def test_frames_of_another_size(name, root, sliding, capsys):
    """Of one scene: nothing of any is scored."""
    LAYOUTS[name].make(root, sliding)
    scene = datasets.scenes(name, root)[0]
    path = scene.paths[1]
    write_image(path, sliding(10, 48))
    said = refused(capsys, name, root)
    assert "differ in size" in said and f"those of {scene.name} have 48x64 and 96x64 pixels" in said
    path.write_bytes(b"none")
    assert f"cannot be read: {path}" in refused(capsys, name, root)


@pytest.mark.parametrize("name", ["xiph", "x4k1000fps"])
def test_frames_of_another_size_than_published(name, root, sliding, capsys, monkeypatch):
    """Also where it is that of all."""
    LAYOUTS[name].make(root, sliding)
    monkeypatch.setattr(videos, "SIZE_4K", (2160, 4096))
    count = sum(len(names) for names in LAYOUTS[name].names.values())
    said = refused(capsys, name, root)
    assert f"{count} of {count} scenes have another size than published: expected 4096x2160, got 96x64 in" in said


def test_a_jpeg_with_a_hole(root, sliding, capsys, monkeypatch):
    """Its decoder would make it up."""
    monkeypatch.setattr("vfi.models.registry.load_model", lambda *arguments, **settings: Average())
    make_atd(root, sliding)
    path = root / "test_2k_540p/Disney_a/frame2.jpg"
    write_image(path, np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))
    data = path.read_bytes()
    path.write_bytes(data[:-2000] + data[-1000:])
    assert f"cannot read {path}: it is damaged (" in refused(capsys, "atd-12k", root, ended=False)


def test_raw_files_that_are_too_short(root, sliding, capsys):
    make_hd(root, sliding)
    film = root / "HD_dataset/HD544p_GT/Sintel_Alley2_1280x544.yuv"
    film.write_bytes(film.read_bytes()[:1000])
    assert "1 of 7 scenes is incomplete: frame 0 of " in refused(capsys, "hd", root, "--split", "544p")
    make_xiph(root, sliding)
    tango = root / "Netflix_Tango_4096x2160_60fps_10bit_420.y4m"
    tango.write_bytes(tango.read_bytes()[:-1])
    assert "1 of 16 scenes is incomplete: frame 4 of " in refused(capsys, "xiph", root, "--split", "2k")
    tango.write_bytes(b"YUV4MPEG2 W4 H4 C444\n")
    assert "expected samples of 420" in refused(capsys, "xiph", root)
    for words in (
        b"",
        b"RIFF",
        b"YUV4MPEG2 W0 H4\n",
        b"YUV4MPEG2 W99999999 H99999\n",
        b"YUV4MPEG2 W4 H4",
        b"\xff" * 5000,
    ):
        tango.write_bytes(words)
        assert "expected a YUV4MPEG2 file" in refused(capsys, "xiph", root)


def test_levels_of_atd_12k(root, sliding, capsys):
    make_atd(root, sliding)
    assert [scene.name for scene in datasets.scenes("atd-12k", root, "medium")] == ["Japan_b"]
    (root / "test_2k_annotations/Japan_b/Japan_b.json").write_text('{"level": 7}')
    assert "expected a level of 0, 1 or 2 in" in refused(capsys, "atd-12k", root, "--split", "easy")
    shutil.rmtree(root / "test_2k_annotations")
    assert "which tells how hard the scene is" in refused(capsys, "atd-12k", root, "--split", "easy")
    assert len(datasets.scenes("atd-12k", root)) == 3


def test_gopro_large_is_not_gopro_large_all(root, sliding, capsys):
    numbered(root, "test/GOPR0384_11_00/sharp", 9, sliding)
    assert "sharp frames are not consecutive: expected GOPRO_Large_all" in refused(capsys, "gopro", root)


def test_clips_that_are_too_short(root, sliding, capsys):
    numbered(root, "a", 9, sliding)
    numbered(root, "b", 3, sliding)
    assert "1 of 2 clips is too short: expected at least 9 frames in" in refused(capsys, "clips", root)
    assert len(datasets.scenes("clips", root, frames=3)) == 2
    numbered(root, "test/Type1/x", 34, sliding, "{:04d}.png", 0)
    assert "1 of 1 clip have too many frames: expected 33 frames in" in refused(capsys, "x4k1000fps", root)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg")
def test_y4m_is_read_as_ffmpeg_makes_png_of_it(tmp_path):
    """To the bit: the published benchmark on Xiph has its frames from `ffmpeg -pix_fmt rgb24`."""
    path = tmp_path / "in.y4m"
    planar(path, 98, 64, 3, Y4M % (98, 64), b"FRAME\n", bits=10)
    subprocess.run(["ffmpeg", "-loglevel", "error", "-i", path, "-pix_fmt", "rgb24", tmp_path / "%03d.png"], check=True)
    stored = y4m(path)
    assert stored.count == 3
    for number in (2, 0, 1):
        assert np.array_equal(PlaneFrame(stored, number).read(), read_image(tmp_path / f"{number + 1:03d}.png").rgb)


def test_raw_files_are_read_as_the_benchmarks_on_them_do(tmp_path):
    """Full range, the matrix of skimage, truncated: by hand for a flat picture, and chroma stays where it is."""
    y, u, v = 90, 120, 150
    path = tmp_path / "a.yuv"
    path.write_bytes(bytes([y] * 24 + [u] * 6 + [v] * 6))
    film = PlaneFile(path, 6, 4, "yuv420p", "skimage")
    cb, cr = u / 255 - 0.5, v / 255 - 0.5
    expected = [y / 255 + 1.13988 * cr, y / 255 - 0.39465 * cb - 0.58060 * cr, y / 255 + 2.03211 * cb]
    assert film.count == 1 and PlaneFrame(film, 0).read()[2, 3].tolist() == [int(255 * value) for value in expected]
    assert PlaneFrame(film, 0).size == (4, 6) and not PlaneFrame(film, 1).is_file()
    with pytest.raises(UserError, match="frame 1 is not where it should be"):
        PlaneFrame(film, 1).read()
    chroma = np.arange(6, dtype=np.uint8).reshape(2, 3) * 20
    path.write_bytes(bytes([128] * 24) + chroma.tobytes() + bytes([128] * 6))
    blue = PlaneFrame(film, 0).read()[..., 2].astype(float)
    assert np.all(np.diff(blue, axis=1) >= 0) and np.all(np.diff(blue, axis=0) >= 0)
    assert planes.y4m is y4m


def test_xiph_of_y4m_has_the_figures_of_its_png(root, monkeypatch):
    """A frame is number 1 in names of PNG, and the first of the file."""
    monkeypatch.setattr(videos, "XIPH_CLIPS", ("Tango",))
    monkeypatch.setattr(videos, "_xiph_2k", lambda frame: cv2.resize(frame, (48, 32), interpolation=cv2.INTER_AREA))
    path = root / "Netflix_Tango_4096x2160_60fps_10bit_420.y4m"
    planar(path, 96, 64, 5, Y4M % (96, 64), b"FRAME\n", bits=10)
    scores = [score.values for score in evaluate(Average(), "xiph", root, "cpu", "2k")]
    for number in range(5):
        write_image(root / f"Tango-{number + 1:03d}.png", PlaneFrame(y4m(path), number).read())
    path.unlink()
    assert [score.values for score in evaluate(Average(), "xiph", root, "cpu", "2k")] == scores and len(scores) == 2
