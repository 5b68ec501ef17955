"""Two commits of the library beside each other: `python scripts/compare.py --base main`.

The base is built in a git worktree of its own, which is removed at the end. Each side runs in a process of its own, and
they take turns row by row: a machine that is busy for a while disturbs both. A ratio is the time of this tree over that
of the base in the same turn; a row is slower or faster if its ratios in all turns say so, as they do by chance alone in
2 of 2^N rows, with N turns.

--simulate: no times, but what the CUDA kernels of both do, counted on the CPU (docs/gpu.md): with nvcc, without noise
and without a GPU. The exit code is 1 if the bound of a call on one of the GPUs grew by more than 0.5 %, and 2, here as
without --simulate, if nothing was compared.
"""

import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
Measure = Callable[[Any], float]  # a job's time in milliseconds; NotThere


class NotThere(Exception):
    """This side cannot run a job: an older commit may lack the op."""


class Side:
    """A process that measures with the library of one source tree, whenever it is asked."""

    def __init__(self, tree: Path) -> None:
        path = os.pathsep.join([str(tree), str(tree / "python")])
        environment = {**os.environ, "PYTHONPATH": path, "OMP_WAIT_POLICY": "passive"}
        command = [sys.executable, str(Path(__file__).resolve()), "--worker"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tree, env=environment
        )
        file = self._answer()
        if not Path(file).is_relative_to(tree):
            raise RuntimeError(f"compare: expected the library of {tree}, got {file}")

    def __call__(self, job: Any) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(asdict(job)) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"compare: a process ended with exit code {self.process.wait()}")
        answer = json.loads(line)
        if isinstance(answer, dict):
            raise NotThere(answer["error"])
        return answer

    def close(self) -> None:
        self.process.communicate()


