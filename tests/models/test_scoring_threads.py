"""What runs beside a model while scenes are scored, and what does not."""

import time

import pytest
from test_evaluate import Average, vimeo90k

from vfi.data.truth import TrueScene
from vfi.evaluation import metrics, scoring


@pytest.fixture
def scenes(tmp_path, sliding):
    """The folder of three."""
    names = [f"00001/000{i}" for i in range(1, 4)]
    for i, name in enumerate(names):
        vimeo90k(tmp_path, [name], [sliding(x) for x in (10 + i, 13, 15 + i)], "\n".join(names))
    return tmp_path


def test_reading_and_measuring_beside_the_model(scenes):
    """In threads, as on a GPU, or in turn, as on a CPU: the same scores in the same order; a failure ends all of it."""
    known = scoring.scenes("vimeo90k", scenes)
    numbers = [2, 0, 1] * 8
    measures = scoring.measures_of("vimeo90k")
    one, other, third = (
        [(s.name, s.values) for s in scoring.scores(Average(), known, numbers, measures, "cpu", threads=threads)]
        for threads in (0, 4, None)
    )
    assert one == other == third and len(one) == 24

    def fails(result, truth):
        raise ValueError("none")

    for threads in (2, None):
        with pytest.raises(ValueError, match="none"):
            list(scoring.scores(Average(), known, numbers, {"psnr": fails}, "cpu", threads=threads))


def test_a_cpu_is_the_models_while_it_works(scenes, monkeypatch):
    """The next scene is read while the last one is measured, neither while one is made."""
    running, met = [], []

    def watched(name, function):
        def run(*given):
            running.append(name)
            time.sleep(0.02)
            met.append(frozenset(running))
            try:
                return function(*given)
            finally:
                running.remove(name)

        return run

    monkeypatch.setattr(scoring, "between", watched("made", scoring.between))
    monkeypatch.setattr(TrueScene, "read", watched("read", TrueScene.read))
    measures = {"psnr": watched("measured", metrics.psnr)}
    known = scoring.scenes("vimeo90k", scenes)
    assert len(list(scoring.scores(Average(), known, [0, 1, 2], measures, "cpu"))) == 3
    assert {each for each in met if "made" in each} == {frozenset(("made",))}
    assert frozenset(("read", "measured")) in met
