"""How each of many videos has ended."""

from collections.abc import Mapping, Sequence

from vfi.commands.program import say
from vfi.errors import Incomplete, UserError
from vfi.video.av_common import counted


class SomeFailed(UserError):
    """Others are done."""

    exit_code = 1


def tell(ends: Mapping[str, Sequence[str]]) -> None:
    """ends: the videos by how they have ended: done, skipped, incomplete, failed.

    Raises:
        SomeFailed: if one could not be done. Incomplete: if one is not whole.
    """
    videos = counted(sum(map(len, ends.values())), "video")
    say(f"{videos}: {', '.join(f'{len(names)} {end}' for end, names in ends.items())}")
    for end in ("incomplete", "failed"):
        for name in ends.get(end, ()):
            say(f"  {end}: {name}")
    if "failed" in ends:
        raise SomeFailed(f"{len(ends['failed'])} of {videos} could not be done")
    if "incomplete" in ends:
        raise Incomplete(f"of {videos}, {len(ends['incomplete'])} not whole")
