"""LPIPS and FID on data sets of pictures, with files of weights that are made up."""

import cv2
import pytest
import torch
from lpips_files import FewFeatures, network_of_lpips
from test_evaluate import Average, write
from test_evaluation_results import loaded, run

from vfi.evaluation.kept_rows import RESULTS
from vfi.evaluation.sfibench import inception
from vfi.evaluation.sfibench.frechet import Moments, distance
from vfi.files.images import to_array, to_tensor
from vfi.networks import lpips


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
    (kept / "features-000001.npy").unlink()
    before = (kept / RESULTS).read_bytes()
    assert run(root, *words, "--resume", dataset="triplets") == 0
    assert loaded(tmp_path / "s.json")["means"][""]["fid"] == fid and (kept / RESULTS).read_bytes() == before


def test_fid_of_a_single_frame(tmp_path, sliding, monkeypatch, capsys):
    monkeypatch.setattr("vfi.evaluation.sfibench.inception.load", lambda path: torch.nn.Flatten())
    write(tmp_path / "a", ("im1.png", "im2.png", "im3.png"), [sliding(x, 8, 8) for x in (10, 12, 14)])
    assert run(tmp_path, "--inception", "x", "--json", tmp_path / "s.json", dataset="triplets") == 0
    assert "FID: not measured, of fewer than 2 frames" in capsys.readouterr().out
    assert loaded(tmp_path / "s.json")["means"][""]["fid"] is None
