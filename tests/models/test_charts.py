"""Charts of results and of papers' tables: what stands where, in both kinds of files."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from test_evaluate import Average, snu_film, write

from vfi.commands.main import main
from vfi.drawing import charts
from vfi.drawing.charts import Band, Chart, Panel, Point
from vfi.files.images import read_image

NAMES = ("im1.png", "im2.png", "im3.png")
SVG = "{http://www.w3.org/2000/svg}"
OURS = charts.SERIES[1]


def drawn(path):
    """The texts of a document with their places, and the dots of what was measured here."""
    root = ElementTree.parse(path).getroot()
    texts = [(each.text, float(each.get("x")), float(each.get("y"))) for each in root.iter(f"{SVG}text")]
    dots = [each for each in root.iter(f"{SVG}circle") if each.get("fill") == f"rgb{OURS}"]
    return texts, [(float(dot.get("cx")), float(dot.get("cy"))) for dot in dots]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.5, 1]), (27, 61, [40, 60]), (0.9932, 1.0003, [0.995, 1]), (-3, 3, [-2, 0, 2])],
)
def test_ticks_are_round(low, high, expected):
    assert charts.ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize("high", np.geomspace(1e-6, 1e6, 41))
def test_there_are_two_ticks_or_more(high):
    for low in (0.0, 0.37 * high, -high):
        found = charts.ticks(low, high)
        assert 2 <= len(found) <= 7 and low <= found[0] and found[-1] <= high * (1 + 1e-9)


def test_a_point_stands_at_its_value():
    """In its row, between the ticks, its bounds around it; alike in SVG and in pixels."""
    points = (Point(0, 1.0, 1, 0.5, 1.5), Point(1, 2.0, 1), Point(2, float("inf"), 1))
    chart = Chart("a < b", (Band("", ("x", "y", "z"), (Panel("m", points), Panel("n", ()))),))
    root = ElementTree.fromstring(charts.svg(chart))
    dots = [(float(dot.get("cx")), float(dot.get("cy"))) for dot in root.iter(f"{SVG}circle")]
    texts = {each.text: (float(each.get("x")), float(each.get("y"))) for each in root.iter(f"{SVG}text")}
    assert len(dots) == 2 and "a < b" in texts and "not measured" in texts
    assert [y for _, y in dots] == [texts["x"][1], texts["y"][1]]
    assert [x for x, _ in dots] == pytest.approx([texts["1"][0], texts["2"][0]])
    (bounds,) = (line for line in root.iter(f"{SVG}line") if line.get("stroke") == f"rgb{OURS}")
    assert float(bounds.get("x1")) + float(bounds.get("x2")) == pytest.approx(2 * dots[0][0], abs=0.2)
    pixels = charts.picture(chart)
    assert pixels.shape == (2 * int(root.get("height")), 2 * int(root.get("width")), 3)
    assert all(tuple(pixels[round(2 * y), round(2 * x)]) == OURS for x, y in dots)


def test_results_by_motion(tmp_path, sliding, monkeypatch):
    monkeypatch.setattr("vfi.models.registry.load_model", lambda *arguments, **settings: Average())
    for i in range(4):
        write(tmp_path / f"{i}", NAMES, [sliding(40 + (i + 1) * k) for k in range(3)])
    words = ["evaluate", "--dataset", "triplets", str(tmp_path), "--motion", "--json", str(tmp_path / "s.json")]
    assert main([*words, "--plot", str(tmp_path / "s.svg")]) == 0
    texts, dots = drawn(tmp_path / "s.svg")
    rows = ["all", *(f"quarter {number} by motion" for number in range(1, 5))]
    assert [text for text, *_ in texts if text in rows] == rows
    assert {"PSNR dB", "SSIM gaussian", "motion px"} <= {text for text, *_ in texts}
    mean = json.loads((tmp_path / "s.json").read_text())["means"][""]
    psnr = [mean["psnr"], *(part["psnr"] for part in mean["by_motion"])]
    places = [x for x, _ in dots[:5]]
    slope = (places[4] - places[1]) / (psnr[4] - psnr[1])
    assert places == pytest.approx([places[1] + slope * (value - psnr[1]) for value in psnr], abs=0.2) and slope > 0


def test_a_table_of_a_paper(tmp_path, sliding, monkeypatch):
    monkeypatch.setattr("vfi.models.registry.load_model", lambda *arguments, **settings: Average())
    snu_film(tmp_path, "test", [sliding(x) for x in (10, 12, 14)])
    results = [str(tmp_path / f"{model}.json") for model in ("rife", "sg-rife")]
    for model, path in zip(("rife", "sg-rife"), results, strict=True):
        assert main(["evaluate", "--dataset", "snu-film", str(tmp_path), "--model", model, "--json", path]) == 0
    words = ["evaluate", "--table", "sg-rife", "1", *results, "--plot"]
    assert main([*words, str(tmp_path / "t.svg")]) == 0
    texts, dots = drawn(tmp_path / "t.svg")
    assert {"paper", "here", "SNU-FILM (Hard)", "MCVD’22"} <= {text for text, *_ in texts}
    assert len(dots) == 2 * 2 * 4 + 1, "PSNR and SSIM of two models on four splits, and the legend"
    assert main([*words, str(tmp_path / "t.png")]) == 0
    assert (read_image(tmp_path / "t.png").rgb == OURS).all(2).sum() > 16 * 100


def test_wrong_names(tmp_path, capsys):
    for words in (["--table", "sg-rife", "1"], ["--dataset", "triplets", str(tmp_path)]):
        assert main(["evaluate", *words, "--plot", str(tmp_path / "a.gif")]) == 2
        assert "expected a chart's name to end in .svg or .png, got " in capsys.readouterr().err
    assert main(["evaluate", "--table", "sg-rife", "1", "--plot", str(tmp_path / "none/a.svg")]) == 2
    assert "none" in capsys.readouterr().err
