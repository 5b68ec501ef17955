"""`make_clips --ray`: videos are looked at and cut on a cluster; the manifest is written here, in their order."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vfi.commands.cluster import nodes
from vfi.commands.cluster.in_order import in_order
from vfi.commands.cluster.work import made_once
from vfi.commands.make_clips import job
from vfi.commands.make_clips.rules import Facts
from vfi.data.captioned.captions import Captions


@dataclass(frozen=True)
class One:
    """A video, and what is known of it."""

    options: argparse.Namespace
    video: job.Found
    known: Facts | None


def elsewhere_of(options: argparse.Namespace) -> job.Elsewhere:
    """What `job.run` takes."""

    def elsewhere(videos: Sequence[tuple[job.Found, Facts | None]]) -> Iterator[Facts]:
        if not videos:
            return
        with nodes.connected(options.ray, options.ray_resources) as cluster:
            files = [*nodes.files_of(options), str(videos[0][0].path)]
            nodes.check(cluster, files, [str(options.output.absolute().parent)], [each.path for each, _ in videos])
            for facts in in_order(cluster, of_node, (One(options, *each) for each in videos)):
                assert isinstance(facts, Facts)
                yield facts

    return elsewhere


def of_node(one: One) -> Facts:
    """Looks at a video, and cuts its clips."""
    from vfi.commands.make_clips.__main__ import job_of

    def make() -> tuple[job.ClipJob, Captions]:
        made = job_of(one.options)
        return made, Captions(made.captions)

    return job.look(*made_once(_jobs, one.options, (), make), one.video, one.known)


_jobs: dict[str, tuple[job.ClipJob, Captions]] = {}
