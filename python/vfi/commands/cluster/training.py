"""`vfi train --ray`: the processes that train together, started by Ray Train, and again where one has died."""

import argparse
import contextlib
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from vfi.commands.cluster import nodes
from vfi.commands.cluster.command import refuse
from vfi.commands.program import note, say
from vfi.errors import UserError, require

SHOWN = 1.0  # seconds after which the log is looked at again
_OF_RAY = ".ray"  # its notes, in the folder of the training until that ends


def run(options: argparse.Namespace) -> None:
    """Trains in `--ray-workers` processes. One that is lost ends the others, and all go on from what was saved last, on
    the nodes that there are then: MOST_RUNS runs in all.

    Raises:
        UserError: as `nodes.connected`, and as the training itself.
    """
    from vfi.training import state

    output = Path(options.output).absolute()
    refuse(options, "device")
    train = require("ray.train", "ray")
    torch_trainer = require("ray.train.torch", "ray").TorchTrainer
    with state.prepared(output, options.resume, options.overwrite):
        pass  # what is wrong with the folder is said here, and what was there is gone
    with nodes.connected(options.ray, options.ray_resources) as cluster:
        nodes.check(cluster, nodes.files_of(options), [str(output.parent)])
        amounts, room = dict(cluster.resources), cluster.slots()
        if room < (options.ray_workers or 0):
            asked = f"{options.ray_workers} processes were asked for"
            note(f"{asked}, the cluster has room for {room} now: waiting for nodes; Ctrl-C ends")
        given = argparse.Namespace(**{**vars(options), "output": output, "ray": None, "quiet": True})
        trainer = torch_trainer(
            of_process,
            train_loop_config={"options": given},
            scaling_config=train.ScalingConfig(
                num_workers=options.ray_workers or room, use_gpu="GPU" in amounts,
                resources_per_worker=amounts,
            ),
            run_config=train.RunConfig(
                name="vfi", storage_path=str(output / _OF_RAY),
                failure_config=train.FailureConfig(max_failures=nodes.MOST_RUNS - 1),
            ),
        )  # fmt: skip
        try:
            with contextlib.nullcontext() if options.quiet else told(output / state.LOG):
                failed = trainer.fit().error
        except Exception as error:
            failed = error
        finally:
            shutil.rmtree(output / _OF_RAY, ignore_errors=True)
    if failed is not None:
        raise UserError(_said(failed))


@contextlib.contextmanager
def told(log: Path) -> Iterator[None]:
    """Inside, lines that a training adds to its log are said as they come."""
    ended, before = threading.Event(), log.stat().st_size if log.exists() else 0

    def follow(at: int) -> None:
        while True:
            last = ended.wait(SHOWN)
            with contextlib.suppress(OSError):
                at = 0 if log.stat().st_size < at else at
                with log.open(encoding="utf-8") as file:
                    file.seek(at)
                    for line in iter(file.readline, ""):
                        if line.endswith("\n"):
                            say_line(json.loads(line))
                            at = file.tell()
            if last:
                return

    thread = threading.Thread(target=follow, args=(before,), name="vfi log", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def say_line(line: dict[str, float]) -> None:
    shown = {"loss": "loss {:.4f}", "psnr": "PSNR {:.2f} dB", "held_out_psnr": "held out {:.2f} dB"}
    parts = [text.format(line[name]) for name, text in shown.items() if line.get(name) is not None]
    say(f"step {line['step']:.0f}: {', '.join(parts)}")


def of_process(config: dict[str, argparse.Namespace]) -> None:
    """What each process does: begins, or goes on with what those before it have saved."""
    import torch

    from vfi.commands import train
    from vfi.training import state

    options = argparse.Namespace(**vars(config["options"]))
    options.device = "cuda:0" if torch.cuda.is_available() else "cpu"
    options.resume, options.overwrite = (options.output / state.STATE).exists(), False
    train.run(options)


def _said(error: BaseException) -> str:
    """The sentence of ours that is inside what Ray says, or its own first line."""
    inside: BaseException | None = error
    while inside is not None:
        if isinstance(inside, UserError):
            return inside.for_command()
        failures = getattr(inside, "worker_failures", None) or {}
        inside = next(iter(failures.values()), None) or getattr(inside, "cause", None) or inside.__cause__
    return nodes.in_short(Exception(str(error)))
