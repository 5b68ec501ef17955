"""Chooses videos and cuts clips: `python -m vfi.commands.make_clips FOLDER -o clips.jsonl`."""

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vfi.commands.cluster import command as cluster
from vfi.commands.program import SentenceParser, exit_code
from vfi.errors import ArgumentError, UserError, called
from vfi.files.opencv import opencv

if TYPE_CHECKING:
    from vfi.commands.make_clips.job import ClipJob

_EXAMPLES = """examples:
  python -m vfi.commands.make_clips videos -o clips.jsonl --clip-model clip-vit-large-patch14 --scores
  python -m vfi.commands.make_clips videos -o clips.jsonl --clip-model clip-vit-large-patch14 --resume \\
      --clip-low 0.6 --clip-high 0.95 --flow-low 4 --flow-high 80
"""


def build_parser() -> argparse.ArgumentParser:
    parser = SentenceParser(
        prog="python -m vfi.commands.make_clips",
        description="A manifest of training clips from videos.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("inputs", nargs="*", type=Path, metavar="PATH", help="folders, with those below them, and videos")
    add("--list", type=Path, metavar="FILE", help="a path of a video in each line, relative to the file")
    add("-o", "--output", type=Path, required=True, help="the manifest; what is found out lies beside it")
    add("--captions", type=Path, metavar="FILE", help=".json, .jsonl or .csv (default: video.txt beside video.mp4)")
    add("--need-captions", action="store_true", help="leave out videos without one, or with a clip without one")
    files = parser.add_argument_group("which videos and clips")
    add = files.add_argument
    add("--max-fps", type=float, default=30, help="frames per second at most (default: 30)")
    add("--f-max", type=int, default=81, help="videos have F to 4 F frames (default: 81)")
    what = "lengths of the clips in frames (default: 5 9 17 33 65 81)"
    add("--counts", type=int, nargs="+", default=(5, 9, 17, 33, 65, 81), help=what)
    scores = parser.add_argument_group("scores of the first and the last frame")
    add = scores.add_argument
    what = "folder of transformers' CLIPModel or CLIPVisionModelWithProjection; without it there is no CLIP score"
    add("--clip-model", metavar="FOLDER", help=what)
    add("--clip-low", type=float, help="cosine similarity of the image features, at least (default: any)")
    add("--clip-high", type=float, help="cosine similarity of the image features, at most (default: any)")
    add("--flow-model", default="dis", help="dis (default) or ebme")
    add("--flow-weights", metavar="FILE", help="ebme: bi-flownet.pkl")
    what = (
        "flow is measured on frames whose shorter side is shrunk to this, in pixels of these (default: 480; 0: never)"
    )
    add("--flow-side", type=int, default=480, metavar="PIXELS", help=what)
    add("--flow-low", type=float, help="mean length of the flow in pixels, at least (default: any)")
    add("--flow-high", type=float, help="mean length of the flow in pixels, at most (default: any)")
    add("--device", help="such as cpu or cuda:0 (default: a GPU if there is one)")
    out = parser.add_argument_group("output")
    add = out.add_argument
    add("--scores", action="store_true", help="print quantiles of both scores, to choose their bounds")
    add("--histogram", type=Path, metavar="IMAGE", help="a picture of their distributions")
    what = "also write the clips of so many videos, drawn at random, and the others, to two manifests beside it"
    add("--hold-out", type=int, metavar="VIDEOS", help=what)
    add("--seed", type=int, default=0, help="of the videos that are drawn (default: 0)")
    add("--write-clips", type=Path, metavar="FOLDER", help="also write the clips as videos, H.264 of high quality")
    add("--lossless", action="store_true", help="with --write-clips: FFV1, many times as large")
    add("--resume", action="store_true", help="go on; bounds may change, nothing is measured twice")
    add("--overwrite", action="store_true", help="begin anew")
    add("--quiet", action="store_true", help="no progress bar")
    cluster.add(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; the exit code is 2 for a request that cannot be met, 130 after Ctrl-C or SIGTERM."""
    return exit_code(
        "sfi_data",
        lambda: run(build_parser().parse_args(arguments)),
        "interrupted; what is done stays, --resume goes on",
    )


def run(options: argparse.Namespace) -> None:
    opencv()
    from vfi.commands.make_clips import job, report

    _check(options)
    elsewhere = None
    if cluster.is_asked(options):
        from vfi.commands.cluster.clips import elsewhere_of

        cluster.refuse(options, "device")
        elsewhere = elsewhere_of(options)
    work = job_of(options)
    summary = job.Summary()
    try:
        job.run(work, summary, elsewhere)
    finally:
        if summary.videos:
            print("\n".join(report.summary_lines(summary)))
    if options.clip_model is None:
        print("the CLIP score was not measured: no --clip-model")
    if options.scores:
        print("\n".join(report.quantile_lines(summary)))
    if options.histogram is not None:
        report.write_histogram(options.histogram, summary)
    print(f"wrote {options.output}")
    if options.hold_out is not None:
        from vfi.data.captioned.holding_out import hold_out, parts_of

        counts = hold_out(options.output, options.hold_out, options.seed)
        for path, count in zip(parts_of(options.output), counts, strict=True):
            print(f"wrote {path}, {count} clips")


def job_of(options: argparse.Namespace) -> "ClipJob":
    """With its models loaded."""
    from vfi.commands.make_clips import job, scores
    from vfi.commands.make_clips.rules import Rules
    from vfi.models.devices import choose_device
    from vfi.models.flow_by_name import load_flow

    device = choose_device(options.device)
    rules = Rules(
        options.max_fps, options.f_max, tuple(options.counts),
        bounds(options.clip_low, options.clip_high), bounds(options.flow_low, options.flow_high),
        options.need_captions,
    )  # fmt: skip
    rules.check()
    with called(weights="flow_weights"):
        flow = load_flow(options.flow_model, options.flow_weights, device)
    return job.ClipJob(
        options.inputs, options.output, rules, options.list, options.captions,
        None if options.clip_model is None else scores.clip_score(options.clip_model, device),
        scores.flow_score(flow, options.flow_side),
        {
            "clip_model": None if options.clip_model is None else os.path.abspath(options.clip_model),
            "flow_model": options.flow_model,
            "flow_weights": None if options.flow_weights is None else os.path.abspath(options.flow_weights),
            "flow_side": options.flow_side,
        },
        options.write_clips, options.lossless, options.resume, options.overwrite, options.quiet,
    )  # fmt: skip


def _check(options: argparse.Namespace) -> None:
    """Refuses what cannot be meant, before anything is read."""
    if not options.inputs and options.list is None:
        raise UserError("expected folders or videos, or --list FILE")
    if options.clip_model is None and (options.clip_low, options.clip_high) != (None, None):
        raise UserError("--clip-low and --clip-high need --clip-model")
    if options.lossless and options.write_clips is None:
        raise UserError("--lossless is for --write-clips only")
    for name in ("hold_out", "seed"):
        least, given = int(name == "hold_out"), vars(options)[name]
        if given is not None and given < least:
            raise ArgumentError(f"expected `{name}` of {least} or more, got {given}")
    if options.flow_side < 0:
        raise UserError(f"expected --flow-side of 0 or more, got {options.flow_side}")
    if options.histogram is not None:
        from vfi.files.atomic import check_target
        from vfi.files.images import is_image_name

        if not is_image_name(options.histogram):
            raise UserError(f"expected an image such as .png for --histogram, got {options.histogram}")
        check_target(options.histogram, overwrite=True)


def bounds(low: float | None, high: float | None) -> tuple[float, float]:
    return -math.inf if low is None else low, math.inf if high is None else high


if __name__ == "__main__":
    sys.exit(main())
