"""What workers answer. Files are names in the folder of the session."""

from typing import TypedDict


class Planned(TypedDict):
    """seconds: of the video, None if it does not tell. file, plan: lines on what it is, and what would be made."""

    seconds: float | None
    file: list[str]
    plan: list[str]


class Rendered(TypedDict):
    """before, after: what a browser shows of the source and of `output`, which has so many bytes. begins: seconds after
    their beginning at which their pictures begin. said: lines of the command. cut: one of them is a copy, perhaps of
    the beginning alone."""

    before: str
    after: str
    begins: list[float]
    output: str
    bytes: int
    said: list[str]
    cut: bool


class Pictured(TypedDict):
    """pair: the first frame and the one that was made, to lay over each other. behind: what the model found. output:
    the made one as a file, or "" of a video."""

    pair: list[str]
    behind: list[str]
    output: str
