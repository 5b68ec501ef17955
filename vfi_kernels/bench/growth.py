"""Which small sizes of a call are simulated, and how their counts are continued to its own size."""

from collections.abc import Sequence

import numpy

from vfi_kernels._types import Facts
from vfi_kernels.bench.jobs import Job
from vfi_kernels.bench.measure import make_arguments, options_of, products_of
from vfi_kernels.testing import load_cases, made_large

Size = tuple[int, ...]  # (B, C, H, W)
SIDES = (64, 256)  # rows and columns, at most, of an op without products
TILES = (64, 128)  # of one with products: whole tiles of any kernel
ROWS = (128, 256)  # of features

COUNTS = ("lanes", "issued", "requests", "sectors", "wavefronts", "least_wavefronts", "blocks", "most_blocks",
          "threads", "sectors_read", "sectors_written", "sectors_added", "divisions")  # fmt: skip
COUNTS_BY_CLASS = ("issued_by_class", "lanes_by_class", "requests_by_class", "sectors_by_class",
                   "tensor_multiplications")  # fmt: skip


def pixels(size: Sequence[int]) -> int:
    return size[0] * size[2] * size[3]


def holds_features(job: Job) -> bool:
    """Whether the last dimension of the op's tensors holds features."""
    cases = load_cases()
    return any(case.local == "features" for case in cases.values() if case.op == cases[job.case].op)


def has_products(job: Job) -> bool:
    case, size = load_cases()[job.case], (1, job.size[1], 16, 16)
    with made_large():
        arguments = make_arguments(case, Job(job.case, "tiny", size, job.dtype, job.layout), job.dtype)
    return products_of(case, arguments) is not None


def small_sizes(job: Job) -> list[Size]:
    """What is run of a job: its own size where that is small; else two or three parts of one image, with all channels.

    Where the last dimension holds features they are kept. An op on every other patch gets an even number of them. An op
    with products costs most, and its borders little: two sizes of whole tiles. Three sizes tell borders from pixels."""
    batch, channels, height, width = job.size
    patch = options_of(load_cases()[job.case]).get("patch")
    if holds_features(job):
        sizes: list[Size] = [(1, channels, rows, width) for rows in ROWS]
        return sizes if batch * channels * height > ROWS[-1] else [job.size]
    if patch is not None:
        sides = [(2 * patch, 2 * patch), (4 * patch, 4 * patch)]
    elif min(height, width) <= SIDES[0] or pixels(job.size) <= TILES[1] ** 2:
        return [job.size]
    elif has_products(job):
        sides = [(TILES[0], TILES[1]), (TILES[1], TILES[1])]
    else:
        sides = [(SIDES[0], SIDES[0]), (SIDES[0], SIDES[1]), (SIDES[1], SIDES[1])]
    sizes = [(1, channels, min(rows, height), min(columns, width)) for rows, columns in sides]
    return sizes if pixels(sizes[-1]) < pixels(job.size) else [job.size]


def parts(size: Sequence[int], count: int) -> list[int]:
    """Of `count` sizes: what does not grow, what grows with the pixels, and what grows with the borders."""
    return [1, pixels(size), size[0] * (size[2] + size[3])][:count]


def grown(values: Sequence[float], sizes: Sequence[Size], to: Sequence[int]) -> float:
    """Continues a count from `sizes` to the size `to`."""
    if len(sizes) == 1:
        return values[-1]
    of_parts = numpy.linalg.solve([parts(size, len(sizes)) for size in sizes], values)
    return max(0.0, float(of_parts @ parts(to, len(sizes))))


def extrapolated(runs: Sequence[Sequence[Facts]], sizes: Sequence[Size], to: Sequence[int]) -> list[Facts]:
    """The kernels of the last run with their counts at the size `to`. One that another run lacks grows with pixels."""
    named = [{kernel["name"]: kernel for kernel in kernels} for kernels in runs]
    found = []
    for last in runs[-1]:
        group = [kernels.get(last["name"]) for kernels in named]
        shares = [1.0 if all(group) else pixels(size) / pixels(sizes[-1]) for size in sizes]
        same = [kernel if kernel and all(group) else last for kernel in group]
        new = dict(last)
        for name in (n for n in COUNTS if n in last):
            new[name] = grown([share * kernel[name] for share, kernel in zip(shares, same)], sizes, to)
        for name in (n for n in COUNTS_BY_CLASS if n in last):
            of_class = {key: [s * k[name].get(key, 0) for s, k in zip(shares, same)] for key in last[name]}
            new[name] = {key: grown(values, sizes, to) for key, values in of_class.items()}
        found.append(new)
    return found
