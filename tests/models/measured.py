"""Frames and weights by formulas, on which measures are compared with public code: the same on every machine."""

import json
import math
from pathlib import Path

import numpy as np
import torch
from lpips_files import state_of_stlpips, states_of
from torch import nn

from vfi.evaluation import i3d, metrics, perceptual
from vfi.evaluation.distances import Distances
from vfi.evaluation.sfibench import inception
from vfi.networks import lpips, pwc_net, stlpips

RECORD = Path(__file__).with_name("public_figures.json")  # what `tests/public_measures.py` has printed
VIDEOS, FRAMES, SIZE = 4, 9, (72, 104)


def videos() -> tuple[np.ndarray, np.ndarray]:
    """True ones and some as if made of their ends, (VIDEOS, FRAMES, H, W, 3) uint8: waves that move, and blurred."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    both = np.empty((2, VIDEOS, FRAMES, *SIZE, 3), np.uint8)
    for video in range(VIDEOS):
        for frame in range(FRAMES):
            for channel in range(3):
                at = x - (2 + video) * frame, y + (video - 1) * frame
                fine = np.sin(at[0] * (0.5 + 0.1 * channel)) * np.cos(at[1] * (0.7 - 0.1 * video))
                coarse = np.sin((at[0] + 2 * at[1]) * 0.06 + channel + video)
                amount = 1 - (0.2 + 0.1 * video) * (0 < frame < FRAMES - 1)
                for kind, share in enumerate((1, amount)):
                    both[kind, video, frame, ..., channel] = np.rint(127.5 + 50 * share * fine + 70 * coarse)
    return both[0], both[1]


def filled(network: nn.Module, seed: int) -> nn.Module:
    """With weights of a size that lets values through, from a generator that is the same in every release."""
    draw = np.random.RandomState(seed)
    state = {}
    for name, value in network.state_dict().items():
        shape = tuple(value.shape)
        if value.dim() > 1:
            found = draw.standard_normal(shape) * math.sqrt(2 / max(1, math.prod(shape[1:])))
        else:
            found = 0.1 * draw.standard_normal(shape) + (1 if name.endswith(("bn.weight", "running_var")) else 0)
        state[name] = torch.from_numpy(np.asarray(found, np.float32)).to(value.dtype)
    network.load_state_dict(state)
    return network


def write(folder: Path) -> None:
    """The frames, and files of weights as the public code reads them."""
    np.savez(folder / "videos.npz", *videos())
    layers, heads = states_of(filled(lpips.LPIPS(), 1))
    classes = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    flow = filled(pwc_net.PWCNet(), 4).state_dict()
    states = {
        "alexnet.pth": layers,
        "heads.pth": heads,
        "stlpips.pth": state_of_stlpips(filled(stlpips.ShiftTolerantLPIPS(), 5)),
        "inception.pth": {**filled(inception.Inception(), 2).state_dict(), **classes},
        "i3d.pt": filled(i3d.I3D(), 3).state_dict(),
        "pwc_net.pth": {".".join("module" * p[0].isupper() + p for p in k.split(".")): v for k, v in flow.items()},
    }
    for name, state in states.items():
        torch.save(state, folder / name)


def of_pictures(folder: Path) -> dict[str, float]:
    """What is measured here, by the names of RECORD."""
    truth, made = videos()
    first, second = made[0, 4], truth[0, 4]
    found = {name: measure(first, second) for name, measure in metrics.MEASURES.items()}
    network = lpips.load(folder / "alexnet.pth", folder / "heads.pth")
    flow = pwc_net.load(folder / "pwc_net.pth")
    triplets = [[video[0, i] for i in (0, 4, 8)] for video in (made, truth)]
    found["lpips"] = perceptual.by_lpips(network, "cpu")(first, second)
    found["stlpips"] = perceptual.by_lpips(stlpips.load(folder / "stlpips.pth"), "cpu")(first, second)
    found["flolpips"] = perceptual.by_flolpips(network, flow, "cpu")(*triplets)
    return found


def of_videos(folder: Path) -> dict[str, float]:
    """The distances of all of them; takes some seconds."""
    truth, made = videos()
    features = {
        "fid": perceptual.by_inception(inception.load(folder / "inception.pth"), "cpu"),
        "fvd": perceptual.by_i3d(i3d.load(folder / "i3d.pt"), "cpu"),
    }
    distances = Distances(tuple(features), None)
    for video in range(VIDEOS):
        both = (truth[video], made[video])
        distances.keep(video, {name: torch.stack([each(list(v)) for v in both]) for name, each in features.items()})
        distances.add(video, "")
    return {name: of_splits[""] for name, of_splits in distances.found().items()}


def recorded() -> dict[str, float]:
    return json.loads(RECORD.read_text())
