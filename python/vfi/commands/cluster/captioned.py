"""`vfi evaluate --dataset sfibench --ray`: clips with captions over a cluster, in their order."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vfi.commands import chosen_model, sfibench
from vfi.commands.cluster import nodes
from vfi.commands.cluster.in_order import in_order
from vfi.commands.cluster.work import made_once
from vfi.data.captioned.clips import CaptionedClips
from vfi.evaluation.sfibench.benchmark import Found, Tools, of_clip
from vfi.evaluation.sfibench.kept import Kept
from vfi.models.interpolator import Interpolator


@dataclass(frozen=True)
class One:
    """A clip of the manifest, by its number."""

    options: argparse.Namespace
    number: int


def found(options: argparse.Namespace, clips: CaptionedClips, numbers: Sequence[int]) -> Iterator[Found]:
    """Of the clips with these numbers, in this order.

    Raises:
        UserError: as `nodes.connected`; if a clip cannot be read, with its sentence.
    """
    with nodes.connected(options.ray, options.ray_resources) as cluster:
        files = [*nodes.files_of(options), str(options.path)]
        folders = [str(options.write_frames)] if options.write_frames is not None else []
        nodes.check(cluster, files, folders, sorted({clips.file(number) for number in numbers}))
        for each in in_order(cluster, of_node, (One(options, number) for number in numbers)):
            assert isinstance(each, Found)
            yield each


def of_node(one: One) -> Found:
    """On a node."""
    options = one.options
    model, device, tools = made_once(_made, options, (), lambda: _load(options))
    kept = Kept(None, {}, options.write_frames)
    return of_clip(model, _clips(options.path, sfibench.size_of(options)), one.number, tools, device, kept)


def _load(options: argparse.Namespace) -> tuple[Interpolator, str, Tools]:
    model, device = chosen_model.load(options, sfibench.SHARED)
    return model, device, sfibench.tools(options, device)


_made: dict[str, tuple[Interpolator, str, Tools]] = {}


@cache
def _clips(manifest: Path, size: tuple[int, int]) -> CaptionedClips:
    return CaptionedClips(manifest, size)
