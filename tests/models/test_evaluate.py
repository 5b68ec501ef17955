"""Data sets: which frames are taken, how they are prepared, which metrics and means are reported."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vfi.commands.main import main
from vfi.data import datasets, lists, videos
from vfi.errors import UserError
from vfi.evaluation import metrics
from vfi.evaluation.scoring import METRICS, evaluate
from vfi.files.images import write_image
from vfi.models.interpolator import Interpolator


class Average(Interpolator):
    """A model whose result is the mean of its two frames."""

    def interpolate(self, frame0, frame1, t):
        return (frame0 + frame1) / 2


@pytest.fixture
def frames(sliding):
    """Three frames of a slide by 2 pixels each."""
    return [sliding(x) for x in (10, 12, 14)]


def write(folder: Path, names, frames) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in zip(names, frames, strict=True):
        write_image(folder / name, frame)
    return [folder / name for name in names]


def vimeo90k(root: Path, names, frames, listing: str, split: str = "test") -> list[list[Path]]:
    (root / f"tri_{split}list.txt").write_bytes(listing.encode())
    return [write(root / "sequences" / name, ("im1.png", "im2.png", "im3.png"), frames) for name in names]


def snu_film(root: Path, folder: str, frames, splits=("easy", "medium", "hard", "extreme")) -> None:
    """The frames in `folder`, and lists that name them as published."""
    write(root / folder / "GOPRO_test/one", ("000001.png", "000002.png", "000003.png"), frames)
    line = " ".join(f"data/SNU-FILM/test/GOPRO_test/one/00000{number}.png" for number in (1, 2, 3))
    for split in splits:
        (root / f"test-{split}.txt").write_bytes(f"{line}\r\n\r\n{line}\r\n".encode())


def test_the_command_knows_every_data_set(capsys):
    assert set(METRICS) <= set(datasets.DATASETS)
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert f"{{{','.join(datasets.DATASETS)},sfibench}}" in printed and "xiph: 2k, 4k" in printed


def test_vimeo90k_is_read_in_the_order_of_its_list(tmp_path, frames):
    listing = "\ufeff00002/0001\r\n\r\n00001/0003  \r\n"
    first, second, _ = vimeo90k(tmp_path, ("00002/0001", "00001/0003", "00001/0001"), frames, listing)
    assert lists.vimeo90k_triplets(tmp_path, "test") == [tuple(first), tuple(second)]
    vimeo90k(tmp_path, ("00001/0001",), frames, "00001/0001", split="train")
    (only,) = lists.vimeo90k_triplets(tmp_path, "train")
    assert only[1] == tmp_path / "sequences/00001/0001/im2.png"
    triplets = datasets.scenes("vimeo90k", tmp_path)
    assert [(scene.name, scene.split) for scene in triplets] == [("00002/0001", ""), ("00001/0003", "")]


def test_the_middle_frame_is_the_truth(tmp_path, frames):
    """Of the first and the last frame, in the metrics of the data set."""
    vimeo90k(tmp_path, ("00001/0001",), frames, "00001/0001\n")
    (score,) = evaluate(Average(), "vimeo90k", tmp_path, "cpu")
    mean = ((frames[0].astype(float) + frames[2]) / 2).round().astype(np.uint8)
    assert score.values["psnr"] == pytest.approx(metrics.psnr(mean, frames[1]), abs=0.05)
    assert score.values["ssim_volume"] == pytest.approx(metrics.ssim_volume(mean, frames[1]), abs=1e-3)
    assert abs(score.values["ssim_volume"] - metrics.ssim_gaussian(mean, frames[1])) > 1e-3


def test_triplet_folders(tmp_path, frames):
    names = ("im1.png", "im2.png", "im3.png")
    for folder in ("b", "a/c"):
        write(tmp_path / folder, names, frames)
    triplets = lists.triplet_folders(tmp_path)
    assert triplets == [tuple(tmp_path / folder / name for name in names) for folder in ("a/c", "b")]
    write(tmp_path / "two", names[:2], frames[:2])
    with pytest.raises(UserError, match=r"1 of 3 scenes is incomplete: .*two/im3\.png does not exist"):
        lists.triplet_folders(tmp_path)


@pytest.mark.parametrize("folder", ["data/SNU-FILM/test", "test", ".", "SNU-FILM/test"])
def test_snu_film_is_found_wherever_its_frames_are(tmp_path, frames, folder):
    snu_film(tmp_path, folder, frames)
    triplets = datasets.scenes("snu-film", tmp_path)
    assert [scene.split for scene in triplets] == ["easy"] * 2 + ["medium"] * 2 + ["hard"] * 2 + ["extreme"] * 2
    numbers = ("000001.png", "000002.png", "000003.png")
    assert triplets[0].paths == tuple(tmp_path / folder / "GOPRO_test/one" / number for number in numbers)
    assert triplets[-1].name == "extreme one/000002.png"


def test_snu_film_lists_may_lie_in_eval_modes(tmp_path, frames):
    snu_film(tmp_path, "test", frames, splits=("hard",))
    (tmp_path / "eval_modes").mkdir()
    (tmp_path / "test-hard.txt").rename(tmp_path / "eval_modes/test-hard.txt")
    assert len(datasets.scenes("snu-film", tmp_path, "hard")) == 2


def test_means_per_split_are_printed(tmp_path, frames, sliding, capsys, monkeypatch):
    snu_film(tmp_path, "test", frames, splits=("easy", "medium", "hard", "extreme"))
    faster = [sliding(x) for x in (10, 30, 50)]
    write(tmp_path / "test/YouTube_test/two", ("1.png", "2.png", "3.png"), faster)
    with (tmp_path / "test-hard.txt").open("a") as listing:
        listing.write(" ".join(f"data/SNU-FILM/test/YouTube_test/two/{number}.png" for number in (1, 2, 3)))
    monkeypatch.setattr("vfi.models.registry.load_model", lambda *arguments, **settings: Average())
    assert main(["evaluate", "--dataset", "snu-film", str(tmp_path)]) == 0
    rows = [line.rsplit(maxsplit=3) for line in capsys.readouterr().out.splitlines() if "95 %" not in line]
    assert [row[0] for row in rows[-4:]] == ["mean easy", "mean medium", "mean hard", "mean extreme"]
    scores = {name: [float(row[1]) for row in rows if row[0].startswith(name)] for name in ("easy", "hard")}
    assert len(scores["easy"]) == 2 and len(scores["hard"]) == 3
    assert float(rows[-4][1]) == pytest.approx(np.mean(scores["easy"]), abs=0.011)
    assert float(rows[-2][1]) == pytest.approx(np.mean(scores["hard"]), abs=0.011)
    assert float(rows[-4][1]) > float(rows[-2][1]) + 1
    assert main(["evaluate", "--dataset", "snu-film", "--split", "easy", str(tmp_path)]) == 0
    first_words = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert first_words == ["scene", "easy", "easy", "mean", "95", "95"]


@pytest.fixture
def xiph(tmp_path):
    """The names of Xiph's frames; the files are empty."""
    for clip in videos.XIPH_CLIPS:
        for number in range(1, 100):
            (tmp_path / f"{clip}-{number:03d}.png").touch()
    return tmp_path


