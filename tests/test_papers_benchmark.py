"""benchmarks/papers.py: every cell is a number or says what it needs; counts are those of the papers' sizes."""

import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vfi.commands.main import build_parser
from vfi.data.synthetic import triplet
from vfi.evaluation.macs import count_macs
from vfi.evaluation.papers import papers as every_paper
from vfi.files.images import write_image
from vfi.models import apr_vfi

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import paper_ablations  # noqa: E402  (a folder of scripts)
import paper_costs  # noqa: E402
import papers  # noqa: E402

SMALL = ["--size", "64", "128", "--rounds", "1"]
CELL = re.compile(r"-?\d+(\.\d+)?$|not measured: needs \S.*$")


def run(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["papers.py", *map(str, words)])
    papers.main()
    return capsys.readouterr().out


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    model = apr_vfi.APRVFI(apr_vfi.APRConfig.tiny())
    torch.nn.init.normal_(model.router.choice.weight)
    save_file(model.state_dict(), tmp_path / "apr.safetensors")
    return tmp_path / "apr.safetensors"


def pictures(folder):
    folder.mkdir()
    for seed in range(2):
        for i, frame in enumerate(triplet(seed, (64, 128)).frames):
            write_image(folder / f"{seed}{i}.png", (frame.permute(1, 2, 0) * 255).byte().numpy())


def test_learned_routes_cost_what_they_take(tmp_path, weights):
    """What the patches cost that these weights choose, pair by pair."""
    pictures(tmp_path / "frames")
    setting = paper_costs.Setting(size=(64, 128), apr=weights, pairs=tmp_path / "frames")
    model, found = apr_vfi.load(weights), []
    for frames in paper_costs.pairs(setting):
        with torch.no_grad():
            route = model(*frames).route
        whole, none = (count_macs(model, (64, 128), routing="apr", keep=[k] * 4).total for k in (1.0, 0.0))
        found.append(none + (whole - none) * route.float().mean().item())
    assert 0.05 < route.float().mean() < 0.95
    assert paper_costs.learned_terms(setting) == pytest.approx(sum(found) / len(found) / 1e12, rel=1e-6)
    assert len(found) == 2, "every second frame and the next"


def test_static_and_given_routes_have_the_papers_terms():
    setting = paper_costs.Setting()
    assert paper_costs.apr_terms(setting, routing="static") == pytest.approx(1.730, rel=0.005)
    shares = ([0.1, 0.4, 0.6, 0.9], [0.9, 0.6, 0.4, 0.1])
    taken = [paper_costs.apr_terms(setting, routing="apr", keep=keep) for keep in shares]
    assert taken[0] == pytest.approx(taken[1], rel=1e-3) and taken[0] < 1.27
    plain, by_convolution = (paper_costs.apr_terms(setting, fusion, routing="static") for fusion in ("none", "concat"))
    assert plain < by_convolution
    assert paper_costs.millions(paper_costs.apr_network()) == 2.236656


def test_parts_of_sg_rife():
    """Their sums are the paper's, to its digits."""
    parts = paper_costs.parts_of_sg_rife()
    assert round(parts["Total Inference"], 1) == 34.4 and round(parts["Split-FAPM (Refiner)"], 1) == 0.3
    own = parts["FusionNet (Base)"] + parts["FusionNet (Injection)"]
    assert round(own, 1) == 4.8 and round(parts["DINOv3 (Small)"], 1) == 21.6


def test_what_needs_the_same_is_one_line():
    cells = [papers.Cell("a 1", "x", name, "1", here) for name, here in
             (("p", "not measured: needs w"), ("q", "not measured: needs w"), ("r", "3"), ("s", "3"))]  # fmt: skip
    assert list(papers.shown(cells))[1:] == [
        ("a 1", "x", "2 columns, p to q", "1 to 1", "not measured: needs w"), ("a 1", "x", "r", "1", "3"),
        ("a 1", "x", "s", "1", "3"),
    ]  # fmt: skip


@pytest.mark.slow
def test_every_paper(monkeypatch, capsys, tmp_path, weights):
    """Each of our rows; diffusion models are counted, and wait for a GPU."""
    pictures(tmp_path / "frames")
    text = run(monkeypatch, capsys, *SMALL, "--apr-weights", weights, "--pairs", tmp_path / "frames")
    rows = [line for line in text.splitlines() if re.match(rf"({'|'.join(every_paper())}) \w+ ", line)]
    assert len(rows) > 60 and all(CELL.search(line) for line in rows), rows
    for figure in ("1564", "1525", "16395", "553.6", "34.40"):
        assert figure in text
    assert text.count("needs a GPU (`--device cuda`), or `--large` on a CPU") == 4 + 2, "of two networks, of two rows"
    for words in ("patch 8", "supervision image", "fusion none", "direct", "losses l2", "frames 65", "no-experts"):
        assert f"--{words}" in text
    with pytest.raises(
        papers.UserError, match=r"expected weights of apr-vfi as --apr-weights, got .*none, which is no"
    ):
        run(monkeypatch, capsys, "--apr-weights", tmp_path / "none")


@pytest.mark.nightly
def test_every_ablation_trains(tmp_path):
    found = {(each.paper, each.row): paper_ablations.trained(each, 1, tmp_path) for each in paper_ablations.ABLATIONS}
    assert all(re.match(r"\d+\.\d+ dB$|loss \d+\.\d+$", text) for text in found.values()), found


@pytest.mark.slow
def test_an_ablation_trains(tmp_path):
    (one,) = (each for each in paper_ablations.ABLATIONS if each.row == "no fusion")
    text = paper_ablations.trained(one, 2, tmp_path)
    assert re.match(r"\d+\.\d+ dB$", text)
    assert paper_ablations.trained(one, 2, tmp_path) == text, "what is there is not trained again"


def test_the_commands_of_rows_parse(tmp_path):
    """As a user would complete them."""
    for key, command in papers.TRAININGS.items():
        words = command.format(shares="0.1 0.2 0.3 0.4").split()[1:]
        assert build_parser().parse_args([*words, "--data", "x", "-o", str(tmp_path)]).model, key
