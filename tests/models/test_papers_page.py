"""docs/papers.md from its first command to its last, on made-up data in the true layouts: a dry run of every table.

A stand-in is every model: frames are means of the ends.
"""

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from dataset_layouts import LAYOUTS, make_xiph, numbered
from lpips_files import FewFeatures, network_of_lpips
from outside_tools import make_tools, scored
from test_evaluate import Average

from vfi.commands.main import main
from vfi.commands.make_clips.__main__ import main as make_manifest
from vfi.data import videos
from vfi.evaluation import tables
from vfi.evaluation.papers import papers

PAGE = (Path(__file__).resolve().parents[2] / "docs/papers.md").read_text()
COMMANDS = [
    shlex.split(line) for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.S | re.M) for line in block.splitlines()
]
CELL = r"(-?[\d.]+|inf|nan)( \(\d+\))?|not measured \(\d+\)"


def commands_of(paper: str) -> list[list[str]]:
    """Those that make its tables, and before them those that make what these need."""
    printed = [words for words in COMMANDS if words[1:4] == ["evaluate", "--table", paper]]
    files = {word for words in printed for word in words[5:]}
    made = [words for words in COMMANDS if words not in printed and {*outputs(words)} & files]
    return made + printed


def outputs(words: list[str]) -> list[str]:
    return [file for option, file in pairwise(words) if option in ("--json", "-o")]


class Middles(torch.nn.Module):
    """The frames in the middle of videos."""

    def forward(self, videos: torch.Tensor) -> torch.Tensor:
        return videos[:, videos.shape[1] // 2].float()


class Shift(torch.nn.Module):
    """In place of PWC-Net: flow by the colours of both."""

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return (first - second)[:, :2]


@pytest.fixture
def folder(tmp_path, sliding, make_video, monkeypatch):
    """The folders and files that the page names, and small sizes."""
    monkeypatch.setattr("vfi.models.registry.load_model", lambda *arguments, **settings: Average())
    monkeypatch.setattr("vfi.evaluation.sfibench.inception.load", lambda path: FewFeatures())
    monkeypatch.setattr("vfi.evaluation.i3d.load", lambda path: torch.nn.Sequential(Middles(), FewFeatures()))
    monkeypatch.setattr("vfi.networks.pwc_net.load", lambda path: Shift())
    monkeypatch.setattr(videos, "XIPH_MIDDLES", range(2, 5, 2))
    monkeypatch.setattr(videos, "SIZE_4K", (64, 96))
    for name in ("_xiph_2k", "_xiph_4k"):
        monkeypatch.setattr(videos, name, lambda frame: frame)
    monkeypatch.setattr("vfi.commands.sfibench.SIZE", (64, 96))
    LAYOUTS["snu-film"].make(tmp_path / "SNU-FILM", sliding)
    LAYOUTS["davis-7"].make(tmp_path / "DAVIS", sliding)
    for name in ("FCVG", "Pixels"):
        for clip in ("one", "two"):
            numbered(tmp_path / name, clip, 25, sliding)
    (tmp_path / "xiph").mkdir()
    make_xiph(tmp_path / "xiph", sliding)
    alexnet, heads = network_of_lpips(tmp_path)
    alexnet.rename(tmp_path / "alexnet-owt-7be5be79.pth")
    heads.rename(tmp_path / "alex.pth")
    make_video([sliding(2 * i) for i in range(12)], "film.mkv", codec="ffv1", pixel_format="bgr0")
    (tmp_path / "film.txt").write_text("video 0")
    options = ("--f-max", "9", "--counts", "5", "9", "--quiet")
    assert make_manifest([str(tmp_path / "film.mkv"), "-o", str(tmp_path / "clips.jsonl"), *options]) == 0
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_has_every_table():
    asked = {(words[3], words[4]) for words in COMMANDS if words[2:3] == ["--table"]}
    known = {(paper, number) for paper in papers() for number in tables.tables_of(paper)}
    assert asked == known


@pytest.mark.parametrize("paper", papers())
def test_every_cell_is_a_number_or_says_what_it_needs(paper, folder, capsys):
    made = 0
    for program, *words in commands_of(paper):
        capsys.readouterr()
        if program == "python":
            assert "the mean of" in scored(make_tools(folder / "tools"), *words[1:])
            continue
        assert main(words) == 0, words
        text = capsys.readouterr().out
        if "--table" not in words:
            made += 1
            continue
        here = [line for line in text.splitlines() if line.startswith("  here ")]
        cells = [cell for line in here for cell in re.split(r"\s{2,}", line.strip())[1:]]
        assert cells and all(re.fullmatch(CELL, cell) for cell in cells), text
        marks = set(re.findall(r"\((\d+)\)", " ".join(cells)))
        assert set(re.findall(r"^\((\d+)\) (?:not measured: |of \d)", text, re.M)) == marks
        if len(words) > 4:
            assert any(re.match(r"-?\d", cell) for cell in cells), text
    assert made > 0
