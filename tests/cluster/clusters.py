"""A cluster of several raylets on this machine, a driver that is run there, and what is going on."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
from ray.cluster_utils import Cluster

ROOT = Path(__file__).resolve().parents[2]
HOOKED = Path(__file__).parent / "hooked"
STORE = 80 << 20
QUICKLY = {"health_check_period_ms": 500, "health_check_timeout_ms": 500, "health_check_failure_threshold": 2}
LOSSLESS = ("--segment", 1, "--codec", "ffv1", "--encoder-option", "threads=1", "--scene-cuts", "off", "--quiet")
PATIENCE = 120


class Nodes:
    """A head without CPUs, and nodes of one each. folder: where `runs` is kept; delay and pause: seconds that a frame
    and a task take more."""

    def __init__(
        self,
        folder: Path,
        count: int = 2,
        *,
        delay: float = 0,
        pause: float = 0,
        store: int = STORE,
        **environment: str,
    ) -> None:
        self._runs, self._store = folder / "runs.txt", store
        self._before, self._session = dict(os.environ), tempfile.mkdtemp(prefix="r")  # names of sockets are short
        os.environ.update(
            RAY_USAGE_STATS_ENABLED="0", RAY_TMPDIR=self._session, TMPDIR=str(folder), OMP_NUM_THREADS="1",
            PYTHONPATH=os.pathsep.join(map(str, (HOOKED, ROOT, ROOT / "python"))),
            VFI_TEST_RUNS=str(self._runs), VFI_TEST_DELAY=str(delay), VFI_TEST_PAUSE=str(pause), **environment,
        )  # fmt: skip
        head = {"num_cpus": 0, "object_store_memory": STORE, "_system_config": QUICKLY}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes = [self.add() for _ in range(count)]
        self.drivers: list[subprocess.Popen] = []

    def add(self, environment: dict[str, str] | None = None, **more: object) -> object:
        before = dict(os.environ)
        os.environ.update(environment or {})
        try:
            return self._add(more)
        finally:
            os.environ.clear()
            os.environ.update(before)

    def _add(self, more: dict[str, object]) -> object:
        return self._cluster.add_node(**{"num_cpus": 1, "object_store_memory": self._store, **more})

    def remove(self, node: object) -> None:
        self._cluster.remove_node(node, allow_graceful=False)

    def raylet(self, node: object) -> psutil.Process:
        return psutil.Process(node.all_processes["raylet"][0].process.pid)

    def alive(self) -> list[dict]:
        """Nodes, the head among them."""
        from ray._raylet import GcsClient

        found = GcsClient(address=self.address).get_all_node_info().values()
        return [node for node in found if node.state == 0]

    @property
    def address(self) -> str:
        return self._cluster.address

    def start(self, *words: object, ray: str | None = None, folder: Path | None = None) -> subprocess.Popen:
        """A driver. folder: where it is run."""
        told = ["--ray", ray or self.address, "--ray-resources", "CPU=1"]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("VFI_TEST_")}
        driver = subprocess.Popen(
            [sys.executable, "-m", "vfi", "interpolate", *map(str, words), *told], env=environment, cwd=folder,
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.drivers.append(driver)
        return driver

    def run(self, *words: object, **more: object) -> tuple[int, str, str]:
        """Exit code, what was printed, errors."""
        return ended(self.start(*words, **more))

    def runs(self) -> Counter[str]:
        """How often each task was begun: "render 3"."""
        lines = self._runs.read_text().splitlines() if self._runs.exists() else []
        return Counter(line.rsplit(None, 1)[0] for line in lines)

    def forget_runs(self) -> None:
        self._runs.write_text("")

    def at_work(self, what: str = "render") -> list[psutil.Process]:
        """Processes that are at such a task."""
        lines = self._runs.read_text().splitlines() if self._runs.exists() else []
        last = {int(line.rsplit(None, 1)[1]): line for line in lines}
        found = [pid for pid, line in last.items() if line.startswith(what) and psutil.pid_exists(pid)]
        return [process for process in map(psutil.Process, found) if titled(process).startswith("ray::_on_cpus")]

    def wait_for(self, what: str = "render", count: int = 1) -> list[psutil.Process]:
        return until(lambda: len(self.at_work(what)) >= count and self.at_work(what))

    def kill(self, driver: subprocess.Popen) -> None:
        """A driver; returns when none of its tasks is at work."""
        driver.kill()
        ended(driver)
        until(lambda: not self.at_work(""))

    def end(self) -> None:
        for driver in self.drivers:
            driver.kill()
            driver.wait()
        self._cluster.shutdown()
        shutil.rmtree(self._session, ignore_errors=True)
        os.environ.clear()
        os.environ.update(self._before)


def titled(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def ended(driver: subprocess.Popen) -> tuple[int, str, str]:
    printed, errors = driver.communicate(timeout=PATIENCE)
    assert "Traceback" not in errors, errors
    # Without a route to other networks Ray warns of it before it can be told not to.
    errors = "".join(line for line in errors.splitlines(keepends=True) if "network_util.cc" not in line)
    print(printed, errors)
    return driver.returncode, printed, errors


def until(found: Callable[[], object], seconds: float = 60) -> object:
    """Waits for something that is true, and returns it."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return value
