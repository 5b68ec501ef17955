"""What each part of vfi-s gains: `python benchmarks/vfi_s_parts.py --data FOLDER`, of scripts/training_data.py.

PSNR of the true frame, in the mean over what is held out there (FOLDER/held), of frames made by more and more of the
network: nothing is trained anew, later parts are left out. `--weights` are others than those in the package; `--write`
puts the table into docs/vfi_s.md.
"""

import argparse
import statistics
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vfi.models.registry import MODELS
from vfi.models.vfi_s.files import load_network
from vfi.models.vfi_s.motion import begun
from vfi.models.vfi_s.network import Network, Pair, along
from vfi.networks.layers import resized
from vfi.networks.motion_at import motion_at
from vfi.training.losses import psnr
from vfi.training.shards import HELD_OUT, Beside, Samples, array, collated, listed
from vfi_kernels.bench.report import between_marks, markdown_table, text_table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "vfi_s.md"
MARKS = "<!-- parts: written by benchmarks/vfi_s_parts.py -->\n", "<!-- end of the parts -->\n"
SORTS = ("made", "real")
TRUTH = "for comparison: both frames along the true flow, by true visibility"


class Uncorrected(nn.Module):
    """Of the last part only the mask."""

    def __init__(self, colours: nn.Module) -> None:
        super().__init__()
        self.colours = colours

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        correction, trust = self.colours(x)
        return torch.zeros_like(correction), trust


def frames_by_parts(network: Network, pair: Pair, splatted: Tensor, t: Tensor) -> Iterator[tuple[str, Tensor]]:
    first, second = (seen.frame for seen in pair.frames)
    yield "the mean of both frames", (first + second) / 2
    yield "the frame of flow-splat", splatted
    motions = [motion_at(both, t) for both in pair.motions]
    candidates = [along(flow, t) for motion in motions for flow in (motion.first, motion.second)]
    _, flow = network.begun(pair, candidates)

    def blend(flow: Tensor, mask: Tensor) -> Tensor:
        """Of flows and a mask at 1/4."""
        return network.blended(pair, 2 * resized(flow, 2), resized(mask, 2), t)[2]

    yield "both frames along the mean of the candidates", blend(flow, torch.zeros_like(flow[:, :1]))
    result = network.between(pair, splatted, t)
    yield "and the stage at 1/8", blend(result.flows[0], result.masks[0])
    yield "and the stage at 1/4", blend(result.flows[1], result.masks[1])
    yield "and the stage at 1/2", result.own
    corrected, network.colours = network.colours, Uncorrected(network.colours)  # type: ignore[assignment]
    yield "blended with the frame of flow-splat", network.between(pair, splatted, t).frame
    network.colours = corrected
    yield "and the colours corrected: vfi-s", result.frame


def told(values: list[float]) -> str:
    return f"{statistics.mean(values):.2f}" if values else ""


def held_out(data: Path) -> Iterator[tuple[str, Tensor, Beside]]:
    """Of each sample in data/held its sort, the frames (1, 3, 3, H, W), and what lies beside, whole."""
    for folder in listed(data / HELD_OUT):
        samples = Samples(begun, array(folder, "frames").shape[2])
        for index in range(len(array(folder, "time"))):
            sample = collated([samples[folder, index, None]])
            if isinstance(sample, Exception):
                raise sample
            yield folder.name.partition("-")[0], sample[0].float() / 255, sample[1].to(torch.device("cpu"))


def along_the_truth(network: Network, pair: Pair, known: Beside, t: Tensor) -> Tensor:
    """What the blend makes of exact flow and visibility, at 1/2."""
    flow, seen = F.avg_pool2d(known.flow, 2) / 2, F.avg_pool2d(known.visible, 2) + 1e-3
    return network.blended(pair, flow, (seen[:, :1] / seen[:, 1:]).log(), t)[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that scripts/training_data.py has written")
    parser.add_argument("--weights", type=Path, help="others than those in the package (default: those)")
    parser.add_argument("--write", action="store_true", help="put the table into docs/vfi_s.md")
    options = parser.parse_args()
    network = load_network(options.weights or MODELS["vfi-s"].ships)[0].eval()
    found: dict[tuple[str, str], list[float]] = {}
    for sort, frames, known in held_out(options.data):
        first, truth, second = frames.unbind(1)
        with torch.no_grad():
            pair = network.pair(network.seen(first), network.seen(second), known.quick)
            t = known.times.reshape(1, 1, 1, 1)
            made_by = list(frames_by_parts(network, pair, known.splatted, t))
            if known.flow.isfinite().all():
                made_by.append((TRUTH, along_the_truth(network, pair, known, t)))
        for name, made in made_by:
            found.setdefault((name, sort), []).append(float(psnr(made.clamp(0, 1), truth)))
    head = ["", "made up, dB", "real, dB"]
    names = dict.fromkeys(name for name, _ in found)
    rows = [[name, *(told(found.get((name, sort), [])) for sort in SORTS)] for name in names]
    print(text_table(head, rows))
    if options.write:
        PAGE.write_text(between_marks(PAGE.read_text(), MARKS, f"{markdown_table(head, rows)}\n"))


if __name__ == "__main__":
    main()
