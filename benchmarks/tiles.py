"""How much memory a frame between takes, in bytes per pixel, for every model that works in squares: `--max-memory`.

python benchmarks/tiles.py

Of networks with random weights, in torch and float32, on the CPU, beside weights and frames. Linux only.
"""

import argparse

import torch

from vfi.models.apr_vfi import APRVFI
from vfi.models.ebme import BiFlowNet, EBMESplat
from vfi.models.flow_splat import FlowSplat
from vfi.models.interpolator import Interpolator
from vfi.models.rife import RIFE
from vfi.models.rife4.family import NETWORKS
from vfi.models.rife4.model import RIFE4
from vfi.models.sg_rife import SGRIFE
from vfi.networks.memory import peak_bytes

MODELS = {
    "flow-splat": FlowSplat,
    "ebme-splat": lambda: EBMESplat(BiFlowNet()),
    "apr-vfi": APRVFI,
    "rife": RIFE,
    "rife 4.25": lambda: RIFE4(NETWORKS["4.25"]),
    "sg-rife without DINO": lambda: SGRIFE(None),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = "of the squares, px (default: 256 512 1024)"
    parser.add_argument("--sides", nargs="+", type=int, default=[256, 512, 1024], help=what)
    sides = parser.parse_args().sides
    torch.manual_seed(0)
    print(f"| bytes per pixel | {' | '.join(f'{side}x{side}' for side in sides)} |\n|---|{'---|' * len(sides)}")
    for name, make in MODELS.items():
        model = make()
        if isinstance(model, torch.nn.Module):
            model.eval()
        cells = [cell(model, side) for side in (128, *sides)]  # the first one loads libraries
        print(f"| {name} | {' | '.join(cells[1:])} |", flush=True)


@torch.no_grad()
def cell(model: Interpolator, side: int) -> str:
    frames = torch.rand(2, 1, 3, side, side)
    peak = peak_bytes(lambda: model.interpolate(*frames, 0.5), "cpu")
    return "unknown" if peak is None else f"{peak / side**2:.0f}"


if __name__ == "__main__":
    main()
