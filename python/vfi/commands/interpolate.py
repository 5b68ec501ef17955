"""`vfi interpolate`: its arguments, and what they ask for."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from vfi.commands import chosen_model, model_options, option_values, video_arguments
from vfi.commands.cluster import command as cluster
from vfi.commands.program import note
from vfi.errors import UserError, option_of
from vfi.files.places import check_writable, is_folder, is_remote, place
from vfi.video.av_common import STREAM
from vfi.video.containers import ANIMATIONS, CONTAINERS, is_y4m
from vfi.video.unreadable import check_file

if TYPE_CHECKING:
    from vfi.commands.video_plan import VideoJob
    from vfi.video.encodings import Encoding
    from vfi.video.sound_tracks import Sound

_ENCODING = ("codec", "crf", "preset", "bitrate", "pixel_format", "encoder_option")
_EXAMPLES = """examples:
  vfi interpolate a.png b.png -o middle.png
  vfi interpolate a.png b.png -o frame_%03d.png --t 0.25 0.5 0.75 --strip strip.png
  vfi interpolate a.png b.png -o morph.mp4 --factor 16
  vfi interpolate in.mp4 -o smooth.mp4 --factor 2
  vfi interpolate in.mp4 -o smooth.mp4 --fps 60 --start 1:05 --end 1:20
  vfi interpolate frames/f_%05d.png -o smooth.mp4 --input-fps 24
  vfi interpolate films -o smooth_films --recursive
  ffmpeg -i in.mkv -f yuv4mpegpipe - | vfi interpolate - -o - | ffmpeg -i - out.mkv
"""
_CUTS = ("scene_cuts", "list_cuts")
_OF_VIDEO_INPUT = (
    *("times", "start", "end", "slow_motion", "audio", "no_audio", "tracks", "trust_input"),
    *("segment", "resume", "dry_run", "deinterlace", "dedup", "target", "json_progress", *_CUTS),
)
# What the pictures of a video do not depend on.
_OTHER = (
    *("run", "config", "save_config", "progress", "loaded", "input", "output", "overwrite", "quiet", "json_progress"),
    *("verbose", "resume", "recursive", "dry_run", "segment", "ray", "ray_resources", "no_audio", "audio", "tracks"),
)


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "interpolate",
        help="frames between two images, or a smoother video",
        description="Frames between two images, or a smoother video.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of the command, which are the keywords of `vfi.interpolate`."""
    what = "two images; or one video: a file, - for standard input, images as a folder, frames_%%05d.png, 'f/*.png'"
    parser.add_argument("input", nargs="+", type=place, help=what)
    videos = ", ".join([*CONTAINERS, *ANIMATIONS, ".y4m"])
    what = f"image, a name with %%d for several images, or video: {videos}; - for a pipe"
    parser.add_argument("-o", "--output", type=place, help=what)
    parser.add_argument("--overwrite", action="store_true", help="replace outputs that exist already")
    chosen_model.add(parser, "auto", several=True)
    times = parser.add_argument_group("which frames")
    argument = times.add_argument
    argument("--t", nargs="+", type=float, help="images: times in [0, 1] between the two (default 0.5)")
    what = "N times as many frames, such as 2, 2x or 2.5 (video: default 2; images: N - 1 frames between)"
    argument("--factor", type=option_values.factor, metavar="N", help=what)
    argument("--num-frames", type=int, metavar="N", help="images: N frames from the first to the last, both counted")
    what = "video: frames per second of the output, such as 60 or 60000/1001 (default: the source's times the factor; "
    argument("--fps", type=option_values.rate, help=f"{what}of two images 30)")
    argument(
        "--times",
        nargs="+",
        type=option_values.seconds,
        help="video: the frames at these times (seconds or H:MM:SS), in order",
    )
    video_arguments.add(parser)
    cluster.add(parser)
    parser.set_defaults(run=run, progress=None)
    chosen_model.add_options(parser)


