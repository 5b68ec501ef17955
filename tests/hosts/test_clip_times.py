"""Frames of a smoother clip by number: what a timeline gives from the first to the last, and what frames say of it."""

from fractions import Fraction

import numpy as np
import pytest

from vfi.commands.video_frames import Renderer
from vfi.commands.workers import Workers
from vfi.errors import ArgumentError
from vfi.hosts.clip_props import ends_scene, props_of
from vfi.hosts.clip_times import clip_times
from vfi.models.interpolator import Interpolator
from vfi.video.reader import TimedFrame
from vfi.video.timeline import Multiplied, Regular

EVEN = [Fraction(1, 24)] * 7
UNEVEN = [Fraction(n, 1000) for n in (40, 41, 20, 900, 40, 39, 500, 40, 120)]


class Asked(Interpolator):
    """Notes what it is asked for."""

    def __init__(self):
        self.calls = []

    def interpolate(self, frame0, frame1, t):
        raise AssertionError("one by one")

    def interpolate_many(self, frame0, frame1, times):
        self.calls.append((round(float(frame0.max()) * 255), tuple(times)))
        return [frame0.clone() for _ in times]


def planned(durations, rate, **asked):
    times = clip_times(len(durations), Fraction(rate), lambda count: durations[:count], asked.get("factor"),
                       asked.get("fps"))  # fmt: skip
    return times, [times.shown(n, durations[times.source(n)]) for n in range(times.count)]


@pytest.mark.parametrize(
    ("durations", "rate", "asked", "timeline"),
    [
        (EVEN, 24, {}, Multiplied(2)),
        (EVEN, 24, {"factor": 20}, Multiplied(20)),
        (EVEN, 24, {"factor": 2.5}, Regular(Fraction(60))),
        (EVEN, 24, {"fps": "60000/1001"}, Regular(Fraction(60000, 1001))),
        (EVEN, 24, {"fps": 59.94}, Regular(Fraction(60000, 1001))),
        (EVEN, 24, {"fps": 10}, Regular(Fraction(10))),
        (UNEVEN, 0, {"factor": 3}, Multiplied(3)),
        (UNEVEN, 0, {"fps": 50}, Regular(Fraction(50))),
    ],
)
def test_frames_by_number_are_those_of_the_command(durations, rate, asked, timeline):
    """The same times, and the model is asked for the same in the same calls."""
    _, shown = planned(durations, rate, **asked)
    starts = [sum(durations[:n], Fraction(0)) for n in range(len(durations))]
    model, step = Asked(), Fraction(1, 24) if rate else Fraction(1, 25)
    renderer = Renderer(Workers([(model, "cpu")]), timeline, scene_cuts=False, step=step)
    frames = [TimedFrame(start, duration, picture(n)) for n, (start, duration) in enumerate(zip(starts, durations))]
    rendered = [(time, int(frame.rgb[0, 0, 0])) for _, time, frame in renderer.render(frames)]
    assert [(starts[each.source] + each.time, each.source) for each in shown] == rendered
    calls = [(each.source, each.positions) for each in shown if each.request is not None and each.place == 0]
    assert calls == model.calls
    assert sum(each.request is not None for each in shown) == renderer.interpolated
    assert sum(each.duration for each in shown) == pytest.approx(sum(durations), abs=1 / 10)


def picture(number):
    return np.full((8, 8, 3), number, np.uint8)


def test_a_whole_factor_divides_every_duration():
    times, shown = planned(UNEVEN, 0, factor=3)
    assert [each.duration * 3 for each in shown] == [duration for duration in UNEVEN for _ in range(3)]
    assert times.rate == 0


def test_rates():
    assert planned(EVEN, 24)[0].rate == 48
    assert planned(EVEN, Fraction(24000, 1001), factor=4)[0].rate == Fraction(96000, 1001)
    assert planned(EVEN, Fraction(24000, 1001), factor="5/2")[0].rate == Fraction(60000, 1001)
    assert planned([Fraction(1, 25), Fraction(2, 25)] * 4 + [Fraction(1, 25)] * 3, 0, factor=1.5)[0].rate > 0


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"factor": 2, "fps": 60}, "give only one of factor and fps"),
        ({"factor": 0.5}, "expected factor from 1 to 1000, got 0.5"),
        ({"factor": 1001}, "expected factor from 1 to 1000, got 1001"),
        ({"factor": True}, "expected factor to be a number or a fraction, got True"),
        ({"factor": float("nan")}, "expected factor to be a number or a fraction, got nan"),
        ({"fps": 0}, "expected fps from 0.001 to 100000, got 0"),
        ({"fps": "fast"}, "expected fps to be a number or a fraction, got 'fast'"),
        ({"fps": float("inf")}, "expected fps to be a number or a fraction, got inf"),
    ],
)
def test_what_cannot_be_asked_for(asked, sentence):
    with pytest.raises(ArgumentError) as error:
        planned(EVEN, 24, **asked)
    assert str(error.value) == sentence


MARKS = {"_SceneChangePrev": 0, "_SceneChangeNext": 0}


def test_a_scene_ends_where_either_frame_says_so():
    assert not ends_scene({}, {}) and not ends_scene(MARKS, MARKS)
    assert ends_scene({"_SceneChangeNext": 1}, {}) and ends_scene({}, {"_SceneChangePrev": 1})
    assert not ends_scene({"_SceneChangePrev": 1}, {"_SceneChangeNext": 1})


def test_one_frame_ends_a_scene_and_one_begins_it():
    """However many show, or come after, the frame that the clip has there."""
    clip = [dict(MARKS) for _ in range(5)]
    clip[2]["_SceneChangeNext"] = clip[3]["_SceneChangePrev"] = 1
    for asked in ({"factor": 3}, {"fps": 57}, {"fps": 10}, {"fps": 13}):
        times, shown = planned(EVEN[:5], 24, **asked)
        marks = []
        for number, each in enumerate(shown):
            before = times.source(number - 1) if number else each.source
            after = times.source(min(number + 1, times.count - 1))
            first, last = min(before + 1, each.source), min(max(after, each.source + 1), 4)
            own = props_of(each, clip[each.source], clip[first : last + 1], each.source - first)
            marks.append((own["_SceneChangePrev"], own["_SceneChangeNext"]))
        begins = min(number for number, each in enumerate(shown) if each.source >= 3)
        assert [prev for prev, _ in marks] == [int(number == begins) for number in range(times.count)], asked
        assert [following for _, following in marks] == [int(number == begins - 1) for number in range(times.count)]


def test_what_a_frame_says_of_itself():
    _, shown = planned(EVEN, 24, factor=2)
    assert props_of(shown[3], {}, [{}, {}], 0) == {"_DurationNum": 1, "_DurationDen": 48}
    assert props_of(shown[3], {"_AbsoluteTime": 2.0}, [{}, {}], 0)["_AbsoluteTime"] == 2 + 1 / 48
    assert "_AbsoluteTime" not in props_of(shown[2], {"_AbsoluteTime": 2.0}, [{}, {}], 0)
