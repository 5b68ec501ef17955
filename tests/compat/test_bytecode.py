"""Which ways a function's calls took is told from bytecode, which is another one in every Python."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import vfi_kernels

ALONE = Path(__file__).with_name("ways_alone.py")
# The one that runs the tests, and those that pyenv keeps.
PYTHONS = [
    Path(sys.executable),
    *(p for p in sorted(Path.home().glob(".pyenv/versions/3.*/bin/python")) if re.search(r"/3\.1[0-9]\.", str(p))),
]


@pytest.mark.parametrize("python", PYTHONS, ids=lambda p: p.parents[1].name)
def test_every_way_is_seen(python):
    package = Path(vfi_kernels.__file__).parent
    done = subprocess.run([python, ALONE, package], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[:-1] == []
    assert int(done.stdout.split()[-2]) > 40
