"""The command `vfi-kernels` as a user meets it."""

import json
import os
import subprocess

import pytest
import torch
from processes import warm_python

from vfi_kernels import _cli as cli
from vfi_kernels import backends
from vfi_kernels.bench import session

TINY = ["bench", "--quick", "--shape", "1x3x6x8", "--threads", "1"]


@pytest.fixture(autouse=True)
def same_threads(threads):
    """A benchmark sets the number of threads."""


def test_info_names_every_backend_with_its_reason(capsys):
    assert cli.main(["info"]) == 0
    text = capsys.readouterr().out
    for name in backends.BACKENDS:
        reason = backends.unavailable(name)
        assert f"backend {name:10} {'yes' if reason is None else f'no: {reason}'}" in text
    assert torch.__version__ in text and backends.cpu_level() in text


def test_info_as_json(capsys):
    assert cli.main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["build"] == backends.build_info()
    assert facts["cpu"]["level"] == backends.cpu_level()
    assert facts["versions"]["torch"] == torch.__version__ and facts["threads"] == torch.get_num_threads()
    assert {name for name, state in facts["backends"].items() if state["available"]} >= {"reference", "cpp"}


def run(*words, **environment):
    command = [*warm_python(), "-m", "vfi_kernels._cli", *words]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


def test_info_in_a_process_with_a_forced_level():
    assert run("info", VFI_KERNELS_CPU="baseline").stdout.count("level baseline (VFI_KERNELS_CPU)") == 1
    wrong = run("info", VFI_KERNELS_CPU="abacus")
    assert wrong.returncode == 2 and len(wrong.stderr.splitlines()) == 1 and "abacus" in wrong.stderr


@pytest.mark.parametrize(
    "words, sentence",
    [
        ([], "required"),
        (["nope"], "invalid choice: 'nope'"),
        (["bench", "--nope"], "unrecognized arguments: --nope"),
        (["bench", "--op", "nope"], "expected --op to be one of"),
        (["bench", "--peer", "nope"], "expected --peer to be one of"),
        (["bench", "--shape", "3x4"], "expected --shape to be one of"),
        (["bench", "--threads", "two"], "invalid int value: 'two'"),
        (["bench", "--backend", "abacus"], "--backend abacus cannot run"),
        (["bench", "--device", "abacus"], "expected --device to be one of cpu, cuda, got abacus"),
        (["bench", "--json", "no/such/folder/a.json"], "to be in a folder that exists"),
        (["bench", "--compare", "a.json", "b.json"], "expected a.json to be a readable file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_are_one_sentence(capsys, words, sentence):
    assert cli.main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and sentence in shown.err and len(shown.err.splitlines()) == 1


def test_bench_from_the_command_line_to_the_files(tmp_path, capsys):
    files = ["--json", str(tmp_path / "a.json"), "--plot", str(tmp_path / "a.png")]
    assert cli.main([*TINY, "--op", "backward_warp", "--mode", "forward", "both", *files]) == 0
    shown = capsys.readouterr()
    assert "RIFE" in shown.out and "grid_sample" in shown.out and "[1/6]" in shown.err
    written = json.loads((tmp_path / "a.json").read_text())
    assert len(written["rows"]) == 6 and written["gate"] == "check" and not written["interrupted"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "a.png"]
    assert cli.main(["bench", "--compare", str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 0
    assert capsys.readouterr().out.count("+0 %") == 6


def test_only_the_peers_that_are_asked_for(tmp_path, capsys):
    words = ["--op", "backward_warp-border", "--peer", "RIFE", "--no-gate", "--json", str(tmp_path / "a.json")]
    assert cli.main([*TINY, *words]) == 0
    (row,) = json.loads((tmp_path / "a.json").read_text())["rows"]
    assert list(row["times_faster"]) == ["RIFE"]
    assert "The gate was off" in capsys.readouterr().out


def test_another_backend_is_measured(tmp_path):
    words = ["--op", "warp_blend", "--backend", "reference", "--json", str(tmp_path / "a.json")]
    assert cli.main([*TINY, *words]) == 0
    assert json.loads((tmp_path / "a.json").read_text())["rows"][0]["backend"] == "reference"


def test_a_refused_op_shows_in_the_exit_code(monkeypatch, capsys):
    monkeypatch.setattr(session.gate, "refusals", lambda *_: {"warp_blend": "it is wrong"})
    assert cli.main([*TINY, "--op", "warp_blend"]) == 1
    assert "warp_blend: refused, because it is wrong" in capsys.readouterr().out


def test_interrupting_keeps_what_was_measured(tmp_path, monkeypatch):
    measure, rows = session.measure, []

    def second_time_interrupted(*arguments):
        if rows:
            raise KeyboardInterrupt
        rows.append(measure(*arguments))
        return rows[0]

    monkeypatch.setattr(session, "measure", second_time_interrupted)
    words = ["--op", "splat-sum", "--flow", "smooth", "noise", "--json", str(tmp_path / "a.json")]
    assert cli.main([*TINY, *words]) == 130
    written = json.loads((tmp_path / "a.json").read_text())
    assert len(written["rows"]) == 1 and written["interrupted"]


def test_overhead_reports_calls_and_import(capsys):
    assert cli.main(["bench", "--quick", "--overhead", "--op", "backward_warp", "--peer", "grid_sample"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("inference_mode", "no_grad", "grad", "beyond torch's own"))
