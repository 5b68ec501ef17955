"""Whole networks by every engine and precision, beside the same network in plain torch, and that in OpenVINO and
onnxruntime. Frames of one size, t = 0.5, new frames every time; taking turns, medians. Processor time, of all threads,
does not count what else runs on the machine.

python benchmarks/engines.py            all of them that are installed
python benchmarks/engines.py --uhd      peak memory of RIFE 4.25 at 3840x2160, whole and in tiles
python benchmarks/engines.py --startup  seconds until the first frame of a command
python benchmarks/engines.py --choice   seconds that `auto` takes to choose, the first time and later
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import memory
import torch
from plain_networks import in_plain_torch, plain
from torch import Tensor, nn

from vfi.data.synthetic import triplet
from vfi.engines.choice import decibels
from vfi.engines.machine import Machine
from vfi.engines.plans import built, plans
from vfi.engines.stop import quiet
from vfi.errors import UserError
from vfi.files.allocator import keep_blocks
from vfi.files.images import to_array, write_image
from vfi.models import apr_vfi, ebme, rife
from vfi.models.interpolator import Interpolator
from vfi.models.on_engine import on_engine
from vfi_kernels.bench.report import text_table

Call = Callable[[Tensor, Tensor], Tensor]
NETWORKS: dict[str, Callable[[], Interpolator]] = {
    "RIFE (ECCV)": rife.load,
    "RIFE 4.6": lambda: rife.load(variant="4.6"),
    "RIFE 4.25": lambda: rife.load(variant="4.25"),
    "RIFE 4.25.lite": lambda: rife.load(variant="4.25.lite"),
    "EBME": lambda: ebme.EBMESplat(ebme.load()).eval(),
    "APR-VFI": lambda: apr_vfi.load().set_usual("static"),
}
SIZES = ((576, 1024), (1088, 1920))  # 1080 rows made to fit all
PLAIN, OURS = "plain torch", "ours"
UHD, TILE = (2160, 3840), 1024


def made(name: str) -> Interpolator:
    """With fresh weights, the last layers of flow enlarged so that things move by some pixels."""
    torch.manual_seed(0)
    model = NETWORKS[name]()
    with torch.no_grad():
        for key, value in model.named_parameters():
            value.mul_(4 if "lastconv" in key else 1)
    return model


def frames(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    three = triplet(seed=0, size=size, max_motion=24.0).frames
    return three[:1].contiguous(), three[2:].contiguous()


def by_model(model: Interpolator) -> Call:
    return lambda a, b: model.interpolate(a, b, 0.5)


def calls(name: str, size: tuple[int, int], compile: bool, wanted: list[str] | None = None) -> dict[str, Call]:
    """What can run here, by label; Inductor only if it is asked for, since it takes a minute."""
    model = made(name)
    found: dict[str, Call] = {}

    def offer(label: str, make: Callable[[], Call]) -> None:
        if wanted is None or label in wanted:
            try:
                found[label] = make()
            except UserError as error:
                print(f"{name}: no {label}: {error}", file=sys.stderr)

    offer(PLAIN, lambda: in_plain_torch(model))
    offer(OURS, lambda: by_model(model))
    machine = Machine.here("cpu")
    for engine in ("torch", *(["compile"] if compile else []), "openvino", "onnxruntime"):
        try:
            offered = [plan for plan in plans(engine, "auto", "cpu", machine) if plan.precision != "float16"]
        except UserError as error:
            print(f"{name}: no {engine}: {error}", file=sys.stderr)
            continue
        for plan in offered:
            offer(str(plan), lambda plan=plan: by_model(built(model, plan)))
    offer("auto", lambda: by_model(on_engine(model, "auto", "auto", "cpu", lambda text: print(f"{name}: {text}"))))
    network = plain(model)
    if network is not None:
        for label, make in exported(network, size).items():
            offer(label, make)
    return found


def exported(network: nn.Module, size: tuple[int, int]) -> dict[str, Callable[[], Call]]:
    """The plain network's ONNX in OpenVINO and onnxruntime, as far as these are installed."""
    kept: list[bytes] = []

    def onnx() -> bytes:
        if not kept:
            with warnings.catch_warnings(), quiet(), torch.no_grad():
                warnings.simplefilter("ignore")
                example = tuple(torch.rand(1, 3, *size) for _ in range(2))
                network(*example)  # keeps grids of this size, which must not be made while exporting
                kept.append(torch.onnx.export(network, example, dynamo=True).model_proto.SerializeToString())
        return kept[0]

    def in_openvino(precision: str) -> Call:
        from vfi.engines.openvino_engine import HINTS, core

        hints = {"INFERENCE_PRECISION_HINT": HINTS[precision], "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        request = core().compile_model(core().read_model(onnx(), b""), "CPU", hints).create_infer_request()
        return lambda a, b: torch.from_numpy(request.infer([a.numpy(), b.numpy()], share_inputs=True)[0])

    def in_onnxruntime() -> Call:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(onnx(), options, providers=["CPUExecutionProvider"])
        names = [each.name for each in session.get_inputs()]
        return lambda a, b: torch.from_numpy(session.run(None, dict(zip(names, (a.numpy(), b.numpy()))))[0])

    try:
        from vfi.engines.openvino_engine import precisions

        able = precisions("CPU")
    except UserError:
        return {}
    return {
        **{f"OpenVINO, plain network, {each}": lambda each=each: in_openvino(each) for each in able},
        "onnxruntime, plain network, float32": in_onnxruntime,
    }


def measure(name: str, size: tuple[int, int], options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each label."""
    pair, seconds, processor, results = frames(size), {}, {}, {}
    with torch.no_grad():
        found = calls(name, size, options.compile, options.engine)
        for n in range(options.rounds + 1):
            for label, call in found.items():
                fresh = [frame.clone() for frame in pair]
                start, worked = time.perf_counter(), time.process_time()
                results[label] = call(*fresh)
                if n:  # the first round warms up
                    seconds.setdefault(label, []).append(time.perf_counter() - start)
                    processor.setdefault(label, []).append(time.process_time() - worked)
        truth = in_plain_torch(made(name))(*pair)
    yardstick, own = statistics.median(seconds[PLAIN]), statistics.median(processor[PLAIN])
    rows = []
    for label in found:
        middle, error = statistics.median(seconds[label]), (results[label] - truth).abs() * 255
        rows.append({
            "network": name, "size": f"{size[1]}x{size[0]}", "engine": label, "ms": 1e3 * middle,
            "of_plain": middle / yardstick, "cpu_ms": 1e3 * statistics.median(processor[label]),
            "cpu_of_plain": statistics.median(processor[label]) / own,
            "psnr_db": decibels(results[label], truth),
            "levels_99_9": float(error.flatten().kthvalue(int(0.999 * error.numel()))[0]),
            "peak_mib": peak(name, size, label) if options.memory else None,
        })  # fmt: skip
    return rows


def peak(name: str, size: tuple[int, int], label: str) -> float | None:
    """MiB beyond weights and frames, in a process of its own."""
    command = [sys.executable, __file__, "--peak", name, str(size[0]), str(size[1]), label]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **memory.ALLOCATOR})
    return float(done.stdout.split()[-1]) if done.returncode == 0 else None


def peak_here(name: str, height: str, width: str, label: str) -> float:
    torch.set_num_threads(memory.THREADS)
    size = int(height), int(width)
    pair = frames(size)
    with torch.no_grad():
        if label.startswith("tile "):
            model = made(name)
            side = int(label.split()[1])
            return memory.beyond(lambda: model.interpolate(*pair, 0.5, tile=side))
        call = calls(name, size, label.startswith("compile"), [label])[label]
        if label not in (PLAIN, OURS):
            call(*pair)  # what is built stays; the run is what counts
        return memory.beyond(lambda: call(*pair))


def startup(rounds: int) -> None:
    """Seconds of `import torch`, and of a command that makes a frame of RIFE 4.25 between two of 640x360; medians."""
    with tempfile.TemporaryDirectory() as folder:
        for name, frame in zip("ab", frames((360, 640))):
            write_image(Path(folder, f"{name}.png"), to_array(frame))
        torch.save(cast(nn.Module, made("RIFE 4.25")).state_dict(), Path(folder, "flownet.pkl"))
        words = ["interpolate", "a.png", "b.png", "-o", "m.png", "--overwrite"]
        words += ["--model", "rife", "--weights", "flownet.pkl", "--engine", "torch"]
        programs = {"import torch": ["-c", "import torch"], "vfi interpolate": ["-m", "vfi", *words]}
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
        for _ in range(rounds):
            for name, program in programs.items():
                start, worked = time.perf_counter(), of_children()
                subprocess.run([sys.executable, *program], cwd=folder, check=True, capture_output=True)
                seconds[name].append((time.perf_counter() - start, of_children() - worked))
    for name, each in seconds.items():
        wall, processor = (statistics.median(column) for column in zip(*each))
        print(f"{name}: {wall:.2f} s, processor {processor:.2f} s")


def of_children() -> float:
    """Processor seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def choice(names: Sequence[str], sizes: Sequence[tuple[int, int]]) -> None:
    """Seconds of the choice of `auto` with an empty cache folder, and of the next one."""
    torch.set_num_threads(memory.THREADS)
    for name in names:
        for size in sizes:
            seconds, said = [], []
            with tempfile.TemporaryDirectory() as folder, torch.no_grad():
                os.environ["VFI_CACHE"] = folder
                for _ in range(2):
                    start = time.perf_counter()
                    on_engine(made(name), "auto", "auto", "cpu", said.append).plan_for(size)
                    seconds.append(time.perf_counter() - start)
            print(f"{name}, {size[1]}x{size[0]}: {seconds[0]:.1f} s, then {seconds[1]:.2f} s; {said[0]}", flush=True)


def table(rows: list[dict[str, Any]]) -> str:
    header = ["network", "size", "engine", "ms", "of plain", "processor ms", "of plain", "PSNR, dB", "99.9 %, levels",
              "peak, MiB"]  # fmt: skip
    cells = [
        [
            row["network"], row["size"], row["engine"], f"{row['ms']:.0f}", f"{row['of_plain']:.2f}",
            f"{row['cpu_ms']:.0f}", f"{row['cpu_of_plain']:.2f}",
            f"{min(row['psnr_db'], 99):.1f}", f"{row['levels_99_9']:.1f}",
            "-" if row["peak_mib"] is None else f"{row['peak_mib']:.0f}",
        ]
        for row in rows
    ]  # fmt: skip
    return text_table(header, cells)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Whole networks by every engine.")
    parser.add_argument("--network", nargs="+", choices=NETWORKS, default=[*NETWORKS],
                        help="which (default: %(default)s)")  # fmt: skip
    parser.add_argument("--size", nargs=2, type=int, action="append", metavar=("H", "W"),
                        help="of the frames, may be given again (default: 576 1024 and 1088 1920)")  # fmt: skip
    parser.add_argument("--engine", nargs="+", help="labels of the table's rows (default: all that can run)")
    parser.add_argument("--rounds", type=int, default=5, help="that take turns (default: %(default)s)")
    parser.add_argument("--memory", action="store_true", help="also the peak memory, a process for each row")
    parser.add_argument("--compile", action="store_true", help="also Inductor, which takes minutes to start")
    parser.add_argument("--json", help="write the rows to this file, too")
    parser.add_argument("--uhd", action="store_true", help="peak memory of RIFE 4.25 at 3840x2160, and nothing else")
    parser.add_argument("--startup", action="store_true", help="seconds until the first frame, and nothing else")
    parser.add_argument("--choice", action="store_true", help="seconds of the choice of auto, and nothing else")
    parser.add_argument(
        "--keep", action="store_true", help="memory that is free is kept, for every engine, as the command `vfi` does"
    )
    parser.add_argument("--peak", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if options.peak:
        print(peak_here(*options.peak))
        return
    if options.uhd:
        for label in (OURS, f"tile {TILE}"):
            print(f"RIFE 4.25, 3840x2160, float32, {label}: {peak('RIFE 4.25', UHD, label)} MiB")
        return
    if options.startup:
        startup(options.rounds)
        return
    sizes = [(height, width) for height, width in options.size or SIZES]
    if options.choice:
        choice(options.network, sizes)
        return
    if options.keep:
        keep_blocks()
    torch.set_num_threads(memory.THREADS)
    rows = [row for name in options.network for size in sizes for row in measure(name, size, options)]
    if options.json:
        with open(options.json, "w") as file:
            json.dump(rows, file, indent=1)
    print(table(rows))


if __name__ == "__main__":
    main()
