"""VapourSynth: from clip to clip. The only module that imports it.

The graph: `FrameEval` asks, for each frame, for the clip's own one or for a picture that is made. That comes out of a
`ModifyFrame` of its own, since the core calls each of those for one frame at a time: so several are made at once.
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from vfi.engines.names import Engine, Precision, taken
from vfi.errors import ArgumentError, UserError, require
from vfi.hosts.clip_props import ends_scene, props_of
from vfi.hosts.clip_times import ClipTimes, Shown, clip_times
from vfi.hosts.streams import Planes, Stream, Streams
from vfi.models.devices import choose_device
from vfi.models.interpolator import Interpolator
from vfi.models.registry import DEFAULT, load_model
from vfi.options import whole

vs = require("vapoursynth", "vapoursynth")
if TYPE_CHECKING:
    from vapoursynth import VideoFormat, VideoFrame, VideoNode

# A matrix that is not told is BT.601's, as of a video that `vfi interpolate` reads.
_UNTOLD, _BT601 = 2, 5
_REPEATED = "VFIRepeated"


def interpolate(
    clip: "VideoNode",
    model: str = DEFAULT,
    weights: str | Path | None = None,
    *,
    factor: int | float | str | Fraction | None = None,
    fps: int | float | str | Fraction | None = None,
    scene_changes: bool | Literal["mark"] = True,
    engine: Engine | None = None,
    precision: Precision | None = None,
    device: str | None = None,
    num_streams: int = 1,
    max_memory: int | None = None,
    **options: object,
) -> "VideoNode":
    """The clip with more frames: its own as they are, and those that the model makes between them.

    Frames that are made are those of `vfi interpolate`, and have the clip's format. RGB of 8 and 16 bits, RGBS and RGBH
    go to the model as they are; other formats are converted to RGBS and back by the core, with the frame's own matrix,
    range and place of chroma (a matrix that is not told is BT.601's). Properties are those of the frame before;
    durations, `_AbsoluteTime` and the marks of scenes are the frame's own.

    Args:
        clip: of one format and size, progressive.
        model: one of `vfi.MODELS`.
        weights: file or folder of its weights; None of a model that has none.
        factor: how many times as many frames, from 1 to 1000, such as 2 or 2.5. A whole one divides the duration of
            every frame, also where durations vary. 2 where neither it nor `fps` is given.
        fps: frames in a second, such as 60 or "60000/1001".
        scene_changes: True: where `_SceneChangeNext`, or `_SceneChangePrev` of the next frame, is 1, the frame before
            is repeated; "mark": and those have the property `VFIRepeated` 1; False: the marks are not looked at.
        engine, precision: as of `vfi.load_model`; None: the fastest that is installed, in float32.
        device: such as "cpu" or "cuda:0"; None: a GPU if there is one.
        num_streams: how many frames are made at once, each by a model of its own.
        max_memory: as of `vfi.load_model`.
        options: the model's own, such as `scale=0.5` and `ensemble=True` of "rife".

    Raises:
        vapoursynth.Error: if something is wrong with the clip or an argument, in a sentence.
    """
    try:
        return _interpolated(
            clip, (factor, fps), scene_changes, num_streams,
            partial(_loaded, model, weights, engine, precision, device, max_memory, options),
        )  # fmt: skip
    except UserError as error:
        raise vs.Error(str(error)) from None


def _interpolated(
    clip: "VideoNode", asked: tuple[object, object], scene_changes: object, num_streams: object,
    load: Callable[[], Stream],
) -> "VideoNode":  # fmt: skip
    if not isinstance(clip, vs.VideoNode):
        raise ArgumentError(f"expected `clip` to be a video clip, got {type(clip).__name__}")
    if clip.format is None or clip.format.id == vs.NONE or not clip.width or not clip.height:
        raise ArgumentError("expected `clip` of one format and size, got one whose frames differ")
    if scene_changes not in (True, False, "mark"):
        raise ArgumentError(f"expected `scene_changes` True, False or mark, got {scene_changes!r}")
    count = whole("num_streams", num_streams, 1, 64)
    rate = Fraction(clip.fps)
    times = clip_times(clip.num_frames, rate, partial(_durations, clip), *asked)
    return _Graph(clip, times, scene_changes, Streams([load() for _ in range(count)])).clip


def _loaded(
    model: str, weights: str | Path | None, engine: Engine | None, precision: Precision | None, device: str | None,
    max_memory: int | None, options: Mapping[str, object],
) -> Stream:  # fmt: skip
    place = choose_device(device)
    engine, precision = taken(engine, precision, "auto")
    load: Callable[..., Interpolator] = load_model
    return Stream(
        load(model, weights, place, engine=engine, precision=precision, max_memory=max_memory, **options), place
    )


class _Graph:
    def __init__(self, source: "VideoNode", times: ClipTimes, scene_changes: object, streams: Streams) -> None:
        self._source, self._times, self._scenes, self._streams = source, times, scene_changes, streams
        pixels = source.format
        whole_numbers = pixels.sample_type == vs.INTEGER
        self._as_it_is = pixels.color_family == vs.RGB and (not whole_numbers or pixels.bits_per_sample in (8, 16))
        to_rgb = {} if pixels.color_family == vs.RGB else {"matrix_in": _BT601}
        self._rgb = source if self._as_it_is else source.resize.Bicubic(format=vs.RGBS, **to_rgb)
        rate = times.rate
        like = {"length": times.count, "fpsnum": rate.numerator, "fpsden": rate.denominator, "keep": True}
        self._template = source.std.BlankClip(**like)
        self._rgb_template = self._rgb.std.BlankClip(**like)
        self.clip = self._template.std.FrameEval(self._frame, clip_src=[source, self._rgb])

    def _frame(self, n: int) -> "VideoNode":
        """The node of an output frame: looks at the properties of those of the clip that decide."""
        source, after = self._times.source(n), min(n + 1, self._times.count - 1)
        before = self._times.source(n - 1) if n else source
        first, last = min(before + 1, source), min(max(self._times.source(after), source + 1), len(self._source) - 1)
        around = range(first, last + 1)
        decide = partial(self._decided, around=around)
        return self._template.std.FrameEval(decide, prop_src=[self._source[number] for number in around])

    def _decided(self, n: int, f: object, around: range) -> "VideoNode":
        frames = dict(zip(around, f if isinstance(f, list) else [f]))
        number = self._times.source(n)
        own, following = frames[number], frames.get(number + 1)
        shown = self._times.shown(n, _duration(own.props, number, Fraction(self._source.fps)))
        cut = following is not None and ends_scene(own.props, following.props)
        changes = props_of(shown, own.props, [frames[each].props for each in around], number - around.start)
        if shown.request is not None and cut and self._scenes:
            if self._scenes == "mark":
                changes[_REPEATED] = 1
        elif shown.request is not None and not _same(own, following):
            if own.props.get("_FieldBased", 0):
                raise vs.Error(f"frame {number} is interlaced: deinterlace the clip, or std.SetFieldBased(0)")
            made = self._made(shown, own.props)
            return self._template.std.ModifyFrame([made, self._source[number]], partial(_with_props, changes=changes))
        alone = self._source[number]
        return self._template.std.ModifyFrame([alone, alone], partial(_with_props, changes=changes))

    def _made(self, shown: Shown, props: Mapping[str, object]) -> "VideoNode":
        """A picture between two frames, in the clip's format."""
        pair = [self._rgb[shown.source], self._rgb[shown.source + 1]]
        made = self._rgb_template.std.ModifyFrame(pair, partial(self._picture, shown=shown))
        if self._as_it_is:
            return made
        return made.resize.Bicubic(format=self._source.format.id, **_colours(self._source.format, props))

    def _picture(self, n: int, f: "list[VideoFrame]", shown: Shown) -> "VideoFrame":
        def frames() -> tuple[Planes, Planes]:
            return _planes(f[0]), _planes(f[1])

        try:
            assert shown.request is not None
            planes = self._streams.picture(shown.source, shown.request, frames, shown.positions, shown.place)
        except UserError as error:
            raise vs.Error(str(error)) from None
        frame = f[0].copy()
        for number, plane in enumerate(planes):
            np.copyto(np.asarray(frame[number]), plane, casting="same_kind")
        return frame


def _with_props(n: int, f: "list[VideoFrame]", changes: Mapping[str, object]) -> "VideoFrame":
    """The first frame, with the properties of the second and these changes."""
    frame, like = f[0].copy(), dict(f[1].props)
    for name in set(frame.props) - set(like):
        del frame.props[name]
    for name, value in {**like, **changes}.items():
        frame.props[name] = value
    return frame


def _planes(frame: "VideoFrame") -> Planes:
    return tuple(np.asarray(frame[number]) for number in range(3))


def _same(first: "VideoFrame", second: "VideoFrame") -> bool:
    planes = range(first.format.num_planes)
    return all(np.array_equal(np.asarray(first[number]), np.asarray(second[number])) for number in planes)


def _colours(pixels: "VideoFormat", props: Mapping[str, object]) -> dict[str, object]:
    """What the core needs to know to go back from RGB to samples like those of a frame."""
    colours: dict[str, object] = {}
    if pixels.color_family != vs.RGB:
        matrix = props.get("_Matrix", _UNTOLD)
        untold = (_UNTOLD, 0) if pixels.color_family == vs.GRAY else (_UNTOLD,)
        colours["matrix"] = _BT601 if matrix in untold else matrix
    if "_Range" in props:
        colours["range"] = props["_Range"]
    elif "_ColorRange" in props:  # of older cores: 1 is limited there
        colours["range"] = 1 - int(str(props["_ColorRange"]))
    if pixels.subsampling_w or pixels.subsampling_h:
        colours["chromaloc"] = props.get("_ChromaLocation", 0)
    return colours


def _durations(clip: "VideoNode", count: int) -> list[Fraction]:
    frames = clip[:count].frames(close=True)
    return [_duration(frame.props, number, Fraction(0)) for number, frame in enumerate(frames)]


def _duration(props: Mapping[str, object], number: int, rate: Fraction) -> Fraction:
    """Seconds of a frame: its own, else by the clip's rate; 0: it has none."""
    above, below = props.get("_DurationNum"), props.get("_DurationDen")
    if isinstance(above, int) and isinstance(below, int) and above > 0 and below > 0:
        return Fraction(above, below)
    if rate:
        return 1 / rate
    raise vs.Error(f"frame {number} has no duration, and the clip no rate: give it one with std.AssumeFPS")