def test_xiph_takes_the_even_frames_between_their_neighbours(xiph):
    triplets = datasets.scenes("xiph", xiph)
    assert len(triplets) == 2 * 8 * 49
    assert triplets[0].name == "2k BoxingPractice-002" and triplets[-1].name == "4k Tango-098"
    assert [path.name for path in triplets[48].paths] == [f"BoxingPractice-0{number}.png" for number in (97, 98, 99)]
    assert {scene.split for scene in datasets.scenes("xiph", xiph, "4k")} == {"4k"}
    (xiph / "Tango-099.png").unlink()
    with pytest.raises(UserError, match=r"2 of 784 scenes are incomplete: .*Tango-099\.png does not exist.*; expected"):
        datasets.scenes("xiph", xiph)


def test_xiph_is_halved_or_cropped(xiph):
    """2K: the mean of 2x2 pixels; 4K: the middle."""
    frame = np.random.default_rng(0).integers(0, 256, (2160, 4096, 3), dtype=np.uint8)
    halved, cropped = (datasets.scenes("xiph", xiph, split)[0].prepare(frame) for split in ("2k", "4k"))
    assert halved.shape == cropped.shape == (1080, 2048, 3)
    means = frame.reshape(1080, 2, 2048, 2, 3).mean((1, 3))
    assert np.abs(halved - means).max() <= 0.5
    assert np.array_equal(cropped, frame[540:1620, 1024:3072])
    small = np.zeros((32, 64, 3), np.uint8)
    for path in (scene := datasets.scenes("xiph", xiph, "2k")[0]).paths:
        write_image(path, small)
    with pytest.raises(UserError, match="expected frames of 4096x2160 in 2k BoxingPractice-002, got 64x32"):
        scene.read()


