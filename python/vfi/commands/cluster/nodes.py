"""Finding a cluster of Ray, and comparing its nodes before anything begins."""

import argparse
import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import ModuleType

from vfi.commands.cluster.head import check_address, check_token, where
from vfi.commands.program import note
from vfi.errors import UserError, require
from vfi.files.allocator import give_back, keep_blocks
from vfi.files.places import is_remote

ANSWERING = 120.0  # seconds in which a node must, which loads this package for it
USUAL_CPUS = 4
_SAID = 6  # lines of what Ray says: of other versions, both
MOST_RUNS = 3  # of a task, whatever happens to it


@dataclass(frozen=True)
class Cluster:
    """ray: the module. resources: what a task takes, as Ray has it."""

    ray: ModuleType
    resources: Mapping[str, float]

    def slots(self) -> int:
        """How many tasks the cluster holds at once, as it is now."""
        return sum(_fitting(node["Resources"], self.resources) for node in self.nodes())

    def nodes(self) -> list[dict[str, dict[str, float]]]:
        return [node for node in self.ray.nodes() if node["Alive"]]

    def task(
        self, function: Callable[..., object], *again: type[Exception], light: float | None = None
    ) -> Callable[..., object]:
        """What runs it on a node, and once more, MOST_RUNS in all, if the node dies or it raises one of `again`.

        light: it takes only this share of a task's CPUs.
        """
        amounts = dict(self.resources) if light is None else {"CPU": light * self.resources.get("CPU", 1.0)}
        named = {"num_cpus": amounts.pop("CPU", 0), "num_gpus": amounts.pop("GPU", 0), "resources": amounts}
        remote = self.ray.remote(max_retries=MOST_RUNS - 1, retry_exceptions=list(again) or False, **named)(_on_cpus)
        here = _version(), os.getcwd()
        return partial(remote.remote, max(1, round(self.resources.get("CPU", 1))), here, function)


def _on_cpus(count: int, here: tuple[str, str], function: Callable[..., object], *given: object) -> object:
    """On a node, which may have come later than those that were compared. here: the version and the folder where the
    command runs, from which names of files go."""
    import torch

    version, folder = here
    if _version() != version:
        name = f"node {socket.gethostname()}"
        raise UserError(f"{name} has vfi-kernels {_version()}, the others have {version}: give all the same")
    with suppress(OSError):
        os.chdir(folder)
    torch.set_num_threads(count)
    keep_blocks()
    try:
        return function(*given)
    finally:
        give_back()  # to other tasks of the node


def _version() -> str:
    import vfi_kernels

    return vfi_kernels.__version__


def resource(text: str) -> tuple[str, str]:
    """Of an option: CPU=4, GPU=1 and others that the cluster has by name."""
    name, _, amount = text.partition("=")
    try:
        value = float(amount)
    except ValueError:
        value = 0.0
    if not name or not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"expected NAME=AMOUNT such as CPU=4, got {text!r}")
    return name.upper() if name.upper() in ("CPU", "GPU") else name, amount


