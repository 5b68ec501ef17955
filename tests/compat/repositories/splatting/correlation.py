"""Shaped like the CuPy correlation of PWC-Net in PyTorch."""

import cupy
import torch


class _FunctionCorrelation(torch.autograd.Function):
    @staticmethod
    def forward(self, first, second):
        out = first.new_zeros([first.shape[0], 81, first.shape[2], first.shape[3]])
        if not first.is_cuda:
            raise NotImplementedError()
        cupy.RawKernel("not a kernel", "updateOutput")((1,), (1,), (first.data_ptr(), out.data_ptr()))
        return out


def FunctionCorrelation(tenFirst, tenSecond):
    return _FunctionCorrelation.apply(tenFirst, tenSecond)


class ModuleCorrelation(torch.nn.Module):
    def forward(self, tenOne, tenTwo):
        return _FunctionCorrelation.apply(tenOne, tenTwo)
