"""Files of weights of LPIPS, made up, and a stand-in for Inception-v3."""

from pathlib import Path

import torch

from vfi.networks import lpips, stlpips


def network_of_lpips(folder: Path) -> list[Path]:
    """AlexNet's and LPIPS' own."""
    torch.manual_seed(0)
    convs, heads = states_of(lpips.LPIPS())
    paths = [folder / "alexnet.pth", folder / "heads.pth"]
    for path, state in zip(paths, (convs, heads), strict=True):
        torch.save(state, path)
    return paths


def states_of(network: lpips.LPIPS) -> tuple[dict, dict]:
    """AlexNet's and LPIPS' own tensors, by the names of the public files; none of the latter is negative."""
    layers = zip((0, 3, 6, 8, 10), network.layers, strict=True)
    convs = {f"features.{p}.{k}": v for p, part in layers for k, v in part[-2].state_dict().items()}
    return convs, {f"lin{i}.model.1.weight": head.weight.abs() for i, head in enumerate(network.heads)}


def state_of_stlpips(network: stlpips.ShiftTolerantLPIPS) -> dict:
    """By the names of the public file."""
    state = {stlpips.name_in_file(key): value for key, value in network.state_dict().items()}
    filters = {f"net.slice{layer}.{place}.filt": torch.zeros(1) for layer, place in ((1, 1), (2, 4), (3, 8))}
    return {**{key: value.abs() if key.startswith("lin") else value for key, value in state.items()}, **filters}


class FewFeatures(torch.nn.Module):
    """In place of Inception-v3, which takes seconds: the colours of four parts of a picture."""

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(frames, 2).flatten(1)