def run(options: argparse.Namespace) -> None:
    from vfi.commands import batch
    from vfi.commands.inputs import images_among

    if cluster.is_asked(options):
        cluster.run(options)
        return
    if options.output is not None and is_remote(options.output):
        _check_address(options)
    folder = options.output is not None and is_folder(options.output)
    if folder and (videos := batch.videos_of(options.input, recursive=bool(options.recursive))):
        refuse(options, ("times", "input_fps", "start_number"), "a single video")
        work = _video(options)
        batch.run(videos, options.output, options.overwrite, work)
        return
    refuse(options, ("recursive",), "folders of videos, and a folder as output,")
    images = tuple(images_among(options.input, options.start_number) or ())
    if not images:
        refuse(options, ("input_fps", "start_number"), "a sequence of images")
        check_files(options.input)
    if options.list_cuts:
        _list_cuts(options, images)
    elif options.output is None:
        raise UserError("-o is missing: the file to write")
    elif images or len(options.input) == 1:
        _video(options)(options.input[0], options.output, images)
    elif is_remote(options.output):
        raise UserError(f"expected a file of this machine as output of two images, got {options.output}")
    else:
        _images(options)


def check_files(inputs: Sequence[Path]) -> None:
    """Refuses what is neither a video nor two images."""
    from vfi.commands.inputs import FOLDER
    from vfi.video.animation import moves

    if len(inputs) > 2:
        raise UserError(f"expected two images or one video{FOLDER}, got {len(inputs)} files")
    if inputs[0] != STREAM or len(inputs) > 1:
        for path in inputs:
            check_file(path)
    if len(inputs) == 2 and (animations := [path for path in inputs if moves(path)]):
        raise UserError(f"{animations[0]} is a video of its own: give it alone{FOLDER}")


def _list_cuts(options: argparse.Namespace, images: Sequence[Path]) -> None:
    from vfi.commands import interpolate_video

    rate = options.input_fps or Fraction(25)
    interpolate_video.list_cuts(
        options.input[0], images, rate, options.deinterlace or "auto", trusted=bool(options.trust_input)
    )


def _images(options: argparse.Namespace) -> None:
    from vfi.commands import interpolate_images
    from vfi.files import images

    refuse(options, _OF_VIDEO_INPUT, "video input")
    for t in options.t or ():
        if not 0 <= t <= 1:
            raise UserError(f"--t must be in [0, 1], got {t:g}")
    factor = None if options.factor is None else int(options.factor)
    if factor != options.factor:
        raise UserError(f"expected --factor to be a whole number for two images, got {float(options.factor):g}")
    interpolate_images.times_from(options.t, factor, options.num_frames)  # wrong ones before anything is read
    to_video = not images.is_image_name(options.output)
    if to_video:
        refuse(options, ("ends", "ground_truth", "strip", "show_route"), "image output")
    else:
        refuse(options, ("fps", *_ENCODING), "video output")
    if is_y4m(options.output):
        refuse(options, _ENCODING, "files" if options.output == STREAM else "files other than YUV4MPEG2")
    if len(options.device or ()) > 1:
        raise UserError(f"expected one --device for two images, got {' '.join(options.device)}")
    ((model, device),) = chosen_model.load_each(options)
    frames = options.num_frames
    if frames is not None:
        frames = model.whole_frames(frames)
        if frames != options.num_frames:
            note(f"the model {options.model} makes {frames} frames, not {options.num_frames}")
    times = interpolate_images.times_from(options.t, factor, frames)
    first, second = options.input
    if to_video:
        from vfi.commands import interpolate_video

        morph = interpolate_video.MorphJob(
            first, second, options.output, times, options.fps or Fraction(30), options.overwrite, _encoding(options)
        )
        interpolate_video.run_morph(morph, model, device)
        return
    if options.show_route and not model.shows_route:
        words = model_options.as_words(model_options.given(options, model_options.of_models(), options.model))
        raise UserError(f"--show-route is not for the model {options.model}{words and f' with {words}'}")
    job = interpolate_images.ImageJob(
        first, second, options.output, times, options.ground_truth, options.strip, options.show_route,
        options.overwrite, bool(options.ends),
    )  # fmt: skip
    interpolate_images.run(job, model, device)


