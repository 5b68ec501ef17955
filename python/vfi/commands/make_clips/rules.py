"""Which videos are taken: what is known of a video, and the rules."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from vfi.data.captioned.manifest import COUNTS
from vfi.errors import UserError

LONGER = 4  # times f_max frames that a video has at most


@dataclass(frozen=True)
class Facts:
    """What was found out about a video."""

    video: str  # absolute
    problem: str | None = None  # why it cannot be used
    fps: float = 0.0
    size: tuple[int, int] = (0, 0)
    frames: int | None = None  # one more than allowed if there are more; None: not counted
    measured: bool = False  # whether the scores were computed
    clip_score: float | None = None
    flow_score: float | None = None

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def read_facts(line: Mapping[str, Any], where: Path) -> Facts:
    """Of a line that this package wrote."""
    if set(line) != {field.name for field in fields(Facts)}:
        raise UserError(f"{where} is not of this version; begin anew with --overwrite")
    return Facts(**{**line, "size": tuple(line["size"])})


@dataclass(frozen=True)
class Rules:
    """What a video must be. Scores between their bounds, both included; an infinite bound does not bind."""

    max_fps: float = 30.0
    f_max: int = max(COUNTS)
    counts: tuple[int, ...] = COUNTS
    clip: tuple[float, float] = (-math.inf, math.inf)
    flow: tuple[float, float] = (-math.inf, math.inf)
    captioned: bool = False  # a caption is needed

    def check(self) -> None:
        """Raises UserError for numbers that make no sense."""
        if not self.max_fps > 0:
            raise UserError(f"expected a frame rate above 0, got {self.max_fps:g}")
        if not self.counts or min(self.counts) < 3 or len(set(self.counts)) < len(self.counts):
            raise UserError(f"expected different counts of frames of 3 or more, got {' '.join(map(str, self.counts))}")
        if self.f_max < max(self.counts):
            raise UserError(f"expected --f-max of {max(self.counts)} or more, the longest clip, got {self.f_max}")
        for name, (low, high) in (("clip", self.clip), ("flow", self.flow)):
            if not low <= high:
                raise UserError(f"--{name}-low must not be above --{name}-high, got {low:g} and {high:g}")

    @property
    def most(self) -> int:
        """Frames that a video may have."""
        return LONGER * self.f_max

    def against_file(self, facts: Facts) -> str | None:
        """Why a video is left out before anything is measured; None: it is not, or its frames must be counted first."""
        if facts.problem is not None:
            return "damaged"
        if facts.fps > self.max_fps:
            return f"more than {self.max_fps:g} frames per second"
        if facts.frames is not None and facts.frames < self.f_max:
            return f"fewer than {self.f_max} frames"
        if facts.frames is not None and facts.frames > self.most:
            return f"more than {self.most} frames"
        return None

    def against(self, facts: Facts, captioned: bool) -> str | None:
        """Why a video that was measured is left out; None: it is taken."""
        reason = self.against_file(facts)
        if reason is not None:
            return reason
        bounds = (("CLIP", facts.clip_score, self.clip), ("flow", facts.flow_score, self.flow))
        for name, score, (low, high) in bounds:
            if score is not None and score < low:
                return f"{name} score below {low:g}"
            if score is not None and score > high:
                return f"{name} score above {high:g}"
        return "no caption" if self.captioned and not captioned else None
