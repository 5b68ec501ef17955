"""`vfi evaluate`: its arguments, and what they ask for."""

import argparse
from pathlib import Path

from vfi.commands import chosen_model, sfibench
from vfi.commands.cluster import command as cluster
from vfi.commands.interpolate import refuse
from vfi.data.datasets import DATASETS, scenes
from vfi.errors import UserError, option_of
from vfi.models.registry import options_of_model
from vfi.options import options_of


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "evaluate",
        help="PSNR and SSIM against true frames",
        description="PSNR, SSIM and time of a model, per scene and on average.",
    )
    files = "; ".join(f"{name}: {entry.files}" for name, entry in DATASETS.items())
    files += f"; {sfibench.NAME}: PATH is a manifest of vfi.commands.make_clips"
    names = (*DATASETS, sfibench.NAME)
    parser.add_argument("--dataset", required=True, choices=names, help=f"what is below PATH: {files}")
    splits = "; ".join(f"{name}: {', '.join(entry.splits)}" for name, entry in DATASETS.items() if entry.splits)
    parser.add_argument("--split", help=f"only this part of the data set ({splits}; default: all)")
    parser.add_argument("path", type=Path, help="folder of the data set")
    chosen_model.add(parser, "torch")
    sfibench.add_arguments(parser)
    cluster.add(parser)
    parser.set_defaults(run=run)
    chosen_model.add_options(parser, sfibench.SHARED)


def run(options: argparse.Namespace) -> None:
    from vfi.evaluation import scoring

    benchmark = options.dataset == sfibench.NAME
    if not benchmark:
        refuse(options, sfibench.OPTIONS, f"--dataset {sfibench.NAME}")
    for each in options_of(options_of_model(options.model)) if benchmark else ():
        if each.of_clip and vars(options)[each.name] is not None:
            raise UserError(f"{option_of(each.name)} is not for --dataset {sfibench.NAME}, whose clips have captions")
    if cluster.is_asked(options):
        if benchmark:
            raise UserError(f"--ray is not for --dataset {sfibench.NAME}")
        over_a_cluster(options)
        return
    # The size of what is compared is also that of what a model makes, if it has one of its own
    model, device = chosen_model.load(options, sfibench.SHARED)
    if benchmark:
        sfibench.run(options, model, device)
        return
    found = scoring.evaluate(model, options.dataset, options.path, device, options.split)
    scoring.show(scenes(options.dataset, options.path, options.split), found)


def over_a_cluster(options: argparse.Namespace) -> None:
    from vfi.commands.cluster.scenes import scores
    from vfi.evaluation.scoring import show

    cluster.refuse(options, "device")
    known = scenes(options.dataset, options.path, options.split)
    show(known, scores(options, len(known)))
