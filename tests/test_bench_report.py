"""What the benchmark engine writes: comparisons, tables, plots."""

import pytest
from brief_benchmarks import make_document, rows_of, same_threads  # noqa: F401

from vfi_kernels.bench import jobs, report


def test_compare_shows_what_changed(tmp_path):
    text = report.compare(make_document(tmp_path, "a.json"), make_document(tmp_path, "b.json", 1.5))
    assert "+50 %" in text and "RIFE 3.00x -> 2.00x" in text
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"factor": 1.5}, "slower"),
        ({"factor": 0.7}, "faster"),
        ({"factor": 1.5, "spread": 0.3}, "within noise"),
        ({"factor": 1.5, "copy": 1.5}, "within noise"),  # the whole machine was slower
        ({"factor": 1.5, "copy": 1.1}, "slower"),
        ({"factor": 1.0, "copy": 0.5}, "within noise"),  # in ms nothing changed
    ],
)
def test_compare_tells_regressions_from_noise(tmp_path, change, verdict):
    text = report.compare(make_document(tmp_path, "a.json", spread=0.05), make_document(tmp_path, "b.json", **change))
    row = text.splitlines()[1]
    assert verdict in row
    counts = {word: int(word == verdict) for word in ("slower", "faster", "within noise")}
    assert ", ".join(f"{count} {word}" for word, count in counts.items()) in text


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 99, "rows": []}'])
def test_compare_refuses_other_files(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(jobs.UsageError, match=r"expected .* to be a benchmark file of schema 1"):
        report.compare(tmp_path / "a.json", tmp_path / "a.json")


def test_the_plot_is_a_picture(tmp_path):
    report.plot(tmp_path / "bars.png", rows_of(op=["backward_warp"]))
    assert (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "ms, text", [(0.0012345, "1.23 us"), (0.9999, "1000 us"), (12.34, "12.3 ms"), (4321, "4.32 s")]
)
def test_durations_have_three_digits(ms, text):
    assert report.duration(ms) == text


def test_the_table_marks_peers_that_are_wrong():
    (row,) = rows_of(op=["splat-softmax-wide"], shape=["1x3x12x16"])
    text = report.table([row])
    assert "x!" in text and "differs from ours by more than 1 %" in text
