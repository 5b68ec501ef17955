"""`vfi train`: its arguments, and what they ask for."""

import argparse

from vfi.commands import model_options, option_values
from vfi.commands.cluster import command as cluster
from vfi.errors import UserError
from vfi.files.opencv import opencv
from vfi.files.places import is_remote, place


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "train",
        help="train a model",
        description="Trains one stage of a model.",
        epilog="several processes: torchrun --nproc-per-node N -m vfi.commands.main train ...",
    )
    trainings = model_options.of_trainings()
    argument = parser.add_argument
    argument("--model", required=True, help=", ".join(trainings))
    argument(
        "--stage", type=int, default=1, help="counted from 1 (default); a later one begins with --weights of the last"
    )
    data = model_options.joined({name: training.data for name, training in trainings.items()})
    argument("--data", required=True, help=f"{data}; or synthetic, or synthetic:N for N scenes")
    argument("-o", "--output", required=True, type=place, help="folder of last.pt, weights.safetensors and log.jsonl")
    argument("--weights", help="to begin with (default: fresh ones, where that is possible)")
    what = "fresh, small networks, also in place of large ones that are frozen, to try things out"
    argument("--tiny", action="store_true", help=what)
    _add_settings(parser)
    cluster.add(parser)
    workers = "processes that train together on the cluster (default: as many as it has room for)"
    parser.add_argument("--ray-workers", type=option_values.count, metavar="N", help=workers)
    parser.set_defaults(run=run)
    model_options.add(parser, trainings)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("instead of what the stage says, which is the default")
    argument = group.add_argument
    argument("--epochs", type=int, help="how often all triplets or clips are seen")
    argument("--batch", type=int, help="triplets or clips in a step, of all processes and parts together")
    what = (
        "side of the squares that are cut out, or height and width: 64 or more, by 32 or, of a model that works on "
        "patches, by patches"
    )
    argument("--crop", type=int, nargs="+", metavar="PIXELS", help=what)
    argument("--learning-rate", type=float, help="the largest one, from which a cosine falls")
    argument("--gradient-norm", type=float, help="to which longer gradients are shortened; 0: never")
    argument("--steps", type=int, help="so many steps instead of epochs")
    group = parser.add_argument_group("how")
    argument = group.add_argument
    what = "take a batch in so many parts, one after the other, for less memory (default 1)"
    argument("--accumulate", type=int, default=1, metavar="PARTS", help=what)
    argument("--precision", default="float32", help="float32 (default), bfloat16 or float16, by autocast")
    argument("--no-augmentation", dest="augment", action="store_false", help="the middle of each picture, as it is")
    argument(
        "--ema",
        type=float,
        metavar="DECAY",
        help="write weights averaged over the steps, such as 0.999 (default: the last)",
    )
    argument(
        "--seed", type=int, default=0, help="of fresh weights, and of the order and the cuts of the data (default 0)"
    )
    argument("--workers", type=int, help="processes that read data (default: 0 on a CPU, else 8)")
    argument("--device", help="such as cpu or cuda:0 (default: a GPU if there is one)")
    argument("--minutes", type=float, help="end after so many, saved, to be resumed (default: with the last step)")
    argument("--resume", action="store_true", help="go on from last.pt of the folder")
    argument("--overwrite", action="store_true", help="begin anew in a folder that holds a training")
    argument("--quiet", action="store_true", help="print nothing")


def run(options: argparse.Namespace) -> None:
    opencv()
    if is_remote(options.output):
        raise UserError(f"expected a folder of this machine, or one that all nodes share, got {options.output}")
    if cluster.is_asked(options):
        from vfi.commands.cluster import training

        training.run(options)
        return
    import torch

    from vfi.models.devices import choose_device
    from vfi.models.registry import load_objective
    from vfi.training import Job, train

    device = choose_device(options.device)
    workers = (0 if device == "cpu" else 8) if options.workers is None else options.workers
    names = (
        "epochs", "batch", "learning_rate", "gradient_norm", "accumulate", "steps", "minutes", "precision", "ema",
        "seed",
    )  # fmt: skip
    flags = ("augment", "resume", "overwrite", "quiet")
    crop = options.crop and (options.crop[0] if len(options.crop) == 1 else tuple(options.crop))
    job = Job(
        options.model, options.stage, options.data, options.output, workers=workers, device=device, crop=crop,
        **{name: vars(options)[name] for name in (*names, *flags)},
    )  # fmt: skip
    torch.manual_seed(options.seed)  # of fresh weights
    chosen = model_options.given(options, model_options.of_trainings(), options.model)
    train(load_objective(options.model, options.weights, options.tiny, **chosen), job)
