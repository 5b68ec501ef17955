"""What compat.patch changed in a test is as it was before the next one."""

import sys

import pytest

from vfi_kernels import compat


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    compat.unpatch()
    sys.modules.pop("made_up", None)  # of test_patch_trials.py
