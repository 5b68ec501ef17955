"""`vfi models` lists every model, and measures those that need no file."""

import json

import pytest

import vfi
from vfi.commands.main import main
from vfi.models.registry import MODELS


def test_every_model_is_listed(capsys):
    assert main(["models", "--no-speed"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["model", *MODELS]
    assert all(entry.weights is None or entry.ships or entry.weights in line
               for entry, line in zip(MODELS.values(), lines[1:], strict=True))  # fmt: skip


@pytest.mark.slow
def test_those_that_need_no_file_are_measured(capsys):
    assert main(["models", "--json"]) == 0
    lines = json.loads(capsys.readouterr().out)
    for line, entry in zip(lines, vfi.MODELS.values(), strict=True):
        ready = entry.weights is None or entry.shipped is not None
        assert (line["seconds"] is not None) == ready
        assert (line["psnr"] is not None) == ready
        assert not ready or line["psnr"] > 33  # the mean of both frames has 27.74
        assert line["licence"] == ("MIT" if entry.weights is None or entry.ships else "that of the file")


def test_the_table_says_what_its_numbers_are(capsys, monkeypatch):
    monkeypatch.setattr("vfi.commands.models.measured", lambda name: (34.567, 0.25))
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert "flow-splat  34.57     0.25  MIT" in out and "the mean of both frames has 27.74" in out
