"""The simulator's tests need nvcc, and are built once; they run one after another."""

import programs
import pytest

from vfi_kernels.bench import simulator

HERE = "tests/ptx/"


def pytest_collection_modifyitems(items):
    reason = simulator.unavailable()
    for item in items:
        if HERE in item.path.as_posix():
            item.add_marker(pytest.mark.slow)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True, scope="module")
def programs_are_ptx(tmp_path_factory):
    """ptxas takes whatever a module's tests ran."""
    programs.RAN.clear()
    yield
    if programs.RAN:
        programs.assemble(programs.RAN, tmp_path_factory.mktemp("ptxas"))
