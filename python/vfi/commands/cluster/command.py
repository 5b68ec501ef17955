"""`vfi interpolate ... --ray`: its options, and which videos they are for."""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from vfi.commands.cluster.nodes import MOST_RUNS, USUAL_CPUS, resource
from vfi.commands.program import note
from vfi.errors import UserError, option_of
from vfi.files.places import check_writable, is_folder, is_remote, is_there, make_folder, stored
from vfi.video.av_common import STREAM

# What nodes settle for themselves, or what is of this machine alone.
_NOT_THERE = ("device", "list_cuts", "dry_run", "t", "num_frames", "ends", "ground_truth", "strip", "show_route")


def add(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("many machines")
    what = "work on a cluster of Ray: the address of its head, auto for the one that runs here, local for one that "
    what += f"ends with the work (see docs/scale.md; default auto); a task that is lost is run again, {MOST_RUNS} times"
    group.add_argument("--ray", nargs="?", const="auto", metavar="ADDRESS", help=f"{what} at most")
    what = "what a task takes, such as CPU=4, or CPU=2 GPU=1 (default: a GPU where nodes have any, and up to "
    group.add_argument("--ray-resources", nargs="+", type=resource, metavar="NAME=N", help=f"{what}{USUAL_CPUS} CPUs)")


def is_asked(options: argparse.Namespace) -> bool:
    """Whether the work is for a cluster; else no option may be given that means nothing without one."""
    if options.ray is None:
        for name, value in vars(options).items():
            if name.startswith("ray_") and value is not None:
                raise UserError(f"{option_of(name)} is for --ray only")
    return options.ray is not None


def refuse(options: argparse.Namespace, *names: str) -> None:
    """Says so if one of these was given together with --ray."""
    for name in names:
        if getattr(options, name) is not None:
            raise UserError(f"{option_of(name)} has no meaning together with --ray")


def run(options: argparse.Namespace) -> None:
    """Many videos into a folder, or one into a file, over the cluster."""
    from vfi.commands.cluster import films, work
    from vfi.commands.interpolate import video_job
    from vfi.commands.work_done import tell

    refuse(options, *_NOT_THERE)
    if STREAM in (*options.input, options.output):
        raise UserError("expected files for --ray, got a pipe: nodes cannot read it")
    if options.output is None:
        raise UserError("-o is missing: the file, or the folder, to write")
    check_writable(options.output)
    job, skipped = video_job(options), []
    begun: list[work.Film] = []
    for source, target, images in _asked(options):
        if is_there(target) and not options.overwrite and images is None:
            note(f"{target} exists already: skipped")
            skipped.append(str(source))
            continue
        make_folder(target.parent)
        begun.append(work.Film(replace(job, source=source, output=target, images=images or ()), options))
    if begun:
        films.run(begun, options, skipped)
    elif skipped:
        tell({"skipped": skipped})


def _asked(options: argparse.Namespace) -> Iterator[tuple[Path, Path, tuple[Path, ...] | None]]:
    """Sources, outputs, and the images of a sequence; of a single film an empty tuple, else None."""
    from vfi.commands import batch
    from vfi.commands.inputs import images_among
    from vfi.commands.interpolate import check_files
    from vfi.commands.interpolate_video import check_output
    from vfi.video.sequence import into_images

    output: Path = options.output
    if is_folder(output):
        videos = batch.videos_of(options.input, recursive=bool(options.recursive))
        if not videos:
            raise UserError(f"expected videos to make into {output}, got none")
        yield from ((source, target, None) for source, target in batch.targets(videos, output))
        return
    if options.recursive is not None:
        raise UserError("--recursive is for folders of videos, and a folder as output, only")
    elsewhere = any(map(is_remote, options.input))
    images = () if elsewhere else tuple(images_among(options.input, options.start_number) or ())
    if not images:
        if len(options.input) > 1:
            raise UserError(f"expected a folder that exists as --output for {len(options.input)} videos, got {output}")
        with stored(options.input[0]):
            check_files(options.input)
    if is_remote(output) or not into_images(output):
        check_output(output, overwrite=options.overwrite, inputs=(options.input[0],))
    yield options.input[0], output, images