def _fitting(has: Mapping[str, float], needed: Mapping[str, float]) -> int:
    return int(min((has.get(name, 0.0) // amount for name, amount in needed.items()), default=0))


@contextmanager
def connected(address: str, asked: Sequence[tuple[str, str]] | None) -> Iterator[Cluster]:
    """Within it the cluster is used. asked: see `Cluster`; None: a GPU where there is one, else some CPUs.

    Raises:
        UserError: if there is no cluster, one of another version, or none that has what is asked for.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_SCHEDULER_EVENTS", "0")  # what an autoscaler does would be printed
    ray = require("ray", "ray")
    found = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    check_address(found)
    check_token(ray, found)
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    except ConnectionError as error:
        raise UserError(f"no cluster of Ray {where(address)}; `ray start --head` begins one") from error
    except (RuntimeError, ValueError) as error:
        raise UserError(f"cannot use the cluster of Ray {where(address)}: {in_short(error)}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray's own ends with another exit code
    try:
        cluster = Cluster(ray, {name: float(amount) for name, amount in asked} if asked else _usual(ray.nodes()))
        if cluster.slots() == 0:
            wanted = ", ".join(f"{name} {amount:g}" for name, amount in cluster.resources.items())
            raise UserError(f"no node of the cluster has {wanted}, which each task asks for: see --ray-resources")
        yield cluster
    finally:
        ray.shutdown()


def said_of(error: Exception) -> str:
    """Of a task that has ended so, whatever was tried."""
    exceptions = require("ray", "ray").exceptions
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, UserError):
        return cause.for_command()
    if isinstance(error, exceptions.OutOfMemoryError):
        return "there is not enough memory on the nodes: give tasks more of --ray-resources, so that fewer run at once"
    if isinstance(error, (exceptions.WorkerCrashedError, exceptions.NodeDiedError)):
        return f"what worked on it died, {MOST_RUNS} times: see the logs of Ray on the nodes"
    if isinstance(error, exceptions.RayTaskError):
        return f"{type(cause).__name__}: {in_short(cause)}"
    return in_short(error)


def in_short(error: Exception) -> str:
    """Without colours of a terminal."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    return " ".join(line.strip() for line in text.strip().splitlines()[:_SAID])


def _usual(nodes: list[dict[str, dict[str, float]]]) -> dict[str, float]:
    """Of nodes with GPUs one each and what there is of CPUs beside it, at most USUAL_CPUS; else such CPUs."""
    having = [node["Resources"] for node in nodes if node["Alive"]]
    gpus = [each for each in having if each.get("GPU")]
    if gpus:
        return {"GPU": 1.0, "CPU": max(1.0, min(USUAL_CPUS, *(each.get("CPU", 0) // each["GPU"] for each in gpus)))}
    cpus = [each["CPU"] for each in having if each.get("CPU")]
    return {"CPU": float(min(USUAL_CPUS, *cpus)) if cpus else 1.0}


def files_of(options: argparse.Namespace) -> list[str]:
    """Of a command, beside its inputs and outputs: weights and the like."""
    own = (
        *("input", "output", "path", "model", "ray", "dataset", "split", "json", "csv", "results", "write_frames"),
        *("config", "save_config", "scene_cuts", "data"),
    )
    given = (value for name, value in vars(options).items() if name not in own and isinstance(value, (str, Path)))
    return [str(value) for value in given if str(value) and Path(value).exists()]


def check(cluster: Cluster, files: list[str], folders: list[str], sources: Sequence[Path] = ()) -> None:
    """Compares what nodes have with what is here: this package, torch, files of these names, and sources by their size
    only, of which there may be many.

    Raises:
        UserError: of the first node that differs.
    """

    # By value: a node may lack vfi
    def facts(names: list[str], needed: list[str], sizes: dict[str, int | None], here: str) -> dict[str, object]:
        import os

        if os.path.isdir(here):
            os.chdir(here)
        try:
            import torch

            import vfi_kernels
            from vfi.video.segments import fingerprint
            from vfi_kernels import backends
        except ImportError as error:
            return {"error": str(error)}
        from pathlib import Path

        def size(name: str) -> int | None:
            return Path(name).stat().st_size if Path(name).exists() else None

        return {
            "vfi-kernels": vfi_kernels.__version__,
            "torch": torch.__version__.partition("+")[0],
            "level": backends.cpu_level(),
            "files": {name: fingerprint(Path(name)) if Path(name).exists() else None for name in names},
            "folders": {name: os.path.exists(name) for name in needed},
            "source": next(((name, size(name)) for name, known in sizes.items() if size(name) != known), None),
        }

    with ExitStack() as stack:
        marks = [stack.enter_context(NamedTemporaryFile(dir=folder, prefix=".vfi-")).name for folder in folders]
        sizes = {str(path): path.stat().st_size for path in sources if not is_remote(path) and path.exists()}
        _compare_all(cluster, facts, (files, marks, sizes, os.getcwd()))


def _compare_all(cluster: Cluster, facts: Callable[..., dict[str, object]], given: tuple[object, ...]) -> None:
    """given: what `facts` takes; of it some files are made for this alone, so that a folder is known by them."""
    ray = cluster.ray
    by_node = require("ray.util.scheduling_strategies", "ray").NodeAffinitySchedulingStrategy
    asked = {}
    for node in cluster.nodes():
        if _fitting(node["Resources"], cluster.resources):
            to = by_node(node_id=node["NodeID"], soft=False)
            name = f"node {node['NodeManagerAddress']} ({str(node['NodeID'])[:8]})"
            asked[ray.remote(num_cpus=0, scheduling_strategy=to)(facts).remote(*given)] = name
    here = facts(*given)  # meanwhile
    levels = set()
    for answer, name in asked.items():
        try:
            there = ray.get(answer, timeout=ANSWERING)
        except Exception as error:
            raise UserError(f"{name} does not answer: {in_short(error)}") from error
        _compare(name, here, there)
        levels.add(there["level"])
    if len(levels) > 1:
        note(f"nodes have CPUs of other kinds ({', '.join(sorted(levels))}): frames may differ in their last bit")


def _compare(name: str, here: Mapping[str, object], there: Mapping[str, object]) -> None:
    if "error" in there:
        raise UserError(f"{name} has no vfi-kernels that works: {there['error']}")
    for what in ("vfi-kernels", "torch"):
        if there[what] != here[what]:
            raise UserError(f"{name} has {what} {there[what]}, here it is {here[what]}: give all the same")
    mine, its = here["files"], there["files"]
    assert isinstance(mine, dict) and isinstance(its, dict)
    differ = [(file, mark) for file, mark in its.items() if mark != mine[file]]
    if isinstance(there["source"], tuple):
        differ.append(there["source"])
    for file, mark in differ:
        if mark is None:
            raise UserError(f"{name} has no {file}: put it there, or give an address that all nodes reach")
        raise UserError(f"{file} is another file on {name} than here")
    its = there["folders"]
    assert isinstance(its, dict)
    for mark, is_there in its.items():
        if not is_there:
            folder = os.path.dirname(mark)
            raise UserError(f"{name} has not this folder {folder}: share it, or give an address that all nodes reach")


def ended(ray: ModuleType, tasks: list[object]) -> None:
    """Ends what is at work, for nobody waits for it."""
    for task in tasks:
        with suppress(Exception):
            ray.cancel(task, force=True)
