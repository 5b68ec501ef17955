"""`vfi interpolate --ray`: what it costs here, and what would become of it on many nodes.

`python benchmarks/scale.py --measure --json FILE`: a film of 20 segments by the plain command on one core, by two of
them on a core each (what the cores have) and on a cluster of this machine with one and with two nodes of one core, in
turns; and what the driver spends on a task. Reading and writing have threads of their own beside the model's: only a
core of its own makes a node what it is elsewhere. Ray binds the machine's own interface: `unshare -n` with its loopback
up keeps all of it inside.

`python benchmarks/scale.py --simulate FILE`: with these figures and the assumptions of `Setting`, films are handed out
as vfi.commands.cluster.films does, to 10, 100 and 1,000 nodes of which some vanish. `--write` puts both tables into
docs/scale.md.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
from cluster_simulation import MB, Setting, Simulation

from vfi.commands.cluster.films import WAITING
from vfi.commands.cluster.nodes import MOST_RUNS
from vfi_kernels.bench.report import between_marks, markdown_table, text_table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scale.md"
MEASURED = "<!-- measured: written by benchmarks/scale.py -->\n", "<!-- end of what was measured -->\n"
SIMULATED = "<!-- simulated: written by benchmarks/scale.py -->\n", "<!-- end of what was simulated -->\n"
SEGMENTS, SECONDS, SIZE = 20, 3, (640, 360)
TASKS = (200, 4000)  # that the driver waits for at once


def film(path: Path) -> None:
    """Moving noise, so that neither the model nor the encoder has it easy."""
    from vfi.video.encoder import Picture
    from vfi.video.encodings import Encoding
    from vfi.video.writer import VideoWriter

    rate = Fraction(12)
    width, height = SIZE
    base = np.random.default_rng(0).integers(0, 255, (height // 8 + 30, width // 8 + 60, 3), np.uint8)
    large = np.kron(base, np.ones((8, 8, 1), np.uint8))
    writer = VideoWriter(path, Picture(width, height, rate, 1 / rate), Encoding(crf=20))
    for number in range(int(SEGMENTS * SECONDS * rate)):
        at = number % 60
        writer.write(np.ascontiguousarray(large[at : at + height, 3 * at : 3 * at + width]), number / rate)
    writer.finish()


@contextmanager
def on_core(number: int) -> Iterator[None]:
    """What begins inside stays on this core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(before)[number]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def begun(arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-m", "vfi", "interpolate", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def alone(*commands: Sequence[str]) -> float:
    """Seconds of commands at once, on a core each, from their start to the end of the last."""
    start, going = time.monotonic(), []
    for number, each in enumerate(commands):
        with on_core(number):
            going.append(begun(each))
    return ended(start, *going)


def on_cluster(count: int, arguments: Sequence[str]) -> float:
    """Seconds of a command whose tasks run on as many nodes, of a core each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for number in range(count):
        with on_core(number):
            cluster.add_node(num_cpus=1)
    start = time.monotonic()
    took = ended(start, begun([*arguments, "--ray", cluster.address, "--ray-resources", "CPU=1"]))
    cluster.shutdown()
    return took


def ended(start: float, *going: subprocess.Popen[bytes]) -> float:
    failed = [each.args for each in going if each.wait()]
    assert not failed, failed
    return time.monotonic() - start


def measured(rounds: int) -> dict[str, object]:
    """In seconds; see this file's head."""
    costs = driver_costs()
    found: dict[str, list[float]] = {"plain": [], "two at once": [], "one worker": [], "two workers": []}
    with tempfile.TemporaryDirectory() as folder:
        source, output = f"{folder}/in.mp4", f"{folder}/out.mp4"
        film(Path(source))
        asked = ["--overwrite", "--quiet", "--segment", str(SECONDS), "--encoder-option", "threads=1"]
        common = [source, "-o", output, *asked]
        for _ in range(rounds):
            found["plain"].append(alone(common))
            found["two at once"].append(alone(common, [source, "-o", f"{folder}/other.mp4", *asked]))
            for name, count in (("one worker", 1), ("two workers", 2)):
                found[name].append(on_cluster(count, common))
            print({name: [round(each, 1) for each in values] for name, values in found.items()}, flush=True)
        size = Path(output).stat().st_size
    medians = {name: statistics.median(values) for name, values in found.items()}
    return {**medians, "bytes": size, "frames": 2 * SEGMENTS * SECONDS * 12, "driver": costs}


def driver_costs() -> dict[str, float]:
    """Seconds of the driver for a task that does nothing, by how many it waits for at once."""
    import ray

    ray.init(address="local", num_cpus=1, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    nothing = ray.remote(num_cpus=0.01, max_retries=MOST_RUNS - 1)(lambda: None)
    ray.get([nothing.remote() for _ in range(100)])
    costs = {}
    for count in TASKS:
        begun = time.process_time()
        left = [nothing.remote() for _ in range(count)]
        while left:
            ready, left = ray.wait(left, num_returns=len(left), timeout=WAITING)
            ray.get(ready)
        costs[str(count)] = (time.process_time() - begun) / count
    ray.shutdown()
    return costs


def told(found: dict[str, object]) -> tuple[list[str], list[list[str]]]:
    """What was measured."""
    names = ("plain", "two at once", "one worker", "two workers")
    plain, both, one, two = (float(str(found[name])) for name in names)
    most = f"{2 * plain / both:.2f} films in the time of one"
    lines = [
        ["the plain command, on one core", f"{plain:.1f} s", ""],
        ["two plain commands at once, a core and a film each", f"{both:.1f} s", most],
        ["`--ray`, one node of one core", f"{one:.1f} s", f"{one / plain:.2f} of that, {one - plain:+.1f} s"],
        ["`--ray`, two nodes of one core", f"{two:.1f} s", f"{one / two:.2f} times as fast as one"],
    ]  # fmt: skip
    costs = found["driver"]
    assert isinstance(costs, dict)
    for count, cost in costs.items():
        lines.append(
            [
                f"the driver, {int(count):,} tasks at once",
                f"{1e3 * cost:.2f} ms a task",
                f"{1 / cost:,.0f} tasks a second",
            ]
        )
    return ["", "took", ""], lines


SETTINGS = {
    "10 nodes": Setting(nodes=10, films=200),
    "100 nodes": Setting(nodes=100, films=2_000),
    "1,000 nodes": Setting(nodes=1_000),
    "1,000 nodes, all stay": Setting(nodes=1_000, life=1e12),
    "1,000 nodes that live an hour": Setting(nodes=1_000, life=3600.0),
    "1,000 nodes, films of 30 s": Setting(nodes=1_000, films=400_000, minutes=0.5, segment=30.0),
    "1,000 nodes, as it was first": Setting(nodes=1_000, light=1.0, bounded=False),
}


def foretold(cost: float) -> tuple[list[str], list[list[str]]]:
    lines = []
    for name, given in SETTINGS.items():
        result = Simulation(given, cost).run()
        whole = result.seconds * given.nodes * given.slots
        lines.append([
            name, f"{given.films:,}", f"{result.seconds / 3600:.1f} h", f"{100 * result.work / whole:.0f} %",
            f"{100 * result.lost / whole:.1f} %", f"{100 * result.driver / result.seconds:.1f} %",
            f"{result.most_known * given.state / MB:.0f} MB", f"{result.moved / 1e12:.1f} TB",
            f"{result.requests / 1e6:.1f} M", str(result.failed),
        ])  # fmt: skip
    head = ["", "films", "takes", "busy rendering", "lost with nodes", "driver busy", "driver's memory", "bytes moved",
            "requests", "tasks given up"]  # fmt: skip
    return head, lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="on this machine")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, help="where to keep what was measured")
    parser.add_argument("--simulate", type=Path, metavar="FILE", help="with what was kept there")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/scale.md")
    options = parser.parse_args()
    if options.measure:
        found = measured(options.rounds)
        print(text_table(*told(found)))
        if options.json:
            options.json.write_text(json.dumps(found, indent=1) + "\n")
    if options.simulate:
        found = json.loads(options.simulate.read_text())
        table = foretold(max(found["driver"].values()))
        print(text_table(*table))
        if options.write:
            page = between_marks(PAGE.read_text(), MEASURED, markdown_table(*told(found)) + "\n")
            PAGE.write_text(between_marks(page, SIMULATED, markdown_table(*table) + "\n"))


if __name__ == "__main__":
    main()
