"""Every op on its CUDA kernels as nvcc compiles them: results and gradients, and no fault. By day a call of some ops in
two ways; at night all of CASES, dtypes, layouts, atomic and deterministic, and tensors that are aligned to nothing."""

import pytest
import torch
from compare import assert_near, forward, oracle_forward
from every_op import DTYPES, channels_last, check_all
from op_calls import CASES, first_cases, make

from vfi_kernels.bench import simulator
from vfi_kernels.testing import map_tensors

pytestmark = pytest.mark.usefixtures("kernels")
SHAPE = (2, 6, 11, 37)
LAYOUTS = {"nchw": lambda t: t, "channels_last": channels_last}
BY_DAY = {(torch.float16, "channels_last", "deterministic")}
# Of all kinds (a gather, a scatter of patches, products by tensor cores, a sum), those that are compiled soon.
OPS_BY_DAY = {"backward_warp", "patch_scatter", "mixture_lora", "correlation", "sample_trajectory"}


def conditions():
    for case in CASES.values():
        for dtype in DTYPES:
            for layout in LAYOUTS:
                for way in ("atomic", "deterministic"):
                    by_day = case in first_cases() and case.op in OPS_BY_DAY and (dtype, layout, way) in BY_DAY
                    marks = () if by_day else pytest.mark.nightly
                    name = f"{case.name}-{str(dtype).removeprefix('torch.')}-{layout}-{way}"
                    yield pytest.param(case, dtype, layout, way, id=name, marks=marks)


@pytest.fixture
def way(request, monkeypatch):
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: request.param == "deterministic")


@pytest.mark.parametrize(("case", "dtype", "layout", "way"), list(conditions()), indirect=["way"])
def test_results_and_gradients(case, dtype, layout, way):
    with simulator.simulated(seed=1) as counts:
        check_all(case, map_tensors(LAYOUTS[layout], make(case, SHAPE, dtype)))
        assert counts.kernels()


def shifted(t):
    """The same numbers one element behind an aligned address."""
    room = torch.empty(t.numel() + 17, dtype=t.dtype)
    view = torch.as_strided(room, t.shape, t.stride(), 1)
    return view.copy_(t)


@pytest.mark.nightly
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", first_cases(), ids=lambda c: c.name)
def test_tensors_that_are_aligned_to_one_element_only(case, layout, dtype, monkeypatch):
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: False)
    with simulator.simulated(seed=2):
        check_all(case, map_tensors(lambda t: shifted(LAYOUTS[layout](t)), make(case, (2, 8, 11, 36), dtype)))


@pytest.mark.nightly
@pytest.mark.parametrize("arch", ["8.0", "8.9"])
@pytest.mark.parametrize("case", first_cases(), ids=lambda c: c.name)
def test_other_architectures(case, arch, monkeypatch):
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: False)
    with simulator.simulated(arch):
        check_all(case, make(case, SHAPE, torch.float16))


@pytest.mark.nightly
def test_every_kernel_is_known():
    """Every instruction of every kernel, also of those that no case runs."""
    module = simulator.load("9.0")
    names = module.kernels()
    assert len(names) > 400 and min(map(module.decode, names)) > 10


PRODUCTS = [c for c in CASES.values() if c.op in ("modulated_deform_conv2d", "routed_conv2d", "routed_conv2d_")]


@pytest.mark.nightly
@pytest.mark.parametrize("case", PRODUCTS, ids=lambda c: c.name)
def test_products_in_tf32(case, monkeypatch):
    """Factors with 10 bits of mantissa, as halves have: so near is the result."""
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32")
    arguments = make(case, SHAPE)
    with simulator.simulated() as counts:
        outs = forward(case.call, arguments)
        assert sum(k["tensor_multiplications"]["tf32"] for k in counts.kernels() if "lanes" in k) > 0
    for got, expected in zip(outs, oracle_forward(case.call, arguments)):
        assert_near(got, expected, slack=4 * case.slack, dtype=torch.float16)
