"""Tiny networks, triplets and jobs for the tests of training."""

import json

import torch

from vfi.data.synthetic import triplet
from vfi.files.images import write_image
from vfi.models import rife, sg_rife
from vfi.models.rife.training import RIFEObjective
from vfi.models.sg_rife.training import SGRIFEObjective, tiny_dino
from vfi.training import Job

SMALL_DINO = {"hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 32}


def tiny_rife(seed=0):
    torch.manual_seed(seed)
    return RIFEObjective(rife.RIFE(rife.config.TINY))


def tiny_sg_rife(seed=0):
    torch.manual_seed(seed)
    return SGRIFEObjective(sg_rife.SGRIFE(tiny_dino(), sg_rife.config.TINY))


def quick(folder, **options):
    usual = {"data": "synthetic:4", "epochs": 2, "batch": 2, "crop": 64, "learning_rate": 1e-3, "quiet": True}
    return Job("rife", 1, output=folder, **{**usual, **options})


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def batch(size=64, count=2):
    frames = torch.stack([triplet(seed, (size, size), max_motion=size / 8).frames for seed in range(count)])
    return frames.flip(2), torch.full((count,), 0.5)


def write_triplets(root, count, size=(64, 64)):
    for number in range(count):
        folder = root / f"{number:04}"
        folder.mkdir(parents=True)
        frames = (triplet(number, size).frames.permute(0, 2, 3, 1) * 255).byte().numpy()
        for name, frame in zip(("im1", "im2", "im3"), frames):
            write_image(folder / f"{name}.png", frame)
