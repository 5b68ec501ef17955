"""Export to ONNX and a run in onnxruntime, for the tests of both packages."""

import warnings

import numpy as np
import pytest
import torch

from vfi_kernels.testing import tensors

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


class Call(torch.nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *arguments):
        return self.function(*arguments)


def exported(function, arguments, dynamic=None, **options):
    """The ONNX program of a function, and what was said."""
    module = function if isinstance(function, torch.nn.Module) else Call(function)
    shapes = None if dynamic is None else (tuple(dynamic),)
    with warnings.catch_warnings(record=True) as said, torch.no_grad():
        warnings.simplefilter("always")
        program = torch.onnx.export(
            module.eval(), tuple(arguments), dynamo=True, verbose=False, dynamic_shapes=shapes, **options
        )
    return program, [str(each.message) for each in said if " in ONNX: " in str(each.message)]


def ran(program, arguments):
    """What onnxruntime makes of it on the CPU; the checker has seen it before."""
    model = program.model_proto
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    named = zip(session.get_inputs(), tensors(arguments))
    return session.run(None, {each.name: value.numpy() for each, value in named})


def assert_agree(found, expected, bound=1e-4):
    """Within 1e-4 of the largest value, and not finite in the same places."""
    for got, wanted in zip(found, [t.detach().numpy() for t in tensors(expected)], strict=True):
        assert got.dtype == wanted.dtype and got.shape == wanted.shape
        finite = np.isfinite(wanted)
        np.testing.assert_array_equal(np.where(finite, 0, got), np.where(finite, 0, wanted))
        largest = max(1.0, float(np.abs(wanted[finite]).max(initial=0)))
        np.testing.assert_allclose(got[finite], wanted[finite], rtol=0, atol=bound * largest)
