"""Runs a model on the clips of a manifest, and measures what it makes of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vfi.data.captioned.clips import ClipSource
from vfi.errors import UserError, require
from vfi.evaluation.kept_rows import Row, told
from vfi.evaluation.sfibench import measures
from vfi.evaluation.sfibench.frechet import Moments, distance
from vfi.evaluation.sfibench.kept import COLUMNS, Kept
from vfi.evaluation.sfibench.measures import Between
from vfi.models.flow_by_name import Flow
from vfi.models.interpolator import Interpolator

SMALLEST = 32  # pixels of the shorter side, for LPIPS and SSIM
_CALLABLE = "no callable was given for it"


@dataclass(frozen=True)
class Tools:
    """What measures with. What is None is not measured, for the reason in `reasons`.

    Attributes:
        lpips: frames (B, 3, H, W) in [0, 1] and the true ones -> (B,).
        features: frames (B, 3, H, W) in [0, 1] -> (B, D), in which the Frechet distance is measured.
        between: two frames (1, 3, H, W) in [0, 1] -> the one in the middle.
        flow: two such frames -> flow (1, 2, H, W) in pixels.
        semantic: a video (N, 3, H, W) uint8 and its caption -> a number; in the paper by ViCLIP.
        aesthetic, imaging: a video -> a number; in the paper by LAION's predictor and by MUSIQ.
        reasons: why a measure is missing, by its name.
        notes: what other measures were made with, by their names.
    """

    lpips: Callable[[Tensor, Tensor], Tensor] | None = None
    features: Callable[[Tensor], Tensor] | None = None
    between: Between | None = None
    flow: Flow | None = None
    semantic: Callable[[Tensor, str], float] | None = None
    aesthetic: Callable[[Tensor], float] | None = None
    imaging: Callable[[Tensor], float] | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    def missing(self) -> dict[str, str]:
        """What is not measured, and why."""
        needed = {
            "lpips": self.lpips, "fid": self.features, "end_lpips": self.lpips, "semantic": self.semantic,
            "smoothness": self.between, "dynamic": self.flow, "aesthetic": self.aesthetic, "imaging": self.imaging,
        }  # fmt: skip
        return {name: self.reasons.get(name, _CALLABLE) for name, tool in needed.items() if tool is None}


Scores = Row  # by the names of COLUMNS


@dataclass(frozen=True)
class Report:
    """Scores by the number of frames, and their mean over these numbers, as the paper has it. rows: of each clip."""

    clips: dict[int, int]
    scores: dict[int, Scores]
    mean: Scores
    rows: list[dict[str, object]]
    missing: dict[str, str]
    notes: dict[str, str]

    def as_json(self) -> dict[str, object]:
        """What was not measured is null; infinite numbers are the text "inf"."""
        return {
            "dataset": "sfibench",
            "clips": {str(count): number for count, number in self.clips.items()},
            "frames": {str(count): told(scores) for count, scores in self.scores.items()},
            "mean": told(self.mean),
            "not_measured": self.missing,
            "measured_with": self.notes,
            "scenes": self.rows,
        }


@dataclass(frozen=True)
class Found:
    """Of one clip. features: (2, N, D), of the true frames and of those made; None: they are not asked for."""

    scores: Scores
    features: Tensor | None


OfClips = Callable[[Sequence[int]], Iterator[Found]]  # of the clips with these numbers, in this order


def evaluate(
    model: Interpolator,
    clips: ClipSource,
    tools: Tools,
    device: str = "cpu",
    kept: Kept | None = None,
    quiet: bool = True,
) -> Report:
    """What a model makes of the first and the last frame of each clip, its caption and its number of frames.

    Args:
        model: with `generate(first, last, prompt, num_frames=N)`, which gives (N, 3, h, w) in [0, 1]; or an
            Interpolator, which is asked for the times i / (N - 1).
        clips: at a size whose sides are at least 32 pixels.
        kept: where the scores of each clip are kept as they are found, and its frames; those that are there are not
            measured again.

    Raises:
        UserError: if a clip cannot be read, or the model makes something else.
    """
    keeping = kept or Kept(None, {})

    def here(numbers: Sequence[int]) -> Iterator[Found]:
        return (of_clip(model, clips, index, tools, device, keeping) for index in numbers)

    return collected(here, clips, tools, keeping, quiet)


def collected(of_clips: OfClips, clips: ClipSource, tools: Tools, kept: Kept, quiet: bool) -> Report:
    """As `evaluate`, of what `of_clips` finds of the clips that are not kept, here or elsewhere.

    tools: what it measures with.
    """
    if min(clips.size) < SMALLEST:
        raise UserError(f"expected a size of at least {SMALLEST}x{SMALLEST} pixels, got {clips.size}")
    order = sorted((index, number) for number, each in clips.counts.items() for index in each)
    todo = [index for index, _ in order if lacks(kept, index, tools)]
    scores_by_count: dict[int, dict[int, Scores]] = {count: {} for count in clips.counts}
    moments = {count: (Moments(), Moments()) for count in clips.counts}
    rows: list[dict[str, object]] = []
    bar = require("tqdm").tqdm(total=len(clips), unit="clip", disable=True if quiet else None)
    waiting, found = set(todo), of_clips(todo)
    with closing(bar):
        for index, number in order:
            if index in waiting:
                one = next(found)
                scores, features = kept.add(index, one.scores, one.features), one.features
            else:
                scores, features = kept.scores(index) or {}, kept.features(index)
            scores_by_count[number][index] = scores
            rows.append({"name": f"clip {index}", "frames": number, **told(scores), **kept.named(index)})
            if tools.features is not None and features is not None:
                for part, seen in zip(moments[number], features):
                    part.add(seen)
            bar.update()
    next(found, None)  # lets go of what it holds
    return report({count: list(scores.values()) for count, scores in scores_by_count.items()}, moments, tools, rows)


def lacks(kept: Kept, index: int, tools: Tools) -> bool:
    """Whether a clip is to be made."""
    return kept.scores(index) is None or (tools.features is not None and kept.features(index) is None)


@torch.no_grad()
def of_clip(model: Interpolator, clips: ClipSource, index: int, tools: Tools, device: str, kept: Kept) -> Found:
    """What the model makes of a clip is measured, and its frames are written if `kept` asks for them."""
    truth, caption = clips.read(index)
    made = frames_of(model, truth, caption, device)
    kept.write(index, made, clips.fps(index))
    scores = measured(made, truth, caption, clips.fps(index), tools, device)
    if tools.features is None:
        return Found(scores, None)
    return Found(scores, torch.stack([measures.in_parts(tools.features, [each], device) for each in (truth, made)]))


def frames_of(model: Interpolator, truth: Tensor, caption: str, device: str) -> Tensor:
    """What the model makes of the ends of a clip, resized if it has another size: (N, 3, H, W) uint8."""
    first, last = (frame[None].to(device).float() / 255 for frame in (truth[0], truth[-1]))
    count = len(truth)
    made = model.generate(first, last, caption, num_frames=count)
    if made.ndim != 4 or made.shape[:2] != truth.shape[:2]:
        raise UserError(f"expected {count} frames of the model, (N, 3, H, W), got {tuple(made.shape)}")
    if not made.isfinite().all():
        raise UserError("the model made frames that are not finite")
    if made.shape != truth.shape:
        made = F.interpolate(made.float(), truth.shape[2:], mode="bicubic", antialias=True, align_corners=False)
    return measures.to_bytes(made).cpu()


def measured(made: Tensor, truth: Tensor, caption: str, fps: float, tools: Tools, device: str) -> Scores:
    """All of one clip but the Frechet distance."""
    scores: Scores = dict.fromkeys(COLUMNS)
    del scores["fid"]
    ends = measures.ends(made, truth)
    scores["psnr"], scores["ssim"] = (float(np.mean([getattr(end, name) for end in ends])) for name in ("psnr", "ssim"))
    scores["flickering"] = measures.flickering(made)
    if tools.lpips is not None:
        apart = measures.in_parts(tools.lpips, [made, truth], device)
        scores["lpips"], scores["end_lpips"] = float(apart.mean()), float((apart[0] + apart[-1]) / 2)
    if tools.between is not None:
        scores["smoothness"] = measures.smoothness(made, tools.between)
    if tools.flow is not None:
        scores["dynamic"] = float(measures.moves(made, fps, tools.flow))
    if tools.semantic is not None:
        scores["semantic"] = float(tools.semantic(made, caption))
    for name, tool in (("aesthetic", tools.aesthetic), ("imaging", tools.imaging)):
        if tool is not None:
            scores[name] = float(tool(made))
    return scores


def report(
    scores_by_count: Mapping[int, Sequence[Scores]],
    moments: Mapping[int, tuple[Moments, Moments]],
    tools: Tools,
    rows: list[dict[str, object]],
) -> Report:
    missing = tools.missing()
    scores: dict[int, Scores] = {}
    for count, clips in scores_by_count.items():
        scores[count] = {name: None if name in missing else mean(clips, name) for name in COLUMNS if name != "fid"}
        scores[count]["fid"] = None if "fid" in missing else distance(*moments[count])
    every = {name: None if name in missing else mean(list(scores.values()), name) for name in COLUMNS}
    counts = {count: len(clips) for count, clips in scores_by_count.items()}
    return Report(counts, scores, every, rows, missing, dict(tools.notes))


def mean(scores: Sequence[Scores], name: str) -> float:
    return float(np.mean([value for one in scores if (value := one[name]) is not None]))


def table(result: Report) -> Iterator[str]:
    """Lines: a row for each number of frames, their mean, and what was not measured."""
    widths = {name: max(7, len(title)) for name, title in COLUMNS.items()}
    yield f"{'frames':>6}  {'clips':>5}  " + "  ".join(f"{COLUMNS[name]:>{width}}" for name, width in widths.items())
    rows = [(str(count), str(result.clips[count]), scores) for count, scores in result.scores.items()]
    for label, clips, scores in (*rows, ("mean", str(sum(result.clips.values())), result.mean)):
        yield f"{label:>6}  {clips:>5}  " + "  ".join(_cell(scores[name], width) for name, width in widths.items())
    for name, reason in result.missing.items():
        yield f"{COLUMNS[name]} was not measured: {reason}"
    for name, note in result.notes.items():
        yield f"{COLUMNS[name]}: {note}"


def _cell(value: float | None, width: int) -> str:
    if value is None:
        return f"{'-':>{width}}"
    return f"{value:{width}.2f}" if abs(value) >= 10 else f"{value:{width}.4f}"
