"""`vfi evaluate`: its arguments, and what they ask for."""

import argparse
from pathlib import Path

from vfi.commands import chosen_model, measuring, sfibench
from vfi.commands.cluster import command as cluster
from vfi.commands.interpolate import refuse
from vfi.data.datasets import CLIPS, DATASETS
from vfi.errors import UserError, option_of
from vfi.evaluation.papers import papers
from vfi.models.registry import options_of_model
from vfi.options import options_of

_OF_PICTURES = ("ssim", "stlpips", "motion", "i3d", "flolpips", "flolpips_weights")
_RESULTS = ("json", "csv", "write_frames", "results", "resume", "lpips", "inception", *_OF_PICTURES)
_EXAMPLES = """examples:
  vfi evaluate --dataset vimeo90k vimeo_triplet
  vfi evaluate --dataset snu-film SNU-FILM --results kept --json snu.json --csv snu.csv
  vfi evaluate --dataset snu-film SNU-FILM --results kept --json snu.json --csv snu.csv --resume
  vfi evaluate --dataset xiph xiph --split 2k --write-frames frames
  vfi evaluate --table PAPER 1 one.json other.json
"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "evaluate",
        help="PSNR and SSIM against true frames, and the tables of papers",
        description="PSNR, SSIM and time of a model, per scene and on average; tables of papers of several results.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    files = "; ".join(f"{name}: {entry.files}" for name, entry in DATASETS.items())
    files += f"; {sfibench.NAME}: PATH is a manifest of vfi.commands.make_clips"
    names = (*DATASETS, sfibench.NAME)
    parser.add_argument("--dataset", choices=names, help=f"what is below PATH: {files}")
    splits = "; ".join(f"{name}: {', '.join(entry.splits)}" for name, entry in DATASETS.items() if entry.splits)
    parser.add_argument("--split", help=f"only this part of the data set ({splits}; default: all)")
    usual = ", ".join(f"{name} {DATASETS[name].frames}" for name in CLIPS)
    what = f"so many frames of each clip, the ends counted (default: {usual})"
    parser.add_argument("--frames", type=int, metavar="N", help=what)
    parser.add_argument("path", type=Path, nargs="*", help="folder of the data set; with --table files of --json")
    chosen_model.add(parser, "torch")
    _add_results(parser)
    sfibench.add_arguments(parser)
    cluster.add(parser)
    parser.set_defaults(run=run)
    chosen_model.add_options(parser, sfibench.SHARED)


def _add_results(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("results").add_argument
    add("--json", type=Path, metavar="FILE", help="also write the scores here, of each scene and their means")
    add("--csv", type=Path, metavar="FILE", help="also write the scores of each scene here")
    what = "write the frames here: a PNG of each scene, an mp4 without loss where several are between its ends"
    add("--write-frames", type=Path, metavar="FOLDER", help=what)
    add("--results", type=Path, metavar="FOLDER", help="keep the scores of each scene as they come")
    add("--resume", action="store_const", const=True, help="go on with --results")
    what = "AlexNet's and LPIPS' files of weights: alexnet-owt-7be5be79.pth and alex.pth of LPIPS 0.1"
    add("--lpips", nargs=2, metavar=("ALEXNET", "HEADS"), help=what)
    what = "for ST-LPIPS, which small shifts change little: alex_shift_tolerant.pth of stlpips_pytorch 0.0.2"
    add("--stlpips", metavar="FILE", help=what)
    add("--inception", metavar="FILE", help="for FID: pt_inception-2015-12-05-6726825d.pth of pytorch-fid")
    add("--i3d", metavar="FILE", help="for FVD, of clips: i3d_pretrained_400.pt of cd-fvd")
    what = "also FloLPIPS, by this flow: pwc-net, as published, or dis or ebme, which is not comparable; needs --lpips"
    add("--flolpips", choices=measuring.FLOWS, help=what)
    what = "weights of that flow: network-default.pytorch of pytorch-pwc, or bi-flownet.pkl of ebme"
    add("--flolpips-weights", metavar="FILE", help=what)
    what = "kinds of SSIM, in place of those that the data set is reported with"
    add("--ssim", nargs="+", choices=("gaussian", "uniform", "volume"), help=what)
    what = "also measure how far pixels move from end to end of each scene, by DIS, and print the means by it"
    add("--motion", action="store_const", const=True, help=what)
    what = "what scripts/outside_scores.py has found of the frames of --write-frames, to stand with these results"
    add("--scores", type=Path, nargs="+", metavar="FILE", help=what)
    add("--plot", type=Path, metavar="FILE", help="also draw the scores, or the table, as a chart: .svg or .png")
    what = f"print this table of a paper ({', '.join(papers())}), with what files of --json hold beside its figures"
    add("--table", nargs=2, metavar=("PAPER", "N"), help=what)


def run(options: argparse.Namespace) -> None:
    from vfi.commands import scored

    if options.table is not None:
        from vfi.commands import paper_tables

        others = ("dataset", "split", "frames", *_RESULTS, *sfibench.OPTIONS, "weights", "device", "ray")
        for name in others:
            if vars(options)[name] is not None:
                raise UserError(f"{option_of(name)} has no meaning together with --table")
        paper, number = options.table
        paper_tables.run(paper, number, options.path, options.scores or (), options.plot)
        return
    if options.dataset is None:
        raise UserError("--dataset is missing, or --table")
    if len(options.path) != 1:
        raise UserError(f"expected one folder of the data set, got {len(options.path)}")
    (options.path,) = options.path
    if options.resume and options.results is None:
        raise UserError("--resume is for --results only")
    benchmark = options.dataset == sfibench.NAME
    if not benchmark:
        refuse(options, sfibench.OPTIONS, f"--dataset {sfibench.NAME}")
        scored.run(options)
        return
    for each in options_of(options_of_model(options.model)):
        if each.of_clip and vars(options)[each.name] is not None:
            raise UserError(f"{option_of(each.name)} is not for --dataset {sfibench.NAME}, whose clips have captions")
    refuse(options, ("frames", *_OF_PICTURES), "data sets other than sfibench")
    sfibench.run(options)
