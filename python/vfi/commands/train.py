"""`vfi train`: its arguments, and what they ask for."""

import argparse
from pathlib import Path

from vfi.files.opencv import opencv


def add(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "train",
        help="train a model",
        description="Trains one stage of a model.",
        epilog="several processes: torchrun --nproc-per-node N -m vfi.commands.main train ...",
    )
    argument = parser.add_argument
    argument("--model", required=True, help="apr-vfi, rdvfi-d, rdvfi-u, rife, semfi or sg-rife")
    argument(
        "--stage", type=int, default=1, help="counted from 1 (default); a later one begins with --weights of the last"
    )
    what = (
        "Vimeo90K's folder, a folder of folders with im1, im2, im3 (.png; rdvfi: clips of images); semfi: a manifest; "
    )
    what += "or synthetic, or synthetic:N for N scenes"
    argument("--data", required=True, help=what)
    argument("-o", "--output", required=True, type=Path, help="folder of last.pt, weights.safetensors and log.jsonl")
    argument("--weights", help="to begin with (default: fresh ones, where that is possible)")
    argument("--dino", help="sg-rife: file of the weights of DINOv3-Small")
    argument("--flow", help="apr-vfi: bi-flownet.pkl of EBME, for the flow network")
    argument("--backbone", metavar="FOLDER", help="rdvfi, semfi: folder of the backbone's published files")
    argument("--dtype", help="semfi: of the frozen backbone: float32 (default), bfloat16 or float16")
    what = "rdvfi: AlexNet's and LPIPS' files of weights, for its loss (default: Laplacian pyramids in its place)"
    argument("--lpips", nargs=2, metavar=("ALEXNET", "HEADS"), help=what)
    argument(
        "--tiny",
        action="store_true",
        help="fresh, small networks, also in place of DINO, to try things out",
    )
    group = parser.add_argument_group("instead of what the stage says")
    argument = group.add_argument
    argument("--epochs", type=int)
    argument("--batch", type=int, help="triplets or clips in a step, of all processes together")
    argument(
        "--crop",
        type=int,
        help="side of the squares that are cut out: 64 or more, by 32 (apr-vfi: by patches)",
    )
    argument("--learning-rate", type=float)
    argument("--steps", type=int, help="so many steps instead of epochs")
    group = parser.add_argument_group("how")
    argument = group.add_argument
    argument("--precision", default="float32", help="float32 (default), bfloat16 or float16, by autocast")
    argument("--no-augmentation", dest="augment", action="store_false", help="the middle of each picture, as it is")
    argument("--ema", type=float, metavar="DECAY", help="write weights averaged over the steps, such as 0.999")
    argument("--seed", type=int, default=0)
    argument("--workers", type=int, help="processes that read data (default: 0 on a CPU, else 8)")
    argument("--device", help="such as cpu or cuda:0 (default: a GPU if there is one)")
    argument("--resume", action="store_true", help="go on from last.pt of the folder")
    argument("--overwrite", action="store_true", help="begin anew in a folder that holds a training")
    argument("--quiet", action="store_true", help="print nothing")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    opencv()
    import torch

    from vfi.models.registry import choose_device, load_objective
    from vfi.training import Job, train

    device = choose_device(options.device)
    workers = (0 if device == "cpu" else 8) if options.workers is None else options.workers
    names = ("epochs", "batch", "crop", "learning_rate", "steps", "precision", "ema", "seed")
    flags = ("augment", "resume", "overwrite", "quiet")
    job = Job(
        options.model, options.stage, options.data, options.output, workers=workers, device=device,
        **{name: getattr(options, name) for name in (*names, *flags)},
    )  # fmt: skip
    torch.manual_seed(options.seed)  # of fresh weights
    settings = {name: getattr(options, name) for name in ("dino", "flow", "backbone", "dtype")}
    train(load_objective(options.model, options.weights, options.tiny, lpips_weights=options.lpips, **settings), job)
