"""A slice of tests/cluster, in an environment with Ray alone: two real raylets, one of whose workers is killed."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALONE = ["unshare", *([] if os.getuid() == 0 else ["--map-root-user"]), "--net", "sh", "-c"]


@pytest.mark.slow
def test_a_worker_is_killed():
    if not find_spec("ray") or not find_spec("psutil"):
        pytest.skip("no Ray, or no psutil")
    if not shutil.which("unshare") or subprocess.run([*ALONE, "ip link set lo up"], capture_output=True).returncode:
        pytest.skip("a network of one's own is not allowed here: unshare --net")
    test = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/cluster/test_cluster_deaths.py"]
    done = subprocess.run(
        [*ALONE, 'ip link set lo up && exec "$@"', "--", *test, "-k", "test_one_worker_is_killed"], cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'python'}"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout[-5000:] + done.stderr[-2000:]
