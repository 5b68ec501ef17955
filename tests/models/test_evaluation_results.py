"""What `vfi evaluate` writes: frames, JSON and CSV; going on after a kill; results of other things are not mixed."""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from lpips_files import network_of_lpips
from processes import warm_python
from test_evaluate import Average, snu_film, vimeo90k, write

import vfi_kernels
from vfi.commands.main import main
from vfi.evaluation import provenance, scoring
from vfi.evaluation.kept_rows import RESULTS
from vfi.files.images import read_image, write_image
from vfi.video.reader import VideoReader


@pytest.fixture
def average(monkeypatch):
    """In place of flow-splat."""
    model = Average()
    monkeypatch.setattr("vfi.models.registry.load_model", lambda *arguments, **settings: model)
    return model


def run(root, *more, dataset="vimeo90k") -> int:
    return main(["evaluate", "--dataset", dataset, str(root), *map(str, more)])


@pytest.fixture
def vimeo(tmp_path, sliding):
    """Three scenes, in an order of their own."""
    names = ["00002/0001", "00001/0003", "00001/0001"]
    root = tmp_path / "vimeo"
    root.mkdir()
    for i, name in enumerate(names):
        vimeo90k(root, [name], [sliding(x) for x in (10 + i, 13, 15 + i)], "\n".join(names))
    return root


def figures(document: dict) -> dict:
    """Without the seconds, which are others each time."""
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in document["scenes"]]
    means = {split: {k: v for k, v in mean.items() if k != "seconds"} for split, mean in document["means"].items()}
    return {**document, "scenes": rows, "means": means}


def loaded(path: Path) -> dict:
    return json.loads(path.read_text(), parse_constant=pytest.fail)


def test_frames_json_and_csv(vimeo, tmp_path, average, capsys):
    out, table, frames = tmp_path / "s.json", tmp_path / "s.csv", tmp_path / "frames"
    assert run(vimeo, "--json", out, "--csv", table, "--write-frames", frames) == 0
    document = loaded(out)
    assert [row["name"] for row in document["scenes"]] == ["00002/0001", "00001/0003", "00001/0001"]
    for row, scene in zip(document["scenes"], scoring.scenes("vimeo90k", vimeo), strict=True):
        made = read_image(frames / row["file"]).rgb
        first, truth, last = (read_image(path).rgb for path in scene.paths)
        assert np.abs(made - (first.astype(float) + last) / 2).max() <= 0.5
        assert row["psnr"] == pytest.approx(cv2.PSNR(made, truth), abs=1e-6) and row["seconds"] > 0
    assert document["dataset"] == "vimeo90k" and document["model"] == document["settings"]["model"] == "flow-splat"
    mean = document["means"][""]
    assert (mean["scenes"], mean["published"]) == (3, 3782)
    assert mean["ssim_volume"] == pytest.approx(np.mean([row["ssim_volume"] for row in document["scenes"]]))
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert list(rows[0]) == ["name", "split", "psnr", "ssim_volume", "seconds"]
    assert [(row["name"], float(row["psnr"])) for row in rows] == [(r["name"], r["psnr"]) for r in document["scenes"]]
    assert "vimeo90k has 3782 scenes as published, here are 3" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames", "s.csv", "s.json", "vimeo"]


def test_equal_frames_have_a_word_in_the_files(tmp_path, average, sliding):
    """JSON knows neither infinity nor NaN."""
    write(tmp_path / "a", ("im1.png", "im2.png", "im3.png"), [sliding(9)] * 3)
    write(tmp_path / "b", ("im1.png", "im2.png", "im3.png"), [sliding(x)[:8, :8] for x in (1, 2, 4)])
    assert run(tmp_path, "--json", tmp_path / "s.json", dataset="triplets") == 0
    document = loaded(tmp_path / "s.json")
    assert document["scenes"][0]["psnr"] == document["means"][""]["psnr"] == "inf"
    assert document["scenes"][1]["ssim_gaussian"] == "nan"


def test_names_of_frames_are_safe_and_apart(tmp_path, average, sliding):
    """SNU-FILM's lists may name a scene twice; a folder for each split."""
    snu_film(tmp_path, "test", [sliding(x) for x in (10, 12, 14)], splits=("easy", "hard"))
    for split in ("medium", "extreme"):
        (tmp_path / f"test-{split}.txt").write_bytes((tmp_path / "test-easy.txt").read_bytes())
    assert run(tmp_path, "--write-frames", tmp_path / "frames", dataset="snu-film") == 0
    found = sorted(path.relative_to(tmp_path / "frames").as_posix() for path in (tmp_path / "frames").rglob("*.png"))
    assert found[:2] == ["easy/00000-one-000002.png", "easy/00001-one-000002.png"] and len(found) == 8


