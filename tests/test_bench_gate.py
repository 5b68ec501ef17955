"""The benchmark engine reports no figure of an op that is wrong."""

import json
import re

import pytest
import torch
from brief_benchmarks import SHAPE, every_case, same_threads  # noqa: F401

from vfi_kernels.bench import gate, jobs
from vfi_kernels.bench.session import Session
from vfi_kernels.testing import load_cases


@pytest.fixture
def wrong_kernel():
    """backward_warp on the CPU returns the image, whatever the flow."""
    with torch.library._scoped_library("vfi_kernels", "IMPL") as library:
        library.impl(
            "backward_warp", lambda image, flow, padding_mode="border": image.clone(), "CPU", allow_override=True
        )
        yield


@every_case
@pytest.mark.parametrize(
    "dtype, layout",
    [("float64", "nchw"), ("float32", "channels_last"), ("float16", "nchw"), ("bfloat16", "channels_last")],
)
def test_the_gate_lets_right_ops_pass(case, dtype, layout):
    assert gate.check(case, dtype, layout, "cpu", None) is None


def test_the_gate_refuses_a_wrong_op(wrong_kernel, tmp_path):
    session = Session("check", quick=True, json_file=tmp_path / "result.json")
    chosen = jobs.plan(op=["backward_warp-border", "splat-sum"], shape=[SHAPE], threads=[1])
    session.pass_gate(chosen)
    session.measure(chosen)
    written = json.loads((tmp_path / "result.json").read_text())
    assert "differs from the float64 reference" in written["refused"]["backward_warp"]
    assert [row["case"] for row in written["rows"]] == ["splat-sum"]


def test_the_gate_refuses_a_wrong_gradient():
    def wrong(grad_out, image, flow, *others):
        return torch.zeros_like(image), torch.zeros_like(flow)

    with torch.library._scoped_library("vfi_kernels", "IMPL") as library:
        library.impl("backward_warp_grad", wrong, "CPU", allow_override=True)
        reason = gate.check(load_cases()["backward_warp-border"], "float32", "nchw", "cpu", None)
    assert reason is not None and reason.startswith("the gradient of argument")


@pytest.mark.parametrize(
    "body, reason",
    [("pass", None), ("assert False", "FAILED tests/test_every_op.py::test_it"), (None, "no tests ran|deselected")],
)
def test_the_gate_runs_the_tests_of_an_op(tmp_path, monkeypatch, body, reason):
    (tmp_path / "tests").mkdir()
    marker = "import pytest\n@pytest.mark.parametrize('case', ['splat-sum-cpp'])\n"
    text = f"{marker}def test_it(case):\n    {body}\n" if body else "def test_other():\n    pass\n"
    (tmp_path / "tests" / "test_every_op.py").write_text(text)
    monkeypatch.setattr(gate, "SOURCE_TREE", tmp_path)
    assert gate.has_tests()
    refusal = gate.run_tests("splat", "cpp")
    assert refusal is None if reason is None else re.search(reason, refusal)
