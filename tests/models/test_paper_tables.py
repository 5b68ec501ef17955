"""`vfi evaluate --table`: the papers' own figures, and what was measured here beside them."""

import json
import re
from dataclasses import replace
from itertools import chain

import pytest
import torch
from shared_files import SHARED
from test_evaluate import Average, snu_film

from vfi.commands.main import main
from vfi.evaluation import provenance, tables
from vfi.evaluation.papers import papers
from vfi.evaluation.results import Result, read_results
from vfi.models import rife

PAPERS = {
    "sg-rife": ("sg_rife.txt", ("1", "2")),
    "apr-vfi": ("apr_vfi.txt", ("1", "2", "3", "4", "5")),
    "rdvfi": ("rdvfi.txt", ("1", "2", "3")),
    "semfi": ("semfi.txt", ("2", "3", "A1", "A2")),
}
TABLES = [(paper, number) for paper, (_, numbers) in PAPERS.items() for number in numbers]


def printed(capsys, *words) -> str:
    capsys.readouterr()
    assert main(["evaluate", "--table", *map(str, words)]) == 0
    return capsys.readouterr().out


def refused(capsys, *words) -> str:
    capsys.readouterr()
    assert main(["evaluate", "--table", *map(str, words)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return captured.err


def row(text: str, block: str, method: str) -> list[str]:
    """The paper's cells and source, and the cells below it that are of this machine."""
    (part,) = (part for part in text.split("\n\n") if part.startswith(block))
    lines = part.splitlines()
    (number,) = (i for i, line in enumerate(lines) if line.startswith(f"{method} "))
    return [re.split(r"\s{2,}", lines[i].strip()) for i in (number, number + 1)]


def test_all_papers_are_there():
    assert papers() == sorted(PAPERS)


@pytest.mark.parametrize(("paper", "number"), TABLES)
def test_without_results_every_cell_says_what_it_needs(paper, number, capsys):
    """A row has as many figures as there are columns; every remark is told below."""
    table = tables.load(paper, number)
    for each in table.rows:
        assert [len(figures) for figures in each.figures] == [len(block.columns) for block in table.blocks]
        assert all(figure is None or float(figure) is not None for figures in each.figures for figure in figures)
    text = printed(capsys, paper, number)
    ours = sum(each.model is not None for each in table.rows)
    cells = ours * sum(len(block.columns) for block in table.blocks)
    marks = re.findall(r"not measured \((\d+)\)", text)
    told = re.findall(r"^\((\d+)\) not measured: needs \S", text, re.MULTILINE)
    assert len(marks) == cells > 0 and sorted(set(marks), key=int) == told


@pytest.mark.skipif(not (SHARED / "papers").is_dir(), reason="the papers are not there")
@pytest.mark.parametrize(("paper", "number"), TABLES)
def test_figures_are_those_of_the_papers(paper, number):
    """All of a row, or of a block of it, stand in one passage of the paper, as printed there."""
    text = re.sub(r"\s+", " ", (SHARED / "papers" / PAPERS[paper][0]).read_text())
    for each in tables.load(paper, number).rows:
        for part in each.figures if paper == "semfi" else [tuple(chain(*each.figures))]:
            given = [figure for figure in part if figure is not None]
            found = [re.finditer(rf"(?<![\d.]){re.escape(figure)}(?!\d)", text) for figure in given]
            places = [[match.start() for match in each] for each in found]
            starts = places[0] if places else []
            near = [all(any(start <= p < start + 600 for p in them) for them in places) for start in starts]
            assert all(places) and (any(near) or not given or paper == "rdvfi"), (each, part)


@pytest.fixture
def snu_results(tmp_path, sliding, monkeypatch):
    """Results of two models on SNU-FILM of two scenes in each split: no weights, the mean of both frames."""
    monkeypatch.setattr("vfi.models.registry.load_model", lambda *arguments, **settings: Average())
    snu_film(tmp_path, "test", [sliding(x) for x in (10, 12, 14)])
    paths = []
    for model in ("rife", "sg-rife"):
        paths.append(tmp_path / f"{model}.json")
        assert (
            main(["evaluate", "--dataset", "snu-film", str(tmp_path), "--model", model, "--json", str(paths[-1])]) == 0
        )
    return paths


def test_table_1_of_sg_rife(snu_results, capsys):
    text = printed(capsys, "sg-rife", 1, *snu_results)
    psnr = json.loads(snu_results[0].read_text())["means"]["hard"]["psnr"]
    paper, ours = row(text, "SNU-FILM (Hard)", "SG-RIFE (Ours)")
    assert paper == ["SG-RIFE (Ours)", "29.736", "0.929", "0.047", "0.090", "17.896", "table 1, row 12"]
    assert ours[:2] == ["here", f"{psnr:.3f} (1)"] and ours[3:] == [f"not measured ({i})" for i in (2, 3, 4)]
    assert row(text, "SNU-FILM (Easy)", "RIFE’22")[1] == ours
    assert "(1) of 2 of 310 scenes\n(2) not measured: needs --lpips\n" in text
    assert "for want of such a model here: VFIformer’22, IFRNet’22" in text


OPTIONS = {
    "scale": "0.5",
    "tta": True,
    "precision": "bfloat16",
    "tile": 64,
    "max_memory": 1 << 30,
    "frames": 7,
    "engine": "onnxruntime",
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_that_a_row_does_not_name_are_told(name, snu_results, capsys):
    """What paths name is not: the digests of weights say that."""

    def change(document):
        document["settings"].update({name: OPTIONS[name], "weights": "a5b1f387a1fb6e50"})

    text = printed(capsys, "sg-rife", 1, edited(snu_results[0], "other.json", change))
    (cell,) = re.findall(r"\((\d)\) of 2 of 310 scenes; with .*", text)
    assert f"({cell}) of 2 of 310 scenes; with {name.replace('_', ' ')} {OPTIONS[name]}\n" in text
    assert "with" not in printed(capsys, "sg-rife", 1, snu_results[0]).replace("without", "").replace("with APR", "")


@pytest.mark.parametrize(("variant", "kind"), [("rife", "RIFE (ECCV 2022)"), ("rife_m", "RIFEm")])
def test_what_weights_of_rife_are_is_told(variant, kind, snu_results, tmp_path, capsys):
    state = rife.RIFE(replace(rife.config.TINY, variant=variant)).state_dict()
    torch.save(state, tmp_path / "flownet.pkl")
    words = ("--model", "rife", "--weights", tmp_path / "flownet.pkl", "--json", tmp_path / "w.json")
    assert main(["evaluate", "--dataset", "snu-film", str(tmp_path), *map(str, words)]) == 0
    assert json.loads((tmp_path / "w.json").read_text())["settings"]["weights_of"] == kind
    assert f"(1) of 2 of 310 scenes; with weights of {kind}\n" in printed(capsys, "sg-rife", 1, tmp_path / "w.json")


def test_results_of_other_files_are_told(snu_results, capsys):
    def change(document):
        document["settings"]["data"] = "0123456789abcdef"

    other = edited(snu_results[1], "other.json", change)
    text = printed(capsys, "sg-rife", 1, snu_results[0], other)
    assert f"{snu_results[0]} and {other} are of different files of snu-film: their figures do not compare" in text
    assert "of different files" not in printed(capsys, "sg-rife", 1, *snu_results)


def edited(path, name, change):
    document = json.loads(path.read_text())
    change(document)
    path.with_name(name).write_text(json.dumps(document))
    return path.with_name(name)


def test_results_that_do_not_belong_together(snu_results, tmp_path, capsys):
    first, second = snu_results

    def other(name, setting, value, dataset=None):
        def change(document):
            document["settings"][setting] = value
            document["dataset"] = dataset or document["dataset"]

        return edited(second, name, change)

    def moved(document):
        document["means"] = {"hard": document["means"]["hard"]}

    said = refused(capsys, "sg-rife", 1, first, other("code.json", "code", "0.0.1 of before"))
    assert "another code" in said and str(first) in said and "code.json" in said
    said = refused(capsys, "sg-rife", 1, second, edited(second, "twice.json", moved))
    assert "both hold sg-rife on snu-film hard: give one of them" in said
    other_weights = other("weights.json", "weights", "0123")
    said = refused(capsys, "sg-rife", 1, second, other_weights)
    assert "do not belong into one row: another weights (none, not 0123)" in said
    for name, content in (("none.json", None), ("text.json", "x"), ("list.json", "[]"), ("empty.json", "{}")):
        if content is not None:
            (tmp_path / name).write_text(content)
        said = refused(capsys, "sg-rife", 1, tmp_path / name)
        assert name in said and ("cannot read" in said or "expected results of `vfi evaluate` as JSON in" in said)
    for words in (("--dataset", "xiph"), ("--json", "x.json"), ("--motion",), ("--ray",)):
        assert f"{words[0]} has no meaning together with --table" in refused(capsys, "sg-rife", 1, first, *words)
    assert "expected a paper of apr-vfi, rdvfi, semfi, sg-rife, got film" in refused(capsys, "film", 1)
    assert "expected a table of sg-rife, 1, 2, got 7" in refused(capsys, "sg-rife", 7)


def test_models_and_options_find_their_rows(snu_results, capsys):
    """APR-VFI by its routing, also where that is the default; a model that the paper does not have stands below."""

    def of(name, model, **options):
        def change(document):
            document["model"] = document["settings"]["model"] = model
            document["settings"].update(options)
            document["dataset"] = "xiph"
            mean = {"scenes": 392, "published": 392, "psnr": len(name), "ssim_uniform": 0.5, "ssim_volume": 0.25}
            document["means"] = {"2k": mean}

        return edited(snu_results[0], name, change)

    paths = [of("a.json", "apr-vfi"), of("static.json", "apr-vfi", routing="static"), of("me.json", "vfi-s", tile=64)]
    paths += [of("mine.json", "vfi-s")]
    text = printed(capsys, "apr-vfi", 1, *paths)
    assert row(text, "Xiph-2K", "Ours(with APR)")[1] == ["here", "6.00", "0.500", "0.250"]
    assert row(text, "Xiph-2K", "Ours(w/o APR)")[1] == ["here", "11.00", "0.500", "0.250"]
    assert re.search(r"vfi-s \(tile 64\) +7\.0000 +0\.5000 +0\.2500", text)
    assert re.search(r"vfi-s +9\.0000 +0\.5000", text)
    assert row(text, "Xiph-4K", "Ours(w/o APR)")[1][1].startswith("not measured")


def test_tables_of_semfi(tmp_path, capsys):
    """SFIBench's results: a part for each number of frames, their mean, and the variance over them."""
    names = ("lpips", "fid", "psnr", "ssim", "end_lpips", "semantic", "flickering", "smoothness", "dynamic")
    frames = {str(n): {name: 0.1 + i if name != "semantic" else None for name in names} for i, n in enumerate((5, 9))}
    document = {
        "dataset": "sfibench", "model": "semfi", "settings": {"model": "semfi", "code": provenance.code()},
        "clips": {"5": 3, "9": 3}, "frames": frames, "mean": {name: 0.6 for name in names},
        "not_measured": {"semantic": "it needs ViCLIP"},
    }  # fmt: skip
    document["mean"] |= {"semantic": None, "psnr": "inf"}
    (tmp_path / "s.json").write_text(json.dumps(document))
    ours = row(printed(capsys, "semfi", 2, tmp_path / "s.json"), "SFIBench", "SemFi")[1]
    assert ours[:5] == ["here", "0.6000 (2)", "0.60 (2)", "inf (2)", "0.6000 (2)"] and ours[6] == "not measured (3)"
    text = printed(capsys, "semfi", "A1", tmp_path / "s.json")
    assert row(text, "9 frames", "SemFi")[1][1] == "1.1000 (2)" and "of 3 scenes, perhaps others" in text
    assert row(text, "17 frames", "SemFi")[1][1].startswith("not measured")
    assert row(printed(capsys, "semfi", "A2", tmp_path / "s.json"), "SFIBench", "SemFi")[1][1] == "-0.602 (2)"


def test_what_a_result_says_of_its_options():
    result = Result(None, "apr-vfi", "xiph", {"model": "apr-vfi", "keep": [0.1, 0.2], "split": "2k"}, {}, {}, {})
    assert result.chosen() == {"keep": [0.1, 0.2]} and result.is_of("apr-vfi", {"routing": "apr"})
    assert not result.is_of("apr-vfi", {"routing": "static"}) and not result.is_of(None, {})
    assert read_results([]) == []
