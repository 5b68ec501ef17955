"""The simulator's tests need nvcc. By day one process runs them all: what they compile is compiled once."""

import programs
import pytest

from vfi_kernels.bench import simulator

HERE = "tests/ptx/"


@pytest.hookimpl(tryfirst=True)  # before groups are read
def pytest_collection_modifyitems(items):
    reason = simulator.unavailable()
    for item in items:
        if HERE in item.path.as_posix():
            item.add_marker(pytest.mark.slow)
            if item.get_closest_marker("nightly") is None:
                item.add_marker(pytest.mark.xdist_group("ptx"))
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def kernels(request):
    """Those of all the cases that will run, compiled at once: on all cores."""
    here = [item for item in request.session.items if HERE in item.path.as_posix() and hasattr(item, "callspec")]
    cases = [item.callspec.params["case"] for item in here if "case" in item.callspec.params]
    simulator.load("9.0", sorted({simulator.folder_of(case.op) for case in cases if hasattr(case, "op")}))


@pytest.fixture(autouse=True, scope="module")
def programs_are_ptx(tmp_path_factory):
    """ptxas takes whatever a module's tests ran."""
    programs.RAN.clear()
    yield
    if programs.RAN:
        programs.assemble(programs.RAN, tmp_path_factory.mktemp("ptxas"))
