"""In the real core: formats, times, properties and scenes of clips, and clips and arguments that cannot be."""

from fractions import Fraction

import numpy as np
import pytest

vs = pytest.importorskip("vapoursynth", reason="needs VapourSynth's core: make test-hosts", exc_type=ImportError)

from textured_clips import SIZE, clip, planes, same, taken, textures  # noqa: E402

from vfi.hosts.vapoursynth import interpolate  # noqa: E402

pytestmark = [pytest.mark.nightly, pytest.mark.usefixtures("torch_alone")]
CPU = {"device": "cpu"}


def sentence(error):
    return str(error.value).strip().splitlines()[-1].removeprefix("vapoursynth.Error: ")


def luma(values):
    return values[0].astype(np.float64)


@pytest.mark.parametrize("size", [(96, 64), (98, 62), (70, 66)])
@pytest.mark.parametrize(
    "name",
    ["YUV420P8", "YUV420P10", "YUV420P16", "YUV422P10", "YUV444P8", "YUV444P12", "YUV444PS", "YUV420PH",
     "GRAY8", "GRAY10", "GRAY16", "GRAYH", "GRAYS", "RGB30", "RGB24", "RGB48", "RGBH", "RGBS"],
)  # fmt: skip
def test_formats(name, size):
    """A format comes back; the clip's own frames are as they were, and those between lie between."""
    source = clip(name, 3, size, _Matrix=0 if name.startswith("RGB") else 1)
    result = interpolate(source, **CPU)
    assert (result.format.id, result.width, result.height) == (source.format.id, *size)
    assert (result.num_frames, result.fps) == (6, 48)
    before, after = taken(source), taken(result)
    for number in range(3):
        assert same(after[2 * number][0], before[number][0])
    one, other, made = luma(before[0][0]), luma(before[1][0]), luma(after[1][0])
    assert abs(made - (one + other) / 2).mean() < 0.5 * abs(one - other).mean() and not same(after[1][0], before[0][0])


@pytest.mark.parametrize("matrix", [1, 5, 6, 7, 9])
@pytest.mark.parametrize("full", [0, 1])
def test_the_frames_own_matrix_and_range(matrix, full):
    """A picture in other numbers is the same picture: what is made is, but for rounding, made from the same RGB."""
    pictures = list(textures(2, SIZE))
    rgb = interpolate(clip("RGBS", pictures=pictures), **CPU)
    yuv = interpolate(clip("YUV444P16", pictures=pictures, _Matrix=matrix, _Range=full), **CPU)
    props = dict(yuv.get_frame(1).props)
    assert (props["_Matrix"], props["_Range"]) == (matrix, full)
    back = yuv.resize.Bicubic(format=vs.RGBS)
    for ours, theirs in zip(planes(back.get_frame(1)), planes(rgb.get_frame(1))):
        assert abs(ours - theirs).max() < 3e-3 and abs(ours - theirs).mean() < 1e-4


def test_chroma_stays_where_it_was():
    """Of left, centre and top left: the picture between two like ones with a dot that blinks is like them."""
    for place in (0, 1, 2):
        source = clip("YUV420P16", 2, pictures=list(textures(1, SIZE)) * 2, _Matrix=1, _ChromaLocation=place)
        blink = source[1].std.Expr(["x 1 +", ""])
        result = interpolate(source[0] + blink, **CPU)
        own, made = planes(source.get_frame(0)), planes(result.get_frame(1))
        for plane in (1, 2):  # up and down again: smooth chroma stays
            assert abs(own[plane].astype(int) - made[plane].astype(int))[2:-2, 2:-2].mean() < 0.004 * 65535


def test_a_matrix_that_nobody_told():
    """Is BT.601's, and stays untold."""
    told, untold = (taken(interpolate(clip("YUV420P8", _Matrix=matrix), **CPU)) for matrix in (5, 2))
    assert all(same(ours[0], theirs[0]) for ours, theirs in zip(told, untold))
    assert {props["_Matrix"] for _, props in untold} == {2}


def test_fps_and_durations():
    for asked, count, rate in (
        ({"factor": 2}, 12, Fraction(48)), ({"factor": 2.5}, 15, Fraction(60)), ({"fps": 60}, 15, Fraction(60)),
        ({"fps": "60000/1001"}, 15, Fraction(60000, 1001)), ({"fps": 12}, 3, Fraction(12)), ({"factor": 1}, 6, 24),
    ):  # fmt: skip
        result = interpolate(clip(), **asked, **CPU)
        assert (result.num_frames, result.fps) == (count, rate)
        for _, props in taken(result):
            assert Fraction(props["_DurationNum"], props["_DurationDen"]) == 1 / Fraction(rate)


UNEVEN = [Fraction(n, 1000) for n in (40, 20, 40, 900, 40, 40, 40)]


def test_a_variable_rate():
    source = clip(count=7, durations=UNEVEN)
    assert source.fps.numerator == 0
    multiplied = interpolate(source, factor=2, **CPU)
    durations = [Fraction(props["_DurationNum"], props["_DurationDen"]) for _, props in taken(multiplied)]
    assert multiplied.fps.numerator == 0 and durations == [each / 2 for each in UNEVEN for _ in range(2)]
    assert same(planes(multiplied.get_frame(7)), planes(source.get_frame(3))), "a pause stands still"
    even = interpolate(source, fps=50, **CPU)
    assert (even.num_frames, even.fps) == (56, 50)
    own = [planes(frame) for frame in source.frames()]
    assert same(planes(even.get_frame(0)), own[0]) and same(planes(even.get_frame(2)), own[1])
    assert same(planes(even.get_frame(3)), own[2]) and same(planes(even.get_frame(50)), own[4])
    assert not same(planes(even.get_frame(1)), own[0])


