"""Shaped like the CuPy correlation of PWC-Net in PyTorch."""

import cupy
import torch


class _FunctionCorrelation(torch.autograd.Function):
    @staticmethod
    def forward(self, first, second):
        return cupy.RawKernel("not a kernel", "updateOutput")((1,), (1,), (first.data_ptr(),))


def FunctionCorrelation(tenFirst, tenSecond):
    return _FunctionCorrelation.apply(tenFirst, tenSecond)
