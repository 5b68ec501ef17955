"""Prints tables of docs/gpu.md: instructions of kernels beside the arithmetic of their formulas; what passes cost.

Counted by the simulator (needs nvcc, no GPU), of PTX for sm_90: `python scripts/arithmetic.py [--op adacof]`.
Multiplications and additions of the formula are counted, each by itself."""

import argparse
import contextlib
from collections.abc import Callable, Iterator, Sequence

from vfi_kernels._types import Facts
from vfi_kernels.bench import simulate, simulator
from vfi_kernels.bench.gpus import GPUS
from vfi_kernels.bench.jobs import Job
from vfi_kernels.bench.measure import contender, deterministically, make_arguments
from vfi_kernels.testing import load_cases

Operations = dict[str, float]  # of a pixel of the output, by a part of the kernel's name


def adacof(job: Job) -> Operations:
    """Of each tap: 2 additions for its place, 2 fractions, 2 complements; then products with four corners."""
    channels, taps = job.size[1], int(job.case.rpartition("-")[2]) ** 2
    place, corners = 6, 4 * 2 * channels
    if job.mode == "forward":
        return {"adacof_kernel": taps * (place + 6 + corners)}  # 6: the weights, with the tap's own
    value, slopes = 9, 2 * 6  # out of the four corners' sums
    shares = place + 4 + channels + corners
    return {
        "adacof_grad_taps": taps * (place + corners + value + slopes),
        "adacof_grad_scatter": taps * shares,
        "adacof_grad_fixed": taps * shares,
    }


def sepconv(job: Job) -> Operations:
    """The sums over one kernel, then over the other."""
    taps = int(job.case.rpartition("-")[2])
    products = 2 * job.size[1] * taps * (taps + 1)
    if job.mode == "forward":
        return {"sepconv_kernel": products}
    # fLb1, fLb0: of the columns, of the rows. Of the image: V grad_out once for all taps of the rows.
    return {"fLb1": products, "fLb0": products, "sepconv_grad_image": job.size[1] * taps * (2 * taps + 1)}


def correlation_lookup(job: Job) -> Operations:
    """Windows of 9 x 9 in 4 levels: products with 10 x 10 neighbours, blended."""
    channels, levels, outputs, neighbours = job.size[1], 4, 9 * 9, 10 * 10
    blend, spread = 10, 7  # an output of four products, with its scale; four outputs' gradients to a neighbour
    pooled = 4 * channels * (1 / 4 + 1 / 16 + 1 / 64)
    if job.mode == "forward":
        return {"lookup_kernel": levels * (neighbours * 2 * channels + blend * outputs), "lookup_pool": pooled}
    slopes = 2 * (spread + 2)
    return {
        "lookup_grad_kernel": levels * neighbours * (2 * channels + spread + 2 * channels + slopes),
        "lookup_grad_level": levels * neighbours * (2 * channels + spread) + 2 * channels * (1 + 1 / 4 + 1 / 16),
        "lookup_pool": pooled,
    }


FORMULAS: dict[str, Callable[[Job], Operations]] = {f.__name__: f for f in (adacof, sepconv, correlation_lookup)}
SIZES = {  # large enough for few pixels to lie at borders, small enough to be run in a minute
    "adacof-5": (1, 3, 128, 128),
    "adacof-11": (1, 3, 128, 128),
    "sepconv-25": (1, 3, 128, 128),
    "sepconv-51": (1, 3, 128, 128),
    "correlation_lookup": (1, 256, 64, 96),
}


def kernels_of(job: Job, deterministic: bool) -> list[Facts]:
    case = load_cases()[job.case]
    way = deterministically(contextlib.nullcontext) if deterministic else simulate.in_any_order()
    # The sums of a scatter are finished by a kernel of splat.
    with way, simulator.simulated("9.0", ["splat", case.op], races=False) as counts:
        entrant = contender(case.call, make_arguments(case, job, job.dtype), job, contextlib.nullcontext)
        counts.forget()  # a backward needs a forward first
        entrant.run()
        return counts.kernels()


def rows_of(job: Job, deterministic: bool) -> Iterator[Facts]:
    """A row for each of the kernels that have a formula, and one for all of the call."""
    kernels = kernels_of(job, deterministic)
    formula = FORMULAS[load_cases()[job.case].op](job)
    pixels, found = simulate.pixels(job.size), 0.0
    for part, operations in formula.items():
        lanes = sum(k.get("lanes", 0) for k in kernels if part in k["name"])
        if lanes:
            found += operations
            yield row(job, deterministic, part, lanes / pixels, operations)
    yield row(job, deterministic, "all", sum(k.get("lanes", 0) for k in kernels) / pixels, found)


def row(job: Job, deterministic: bool, kernel: str, instructions: float, operations: float) -> Facts:
    names = {"fLb1": "sepconv_grad_weights, columns", "fLb0": "sepconv_grad_weights, rows"}
    return {
        "case": job.case,
        "dtype": job.dtype,
        "mode": job.mode + (", deterministic" if deterministic else ""),
        "kernel": names.get(kernel, kernel),
        "instructions": instructions,
        "operations": operations,
        "ratio": instructions / operations,
    }


def jobs(ops: Sequence[str], dtypes: Sequence[str], modes: Sequence[str]) -> Iterator[tuple[Job, bool]]:
    for name, size in SIZES.items():
        if ops and load_cases()[name].op not in ops and name not in ops:
            continue
        for dtype in dtypes:
            for mode in modes:
                job = Job(name, "small", size, dtype, mode=mode, recording="grad" if mode == "backward" else "no_grad")
                ways = (False, True) if load_cases()[name].op == "adacof" and mode == "backward" else (False,)
                for deterministic in ways:
                    yield job, deterministic


def print_passes() -> None:
    """What it costs that the output of mixture_lora is written, read and written where one pass would do."""
    columns = ("layer", "GPU", "products", "two passes more", "share")
    print("\n| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for layer, size in load_cases()["mixture_lora-one"].large.items():
        tokens, width = size[2:]
        for gpu in GPUS.values():
            products = 2 * tokens * width * width / (gpu.tensor["half"] * 1e6)
            more = 2 * tokens * width * 2 / (gpu.bandwidth * 1e3)
            print(f"| {layer} | {gpu.name} | {products:.0f} us | {more:.1f} us | {more / products:.0%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--op", nargs="+", default=(), help="names of ops (default: all)")
    parser.add_argument("--dtype", nargs="+", default=("float32", "float16"),
                        help="default: %(default)s")  # fmt: skip
    parser.add_argument("--mode", nargs="+", default=("forward", "backward"),
                        help="default: %(default)s")  # fmt: skip
    asked = parser.parse_args()
    columns = ("case", "dtype", "mode", "kernel", "instructions", "operations", "ratio")
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for job, deterministic in jobs(asked.op, asked.dtype, asked.mode):
        for found in rows_of(job, deterministic):
            cells = [found[c] if isinstance(found[c], str) else f"{found[c]:.{2 * (c == 'ratio')}f}" for c in columns]
            print("| " + " | ".join(cells) + " |", flush=True)
    print_passes()


if __name__ == "__main__":
    main()
