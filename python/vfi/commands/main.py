"""The `vfi` command: interpolate images and videos, evaluate models."""

import argparse
import os
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from vfi.commands import sfibench, train
from vfi.data.datasets import DATASETS
from vfi.errors import UserError
from vfi.files.interrupts import stopped_once
from vfi.files.opencv import opencv

if TYPE_CHECKING:
    from vfi.models.registry import Interpolator
    from vfi.video.writer import Encoding

_EXAMPLES = """examples:
  vfi interpolate a.png b.png -o middle.png
  vfi interpolate a.png b.png -o frame_%03d.png --t 0.25 0.5 0.75 --strip strip.png
  vfi interpolate a.png b.png -o morph.mp4 --factor 16
  vfi interpolate in.mp4 -o smooth.mp4 --factor 2
  vfi interpolate in.mp4 -o smooth.mp4 --fps 60 --start 1:05 --end 1:20
"""


class _Parser(argparse.ArgumentParser):
    """Errors are one sentence."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code: 0, 2 for a wrong request or input, 130 after Ctrl-C or SIGTERM."""
    # Before torch is loaded: threads that spin while they wait take the CPU from each other and from all else that runs
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        with stopped_once():
            options = build_parser().parse_args(arguments)
            options.run(options)
    except UserError as error:
        print(f"vfi: {error}", file=sys.stderr)
        return 2
    except ImportError as error:
        # vfi_kernels without its compiled library says how to build it.
        print(f"vfi: {error}", file=sys.stderr)
        return 2
    except PermissionError as error:
        print(f"vfi: cannot use {error.filename}: permission denied", file=sys.stderr)
        return 2
    except MemoryError:
        print("vfi: there is not enough memory for frames of this size", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("vfi: interrupted", file=sys.stderr)
        return 130
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The arguments of every subcommand; imports nothing heavy, so that --help is instant."""
    parser = _Parser(prog="vfi", description="Video frame interpolation.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_interpolate(commands)
    _add_evaluate(commands)
    train.add(commands)
    return parser


def _add_interpolate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "interpolate",
        help="frames between two images, or a smoother video",
        description="Frames between two images, or a smoother video.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("input", nargs="+", type=Path, help="two images, or one video")
    add("-o", "--output", required=True, type=Path, help="image, video, or a name with %%d for several images")
    add("--overwrite", action="store_true", help="replace outputs that exist already")
    _add_model(parser)
    what = "semfi: height and width that frames are made at, to be resized (default: about 480 832)"
    add("--size", nargs=2, type=int, metavar=("H", "W"), help=what)
    times = parser.add_argument_group("which frames")
    add = times.add_argument
    add("--t", nargs="+", type=float, help="images: times in [0, 1] between the two (default 0.5)")
    add("--factor", type=int, help="N times as many frames (video: default 2; images: N - 1 frames between)")
    add("--num-frames", type=int, metavar="N", help="images: N frames from the first to the last, both counted")
    add("--fps", type=_rate, help="video: frames per second of the output, such as 60 or 60000/1001")
    add("--times", nargs="+", type=_seconds, help="video: the frames at these times (seconds or H:MM:SS), in order")
    video = parser.add_argument_group("video")
    add = video.add_argument
    add("--start", type=_seconds, help="begin here, in seconds or H:MM:SS")
    add("--end", type=_seconds, help="stop here")
    add("--slow-motion", type=_rate, metavar="S", help="play S times slower; the sound is left out")
    add("--no-scene-cuts", action="store_true", help="interpolate across scene cuts too, instead of repeating a frame")
    add("--codec", help="video encoder (default: by the output's suffix)")
    add("--crf", type=int, help="quality of the encoder; smaller is better and larger files (default 17)")
    add("--quiet", action="store_true", help="no progress bar")
    images = parser.add_argument_group("images")
    add = images.add_argument
    add("--ground-truth", type=Path, help="the true frame; prints PSNR and SSIM")
    add("--strip", type=Path, help="also write a picture of inputs, result, motion and holes")
    what = "apr-vfi: also write pictures of the result with the patches of each routed block in green"
    add("--show-route", type=Path, metavar="FILE", help=what)
    parser.set_defaults(run=_interpolate)


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="PSNR and SSIM against true frames",
        description="PSNR, SSIM and time of a model, per scene and on average.",
    )
    _add_model(parser)
    files = "; ".join(f"{name}: {entry.files}" for name, entry in DATASETS.items())
    files += f"; {sfibench.NAME}: PATH is a manifest of vfi.commands.make_clips"
    names = (*DATASETS, sfibench.NAME)
    parser.add_argument("--dataset", required=True, choices=names, help=f"what is below PATH: {files}")
    splits = "; ".join(f"{name}: {', '.join(entry.splits)}" for name, entry in DATASETS.items() if entry.splits)
    parser.add_argument("--split", help=f"only this part of the data set ({splits}; default: all)")
    parser.add_argument("path", type=Path, help="folder of the data set")
    sfibench.add_arguments(parser)
    parser.set_defaults(run=_evaluate)


def _add_model(parser: argparse.ArgumentParser) -> None:
    known = "ebme-splat, apr-vfi, rdvfi-d, rdvfi-u, rife, sg-rife, semfi"
    parser.add_argument("--model", default="flow-splat", help=f"%(default)s (default), {known}")
    parser.add_argument("--weights", help="file, or folder, of the model's weights, for models that have any")
    parser.add_argument("--dino", help="sg-rife: file of the weights of DINOv3-Small")
    parser.add_argument("--dino-max-side", type=int, help="sg-rife: longest side of the picture that DINO sees")
    scales = (0.25, 0.5, 1.0, 2.0, 4.0)
    what = "rife, sg-rife: at which flow is estimated; 0.5 for pictures above 2K (default 1)"
    parser.add_argument("--scale", type=float, choices=scales, help=what)
    what = "rife, sg-rife: also the pictures turned by 180 degrees, averaged; twice the time"
    parser.add_argument("--tta", action="store_const", const=True, help=what)
    what = "rife, sg-rife: cut larger pictures into squares of this side, so that memory does not grow with them"
    parser.add_argument("--tile", type=int, metavar="PIXELS", help=what)
    what = (
        "apr-vfi: which patches the refine blocks see: those that the network chooses (default), none by itself, all, "
    )
    what += "or those where the warped frames disagree most"
    parser.add_argument("--routing", choices=("apr", "static", "patches", "ratio"), help=what)
    what = "apr-vfi: share of the patches for each routed block, with --routing apr or ratio, such as 0.1 0.4 0.6 0.9"
    parser.add_argument("--keep", nargs=4, type=float, metavar="SHARE", help=what)
    what = "rdvfi, semfi: folder of the backbone's published files, beside a file of the model's own --weights"
    parser.add_argument("--backbone", metavar="FOLDER", help=what)
    what = "rdvfi: forward (default): pixels are splatted along their trajectories, or backward"
    parser.add_argument("--warp", choices=("forward", "backward"), help=what)
    parser.add_argument("--seed", type=_seed, help="rdvfi, semfi: of the noise that frames are drawn from (default 0)")
    parser.add_argument("--dtype", help="rdvfi, semfi: float32 (default), bfloat16 or float16")
    what = "rdvfi, semfi: keep each part of the diffusion on the GPU only while it works"
    parser.add_argument("--offload", action="store_const", const=True, help=what)
    parser.add_argument(
        "--prompt", metavar="TEXT", help="semfi: what happens between the frames (default: nothing said)"
    )
    parser.add_argument("--negative-prompt", metavar="TEXT", help="semfi: what should not be seen")
    parser.add_argument("--steps", type=int, help="semfi: of the denoising (default 50)")
    parser.add_argument("--cfg", type=float, help="semfi: guidance by the text (default 5); 1: none, twice as fast")
    parser.add_argument("--device", help="such as cpu or cuda:0 (default: a GPU if there is one)")


def _interpolate(options: argparse.Namespace) -> None:
    if len(options.input) > 2:
        raise UserError(f"expected two images or one video, got {len(options.input)} files")
    for path in options.input:
        if not path.exists():
            raise UserError(f"{path} does not exist")
        if not path.is_file():
            raise UserError(f"{path} is {'a folder' if path.is_dir() else 'a device'}, not a file")
    if len(options.input) == 1:
        _interpolate_video(options)
    else:
        _interpolate_images(options)


def _interpolate_images(options: argparse.Namespace) -> None:
    from vfi.commands import interpolate_images
    from vfi.files import images

    _refuse(options, ("times", "start", "end", "slow_motion"), "video input")
    for t in options.t or ():
        if not 0 <= t <= 1:
            raise UserError(f"--t must be in [0, 1], got {t:g}")
    interpolate_images.times_from(options.t, options.factor, options.num_frames)  # wrong ones before anything is read
    to_video = not images.is_image_name(options.output)
    if to_video:
        _refuse(options, ("ground_truth", "strip", "show_route"), "image output")
    else:
        _refuse(options, ("fps", "codec", "crf"), "video output")
    model, device = _model(options, options.size)
    frames = options.num_frames
    if frames is not None and hasattr(model, "whole_frames"):
        frames = model.whole_frames(frames)
        if frames != options.num_frames:
            print(f"note: the model {options.model} makes {frames} frames, not {options.num_frames}", file=sys.stderr)
    times = interpolate_images.times_from(options.t, options.factor, frames)
    first, second = options.input
    if to_video:
        from vfi.commands import interpolate_video

        morph = interpolate_video.MorphJob(
            first, second, options.output, times, options.fps or Fraction(30), options.overwrite, _encoding(options)
        )
        interpolate_video.run_morph(morph, model, device)
        return
    if options.show_route and not getattr(model, "shows_route", False):
        reason = "--routing static, where there is none" if options.routing else f"the model {options.model}"
        raise UserError(f"--show-route is not for {reason}")
    job = interpolate_images.ImageJob(
        first, second, options.output, times, options.ground_truth, options.strip, options.show_route, options.overwrite
    )
    interpolate_images.run(job, model, device)


def _interpolate_video(options: argparse.Namespace) -> None:
    from vfi.commands import interpolate_video

    _refuse(options, ("t", "num_frames", "ground_truth", "strip", "show_route"), "two images")
    if sum(option is not None for option in (options.factor, options.fps, options.times)) > 1:
        raise UserError("give only one of --factor, --fps and --times")
    model, device = _model(options, options.size)
    job = interpolate_video.VideoJob(
        options.input[0],
        options.output,
        factor=options.factor,
        fps=options.fps,
        times=options.times,
        start=options.start,
        end=options.end,
        slow_motion=options.slow_motion or Fraction(1),
        scene_cuts=not options.no_scene_cuts,
        overwrite=options.overwrite,
        quiet=options.quiet,
        encoding=_encoding(options),
    )
    interpolate_video.run(job, model, device)


def _evaluate(options: argparse.Namespace) -> None:
    from vfi.evaluation import scoring

    if options.dataset != sfibench.NAME:
        _refuse(options, sfibench.OPTIONS, f"--dataset {sfibench.NAME}")
    benchmark = options.dataset == sfibench.NAME
    if benchmark and options.prompt is not None:
        raise UserError(f"--prompt is not for --dataset {sfibench.NAME}, whose clips have captions")
    # Of the frames that are compared; a model that makes its own makes them at this size
    model, device = _model(options, options.size if options.model == "semfi" else None)
    if benchmark:
        sfibench.run(options, model, device)
        return
    scoring.run(model, options.dataset, options.path, device, options.split)


def _model(options: argparse.Namespace, size: Sequence[int] | None) -> "tuple[Interpolator, str]":
    # Says what to install before anything slower is imported.
    opencv()
    from vfi.models.registry import choose_device, load_model

    device = choose_device(options.device)
    names = (
        "scale", "tta", "tile", "dino", "dino_max_side", "routing", "keep", "backbone", "warp", "seed", "dtype",
        "offload", "prompt", "negative_prompt", "steps", "cfg",
    )  # fmt: skip
    settings = {name: getattr(options, name) for name in names} | {"size": size}
    return load_model(options.model, options.weights, device, **settings), device


def _encoding(options: argparse.Namespace) -> "Encoding":
    from vfi.video.writer import Encoding

    return Encoding(codec=options.codec, crf=options.crf)


def _refuse(options: argparse.Namespace, names: Sequence[str], needed: str) -> None:
    """Says so if an option was given that has no meaning here, instead of ignoring it."""
    for name in names:
        if getattr(options, name) is not None:
            raise UserError(f"--{name.replace('_', '-')} is for {needed} only")


def _rate(text: str) -> Fraction:
    """A positive number, decimal or a fraction; 59.94 and the like mean their NTSC fraction."""
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"expected a number or a fraction such as 60000/1001, got {text!r}") from None
    if not 0 < value <= 100_000:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    ntsc = Fraction(round(value) * 1000, 1001)
    return ntsc if value.denominator > 1 and abs(value - ntsc) < Fraction(1, 200) else value.limit_denominator(100_000)


def _seed(text: str) -> int:
    """0 to 2^63 - 1."""
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"expected a whole number of 0 or more, below 2^63, got {text}")
    return int(text)


def _seconds(text: str) -> Fraction:
    """Seconds, MM:SS or H:MM:SS, each with decimals."""
    try:
        parts = [Fraction(part) for part in text.split(":")]
    except (ValueError, ZeroDivisionError):
        parts = []
    if not 1 <= len(parts) <= 3 or any(part < 0 for part in parts):
        raise argparse.ArgumentTypeError(f"expected seconds or H:MM:SS, got {text!r}")
    total = Fraction(0)
    for part in parts:
        total = total * 60 + part
    return total


if __name__ == "__main__":
    sys.exit(main())
