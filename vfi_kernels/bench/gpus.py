"""The GPUs that `vfi-kernels bench --simulate` gives bounds for, and how a bound is made of counts (docs/gpu.md).

Sources: [A100] NVIDIA A100 80GB datasheet and "NVIDIA A100 Tensor Core GPU Architecture" white paper, tables 2 and 4;
[H100] "NVIDIA H100 Tensor Core GPU Architecture" white paper, table 3, and the H100 SXM5 datasheet; [H200] the H200 SXM
datasheet; [4090] "NVIDIA Ada GPU Architecture" white paper, appendix A. Schedulers, special and double units: CUDA C++
Programming Guide, "Throughput of Native Arithmetic Instructions" and the chapters of compute capabilities.
"""

from dataclasses import dataclass

from vfi_kernels._types import Facts

SECTOR = 32  # bytes
LANES = 32
SCHEDULERS = 4  # of a multiprocessor; each issues an instruction of a warp a clock
SPECIAL = 16  # results of the special unit a clock and multiprocessor
L2_SECTORS = 2  # between a multiprocessor and the second cache, a clock: 64 bytes
# What ptxas makes no instruction of, as a rule: moves become operands, parameters lie in the constant bank.
FREE = ("move", "parameter")


@dataclass(frozen=True)
class Gpu:
    name: str
    arch: str  # compute capability
    multiprocessors: int
    clock: float  # GHz, boost
    bandwidth: float  # GB/s of its memory
    tensor: dict[str, float]  # TFLOP/s, dense, float32 sums, by factor: half (and bfloat16), tf32
    double: int  # float64 results a clock and multiprocessor
    threads: int  # resident on a multiprocessor
    shared: int  # KiB of a multiprocessor
    source: str


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("A100", "8.0", 108, 1.41, 2039, {"half": 312, "tf32": 156}, 32, 2048, 164, "A100"),
        Gpu("H100", "9.0", 132, 1.98, 3350, {"half": 989.4, "tf32": 494.7}, 64, 2048, 228, "H100"),
        Gpu("H200", "9.0", 132, 1.98, 4800, {"half": 989.4, "tf32": 494.7}, 64, 2048, 228, "H200"),
        Gpu("RTX 4090", "8.9", 128, 2.52, 1008, {"half": 165.2, "tf32": 82.6}, 2, 1536, 100, "4090"),
    )
}


def bounds(kernel: Facts, gpu: Gpu) -> dict[str, float]:
    """Microseconds that the launches of a kernel take at the least, by what bounds them."""
    busy = gpu.multiprocessors
    if not kernel.get("sized_by_device"):  # a grid that asks how many there are has a block for each
        busy = min(busy, kernel.get("most_blocks", busy))
    clocks = busy * gpu.clock * 1e3  # of all busy multiprocessors together, in a microsecond
    moved = SECTOR * (kernel["sectors_read"] + kernel["sectors_written"] + 2 * kernel["sectors_added"])
    found = {"memory": moved / (gpu.bandwidth * 1e3)}
    if "issued" not in kernel:  # memory that was cleared
        return found
    issued = kernel["issued_by_class"]
    real = kernel["issued"] - sum(issued.get(name, 0) for name in FREE)
    found["issue"] = max(
        real / SCHEDULERS,
        issued.get("special", 0) * LANES / SPECIAL,
        issued.get("double", 0) * LANES / gpu.double,
    ) / clocks  # fmt: skip
    accesses = sum(kernel["requests_by_class"].get(name, 0) for name in ("load_global", "store_global"))
    found["shared memory"] = (kernel["wavefronts"] + accesses) / clocks
    found["atomics"] = kernel["sectors_by_class"].get("atomic", 0) / L2_SECTORS / clocks
    products = kernel["tensor_multiplications"]
    found["tensor core"] = sum(2 * n / (gpu.tensor[factor] * 1e6) for factor, n in products.items())
    return found


def occupancy(kernel: Facts, gpu: Gpu) -> float:
    """Resident threads over those that a multiprocessor can hold."""
    warps: int = -(-kernel["block_threads"] // LANES)
    registers: int = max(8, -(-kernel["registers"] // 8) * 8) * LANES * warps
    kept = 1024 if gpu.arch != "7.5" else 0  # bytes of each block's shared memory that the system has
    blocks: int = min(
        65536 // registers, gpu.threads // (warps * LANES), gpu.shared * 1024 // (kernel["shared_bytes"] + kept), 32
    )
    return blocks * warps * LANES / gpu.threads