def test_xiph_from_end_to_end(tmp_path, monkeypatch):
    """One clip of three frames; the second is the mean of the others, so that the model is right."""
    monkeypatch.setattr(videos, "XIPH_CLIPS", ("Tango",))
    monkeypatch.setattr(videos, "XIPH_MIDDLES", range(2, 3))
    for number, level in ((1, 100), (2, 120), (3, 140)):
        write_image(tmp_path / f"Tango-00{number}.png", np.full((2160, 4096, 3), level, np.uint8))
    scores = list(evaluate(Average(), "xiph", tmp_path, "cpu"))
    assert [score.name for score in scores] == ["2k Tango-002", "4k Tango-002"]
    expected = {"psnr": float("inf"), "ssim_uniform": pytest.approx(1), "ssim_volume": pytest.approx(1)}
    assert all(score.values == expected for score in scores)


@pytest.mark.parametrize("text", ["../../etc/passwd", "/etc/passwd", "a/../../b", "C:\\x\\y", "..\\x"])
def test_lists_cannot_lead_out_of_the_root(tmp_path, frames, text):
    vimeo90k(tmp_path, (), frames, f"{text}\n")
    with pytest.raises(UserError, match="expected relative paths without"):
        lists.vimeo90k_triplets(tmp_path, "test")
    (tmp_path / "test-easy.txt").write_text(f"{text} {text} {text}\n")
    with pytest.raises(UserError, match="expected relative paths without"):
        datasets.scenes("snu-film", tmp_path, "easy")


def test_what_is_missing_is_said_in_one_sentence(tmp_path, frames, capsys):
    def said(*arguments: object) -> str:
        assert main(["evaluate", *map(str, arguments)]) == 2
        message = capsys.readouterr().err
        assert message.count("\n") == 1
        return message

    lists = {"vimeo90k": "tri_testlist.txt", "snu-film": "test-easy.txt"}
    for name, listing in lists.items():
        message = said("--dataset", name, tmp_path)
        expected = {"vimeo90k": "cannot read the list {}: No such file", "snu-film": "{} does not exist; with --split"}
        assert expected[name].format(tmp_path / listing) in message
        (tmp_path / listing).write_text("\n \n")
        assert f"the list {tmp_path / listing} is empty" in said("--dataset", name, tmp_path)
        (tmp_path / listing).write_bytes(b"\xff\xfe\x00")
        assert "cannot read the list" in said("--dataset", name, tmp_path)
    (tmp_path / "tri_testlist.txt").write_text("00001/0001")
    assert "im1.png does not exist" in said("--dataset", "vimeo90k", tmp_path)
    (tmp_path / "test-easy.txt").write_text("a/1.png a/2.png")
    assert "expected three paths in each line" in said("--dataset", "snu-film", tmp_path)
    (tmp_path / "test-easy.txt").write_text("x/a/1.png x/a/2.png x/a/3.png")
    assert "names x/a/1.png, which is not below" in said("--dataset", "snu-film", tmp_path)
    assert "BoxingPractice-001.png does not exist" in said("--dataset", "xiph", tmp_path)
    assert "has no split '8k': expected 2k or 4k" in said("--dataset", "xiph", "--split", "8k", tmp_path)
    assert "triplets has no split 'easy': it has no" in said("--dataset", "triplets", "--split", "easy", tmp_path)
    vimeo90k(tmp_path, ("00001/0001",), [frames[0], frames[1][:40], frames[2]], "00001/0001")
    assert "differ in size" in said("--dataset", "vimeo90k", tmp_path)


