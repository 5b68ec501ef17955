"""LPIPS, FloLPIPS, FID and FVD on data sets, with files of weights that are made up."""

import cv2
import numpy as np
import pytest
import torch
from lpips_files import FewFeatures, network_of_lpips, state_of_stlpips
from test_evaluate import Average, write
from test_evaluation_results import loaded, run

from vfi.errors import UserError
from vfi.evaluation import i3d
from vfi.evaluation.kept_rows import RESULTS
from vfi.evaluation.perceptual import by_flolpips, by_lpips
from vfi.evaluation.sfibench import inception
from vfi.evaluation.sfibench.frechet import Moments, distance
from vfi.files.images import to_array, to_tensor
from vfi.networks import lpips, stlpips


@pytest.fixture(autouse=True)
def means(monkeypatch):
    """In place of flow-splat's frames."""
    monkeypatch.setattr("vfi.models.registry.load_model", lambda *arguments, **settings: Average())


def test_lpips_of_every_data_set(tmp_path, sliding):
    write(tmp_path / "a", ("im1.png", "im2.png", "im3.png"), [sliding(x) for x in (10, 12, 14)])
    files = network_of_lpips(tmp_path)
    assert run(tmp_path, "--lpips", *files, "--json", tmp_path / "s.json", dataset="triplets") == 0
    (row,) = loaded(tmp_path / "s.json")["scenes"]
    first, truth, last = (sliding(x) for x in (10, 12, 14))
    made = cv2.addWeighted(first, 0.5, last, 0.5, 0)
    frames = [torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255 for frame in (made, truth)]
    with torch.no_grad():
        assert row["lpips"] == pytest.approx(float(lpips.load(*map(str, files))(*frames)), rel=0.02)


def stlpips_file(folder):
    torch.manual_seed(0)
    torch.save(state_of_stlpips(stlpips.ShiftTolerantLPIPS()), folder / "stlpips.pth")
    return folder / "stlpips.pth"


def test_st_lpips(tmp_path, sliding):
    write(tmp_path / "a", ("im1.png", "im2.png", "im3.png"), [sliding(x) for x in (10, 12, 14)])
    assert run(tmp_path, "--stlpips", stlpips_file(tmp_path), "--json", tmp_path / "s.json", dataset="triplets") == 0
    (row,) = loaded(tmp_path / "s.json")["scenes"]
    made, measure = (
        cv2.addWeighted(sliding(10), 0.5, sliding(14), 0.5, 0),
        by_lpips(stlpips.load(tmp_path / "stlpips.pth"), "cpu"),
    )
    assert row["stlpips"] == pytest.approx(measure(made, sliding(12)), rel=0.02) and row["stlpips"] > 0
    assert measure(made, made) == 0


@pytest.mark.parametrize(("asked", "side"), [("lpips", 31), ("stlpips", 21)])
def test_small_frames(asked, side, tmp_path, sliding, capsys):
    """One pixel too few is one sentence; the smallest that is allowed is measured."""
    words = ("--lpips", *network_of_lpips(tmp_path)) if asked == "lpips" else ("--stlpips", stlpips_file(tmp_path))
    for width in (side - 1, side):
        root = tmp_path / f"{width}"
        write(root / "a", ("im1.png", "im2.png", "im3.png"), [sliding(x, width, side + 2) for x in (10, 12, 14)])
        assert run(root, *words, dataset="triplets") == (2 if width < side else 0)
    said = f"LPIPS needs frames of {side}x{side} or more, got {side - 1}x{side + 2}"
    assert capsys.readouterr().err.strip().endswith(said)


