"""What `vfi evaluate` measures with, by its options. Imports nothing heavy before it runs."""

import argparse
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vfi.errors import UserError, called

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vfi.data.truth import TrueScene
    from vfi.evaluation.metrics import Measure
    from vfi.evaluation.scoring import Features, SceneMeasure
    from vfi.models.flow_by_name import Flow

PWC_NET = "pwc-net"
FLOWS = (PWC_NET, "dis", "ebme")
FRECHET = {"fid": "inception", "fvd": "i3d"}  # and the options that ask for them


@dataclass(frozen=True)
class Measuring:
    """By their names: what measures frames, and scenes; what finds features of scenes."""

    frames: "Mapping[str, Measure]"
    scenes: "Mapping[str, SceneMeasure]"
    features: "Mapping[str, Features]"


def check(options: argparse.Namespace, known: "Sequence[TrueScene]") -> None:
    """Refuses measures that lack what they need."""
    from vfi.evaluation.i3d import SHORTEST

    if options.flolpips is None and options.flolpips_weights is not None:
        raise UserError("--flolpips-weights is for --flolpips only")
    if options.flolpips is not None and options.lpips is None:
        raise UserError("--flolpips needs --lpips, whose distances it weighs")
    shortest = min(known, key=lambda scene: len(scene.paths))
    if options.i3d is not None and len(shortest.paths) < SHORTEST:
        what = f"got {len(shortest.paths)} in {shortest.name}"
        raise UserError(f"expected scenes of {SHORTEST} frames or more for --i3d, the ends counted, {what}")


def names_of(options: argparse.Namespace) -> tuple[str, ...]:
    """Of the values that each scene has."""
    from vfi.evaluation import scoring

    own = scoring.measures_of(options.dataset, options.ssim)
    more = {
        "lpips": options.lpips,
        "stlpips": options.stlpips,
        _flolpips(options): options.flolpips,
        "motion": options.motion,
    }
    return (*own, *(name for name, asked in more.items() if asked is not None))


def distances_of(options: argparse.Namespace) -> tuple[str, ...]:
    """Which Frechet distances splits have."""
    return tuple(name for name, option in FRECHET.items() if vars(options)[option] is not None)


def load(options: argparse.Namespace, device: str) -> Measuring:
    """With the weights of networks, on the device.

    Raises:
        UserError: if a file of weights is something else.
    """
    from vfi.evaluation import i3d, perceptual, scoring, summaries
    from vfi.evaluation.sfibench import inception
    from vfi.networks import lpips, stlpips

    frames = scoring.measures_of(options.dataset, options.ssim)
    scenes: dict[str, SceneMeasure] = {}
    features: dict[str, Features] = {}
    if options.lpips is not None:
        network = lpips.load(*map(os.fspath, options.lpips)).to(device)
        frames["lpips"] = perceptual.by_lpips(network, device)
        if options.flolpips is not None:
            scenes[_flolpips(options)] = perceptual.by_flolpips(network, _flow(options, device), device)
    if options.stlpips is not None:
        frames["stlpips"] = perceptual.by_lpips(stlpips.load(options.stlpips).to(device), device)
    if options.motion is not None:
        scenes["motion"] = summaries.motion
    if options.inception is not None:
        features["fid"] = perceptual.by_inception(inception.load(options.inception).to(device), device)
    if options.i3d is not None:
        features["fvd"] = perceptual.by_i3d(i3d.load(options.i3d).to(device), device)
    return Measuring(frames, scenes, features)


def _flolpips(options: argparse.Namespace) -> str:
    """By PWC-Net it has its own name, by another flow that of this one too: they are not to be compared."""
    return "flolpips" if options.flolpips in (None, PWC_NET) else f"flolpips_{options.flolpips}"


def _flow(options: argparse.Namespace, device: str) -> "Flow":
    from vfi.models.flow_by_name import load_flow
    from vfi.networks import pwc_net

    if options.flolpips == PWC_NET:
        if options.flolpips_weights is None:
            raise UserError("--flolpips pwc-net needs --flolpips-weights, network-default.pytorch of pytorch-pwc")
        return pwc_net.load(options.flolpips_weights).to(device)
    with called(weights="flolpips_weights"):
        return load_flow(options.flolpips, options.flolpips_weights, device)