def volume_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """The definition: one convolution with the window as a volume, means of squares less squares of means."""
    line = torch.exp(-((torch.arange(11, dtype=torch.float64) - 5) ** 2) / 4.5)
    line /= line.sum()
    window = torch.einsum("i,j,k->ijk", line, line, line)[None, None]

    def mean(volume):
        return F.conv3d(F.pad(volume, (5,) * 6, mode="replicate"), window)

    a, b = (torch.from_numpy(picture / 255).permute(2, 0, 1)[None, None] for picture in (x, y))
    covariance = mean(a * b) - mean(a) * mean(b)
    variances = mean(a * a) - mean(a) ** 2 + mean(b * b) - mean(b) ** 2
    c1, c2 = 1e-4, 9e-4
    luminance = (2 * mean(a) * mean(b) + c1) / (mean(a) ** 2 + mean(b) ** 2 + c1)
    return float((luminance * (2 * covariance + c2) / (variances + c2)).mean())


def test_ssim_as_a_volume(frames):
    for x, y in ((frames[0], frames[1]), (frames[0][:7, :5], frames[2][:7, :5])):
        ssim = metrics.ssim_volume(x, y)
        assert ssim == pytest.approx(volume_ssim(x, y), abs=1e-6)
        assert metrics.ssim_volume(x[..., ::-1], y[..., ::-1]) == pytest.approx(ssim)
    assert metrics.ssim_volume(frames[0], frames[0]) == pytest.approx(1)
    wide = [frame.astype(np.uint16) * 257 for frame in frames[:2]]
    assert metrics.ssim_volume(*wide) == pytest.approx(metrics.ssim_volume(*frames[:2]))


def test_ssim_with_a_uniform_window(frames):
    """One window of 7x7: the formula with sample variances."""
    x, y = (frame[:7, :7].astype(float) for frame in frames[:2])
    c1, c2, values = (0.01 * 255) ** 2, (0.03 * 255) ** 2, []
    for c in range(3):
        (vx, covariance), (_, vy) = np.cov(x[..., c].ravel(), y[..., c].ravel())
        mx, my = x[..., c].mean(), y[..., c].mean()
        values.append((2 * mx * my + c1) * (2 * covariance + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    assert metrics.ssim_uniform(frames[0][:7, :7], frames[1][:7, :7]) == pytest.approx(np.mean(values))
    assert np.isnan(metrics.ssim_uniform(frames[0][:6], frames[1][:6]))


SKIMAGE = {
    "ssim_gaussian": {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False},
    "ssim_uniform": {},
}


@pytest.mark.parametrize("kind", SKIMAGE)
def test_ssim_is_that_of_skimage(frames, kind):
    """Of 8 and of 16 bits, and of a picture that the window just fits into."""
    from skimage.metrics import structural_similarity

    small = [frame[:11, :13] for frame in frames]
    wide = [frame.astype(np.uint16) * 257 for frame in frames]
    for x, y, *_ in (frames, small, wide):
        expected = structural_similarity(x, y, channel_axis=2, data_range=int(np.iinfo(x.dtype).max), **SKIMAGE[kind])
        assert metrics.MEASURES[kind](x, y) == pytest.approx(expected, abs=1e-6)
    assert np.isnan(metrics.ssim_gaussian(frames[0][:10], frames[1][:10]))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_psnr_is_its_definition(frames, dtype):
    """Also of a part of a picture, whose rows do not follow one another, and of other values than 8 bits have."""
    most = np.iinfo(dtype).max
    x, y = (np.random.default_rng(i).integers(0, most + 1, (40, 50, 3), dtype=dtype)[3:-5, 7:-9] for i in range(2))
    expected = 10 * np.log10(most**2 / ((x.astype(float) - y) ** 2).mean())
    assert metrics.psnr(x, y) == pytest.approx(expected, rel=1e-12)
    assert metrics.ssim_uniform(x, y) == metrics.ssim_uniform(x.copy(), y.copy())


def test_psnr_of_luma(frames):
    """As the HD videos are reported: Y of skimage, in units of 255."""
    from skimage.color import rgb2yuv

    x, y = frames[:2]
    apart = 255 * (rgb2yuv(x / 255)[..., 0] - rgb2yuv(y / 255)[..., 0])
    assert metrics.psnr_y(x, y) == pytest.approx(10 * np.log10(255**2 / (apart**2).mean()))
    assert metrics.psnr_y(x, y) > metrics.psnr(x, y) + 0.05