def test_no_duration_and_no_rate(weights):
    source = clip(count=3, durations=[1, 1, 1])
    without = source.std.RemoveFrameProps(["_DurationNum", "_DurationDen"])
    with pytest.raises(vs.Error) as error:
        interpolate(without, **CPU)
    assert sentence(error) == "frame 0 has no duration, and the clip no rate: give it one with std.AssumeFPS"


def test_scenes():
    scene = {"_SceneChangeNext": [0, 0, 1, 0, 0, 0], "_SceneChangePrev": [0, 0, 0, 1, 0, 0]}
    for marks in ({"_SceneChangeNext": scene["_SceneChangeNext"]}, {"_SceneChangePrev": scene["_SceneChangePrev"]}):
        source = clip(**marks)
        own = [planes(frame) for frame in source.frames()]
        repeated = taken(interpolate(source, factor=3, **CPU))
        assert [same(repeated[n][0], own[2]) for n in range(5, 11)] == [False, True, True, True, False, False]
        marked = taken(interpolate(source, factor=3, scene_changes="mark", **CPU))
        assert [n for n, (_, props) in enumerate(marked) if props.get("VFIRepeated")] == [7, 8]
        assert all(same(one[0], other[0]) for one, other in zip(repeated, marked))
        through = taken(interpolate(source, factor=3, scene_changes=False, **CPU))
        assert not same(through[7][0], own[2]) and not same(through[8][0], own[2])
    both = taken(interpolate(clip(**scene), factor=3, **CPU))
    assert [n for n, (_, props) in enumerate(both) if props["_SceneChangeNext"]] == [8]
    assert [n for n, (_, props) in enumerate(both) if props["_SceneChangePrev"]] == [9]


def test_frames_that_repeat_are_repeated():
    pictures = list(textures(3, SIZE))
    source = clip("YUV420P8", pictures=[pictures[0], pictures[1], pictures[1], pictures[2]], _Matrix=1)
    own, result = [planes(f) for f in source.frames()], [planes(f) for f in interpolate(source, **CPU).frames()]
    assert same(result[3], own[1]) and not same(result[1], own[0]) and not same(result[5], own[2])


def test_properties_are_those_of_the_frame_before():
    source = clip("YUV420P8", _Matrix=1, _Range=0, _ChromaLocation=1, _AbsoluteTime=[n / 24 for n in range(6)],
                  Note=[f"frame {n}" for n in range(6)])  # fmt: skip
    result = [props for _, props in taken(interpolate(source, **CPU))]
    assert [props["Note"] for props in result] == [f"frame {n // 2}".encode() for n in range(12)] or [
        props["Note"] for props in result
    ] == [f"frame {n // 2}" for n in range(12)]
    assert [props["_AbsoluteTime"] for props in result] == pytest.approx([n / 48 for n in range(12)])
    assert {key for props in result for key in props} == set(dict(source.get_frame(0).props))


def test_one_frame():
    result = interpolate(clip(count=1), factor=3, **CPU)
    assert result.num_frames == 3 and len({values[0].tobytes() for values, _ in taken(result)}) == 1


def test_clips_that_cannot_be():
    parts = clip("RGBS"), clip("RGB24"), clip("RGBS", size=(64, 64))
    several = [vs.core.std.Splice([parts[0], other], mismatch=True) for other in parts[1:]]
    for wrong in several:
        with pytest.raises(vs.Error) as error:
            interpolate(wrong, **CPU)
        assert sentence(error) == "expected clip of one format and size, got one whose frames differ"
    with pytest.raises(vs.Error) as error:
        interpolate("in.mp4", **CPU)
    assert sentence(error) == "expected clip to be a video clip, got str"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"factor": 0.5}, "expected factor from 1 to 1000, got 0.5"),
        ({"factor": 2, "fps": 60}, "give only one of factor and fps"),
        ({"model": "rife"}, "the model rife needs weights, such as "),
        ({"model": "rife", "weights": "missing.pkl"}, "missing.pkl"),
        ({"model": "riffe"}, "unknown model 'riffe'; known models: "),
        ({"weights": "x.pkl"}, "the model flow-splat has no weights, so weights cannot be used with it"),
        ({"ensemble": True}, "ensemble is not for the model flow-splat: it has "),
        ({"num_streams": 0}, "expected num_streams from 1 to 64, got 0"),
        ({"scene_changes": "skip"}, "expected scene_changes True, False or mark, got 'skip'"),
        ({"engine": "fast"}, "engine"),
        ({"device": "cuda:7"}, "cuda:7"),
    ],
)
def test_arguments_that_cannot_be(arguments, expected):
    with pytest.raises(vs.Error) as error:
        interpolate(clip(), **{**CPU, **arguments})
    assert expected in str(error.value) and len(str(error.value).splitlines()) == 1


def test_frames_that_cannot_be(weights):
    """The core puts where it was before the sentence."""
    with pytest.raises(vs.Error) as error:
        interpolate(clip("YUV420P8", _Matrix=1, _FieldBased=1), **CPU).get_frame(1)
    assert sentence(error) == "frame 0 is interlaced: deinterlace the clip, or std.SetFieldBased(0)"
    dark = clip("RGBS").std.Expr("0 0 /")
    with pytest.raises(vs.Error) as error:
        interpolate(dark, "rife", weights, **CPU).get_frame(1)
    assert "NaN or infinity" in sentence(error)
