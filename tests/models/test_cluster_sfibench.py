"""`vfi evaluate --dataset sfibench --ray`: the figures of one machine. Ray is stood in for."""

import json

from cluster_runs import in_place_of_ray
from lpips_files import FewFeatures
from test_sfibench import SIZE, clips  # noqa: F401

from vfi.commands.main import main


def scores(folder, *more):
    words = ["evaluate", "--dataset", "sfibench", folder / "clips.jsonl", "--size", *SIZE, "--inception", "x"]
    assert main([*map(str, [*words, "--json", folder / "scores.json", *more])]) == 0
    return json.loads((folder / "scores.json").read_text())


def test_the_figures_of_one_machine(clips, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr("vfi.evaluation.sfibench.inception.load", lambda path: FewFeatures())
    there, here, kept = (clips.folder / name for name in ("there", "here", "kept"))
    alone = scores(clips.folder, "--write-frames", here)
    printed = capsys.readouterr().out
    assert alone["mean"]["fid"] > 0
    with in_place_of_ray(monkeypatch) as ray:
        assert scores(clips.folder, "--ray", "--write-frames", there, "--results", kept) == alone
        assert capsys.readouterr().out == printed and [one.number for _, one in ray.done] == [0, 1, 2, 3]
        (kept / "fid-000002.npy").unlink()
        again = scores(clips.folder, "--ray", "--results", kept, "--resume")
        assert again["mean"] == alone["mean"] and [one.number for _, one in ray.done[4:]] == [2]
    names = sorted(path.name for path in here.glob("*.*"))
    assert len(names) == 5 and sorted(path.name for path in there.glob("*.*")) == names


def test_what_cannot_be_made(clips, monkeypatch, capsys):  # noqa: F811
    manifest = clips.folder / "clips.jsonl"
    (clips.folder / "1.mkv").unlink()
    with in_place_of_ray(monkeypatch):
        words = ["evaluate", "--dataset", "sfibench", str(manifest), "--size", *map(str, SIZE), "--ray"]
        assert main(words) == 2
        assert capsys.readouterr().err.endswith(f"{clips.folder / '1.mkv'} does not exist, but the manifest names it\n")
        assert main([*words, "--device", "cpu"]) == 2
        assert "--device has no meaning together with --ray" in capsys.readouterr().err