def work() -> None:
    """The process of a Side: reads jobs, a line each, and answers with milliseconds or an error."""
    import vfi_kernels
    from vfi_kernels.bench.jobs import Job
    from vfi_kernels.bench.measure import OURS, measure
    from vfi_kernels.bench.timing import QUICK

    print(json.dumps(vfi_kernels.__file__), flush=True)
    for line in sys.stdin:
        try:
            job = json.loads(line)
            row = measure(Job(**{**job, "size": tuple(job["size"])}), [], QUICK, lambda step: None)
            print(json.dumps(row["timings"][OURS]["median_ms"]), flush=True)
        except Exception as error:  # whatever this commit cannot do is an answer
            print(json.dumps({"error": f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"}), flush=True)


def take_turns(jobs: Sequence[Any], base: Measure, head: Measure, rounds: int) -> Iterator[tuple[Any, list | str]]:
    """Each job with its pairs (base ms, head ms), the first to be asked changing every round; or why there are none."""
    for job in jobs:
        pairs = []
        try:
            for n in range(rounds):
                if n % 2:
                    after, before = head(job), base(job)
                else:
                    before, after = base(job), head(job)
                pairs.append((before, after))
        except NotThere as reason:
            yield job, str(reason)
        else:
            yield job, pairs


def line(job: Any, pairs: list | str) -> str:
    if isinstance(pairs, str):
        return f"{job}: not compared, because {pairs}"
    ratios = [after / before for before, after in pairs]
    word = "slower" if min(ratios) > 1 else "faster" if max(ratios) < 1 else "within noise"
    before, after = (statistics.median(times) for times in zip(*pairs))
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    return f"{statistics.median(ratios):5.2f}  {spread}  {before:9.4f} ms -> {after:9.4f} ms  {word:12}  {job}"


def report(rows: Sequence[tuple[Any, list | str]], base: str) -> str:
    """The geometric mean over all rows of the median ratio."""
    medians = [statistics.median(b / a for a, b in pairs) for _, pairs in rows if not isinstance(pairs, str)]
    if not medians:
        return f"nothing could be compared with {base}"
    mean = math.exp(statistics.fmean(map(math.log, medians)))
    return f"{mean:5.2f}  geometric mean of {len(medians)} rows: time of this tree over that of {base}"


def say(text: str) -> None:
    print(f"compare: {text}", file=sys.stderr, flush=True)


def build(tree: Path) -> None:
    say(f"building {tree}")
    subprocess.run([sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"], cwd=tree, check=True)


@contextmanager
def worktree(ref: str) -> Iterator[Path]:
    """The files of another commit, in a folder that is removed again."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder).resolve() / "base"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", tree, ref], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", tree], check=True)


Counts = dict[tuple, list[dict]]  # of a call: the rows of its kernels, then that of all of them
INSTRUMENT = ("csrc/testing/ptx", "vfi_kernels/bench")
NOTICED = 1.005  # times as much as before


def counted(tree: Path, options: argparse.Namespace, file: Path) -> Counts:
    """What `vfi-kernels bench --simulate` says of the library of a tree."""
    build(tree)
    say(f"counting {tree}")
    command = [sys.executable, "-m", "vfi_kernels._cli", "bench", "--simulate", "--json", str(file)]
    for name in ("op", "shape", "dtype", "layout", "mode", "gpu"):
        command += [f"--{name}", *getattr(options, name)] if getattr(options, name) else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tree), str(tree / "python")])}
    subprocess.run(command, cwd=tree, env=environment, check=True, stdout=subprocess.DEVNULL)
    names = ("case", "shape", "dtype", "layout", "mode", "flow", "deterministic")
    calls: Counts = {}
    for row in json.loads(file.read_text())["rows"]:
        calls.setdefault(tuple(row[name] for name in names), []).append(row)
    return calls


def figures(row: dict) -> dict[str, float]:
    """What of a row is compared: more of it is slower."""
    bytes_ratio = {} if row["bytes_ratio"] is None else {"of the least bytes": row["bytes_ratio"]}
    bounds = {f"us at least on {gpu}": us for gpu, us in row["bound_us"].items()}
    return {"instructions/px": row["instructions_per_pixel"], **bytes_ratio, **bounds}


def change(old: dict, new: dict) -> str:
    """What differs between two rows; empty if nothing does."""
    before, after = figures(old), figures(new)
    differing = [name for name in before.keys() & after.keys() if before[name] != after[name]]
    return "; ".join(f"{before[n]:.4g} -> {after[n]:.4g} {n}" for n in before if n in differing)


def verdict(old: dict, new: dict) -> str:
    """Of a call: by its bounds, and by its instructions where no bound says anything."""
    before, after = figures(old), figures(new)
    shares = {n: after[n] / before[n] for n in before.keys() & after.keys() if before[n] > 0}
    bounds = [share for name, share in shares.items() if " on " in name]
    if max(bounds) > NOTICED:
        return "slower"
    if min(bounds) < 1 / NOTICED:
        return "faster"
    more = shares["instructions/px"]
    return "more instructions" if more > NOTICED else "fewer instructions" if more < 1 / NOTICED else "about the same"


def changes(before: Counts, after: Counts) -> Iterator[tuple[str, str]]:
    """A verdict and its text for each call whose counts have changed, with the kernels that did; then of the rest."""
    same = 0
    for key in (key for key in before if key in after):
        old, new = ({row["kernel"]: row for row in calls[key]} for calls in (before, after))
        texts = {name: change(old[name], new[name]) for name in old if name in new}
        moved = [f"  {name}: {text}" for name, text in texts.items() if text and name != "all"]
        moved += [f"  {name}: runs no more" for name in old if name not in new]
        moved += [f"  {name}: is new" for name in new if name not in old]
        if not texts["all"] and not moved:
            same += 1
            continue
        word, (*where, deterministic) = verdict(old["all"], new["all"]), key
        where += ["deterministic"] if deterministic else []
        yield word, "\n".join([f"{word:18} {' '.join(where)}: {texts['all']}", *moved])
    yield "", f"{same} calls are the same; {len(before.keys() ^ after.keys())} are of one side only"


def simulate_both(tree: Path, options: argparse.Namespace) -> int:
    """Prints what changed from the library in `tree` to this one; 1 if a call's bound grew."""
    from vfi_kernels.bench.simulate import plain

    differs = subprocess.run(["git", "-C", str(ROOT), "diff", "--quiet", options.base, "--", *INSTRUMENT]).returncode
    if differs:
        print(f"the simulator itself differs from that of {options.base}: a count may differ for that reason")
    before, after = (counted(side, options, tree.parent / "counts.json") for side in (tree, ROOT))
    found = list(changes(before, after))
    for _, text in found:
        print(re.sub(r"\b_Z\w+", lambda m: plain(m[0]), text))
    return int(any(word == "slower" for word, _ in found))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="main", metavar="REF", help="the commit to compare with (default: main)")
    parser.add_argument("--op", nargs="+", metavar="NAME", help="ops or cases, * matches (default: all)")
    parser.add_argument(
        "--shape", nargs="+", default=["first"], metavar="NAME", help="as of vfi-kernels bench (default: first)"
    )
    parser.add_argument(
        "--dtype", nargs="+", default=["float32"], metavar="NAME", help="of all arguments (default: float32)"
    )
    parser.add_argument("--layout", nargs="+", default=["nchw"], metavar="NAME", help="nchw (default), channels_last")
    parser.add_argument(
        "--mode", nargs="+", default=["forward"], metavar="NAME", help="forward (default), backward, both"
    )
    parser.add_argument("--threads", nargs="+", type=int, metavar="N", help="CPU threads (default: torch's)")
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu (default) or cuda")
    parser.add_argument("--simulate", action="store_true", help="count what CUDA kernels do, in place of times")
    parser.add_argument("--gpu", nargs="+", metavar="NAME", help="bounds for these in --simulate (default: all known)")
    parser.add_argument("--rounds", type=int, default=11, metavar="N", help="turns of each row (default: 11)")
    parser.add_argument("--list", action="store_true", help="only print the rows that would be measured")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    if options.worker:
        work()
        return 0
    sys.path[:0] = [str(ROOT), str(ROOT / "python")]  # the library of this tree, whatever is installed
    if not list((ROOT / "vfi_kernels").glob("_C*")):
        build(ROOT)
    from vfi_kernels.bench.jobs import UsageError, plan

    try:
        if options.rounds < 1:
            raise UsageError(f"expected --rounds of at least 1, got {options.rounds}")
        jobs = plan(
            **{name: getattr(options, name) for name in ("op", "shape", "dtype", "layout", "mode", "threads", "device")}
        )
    except UsageError as error:
        say(str(error))
        return 2
    if options.list:
        print(*jobs, sep="\n")
        return 0
    try:
        with worktree(options.base) as tree:
            if options.simulate:
                return simulate_both(tree, options)
            measure_both(jobs, tree, options.rounds, options.base)
    except subprocess.CalledProcessError as error:  # git, the build or the other commit, which has said why
        say(f"{' '.join(map(str, error.cmd))} failed")
        return 2
    return 0


def measure_both(jobs: Sequence[Any], tree: Path, rounds: int, name: str) -> None:
    """Builds and measures the base in `tree`, which is called `name`, and this tree; prints each row as it is known."""
    build(tree)
    build(ROOT)
    base, head = Side(tree), Side(ROOT)
    rows = []
    for row in take_turns(jobs, base, head, rounds):
        rows.append(row)
        print(line(*row), flush=True)
    base.close()
    head.close()
    print(report(rows, name))


if __name__ == "__main__":
    sys.exit(main())