def _video(options: argparse.Namespace) -> "Callable[..., None]":
    """What makes an output of a video, and of images in its place; the model is loaded once."""
    from vfi.commands import interpolate_video

    refuse(options, ("t", "num_frames", "ends", "ground_truth", "strip", "show_route"), "two images")
    if is_y4m(options.output):
        given = (*_ENCODING, "audio", "no_audio", "tracks", "segment", "resume")
        refuse(options, given, "files" if options.output == STREAM else "files other than YUV4MPEG2")
    job = video_job(options)
    models = chosen_model.load_each(options)

    def work(source: Path, output: Path, images: tuple[Path, ...] = ()) -> None:
        interpolate_video.run(replace(job, source=source, output=output, images=images), models)

    return work


def video_job(options: argparse.Namespace) -> "VideoJob":
    """What is asked for, of the first input."""
    from vfi.commands.progress import Shown
    from vfi.commands.video_plan import VideoJob

    if options.target is not None and not options.dedup:
        raise UserError("--target is for --dedup only")
    if sum(option is not None for option in (options.factor, options.fps, options.times)) > 1:
        raise UserError("give only one of --factor, --fps and --times")
    shown: Shown = "none" if options.quiet else "json" if options.json_progress else "auto"
    return VideoJob(
        options.input[0],
        options.output,
        factor=options.factor,
        fps=options.fps,
        times=options.times,
        start=options.start,
        end=options.end,
        slow_motion=options.slow_motion or Fraction(1),
        scene_cuts=option_values.scene_cuts(options.scene_cuts),
        overwrite=options.overwrite,
        dedup=bool(options.dedup),
        target=options.target or "even",
        progress=options.progress or shown,
        encoding=_encoding(options),
        sound=_sound(options),
        trust_input=bool(options.trust_input),
        deinterlace=options.deinterlace or "auto",
        segment=Fraction(60) if options.segment is None else options.segment,
        resume=bool(options.resume),
        dry_run=bool(options.dry_run),
        input_fps=options.input_fps or Fraction(25),
        settings=_settings(options),
    )


def _encoding(options: argparse.Namespace) -> "Encoding":
    from vfi.video.encodings import Encoding

    return Encoding(
        options.codec, options.crf, options.pixel_format, options.preset, options.bitrate,
        tuple(options.encoder_option or ()), bool(options.verbose),
    )  # fmt: skip


def _settings(options: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    """What the pictures of a video depend on; files and folders by what is in them."""
    import vfi_kernels
    from vfi.video.segments import fingerprint

    chosen = {name: value for name, value in vars(options).items() if name not in _OTHER and value is not None}
    for name, value in chosen.items():
        if isinstance(value, (str, Path)) and name != "model" and Path(value).exists():
            chosen[name] = fingerprint(Path(value))
    version = ("version", vfi_kernels.__version__)
    return version, *((option_of(name)[2:], str(value)) for name, value in sorted(chosen.items()))


def _sound(options: argparse.Namespace) -> "Sound":
    from vfi.video.sound_tracks import Sound, check_codec

    for other in ("audio", "tracks"):
        if options.no_audio and getattr(options, other) is not None:
            raise UserError(f"give only one of --no-audio and --{other}")
    if options.audio == "stretch" and (options.slow_motion or 1) == 1:
        note("--audio stretch changes nothing here: only --slow-motion makes the picture slower")
    tracks = None if options.tracks is None else tuple(options.tracks)
    if options.audio in ("stretch", "drop"):
        return Sound(options.audio == "stretch", True, None, tracks)
    check_codec(options.audio)
    return Sound(not options.no_audio, False, options.audio, tracks)


def _check_address(options: argparse.Namespace) -> None:
    """Refuses what cannot be put elsewhere."""
    check_writable(options.output)
    refuse(options, ("resume",), "outputs of this machine, and for --ray,")


def refuse(options: argparse.Namespace, names: Sequence[str], needed: str) -> None:
    """Says so if an option was given that has no meaning here, instead of ignoring it."""
    for name in names:
        if getattr(options, name) is not None:
            raise UserError(f"{option_of(name)} is for {needed} only")
