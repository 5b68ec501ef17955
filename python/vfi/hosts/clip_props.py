"""Properties of frames, as VapourSynth names them: durations and marks of scenes."""

from collections.abc import Mapping, Sequence

from vfi.hosts.clip_times import Shown


def ends_scene(props: Mapping[str, object], following: Mapping[str, object]) -> bool:
    """Whether a frame is the last one of its scene, by its properties and those of the next one."""
    return bool(props.get("_SceneChangeNext", 0)) or bool(following.get("_SceneChangePrev", 0))


def props_of(
    shown: Shown, own: Mapping[str, object], around: Sequence[Mapping[str, object]], place: int
) -> dict[str, object]:
    """What a frame's properties are, beside those of the clip's frame that it shows or comes after.

    around: properties of the clip's frames after the one that the frame before shows, up to the one that the next frame
    shows or the following one; place: of `own` among them.
    """
    changes: dict[str, object] = {
        "_DurationNum": shown.duration.numerator,
        "_DurationDen": shown.duration.denominator,
    }
    if "_AbsoluteTime" in own and shown.time:
        changes["_AbsoluteTime"] = float(str(own["_AbsoluteTime"])) + float(shown.time)
    begins = [props.get("_SceneChangePrev") for props in around[: place + 1]]
    ends = [props.get("_SceneChangeNext") for props in around[place : max(place + 1, len(around) - 1)]]
    for name, marks, is_there in (
        ("_SceneChangePrev", begins, shown.first), ("_SceneChangeNext", ends, shown.last),
    ):  # fmt: skip
        if any(mark is not None for mark in marks):
            changes[name] = int(is_there and any(marks))
    return changes