def test_clips_are_mp4_without_loss(tmp_path, average, sliding):
    write(tmp_path / "a", [f"{i}.png" for i in range(5)], [sliding(3 * i) for i in range(5)])
    out = tmp_path / "s.json"
    assert run(tmp_path, "--frames", 5, "--write-frames", tmp_path / "frames", "--json", out, dataset="clips") == 0
    ((row,), mean) = loaded(out)["scenes"], (sliding(0).astype(float) + sliding(12)) / 2
    reader = VideoReader(tmp_path / "frames" / row["file"])
    frames = list(reader.pictures())
    reader.close()
    assert len(frames) == 5 and np.array_equal(frames[0], sliding(0)) and np.array_equal(frames[-1], sliding(12))
    assert all(np.abs(frame - mean).max() <= 0.5 for frame in frames[1:-1])
    psnr = np.mean([cv2.PSNR(frame, sliding(3 * i)) for i, frame in enumerate(frames[1:-1], 1)])
    assert row["psnr"] == pytest.approx(psnr, abs=1e-6)


DIES = """
import os, signal, sys
from vfi.commands.main import main
from vfi.evaluation.kept_rows import KeptRows

def dies(self, number, row, add=KeptRows.add):
    if len(self.rows) == 2:
        os.write(self._lines._file.fileno(), b'{"scene": 2, "ps')
        os.kill(os.getpid(), signal.SIGKILL)
    add(self, number, row)

KeptRows.add = dies
main(sys.argv[1:])
"""


def test_a_kill_in_the_middle(vimeo, tmp_path):
    """By flow-splat: while the third row is written. What was there is kept to the last digit, also the seconds."""
    out, kept = tmp_path / "s.json", tmp_path / "kept"
    words = ["evaluate", "--dataset", "vimeo90k", str(vimeo), "--json", str(out), "--results", str(kept)]
    words += ["--write-frames", str(tmp_path / "frames")]
    assert subprocess.run([*warm_python(), "-c", DIES, *words], capture_output=True).returncode == -9
    before = (kept / RESULTS).read_text().splitlines()
    assert len(before) == 4 and not out.exists() and len(list((tmp_path / "frames").glob("*.png"))) == 3
    assert main([*words, "--resume"]) == 0
    assert (kept / RESULTS).read_text().splitlines()[:3] == before[:3]
    assert run(vimeo, "--json", tmp_path / "whole.json") == 0
    document, whole = loaded(out), loaded(tmp_path / "whole.json")
    for row in document["scenes"]:
        del row["file"]
    assert figures(document) == figures(whole)
    assert document["scenes"][0]["seconds"] == json.loads(before[1])["seconds"]


@pytest.mark.nightly
def test_a_kill_in_the_middle_of_two_thousand(tmp_path, sliding):
    """By another process, at a moment of its own."""
    names = [f"{i // 50:05}/{i % 50:04}" for i in range(2000)]
    for i, name in enumerate(names):
        vimeo90k(tmp_path, [name], [sliding(x, 32, 32) for x in (i % 50, i % 50 + 2, i % 50 + 5)], "\n".join(names))
    words = ["evaluate", "--dataset", "vimeo90k", str(tmp_path), "--results", str(tmp_path / "kept")]
    process = subprocess.Popen([sys.executable, "-m", "vfi", *words], stdout=subprocess.PIPE)
    while (kept := tmp_path / "kept" / RESULTS) and not (kept.exists() and kept.read_bytes().count(b"\n") > 700):
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.communicate()
    done = kept.read_bytes().count(b"\n") - 1
    assert 700 <= done < 2000
    assert main([*words, "--resume", "--json", str(tmp_path / "resumed.json")]) == 0
    assert run(tmp_path, "--json", tmp_path / "whole.json") == 0
    assert figures(loaded(tmp_path / "resumed.json")) == figures(loaded(tmp_path / "whole.json"))


OTHERS = {
    "another model": ("--model", "ebme-splat"),
    "another weights": ("--weights",),
    "another measures": ("--lpips",),
    "another precision": ("--precision", "float16"),
    "another code": (),
    "another data": (),
}


