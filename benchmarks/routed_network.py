"""What routing saves in APR-VFI: seconds of the synthesis, and of a whole frame, beside multiply-accumulates.

python benchmarks/routed_network.py     prints the table; benchmarks/run.py takes the same figures on the record

Static is the faster of torch's two memory formats. Routed has each routed block see the paper's shares of the patches;
its time is with that of finding them: the network that scores patches, and the lists of the best. Weights are fresh and
features are noise: speed does not depend on them.
"""

from typing import Any

import torch
from torch import Tensor

from vfi.evaluation.macs import count_macs
from vfi.models import apr_vfi
from vfi.models.apr_vfi.config import BLOCKS
from vfi_kernels.bench.timing import Budget, Contender, CpuClock, interleave

SIZE, TRIAL, KEEP = (1088, 2048), (576, 1024), (0.1, 0.4, 0.6, 0.9)
STATIC, STATIC_LAST, ROUTED, ROUTING = "static", "static, channels_last", "routed", "of which finding the route"
BUDGET, FRAME_BUDGET, QUICK = Budget(30, rounds=(3, 7)), Budget(30, rounds=(2, 3)), Budget(1, rounds=(2, 2))


def measure_synthesis(model: apr_vfi.APRVFI, size: tuple[int, int], budget: Budget) -> dict[str, float]:
    """Milliseconds of each contender, from warped frames and features to logits."""
    c = model.config.width

    def noise(channels: int) -> Tensor:
        return torch.rand(1, channels, *size).contiguous(memory_format=torch.channels_last)

    warped0, warped1, flow, seen = noise(3), noise(3), noise(4), torch.ones(1, 1, *size, dtype=torch.bool)
    inputs, context = torch.cat((warped0, warped1, flow), 1), (noise(c), noise(c))  # larger than any cache

    def find() -> Any:
        return model.routed(warped0, warped1, flow, seen, "apr", KEEP)

    def static(memory_format: torch.memory_format) -> Contender:
        frames = inputs.contiguous(memory_format=memory_format)
        contexts = [
            (context[0].contiguous(memory_format=memory_format), context[1].contiguous(memory_format=memory_format))
        ]
        return Contender(
            lambda: model.synthesis(frames, contexts * BLOCKS, [None] * BLOCKS, None), torch.inference_mode
        )

    contenders = {
        STATIC: static(torch.contiguous_format),
        STATIC_LAST: static(torch.channels_last),
        ROUTED: Contender(lambda: model.synthesis(inputs, [context] * BLOCKS, *find()[1:]), torch.inference_mode),
        ROUTING: Contender(find, torch.inference_mode),
    }
    return {name: times["median_ms"] for name, times in interleave(contenders, CpuClock(), budget).items()}


def measure_frame(model: apr_vfi.APRVFI, size: tuple[int, int], budget: Budget) -> dict[str, float]:
    """Milliseconds of a frame between two, flow and features included."""
    frames = torch.rand(2, 1, 3, *size)
    contenders = {
        STATIC: Contender(lambda: model.interpolate(*frames, 0.5, "static"), torch.inference_mode),
        ROUTED: Contender(lambda: model.interpolate(*frames, 0.5, "apr", KEEP), torch.inference_mode),
    }
    return {name: times["median_ms"] for name, times in interleave(contenders, CpuClock(), budget).items()}


def measure(quick: bool = False) -> dict[str, Any]:
    """Milliseconds, {"synthesis": {"static": .., ...}, "frame": ..}, and "macs", true ones of the synthesis."""
    torch.manual_seed(0)
    model, size = apr_vfi.load(), TRIAL if quick else SIZE
    budget, frame_budget = (QUICK, QUICK) if quick else (BUDGET, FRAME_BUDGET)
    macs = {
        STATIC: count_macs(model, size, "true", routing="static").parts["synthesis"],
        ROUTED: count_macs(model, size, "true", routing="apr", keep=KEEP).parts["synthesis"],
    }
    return {
        "size": size,
        "keep": KEEP,
        "threads": torch.get_num_threads(),
        "synthesis": measure_synthesis(model, size, budget),
        "frame": measure_frame(model, size, frame_budget),
        "macs": macs,
    }


def saved(figures: dict[str, float]) -> float:
    """The share that routing saves of the static figure, the smaller one if there are two."""
    return 1 - figures[ROUTED] / min(figures[STATIC], figures.get(STATIC_LAST, figures[STATIC]))


def efficiency(document: dict[str, Any] | None) -> float | None:
    """Share of the synthesis' time that is saved, over that of its multiply-accumulates; None: not measured."""
    return None if document is None else saved(document["synthesis"]) / saved(document["macs"])


def cells(document: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table."""
    head = ["", STATIC, STATIC_LAST, ROUTED, ROUTING, "saved"]
    rows = []
    for name, title in (("synthesis", "synthesis"), ("frame", "whole frame")):
        times = document[name]
        shown = [f"{times[key]:.0f} ms" if key in times else "-" for key in head[1:-1]]
        rows.append([title, *shown, f"{saved(times):.1%}"])
    macs = [f"{document['macs'][key] / 1e9:.1f} G" for key in (STATIC, ROUTED)]
    rows.append(["synthesis, true multiply-accumulates", macs[0], "-", macs[1], "-", f"{saved(document['macs']):.1%}"])
    return head, rows


if __name__ == "__main__":
    from vfi_kernels.bench.report import text_table

    result = measure()
    print(
        f"APR-VFI, {SIZE[0]}x{SIZE[1]}, float32, {result['threads']} threads, blocks 2 to 5 see {KEEP} of the patches"
    )
    print(text_table(*cells(result)))
    print(f"share of the synthesis' time saved over share of its multiply-accumulates saved: {efficiency(result):.2f}")