@pytest.mark.parametrize("stand_in", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_fid_of_every_data_set(stand_in, tmp_path, sliding, inception_file, monkeypatch, capsys):
    """Of the features of the frames between, for each split; gone on with from those that are kept."""
    if stand_in:
        monkeypatch.setattr(inception, "load", lambda path: FewFeatures())
    root, kept = tmp_path / "data", tmp_path / "kept"
    for i in range(3):
        write(root / f"{i}", ("im1.png", "im2.png", "im3.png"), [sliding(10 * i + x) for x in (10, 12, 14)])
    words = ("--inception", inception_file, "--results", kept, "--json", tmp_path / "s.json")
    assert run(root, *words, dataset="triplets") == 0
    fid = loaded(tmp_path / "s.json")["means"][""]["fid"]
    network, both = inception.load(inception_file), (Moments(), Moments())
    for i in range(3):
        first, truth, last = (sliding(10 * i + x) for x in (10, 12, 14))
        made = to_array((to_tensor(first) + to_tensor(last)) / 2)
        for moments, frame in zip(both, (truth, made), strict=True):
            with torch.no_grad():
                moments.add(network(torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255))
    assert fid == pytest.approx(distance(*both), rel=1e-4) and fid > 0
    assert f"FID: {fid:.3f}" in capsys.readouterr().out
    (kept / "fid-000001.npy").unlink()
    before = (kept / RESULTS).read_bytes()
    assert run(root, *words, "--resume", dataset="triplets") == 0
    assert loaded(tmp_path / "s.json")["means"][""]["fid"] == fid and (kept / RESULTS).read_bytes() == before


def test_fid_of_a_single_frame(tmp_path, sliding, monkeypatch, capsys):
    monkeypatch.setattr("vfi.evaluation.sfibench.inception.load", lambda path: torch.nn.Flatten())
    write(tmp_path / "a", ("im1.png", "im2.png", "im3.png"), [sliding(x, 8, 8) for x in (10, 12, 14)])
    assert run(tmp_path, "--inception", "x", "--json", tmp_path / "s.json", dataset="triplets") == 0
    assert "FID: not measured, of fewer than 2 frames" in capsys.readouterr().out
    assert loaded(tmp_path / "s.json")["means"][""]["fid"] is None


def video(root, name, count, sliding, step=2):
    write(root / name, [f"{i}.png" for i in range(count)], [sliding(step * i) for i in range(count)])


class Colours(torch.nn.Module):
    """In place of I3D: the mean colours of a video's first, middle and last frame."""

    def forward(self, videos: torch.Tensor) -> torch.Tensor:
        return videos[:, (0, videos.shape[1] // 2, -1)].float().mean((3, 4)).flatten(1)


def test_fvd_of_clips(tmp_path, sliding, monkeypatch, capsys):
    """Of whole videos, the ends counted, with covariances of all there are; kept, and gone on with."""
    monkeypatch.setattr("vfi.evaluation.i3d.load", lambda path: Colours())
    root, kept = tmp_path / "data", tmp_path / "kept"
    for i in range(3):
        video(root, f"{i}", 9, lambda x, i=i: sliding(30 * i + x), 2 + i)
    words = ("--frames", 9, "--i3d", "x", "--results", kept, "--json", tmp_path / "s.json")
    assert run(root, *words, dataset="clips") == 0
    fvd = loaded(tmp_path / "s.json")["means"][""]["fvd"]
    both = (Moments(), Moments())
    for i in range(3):
        truth = [sliding(30 * i + (2 + i) * k) for k in range(9)]
        mean = to_array((to_tensor(truth[0]) + to_tensor(truth[-1])) / 2)
        for moments, frames in zip(both, (truth, [truth[0], *[mean] * 7, truth[-1]]), strict=True):
            moments.add(Colours()(torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)[None]))
    assert fvd == pytest.approx(distance(*both, unbiased=False), rel=1e-6) and fvd > 0
    assert fvd != pytest.approx(distance(*both), rel=1e-3)
    assert f"FVD: {fvd:.2f}" in capsys.readouterr().out
    (kept / "fvd-000001.npy").unlink()
    assert run(root, *words, "--resume", dataset="clips") == 0
    assert loaded(tmp_path / "s.json")["means"][""]["fvd"] == fvd


def test_flolpips_of_a_named_flow(tmp_path, sliding):
    """Where nothing moves otherwise than it should, it is LPIPS; a still frame in place of a moving one counts."""
    write(tmp_path / "a", ("im1.png", "im2.png", "im3.png"), [sliding(x, 128, 96) for x in (10, 16, 22)])
    files = network_of_lpips(tmp_path)
    words = ("--lpips", *files, "--flolpips", "dis", "--json", tmp_path / "s.json")
    assert run(tmp_path, *words, dataset="triplets") == 0
    document = loaded(tmp_path / "s.json")
    (row,) = document["scenes"]
    assert document["settings"]["measures"][-2:] == ["lpips", "flolpips_dis"] and "flolpips" not in row
    assert row["flolpips_dis"] > 0 and row["flolpips_dis"] != pytest.approx(row["lpips"], rel=1e-3)
    network, still = lpips.load(*files), lambda first, second: torch.zeros_like(first[:, :2])
    frames = [sliding(x) for x in (10, 12, 14)]
    made = [frames[0], sliding(17), frames[2]]
    expected = by_lpips(network, "cpu")(made[1], frames[1])
    assert by_flolpips(network, still, "cpu")(made, frames) == pytest.approx(expected, rel=1e-6)


def test_what_measures_need(tmp_path, sliding, capsys):
    root = tmp_path / "data"
    video(root, "a", 5, sliding)
    files, other = network_of_lpips(tmp_path), tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(2)}, other)
    for words, sentence in (
        (("--flolpips", "dis"), "--flolpips needs --lpips, whose distances it weighs"),
        (("--flolpips-weights", "x"), "--flolpips-weights is for --flolpips only"),
        (("--lpips", *files, "--flolpips", "pwc-net"), "--flolpips pwc-net needs --flolpips-weights"),
        (("--lpips", *files, "--flolpips", "ebme"), "the flow model ebme needs --flolpips-weights"),
        (("--lpips", *files, "--flolpips", "pwc-net", "--flolpips-weights", other), "expected PWC-Net in"),
        (("--i3d", other), "expected scenes of 9 frames or more for --i3d, the ends counted, got 5 in a"),
    ):
        assert run(root, "--frames", 5, *words, dataset="clips") == 2
        assert sentence in capsys.readouterr().err
    with pytest.raises(UserError, match=r"expected the I3D of cd-fvd in .*other.pth"):
        i3d.load(other)