@pytest.mark.parametrize("other", OTHERS)
def test_results_of_other_things_are_not_mixed(other, vimeo, tmp_path, average, sliding, monkeypatch, capsys):
    """Neither scores nor frames: one sentence says what is another one."""
    kept, frames, weights = tmp_path / "kept", tmp_path / "frames", tmp_path / "weights"
    weights.write_bytes(b"one")
    words = ["--results", kept, "--write-frames", frames, "--weights", weights]
    assert run(vimeo, *words) == 0
    more = [*OTHERS[other], *(network_of_lpips(tmp_path) if other == "another measures" else ())]
    if other == "another weights":
        weights.write_bytes(b"two")
        more = []
    if other == "another code":
        monkeypatch.setattr(provenance, "code", lambda: "0.0.0 of before")
    if other == "another data":
        vimeo90k(vimeo, ["00001/0001"], [sliding(x, 64) for x in (20, 23, 25)], "00001/0001")
    before = {path: path.read_bytes() for folder in (kept, frames) for path in folder.rglob("*") if path.is_file()}
    capsys.readouterr()
    for asked, folder in ((words, kept), (["--write-frames", frames, "--weights", weights], frames)):
        resume = ["--resume"] if folder is kept else []
        assert run(vimeo, *asked, *resume, *more) == 2
        said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note:")]
        assert len(said) == 1 and str(folder) in said[0] and other in said[0] and "take another folder" in said[0]
    assert before == {path: path.read_bytes() for path in before}


def test_code_is_told_by_what_is_in_it(tmp_path):
    (tmp_path / "a.py").write_text("one = 1")
    before = provenance.digest(tmp_path)
    (tmp_path / "a.pyc").write_text("compiled")
    assert provenance.digest(tmp_path) == before
    (tmp_path / "a.py").write_text("one = 2")
    assert provenance.digest(tmp_path) != before and provenance.code().split()[0] == vfi_kernels.__version__


def test_what_an_option_says_is_a_file_only_where_it_names_one(vimeo, tmp_path, average, monkeypatch):
    """A folder called as a word of an option changes nothing."""
    monkeypatch.chdir(tmp_path)
    for folder in ("float16", "torch", "flow-splat"):
        (tmp_path / folder).mkdir()
    assert run(vimeo, "--precision", "float16", "--engine", "torch", "--json", "s.json") == 0
    settings = loaded(tmp_path / "s.json")["settings"]
    assert [settings[name] for name in ("precision", "engine", "model")] == ["float16", "torch", "flow-splat"]


def test_wrong_requests(vimeo, tmp_path, average, capsys):
    def said(*more, root=vimeo, dataset="vimeo90k"):
        capsys.readouterr()
        assert run(root, *more, dataset=dataset) == 2
        (line,) = (line for line in capsys.readouterr().err.splitlines() if not line.startswith("note:"))
        return line

    assert run(vimeo, "--results", tmp_path / "kept") == 0
    assert "holds results already; --resume goes on with them" in said("--results", tmp_path / "kept")
    assert "--resume is for --results only" in said("--resume")
    assert "holds other files: take another folder for --write-frames" in said("--write-frames", vimeo)
    assert "does not exist" in said("--json", tmp_path / "none/s.json")
    assert "expected two files for --json and --csv" in said("--json", tmp_path / "s", "--csv", tmp_path / "s")
    assert "--frames is for fcvg, pixels, clips only" in said("--frames", 5)
    assert "expected --frames of 3 or more, got 2" in said("--frames", 2, dataset="clips")
    (tmp_path / "kept" / RESULTS).write_text("[]\n")
    assert "expected names and values in line 1" in said("--results", tmp_path / "kept", "--resume")
    (tmp_path / "file").touch()
    assert "cannot make the folder" in said("--results", tmp_path / "file")
    for words, sentence in (
        (["evaluate", str(vimeo)], "--dataset is missing, or --table"),
        (["evaluate", "--dataset", "vimeo90k"], "expected one folder of the data set, got 0"),
        (["evaluate", "--dataset", "vimeo90k", "a", "b"], "expected one folder of the data set, got 2"),
    ):
        assert main(words) == 2
        assert sentence in capsys.readouterr().err


def test_sizes_are_looked_at_before_anything_is_scored(vimeo, tmp_path, average, sliding, capsys):
    """They are counted, and the first is named; so are files that hold no picture."""
    for scene in ("00001/0003", "00001/0001"):
        write_image(vimeo / "sequences" / scene / "im3.png", sliding(10, 48))
    assert run(vimeo, "--json", tmp_path / "s.json", "--results", tmp_path / "kept") == 2
    printed = capsys.readouterr()
    sentence = "the frames of 2 of 3 scenes differ in size: those of 00001/0003 have 48x64 and 96x64 pixels"
    assert sentence in printed.err and printed.out == "" and not (tmp_path / "kept").exists()
    (vimeo / "sequences/00002/0001/im2.png").write_bytes(b"\x89PNG\r\n")
    assert run(vimeo) == 2
    assert "1 of 3 scenes cannot be read: " in (printed := capsys.readouterr()).err and "im2.png" in printed.err
