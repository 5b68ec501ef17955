"""Whether routed or guided refinement gains more than plain: `python benchmarks/vfi_s_additions.py --data FOLDER`.

To vfi-s with the weights of the package, which are frozen, three additions are trained that correct its frame; FOLDER
is that of scripts/training_data.py, the frames are of FOLDER/train. All begin with a correction of 0, see the same
squares in the same order, and take about as many multiply-accumulates for a frame:

- plain: five refine blocks of APR-VFI over the whole picture.
- routed: five wider ones, in patches, of which the last four see only those that APR-VFI's router likes best.
- guided: five narrower ones after SG-RIFE's deformable semantic fusion, at 1/8. Its semantic features are those of a
  small encoder that is trained with it, not DINO's.

Prints the table of docs/vfi_s.md, which `--write` puts there: PSNR of what is held out (FOLDER/held), by how much it
differs from that of plain refinement with the standard error over the samples, and what each costs.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode
from vfi_s_parts import SORTS, held_out

from vfi.models.apr_vfi import routing
from vfi.models.apr_vfi.config import BLOCKS, APRConfig
from vfi.models.apr_vfi.synthesis import Synthesis
from vfi.models.registry import MODELS
from vfi.models.sg_rife.adapters import SemanticFusion, warp_maps
from vfi.models.vfi_s.blocks import COLOUR, centred, conv, silent
from vfi.models.vfi_s.files import load_network
from vfi.models.vfi_s.motion import begun
from vfi.models.vfi_s.network import Network, warped
from vfi.models.vfi_s.training import distances, logarithms
from vfi.networks.layers import resized
from vfi.training import shards
from vfi.training.job import rate_at
from vfi.training.losses import psnr
from vfi.training.objective import Stage
from vfi.training.shards import Beside
from vfi_kernels.bench.report import between_marks, markdown_table, text_table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "vfi_s.md"
MARKS = "<!-- additions: written by benchmarks/vfi_s_additions.py -->\n", "<!-- end of the additions -->\n"
ALONE = "vfi-s"
NAMES = {"plain": "plain refinement", "routed": "APR-VFI's routed refinement", "guided": "SG-RIFE's semantic fusion"}
MIDDLE = {"plain": 24, "routed": 44, "guided": 14}  # channels inside the blocks, by which costs are alike
WIDTH = 16  # channels between the blocks: those of vfi-s's features at 1/2
PATCH = 16  # at 1/2
EIGHTH, SEMANTIC, GROUPS = 48, 32, 4  # channels of vfi-s's features at 1/8; of semantic features, and their groups
SEEN = 4 * 12 + 1 + 4  # frames, mask and flow, at 1/2
ROUTE = 0.01  # weight of the distance between the route and the reference route, APR-VFI's
STAGE = Stage("", None, 8, 96, learning_rate=1e-3, final_rate=2e-5, warm_up=20, weight_decay=1e-4)
SIZE = (736, 1280)  # for time and operations: 720p in whole patches
REPEATS = 5


@dataclass(frozen=True)
class Known:
    """What vfi-s knows of a frame: the frame (B, 3, H, W); at 1/2 what additions see (B, SEEN, h, w), both frames and
    features, warped, and the flow; features of both frames at 1/8; by how much corrections count, (B, 1, H, W)."""

    frame: Tensor
    seen: Tensor
    halves: tuple[Tensor, Tensor]
    contexts: tuple[Tensor, Tensor]
    flow: Tensor
    eighths: tuple[Tensor, Tensor]
    counts: Tensor


class Plain(nn.Module):
    """Known -> the corrected frame, and what is to be minimised beside its distance."""

    def __init__(self, middle: int, seen: int = SEEN) -> None:
        super().__init__()
        self.config = APRConfig(WIDTH, middle, PATCH)
        self.blocks = Synthesis(self.config)
        self.blocks.stem, self.blocks.head = conv(seen, WIDTH), silent(WIDTH, 12)

    def forward(self, known: Known) -> tuple[Tensor, Tensor]:
        return self.corrected(known, known.seen, [None] * BLOCKS), known.frame.new_zeros(())

    def corrected(self, known: Known, seen: Tensor, lists: list[Tensor | None], votes: Tensor | None = None) -> Tensor:
        answer = self.blocks(seen, [known.contexts] * BLOCKS, lists, votes).float()
        return known.frame + COLOUR * F.pixel_shuffle(answer, 2) * known.counts


class Routed(Plain):
    def __init__(self, middle: int) -> None:
        super().__init__(middle)
        self.router = routing.Router(self.config)

    def forward(self, known: Known) -> tuple[Tensor, Tensor]:
        logits, keep = self.router(*known.halves, known.flow).float(), self.config.keep
        every = routing.lists_of(torch.ones_like(logits[..., :1, 0], dtype=torch.bool), [1.0])
        if not self.training:
            route = routing.top_shares(logits[..., 1] - logits[..., 0], keep)
            frame = self.corrected(known, known.seen, [*every, *routing.lists_of(route, keep)])
            return frame, frame.new_zeros(())
        votes = routing.votes(logits)
        everywhere = torch.ones_like(known.flow[:, :1], dtype=torch.bool)
        reference = routing.top_shares(routing.misalignment(*known.halves, everywhere, PATCH)[..., None], keep)
        frame = self.corrected(known, known.seen, every * BLOCKS, votes)
        return frame, ROUTE * (votes - reference.float()).abs().mean()


class Guided(Plain):
    def __init__(self, middle: int) -> None:
        super().__init__(middle, SEEN + SEMANTIC)
        self.encoder = nn.Sequential(conv(EIGHTH, SEMANTIC, 2), conv(SEMANTIC, SEMANTIC), conv(SEMANTIC, SEMANTIC))
        self.query = nn.Sequential(conv(SEEN, WIDTH, 2), conv(WIDTH, SEMANTIC, 2))
        self.fusion = SemanticFusion(SEMANTIC, GROUPS)

    def forward(self, known: Known) -> tuple[Tensor, Tensor]:
        maps = [resized(self.encoder(each).float(), 2) for each in known.eighths]
        semantics = [warp_maps([each], flow)[0] for each, flow in zip(maps, known.flow.split(2, 1), strict=True)]
        fused, _ = self.fusion(self.query(known.seen).float(), semantics)
        seen = torch.cat((known.seen, resized(fused.float(), 4)), 1)
        return self.corrected(known, seen, [None] * BLOCKS), known.frame.new_zeros(())


KINDS: Mapping[str, Callable[[int], Plain]] = {"plain": Plain, "routed": Routed, "guided": Guided}


@torch.no_grad()
def known_of(network: Network, first: Tensor, second: Tensor, beside: Beside) -> Known:
    pair = network.pair(network.seen(first), network.seen(second), beside.quick)
    t = beside.times.reshape(-1, 1, 1, 1)
    result = network.between(pair, beside.splatted, t)
    flow, mask = result.flows[-1].float(), result.masks[-1].float()
    moved = network.blended(pair, flow, mask, t)[:2]
    packed = [F.pixel_unshuffle(centred(each), 2) for each in (result.frame, *moved, beside.splatted)]
    halves = F.avg_pool2d(moved[0], 2), F.avg_pool2d(moved[1], 2)
    contexts = warped([seen.features[0].float() for seen in pair.frames], flow)
    eighths = pair.frames[0].features[2], pair.frames[1].features[2]
    counts = resized(pair.differs, 16)
    return Known(result.frame, torch.cat((*packed, mask, flow / 16), 1), halves, contexts, flow, eighths, counts)


def train(network: Network, additions: Mapping[str, Plain], data: Path, steps: int, seed: int) -> None:
    source = shards.data(f"{shards.PREFIX}{data / 'train'}", STAGE.batch, STAGE.crop, steps, seed, True, begun, print)
    loader = DataLoader(source.samples, batch_sampler=source.batches(0, steps, 0, 1), collate_fn=source.collate)
    optimizers = {
        name: torch.optim.AdamW(addition.parameters(), weight_decay=STAGE.weight_decay)
        for name, addition in additions.items()
    }
    for step, batch in enumerate(loader):
        if isinstance(batch, Exception):
            raise batch
        first, truth, second = (batch[0].float() / 255).unbind(1)
        losses = {}
        with torch.autocast("cpu", torch.bfloat16):
            known = known_of(network, first, second, batch[1].to(torch.device("cpu")))
        for name, addition in additions.items():
            with torch.autocast("cpu", torch.bfloat16):
                frame, beside = addition.train()(known)
            loss = logarithms(distances(frame, truth)) + beside
            optimizers[name].zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(addition.parameters(), STAGE.gradient_norm)
            for group in optimizers[name].param_groups:
                group["lr"] = rate_at(step, steps, STAGE)
            optimizers[name].step()
            losses[name] = float(loss.detach())
        if (step + 1) % 20 == 0:
            told = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
            print(f"step {step + 1} of {steps}: {told}", flush=True)


@torch.no_grad()
def held_out_psnr(network: Network, additions: Mapping[str, Plain], data: Path) -> dict[str, dict[str, list[float]]]:
    """PSNR of each addition, and of vfi-s alone, by sort of the samples."""
    found: dict[str, dict[str, list[float]]] = {name: {sort: [] for sort in SORTS} for name in (ALONE, *additions)}
    for sort, frames, beside in held_out(data):
        first, truth, second = frames.unbind(1)
        known = known_of(network, first, second, beside)
        made = {ALONE: known.frame} | {name: addition.eval()(known)[0] for name, addition in additions.items()}
        for name, frame in made.items():
            found[name][sort].append(float(psnr(frame.clamp(0, 1), truth)))
    return found


@torch.no_grad()
def costs(network: Network, additions: Mapping[str, Plain]) -> dict[str, tuple[float, float]]:
    """Of each, for a frame of SIZE: billions of multiply-accumulates, and seconds of one core; in turns, the least of
    REPEATS. Of vfi-s what its network takes, without optical flow and splatting."""
    first, second = torch.rand(2, 1, 3, *SIZE).unbind(0)
    beside = Beside(torch.tensor([0.5]), torch.zeros(1, 8, *(n // 4 for n in SIZE)), first, *(torch.empty(0),) * 2)
    known = known_of(network, first, second, beside)
    calls: dict[str, Callable[[], object]] = {
        ALONE: lambda: network(first, second, beside.quick, beside.splatted, beside.times)
    }
    calls |= {name: partial(addition.eval(), known) for name, addition in additions.items()}
    found = {name: [math.inf] for name in calls}
    operations = {}
    for name, call in calls.items():
        with FlopCounterMode(display=False) as counter:
            call()
        operations[name] = counter.get_total_flops() / 2e9
    for _ in range(REPEATS):
        for name, call in calls.items():
            start = time.process_time()
            call()
            found[name].append(time.process_time() - start)
    return {name: (operations[name], min(seconds)) for name, seconds in found.items()}


def table(found: Mapping[str, Mapping[str, list[float]]], costly: Mapping[str, tuple[float, float]]) -> list[list[str]]:
    rows = []
    for name, by_sort in found.items():
        row = [name if name == ALONE else f"{ALONE} and {NAMES[name]}"]
        for sort in SORTS:
            gains = [a - b for a, b in zip(by_sort[sort], found["plain"][sort], strict=True)]
            gain, error = statistics.mean(gains), statistics.stdev(gains) / len(gains) ** 0.5
            beside = "" if name == "plain" else f" ({gain:+.3f} ± {error:.3f})"
            row.append(f"{statistics.mean(by_sort[sort]):.3f}{beside}")
        operations, seconds = costly[name]
        rows.append([*row, f"{operations:.1f}", f"{seconds:.2f}"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that scripts/training_data.py has written")
    parser.add_argument("--steps", type=int, default=200, help="of 8 squares of 96x96 (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and of the squares (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="put the table into docs/vfi_s.md")
    options = parser.parse_args()
    if options.steps < 1:
        parser.error(f"expected --steps of 1 or more, got {options.steps}")
    sorts = {folder.name.partition("-")[0] for folder in shards.listed(options.data / shards.HELD_OUT)}
    if not sorts.issuperset(SORTS):
        parser.error(f"expected shards {'-*, '.join(SORTS)}-* in {options.data / shards.HELD_OUT}, got {sorted(sorts)}")
    torch.set_num_threads(1)  # seconds are those of a core
    network = load_network(MODELS["vfi-s"].ships)[0].eval().requires_grad_(False)
    additions = {}
    for name, make in KINDS.items():
        torch.manual_seed(options.seed)
        additions[name] = make(MIDDLE[name])
    costly = costs(network, additions)
    print({name: f"{operations:.1f} GMAC" for name, (operations, _) in costly.items()}, flush=True)
    train(network, additions, options.data, options.steps, options.seed)
    rows = table(held_out_psnr(network, additions, options.data), costly)
    head = [f"{options.steps} steps", "made up, dB", "real, dB", "GMAC", "s of a core"]
    print(text_table(head, rows))
    if options.write:
        PAGE.write_text(between_marks(PAGE.read_text(), MARKS, f"{markdown_table(head, rows)}\n"))


if __name__ == "__main__":
    main()
