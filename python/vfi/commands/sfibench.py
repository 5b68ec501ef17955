"""`vfi evaluate --dataset sfibench`: its arguments, and what they ask for. Imports nothing heavy before it runs."""

import argparse
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from vfi.commands.cluster import command as cluster
from vfi.commands.program import note
from vfi.errors import UserError, called
from vfi.files import json_lines
from vfi.models.registry import DEFAULT

if TYPE_CHECKING:
    from vfi.data.captioned.clips import CaptionedClips
    from vfi.evaluation.sfibench.benchmark import Found, Tools
    from vfi.evaluation.sfibench.kept import Kept
    from vfi.models.flow_by_name import FlowName

NAME = "sfibench"
OPTIONS = ("size", "smoothness_model", "smoothness_weights", "flow_model", "flow_weights")
SHARED = ("size",)  # with models, whose frames are made at the size that they are compared at
SIZE = (480, 832)
FLOW: "FlowName" = "dis"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group(NAME).add_argument
    add("--size", type=int, nargs=2, metavar=("H", "W"), help="of all frames (default: 480 832)")
    add("--smoothness-model", help=f"makes every second frame anew for motion smoothness (default: {DEFAULT})")
    add("--smoothness-weights", metavar="FILE", help="its weights, if it has any")
    add("--flow-model", help="of the dynamic degree: dis (default) or ebme")
    add("--flow-weights", metavar="FILE", help="ebme: bi-flownet.pkl")


def run(options: argparse.Namespace) -> None:
    """Prints the table, and writes the files that are asked for."""
    from vfi.commands import scored
    from vfi.data.captioned.clips import CaptionedClips
    from vfi.evaluation.sfibench.benchmark import collected, table
    from vfi.evaluation.sfibench.kept import COLUMNS, Kept
    from vfi.models.devices import choose_device

    if cluster.is_asked(options):
        cluster.refuse(options, "device")

    if options.split is not None:
        raise UserError(f"{NAME} has no split {options.split!r}: its clips are told apart by their numbers of frames")
    scored.check_files(options, (options.path,))
    clips = CaptionedClips(options.path, size_of(options))
    if json_lines.is_cut(options.path):
        note(f"the last line of {options.path} is not whole, and is left out: {len(clips)} clips are measured")
    measuring = tools(options, choose_device(options.device) if options.ray is None else "cpu")
    manifest = hashlib.sha256(Path(options.path).read_bytes()).hexdigest()[:16]
    settings = {**scored.settings_of(options), "data": manifest, "missing": sorted(measuring.missing())}
    with closing(Kept(options.results, settings, options.write_frames, resume=bool(options.resume))) as kept:
        if options.write_frames is not None:
            scored.claim(options.write_frames, settings)
        outside = scored.outside_scores(options, settings)
        scores = collected(lambda todo: _found(options, clips, todo, measuring, kept), clips, measuring, kept, False)
    print("\n".join(table(scores)))
    result = {"model": options.model, "settings": settings, **scores.as_json()}
    scored.write(options, result, ("frames", *(name for name in COLUMNS if name != "fid")), outside)


def _found(
    options: argparse.Namespace, clips: "CaptionedClips", todo: Sequence[int], measuring: "Tools", kept: "Kept"
) -> "Iterator[Found]":
    """Of the clips that are to be made, here or on a cluster."""
    from vfi.commands import chosen_model
    from vfi.evaluation.sfibench.benchmark import of_clip

    if not todo:
        return
    if options.ray is not None:
        from vfi.commands.cluster import captioned

        yield from captioned.found(options, clips, todo)
        return
    # The size of what is compared is also that of what a model makes, if it has one of its own
    model, device = chosen_model.load(options, SHARED)
    for index in todo:
        yield of_clip(model, clips, index, measuring, device, kept)


def size_of(options: argparse.Namespace) -> tuple[int, int]:
    """Height and width of all frames."""
    height, width = options.size or SIZE
    return height, width


def tools(options: argparse.Namespace, device: str) -> "Tools":
    """What can be measured with the files that are given."""
    from vfi.evaluation.sfibench import inception
    from vfi.evaluation.sfibench.benchmark import Tools
    from vfi.models.flow_by_name import FlowName, load_flow
    from vfi.models.interpolator import interpolate_many
    from vfi.models.registry import load_model
    from vfi.networks import lpips

    name: str = options.smoothness_model or DEFAULT
    flow: FlowName = options.flow_model or FLOW
    with called(weights="smoothness_weights"):
        interpolator = load_model(name, options.smoothness_weights, device)
    with called(weights="flow_weights"):
        between_two = load_flow(flow, options.flow_weights, device)
    ours = "of VBench by --scores, or a callable in Python"
    return Tools(
        lpips=None if options.lpips is None else lpips.load(*map(os.fspath, options.lpips)).to(device),
        features=None if options.inception is None else inception.load(options.inception).to(device),
        between=lambda a, b: interpolate_many(interpolator, a.to(device), b.to(device), [0.5])[0],
        flow=between_two,
        reasons={
            "lpips": "no --lpips", "end_lpips": "no --lpips", "fid": "no --inception",
            "semantic": f"it needs ViCLIP, {ours}",
            "aesthetic": f"it needs LAION's predictor, {ours}",
            "imaging": f"it needs MUSIQ, {ours}",
        },
        notes={
            "smoothness": f"measured with {name}, not comparable with AMT-S, which VBench uses",
            "dynamic": f"measured with the flow of {flow}, not comparable with RAFT, which VBench uses",
        },
    )  # fmt: skip
