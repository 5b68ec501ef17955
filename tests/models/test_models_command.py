"""`vfi models` lists every model, and times those that need no file."""

import json

import vfi
from vfi.commands.main import main
from vfi.models.registry import MODELS


def test_every_model_is_listed(capsys):
    assert main(["models", "--no-speed"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["model", *MODELS]
    assert all(entry.weights is None or entry.ships or entry.weights in line
               for entry, line in zip(MODELS.values(), lines[1:], strict=True))  # fmt: skip


def test_those_that_need_no_file_are_timed(capsys):
    assert main(["models", "--json"]) == 0
    lines = json.loads(capsys.readouterr().out)
    for line, entry in zip(lines, vfi.MODELS.values(), strict=True):
        ready = entry.weights is None or entry.shipped is not None
        assert (line["seconds"] is not None) == ready
        assert line["licence"] == ("MIT" if entry.weights is None or entry.ships else "that of the file")
